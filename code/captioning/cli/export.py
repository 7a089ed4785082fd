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
        out: folder to write, RUN_onnx by default; a new one, or an earlier export that nobody has changed
        check: so many pictures of val are captioned by both and must get equal captions; 0: none
        data: the data set of a notebook's run; `train` notes its own
        folder: where the data set lies, of the run or of --data; where it lay in training, or dataset/NAME, by default
        decoding: how captions are chosen in the check; as in training by default
    """
    from captioning.evaluation.runs import load_data, read_run
    from captioning.serving.export import FILES, OnnxCaptioner, compare, export_onnx
    from captioning.writing import claim

    if not onnx:
        raise ValueError("no format: say --onnx")
    if not check and (data or folder or decoding):
        raise ValueError("--data, --folder and --decoding are for the check, which --check 0 leaves out")
    out = out or paths.OUTPUT / f"{Path(run).name}_onnx"
    claim(out, "export", unmarked=FILES)
    described = read_run(Path(run), data, folder) if check else None
    dataset = load_data(Path(run), described) if described else None
    model = load_model(run).cpu()
    export_onnx(model, out)
    sizes = {path.name: path.stat().st_size / 1e6 for path in sorted(out.glob("*.onnx"))}
    print(f"{out}: {', '.join(f'{name} {size:.1f} MB' for name, size in sizes.items())}")
    if dataset:
        pictures = list(dataset["val"]["image"][:check])
        compare(model, OnnxCaptioner(out), pictures, decoding or Decoding(**described["decoding"]))


COMMANDS = {"export": export}
