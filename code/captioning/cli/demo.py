"""`captioning demo`."""

from __future__ import annotations

import signal
import threading
from importlib.util import find_spec
from pathlib import Path

from captioning import paths
from captioning.cli.common import load_model

EXAMPLES = 8


def demo(
    runs: list[str],
    *,
    examples: Path | None = None,
    feedback: Path | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
) -> None:
    """A web page: pictures in, captions out, with each word's probability and where the model looked.

    Args:
        runs: folders of runs or of saved models, or hub repositories, to be shown side by side; when none is given, the
            small captioner of photographs that comes with the package
        examples: folder of pictures to pick from; photographs by default
        feedback: folder of the data set that votes and corrections become, dataset/feedback by default; a new one, or
            one that has votes
        host: 0.0.0.0 lets in everybody who can reach this machine; by default only this machine can
        port: of the server; by default the first free one from 7860 on
    """
    if not find_spec("gradio"):
        raise ValueError("the page needs Gradio: pip install 'captioning[web]'")
    from captioning.data.pictures import PHOTOGRAPHS
    from captioning.serving import feedback as votes
    from captioning.serving import web
    from captioning.serving.inference import find_pictures, shipped

    feedback = feedback or paths.DATASET / "feedback"
    votes.claim(feedback)
    models = {name: load_model(run) for name, run in names(runs or [str(shipped())]).items()}

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that uploads are deleted then, too
    shown = find_pictures([str(examples)])[:EXAMPLES] if examples else list(map(str, PHOTOGRAPHS))
    with web.serving(models, feedback, shown, host, port) as address:
        print(f"{', '.join(models)}: open {address} (Ctrl-C stops it)", flush=True)
        if host != "127.0.0.1":
            print(f"everybody who can reach {host} can use the page, and vote", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("stopped; uploads are deleted")


def names(runs: list[str]) -> dict[str, str]:
    """What the page calls each run: the name of its folder, or all of it where two have the same."""
    short = [Path(run).resolve().name if Path(run).exists() else run for run in runs]
    return {name if short.count(name) == 1 else run: run for name, run in zip(short, runs, strict=True)}


COMMANDS = {"demo": demo}
