"""`captioning export`."""

from __future__ import annotations

from pathlib import Path

from captioning import paths
from captioning.cli.common import load_model
from captioning.decoding.config import Decoding


def export(
    run: str,
    onnx: bool = False,
    out: Path | None = None,
    check: int = 100,
    data: str | None = None,
    folder: Path | None = None,
    decoding: Decoding | None = None,
) -> None:
    """Write a captioner for programs that have no PyTorch: encoder and one decoding step as ONNX files.

    Args:
        run: folder of a run, or a saved model (then with --check 0)
        onnx: as ONNX files; there is no other format yet
        out: folder to write; RUN_onnx by default
        check: so many pictures of val are captioned by both and must get equal captions; 0: none
        data: the data set of a notebook's run; `train` notes its own
        folder: where that data set lies; dataset/NAME by default
        decoding: how captions are chosen in the check; as in training by default
    """
    from captioning.data import sources
    from captioning.evaluation.runs import read_run
    from captioning.serving.export import OnnxCaptioner, compare, export_onnx

    if not onnx:
        raise ValueError("no format: say --onnx")
    described = read_run(Path(run), data, folder or paths.DATASET / (data or "")) if check else None
    model, out = load_model(run).cpu(), out or paths.OUTPUT / f"{Path(run).name}_onnx"
    export_onnx(model, out)
    sizes = {path.name: path.stat().st_size / 1e6 for path in sorted(out.glob("*.onnx"))}
    print(f"{out}: {', '.join(f'{name} {size:.1f} MB' for name, size in sizes.items())}")
    if described:
        pictures = list(sources.load(described["data"], described["folder"])["val"]["image"][:check])
        compare(model, OnnxCaptioner(out), pictures, decoding or Decoding(**described["decoding"]))


COMMANDS = {"export": export}
