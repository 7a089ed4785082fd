"""`captioning export`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from captioning import paths
from captioning.cli.common import load_model, readable
from captioning.decoding.config import DecodingChanges


def export(
    run: str,
    onnx: bool = False,
    int8: bool = False,
    half: bool = False,
    mirrored: bool = False,
    out: Path | None = None,
    check: int = 100,
    data: str | None = None,
    folder: Path | None = None,
    pictures: Path | None = None,
    decoding: DecodingChanges | None = None,
) -> None:
    """Write a captioner for programs that have no PyTorch (--onnx: encoder and one decoding step), or a smaller one.

    Args:
        run: folder of a run, or a saved model (then with --pictures, or --check 0)
        onnx: as ONNX files
        int8: of ONNX files: with weights, and what they are multiplied with, in 8 bits: smaller, quicker on most
            processors, and some captions are worded differently. The check then says how many, and how much quicker
        half: as a saved model whose weights have 16 bits: half as large, and some captions may be worded differently.
            The check then says how many. Adapters of a model on this machine are merged into it first
        mirrored: of --half: one that sees each picture mirrored, too, and says what is likely in the mean of both
            views; a little better, twice the time
        out: folder to write, RUN_onnx, RUN_int8 or RUN_half by default; a new one, or an earlier export that nobody
            has changed
        check: so many pictures of val are captioned by both; ONNX files must give equal captions; 0: none
        data: the data set of a notebook's run; `train` notes its own
        folder: where the data set lies, of the run or of --data; where it lay in training, or dataset/NAME, by default
        pictures: folder with pictures of your own for the check, in place of those of val
        decoding: how captions are chosen in the check, where not as in training
    """
    from captioning.evaluation.runs import decoding_of, load_data, read_run
    from captioning.models.folders import saved_folder
    from captioning.models.saved import load
    from captioning.serving.export import FILES, OnnxCaptioner, compare, equal_captions, export_half, export_onnx
    from captioning.serving.inference import find_pictures
    from captioning.serving.onnx_int8 import compare_int8, export_int8
    from captioning.sharing.portable import local_base
    from captioning.writing import claim

    if onnx == half:
        raise ValueError("say --onnx or --half: the format to write")
    if mirrored and not half:
        raise ValueError("--mirrored is of saved models: say --half")
    if half and int8:
        raise ValueError("--int8 is of ONNX files: say --onnx in place of --half")
    if not check and (data or folder or decoding or pictures):
        raise ValueError("--data, --folder, --pictures and --decoding are for the check, which --check 0 leaves out")
    if pictures and (data or folder):
        raise ValueError("--pictures with --data or --folder: the check reads one of them; choose")
    out = out or paths.OUTPUT / f"{Path(run).name}_{'half' if half else 'int8' if int8 else 'onnx'}"
    claim(out, "export", unmarked=FILES)
    own = find_pictures([str(pictures)]) if pictures else []
    described = read_run(Path(run), data, folder) if check and not own else None
    if described:
        own = list(readable(load_data(Path(run), described, "val"))["val"]["image"])
    model = load_model(run).cpu()
    decoding = decoding_of(described or {}, model, decoding)
    if half:
        if local_base(saved_folder(run)):  # else the half would need the other folder, too
            from captioning.models.lora import merged_captioner  # peft is slow to load

            model = merged_captioner(model)
        export_half(model, out, mirrored, Path(run) / "experiment.json")
        print(f"{out}: {sizes(out, '*.safetensors')}")
        if check:
            equal = equal_captions(model, load(out), own[:check], decoding)
            print(f"{equal} of {len(own[:check])} pictures have equal captions")
        return
    with TemporaryDirectory() as place:
        single = Path(place) / "single" if int8 else out
        export_onnx(model, single)
        if int8:
            export_int8(single, out)
            print(f"in single precision: {sizes(single)}")
        print(f"{out}: {sizes(out)}")
        if not check:
            return
        exported = OnnxCaptioner(single)
        compare(model, exported, own[:check], decoding)
        if int8:
            compare_int8(exported, OnnxCaptioner(out), own[:check], decoding)


def sizes(folder: Path, files: str = "*.onnx") -> str:
    return ", ".join(f"{path.name} {path.stat().st_size / 1e6:.1f} MB" for path in sorted(folder.glob(files)))


COMMANDS = {"export": export}
