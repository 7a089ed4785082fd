"""`captioning demo`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from getpass import getpass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from captioning import paths
from captioning.cli.common import asks, load_speaker
from captioning.cli.stopping import until_stopped
from captioning.models.config import Precision

EXAMPLES = 8
LOCAL = ("127.0.0.1", "localhost")  # hosts that only this machine reaches


def demo(
    runs: list[str],
    *,
    prompt: str | None = None,
    system: str | None = None,
    precision: Precision = "auto",
    side: int | None = None,
    examples: Path | None = None,
    feedback: Path | None = None,
    review: Path | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
    auth: str | None = None,
) -> None:
    """A web page: pictures in, captions out, with each word's probability and where the model looked.

    Args:
        runs: folders of runs or of saved models, or hub repositories, to be shown side by side; when none is given, the
            small captioner of photographs that comes with the package
        prompt: what vision-language models among them are asked, as of `caption`
        system: their system turn
        precision: of their weights
        side: of pictures, as of `caption`
        examples: folder of pictures to pick from; photographs by default
        feedback: folder of the data set that votes and corrections become, dataset/feedback by default; a new one, or
            one that has votes
        review: a folder of pictures whose captions are looked through and mended on a tab of their own, as by
            `captioning review`; on this machine only
        host: 0.0.0.0 lets in everybody who can reach this machine; by default only this machine can
        port: of the server; by default the first free one from 7860 on
        auth: a name that visitors give, with a password that is asked for here
    """
    if not find_spec("gradio"):
        raise ValueError("the page needs Gradio: pip install 'captioning[web]'")
    from captioning.data.pictures import PHOTOGRAPHS
    from captioning.serving import feedback as votes
    from captioning.serving import web
    from captioning.serving.inference import find_pictures, shipped

    if review and host not in LOCAL:
        raise ValueError(
            f"--review {review} with --host {host}: whoever reaches the page could change the captions there, expected "
            f"one of {', '.join(LOCAL)}; leave --host out, or call `captioning review {review}`"
        )
    opened = opened_review(review)  # a wrong folder is told before models are loaded
    login = (auth, getpass(f"password of {auth} for the page: ")) if auth else None
    if login and not login[1]:
        raise ValueError(f"--auth {auth}: the password is empty; give one")
    feedback = feedback or paths.DATASET / "feedback"
    votes.claim(feedback)
    named = names(runs or [str(shipped())])
    asked, unasked = (prompt, system, precision, side), (None, None, "auto", None)
    vlms = [run for run in named.values() if asks(run)]  # of several models only these are asked
    models = {name: load_speaker(run, *(asked if run in vlms or not vlms else unasked)) for name, run in named.items()}

    found = find_pictures([str(examples)]) if examples else map(str, PHOTOGRAPHS)
    shown = [file for file in found if Path(file).is_file()][:EXAMPLES]
    with (
        reviewing(opened) as tab,
        web.serving(models, feedback, shown, host, port, login, tab) as address,
    ):
        print(f"{', '.join(models)}: open {address} (Ctrl-C stops it)", flush=True)
        if host not in LOCAL:
            print(visitors(auth, feedback), flush=True)
        try:
            until_stopped()
        except KeyboardInterrupt:
            print("; ".join(["stopped", "uploads are deleted", *([opened.unsaved()] if opened else [])]))


def opened_review(folder: Path | None) -> Any:
    """The `Review` of a folder; None without one. (It is not named as a type: `--help` would import it.)"""
    from captioning.serving.review import Review

    return Review(folder) if folder else None


@contextmanager
def reviewing(opened: Any) -> Iterator[str]:
    """The address of the page that reviews a folder's captions, for as long as the context lasts; "" without one."""
    if opened is None:
        yield ""
        return
    from captioning.serving import review_page

    with review_page.serving(opened) as address:
        yield address


def visitors(auth: str | None, feedback: Path) -> str:
    """What others can see and do."""
    who = f"and knows the password of {auth} " if auth else ""
    more = "" if auth else " (--auth NAME asks them for a password)"
    return (
        f"whoever reaches this machine {who}can have pictures captioned, sees the examples, and can vote, which keeps "
        f"the picture in {feedback}; no other file can be seen, and no other visitor's pictures{more}"
    )


def names(runs: list[str]) -> dict[str, str]:
    """What the page calls each run: the name of its folder, or all of it where two have the same."""
    short = [Path(run).resolve().name if Path(run).exists() else run for run in runs]
    return {name if short.count(name) == 1 else run: run for name, run in zip(short, runs, strict=True)}


COMMANDS = {"demo": demo}
