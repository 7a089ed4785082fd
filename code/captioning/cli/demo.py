"""`captioning demo`."""

from __future__ import annotations

import tempfile
import threading
from importlib.util import find_spec
from pathlib import Path

from captioning import paths
from captioning.cli.common import load_model
from captioning.data.files import read_json

EXAMPLES = 6


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
        runs: folders of runs or of saved models, or hub repositories, to be shown side by side; the newest run of
            output/ when none is given
        examples: folder of pictures to pick from; drawn ones of mini-fashion by default
        feedback: folder of the data set that votes and corrections become, dataset/feedback by default; a new one, or
            one that has votes
        host: 0.0.0.0 lets in everybody who can reach this machine; by default only this machine can
        port: of the server; by default the first free one from 7860 on
    """
    if not find_spec("gradio"):
        raise ValueError("the page needs Gradio: pip install 'captioning[web]'")
    from captioning.serving import feedback as votes
    from captioning.serving import web
    from captioning.serving.inference import find_pictures

    feedback = feedback or paths.DATASET / "feedback"
    votes.claim(feedback)
    models = {name: load_model(run) for name, run in names(runs or [str(newest_run(paths.OUTPUT))]).items()}

    with tempfile.TemporaryDirectory() as drawn:
        shown = find_pictures([str(examples or draw_examples(Path(drawn)))])[:EXAMPLES]
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


def newest_run(output: Path) -> Path:
    """The run whose best weights were written last: of a command, or of a notebook, whose profile is a folder more."""
    from captioning.models.folders import OURS

    configs = [*output.glob("*/best/config.json"), *output.glob("*/*/best/config.json")]
    # BLIP's config.json is Hugging Face's; a writer of chapter 04 has neither of the two
    captioners = [path for path in configs if "kind" in read_json(path, dict) or (path.parent / OURS).is_file()]
    found = sorted(captioners, key=lambda path: path.stat().st_mtime)
    if not found:
        raise FileNotFoundError(f"{output} holds no run yet: `captioning train` makes one, or name a saved model")
    return found[-1].parent.parent


def draw_examples(folder: Path) -> Path:
    from captioning.data import minifashion

    minifashion.build(folder, sizes={"test": EXAMPLES}, seed=2, workers=1)
    return folder


COMMANDS = {"demo": demo}
