"""`captioning export`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from captioning import paths
from captioning.cli.common import load_model
from captioning.decoding.config import Decoding


def export(
    run: str,
    onnx: bool = False,
    int8: bool = False,
    out: Path | None = None,
    check: int = 100,
    data: str | None = None,
    folder: Path | None = None,
    pictures: Path | None = None,
    decoding: Decoding | None = None,
) -> None:
    """Write a captioner for programs that have no PyTorch: encoder and one decoding step as ONNX files.

    Args:
        run: folder of a run, or a saved model (then with --pictures, or --check 0)
        onnx: as ONNX files; there is no other format yet
        int8: with weights, and what they are multiplied with, in 8 bits: smaller, quicker on most processors, and
            some captions are worded differently. The check then says how many, and how much quicker
        out: folder to write; RUN_onnx by default, RUN_int8 in 8 bits
        check: so many pictures of val are captioned by both and must get equal captions; 0: none
        data: the data set of a notebook's run; `train` notes its own
        folder: where that data set lies; dataset/NAME by default
        pictures: folder with pictures of your own for the check, in place of those of val
        decoding: how captions are chosen in the check; as in training by default
    """
    from captioning.data import sources
    from captioning.evaluation.runs import read_run
    from captioning.serving.export import OnnxCaptioner, compare, export_onnx
    from captioning.serving.inference import find_pictures
    from captioning.serving.onnx_int8 import compare_int8, export_int8

    if not onnx:
        raise ValueError("no format: say --onnx")
    own = find_pictures([str(pictures)]) if pictures and check else []
    described = read_run(Path(run), data, folder or paths.DATASET / (data or "")) if check and not own else None
    model, out = load_model(run).cpu(), out or paths.OUTPUT / f"{Path(run).name}_{'int8' if int8 else 'onnx'}"
    with TemporaryDirectory() as place:
        single = Path(place) / "single" if int8 else out
        export_onnx(model, single)
        if int8:
            export_int8(single, out)
            print(f"in single precision: {sizes(single)}")
        print(f"{out}: {sizes(out)}")
        if not check:
            return
        if described:
            own = list(sources.load(described["data"], described["folder"])["val"]["image"])
            decoding = decoding or Decoding(**described["decoding"])
        exported, decoding = OnnxCaptioner(single), decoding or model.usual
        compare(model, exported, own[:check], decoding)
        if int8:
            compare_int8(exported, OnnxCaptioner(out), own[:check], decoding)


def sizes(folder: Path) -> str:
    return ", ".join(f"{path.name} {path.stat().st_size / 1e6:.1f} MB" for path in sorted(folder.glob("*.onnx")))


COMMANDS = {"export": export}
