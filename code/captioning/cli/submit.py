"""`captioning submit`."""

from __future__ import annotations

from pathlib import Path

from captioning.cli.common import load_model
from captioning.decoding.config import DecodingChanges
from captioning.disk import alone


def submit(
    run: Path,
    split: str = "test",
    out: Path | None = None,
    data: str | None = None,
    folder: Path | None = None,
    decoding: DecodingChanges | None = None,
    overwrite: bool = False,
    check: Path | None = None,
) -> None:
    """Write the file that the VizWiz-Captions evaluation server takes, with a caption for every picture, and check it.

    Args:
        run: folder of a run
        split: the pictures to caption
        out: the file to write; RUN/submission_SPLIT.json by default
        data: the data set of a notebook's run; `train` notes its own
        folder: where the data set lies, of the run or of --data; where it lay in training, or dataset/NAME, by default
        decoding: how captions are chosen, where not as in training
        overwrite: replace the file if it is there
        check: write nothing and check this file instead
    """
    from captioning.data import minivizwiz, sources
    from captioning.evaluation.runs import decoding_of, read_run
    from captioning.evaluation.splits import caption_rows, split_features
    from captioning.serving import submission

    if check and (out or overwrite or decoding):
        raise ValueError("--out, --overwrite and --decoding are for a new file, which --check does not write")
    described = read_run(run, data, folder)
    name, place = described["data"], Path(described["folder"])
    place = minivizwiz.build(place) if name == "minivizwiz" else place
    ids = submission.wanted_ids(place, split)
    if check:
        submission.check(check, ids)
        print(f"{check}: {len(ids)} captions, nothing missing")
        return
    out = out or run / f"submission_{split}.json"
    submission.claim(out, overwrite)  # said before the work and not after it
    with alone(out):
        dataset = sources.load("vizwiz", place)
        submission.require_pictures(dataset[split]["image_id"] if split in dataset else [], ids, place, split)
        model, rows = load_model(run), dataset[split]
        chosen = decoding_of(described, model, decoding)
        captions = caption_rows(model, rows, chosen, split_features(model, rows))
        submission.write(captions, ids, out, overwrite)
    print(f"{out}: {len(ids)} captions, checked")


COMMANDS = {"submit": submit}
