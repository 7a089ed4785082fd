"""Draws NN_thumbnail.png, the small pictures of the README's table, from the committed notebooks: of each a picture
that one of its cells tagged `result` shows, cut to 3:2. Run it when a notebook has changed."""

import base64
import io
from pathlib import Path

import nbformat
from PIL import Image

SIZE = (360, 240)
CHOSEN = {"01": 2, "06": 1, "10": 1}  # which of the results; the first by default

here = Path(__file__).parent
for path in sorted(here.parent.glob("[0-9][0-9]_*.ipynb")):
    cells = nbformat.read(path, as_version=4).cells
    shown = [cell for cell in cells if "result" in cell.metadata.get("tags", [])]
    pictures = [out.data["image/png"] for cell in shown for out in cell.outputs if "image/png" in out.get("data", {})]
    picture = Image.open(io.BytesIO(base64.b64decode(pictures[CHOSEN.get(path.name[:2], 0)]))).convert("RGB")
    width = min(picture.width, picture.height * SIZE[0] // SIZE[1])  # the left upper corner is what stands out
    small = picture.crop((0, 0, width, width * SIZE[1] // SIZE[0])).resize(SIZE, Image.Resampling.LANCZOS)
    small.quantize(128).save(here / f"{path.name[:2]}_thumbnail.png", optimize=True)
