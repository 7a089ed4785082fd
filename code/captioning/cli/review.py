"""`captioning review`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from captioning.cli.stopping import until_stopped


def review(
    folder: Path,
    *,
    captions: Path | None = None,
    against: Path | None = None,
    port: int | None = None,
    undo: bool = False,
) -> None:
    """Look through the captions of a folder on a web page, mend them, and save them beside the pictures.

    The captions are those of training sets: a.txt (or a.caption) beside a.jpg, or lines of metadata.jsonl. All of them
    can be searched, replaced, sorted and filtered; nothing is written before Save, and what was there is kept in
    FOLDER/review_undo.jsonl.

    Args:
        folder: pictures, in any depth, and their captions
        captions: what `captioning caption FOLDER --out FILE` wrote: the captions of pictures that have none yet, and
            how likely the model found each
        against: what another model said of the pictures, or several captions of each: most disputed first
        port: of the server, which only this machine can reach; by default a free one
        undo: bring back what was there before the first Save, and stop
    """
    from captioning.data.undo import undo as take_back
    from captioning.serving.review import UNDO, Review

    if undo:
        print(f"{folder}: {take_back(folder / UNDO)} captions are as they were")
        return
    if not find_spec("uvicorn"):
        raise ValueError("the page needs Starlette and Uvicorn: pip install 'captioning[web]'")
    from captioning.serving import review_page

    opened = Review(folder, captions, against)
    with review_page.serving(opened, port) as address:
        print(f"{len(opened.entries)} pictures of {folder}: open {address} (Ctrl-C stops it)", flush=True)
        try:
            until_stopped()
        except KeyboardInterrupt:
            print(f"stopped; {opened.unsaved()}")


COMMANDS = {"review": review}
