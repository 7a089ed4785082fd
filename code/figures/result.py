"""Writes NN_result.png, the picture that a chapter opens with: what the cell tagged `figure` shows in its committed
notebook. `python code/figures/result.py 10`, after a run of chapter 10."""

import base64
import io
import sys
from pathlib import Path

import nbformat
from PIL import Image

HERE = Path(__file__).parent

for chapter in sys.argv[1:]:
    [path] = HERE.parent.glob(f"{chapter}_*.ipynb")
    [cell] = (cell for cell in nbformat.read(path, 4).cells if "figure" in cell.metadata.get("tags", []))
    [drawn] = (output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {}))
    picture = Image.open(io.BytesIO(base64.b64decode(drawn))).convert("RGB")
    picture.quantize(64).save(HERE / f"{chapter}_result.png", optimize=True)  # a third of the bytes
