"""`captioning push`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from captioning.cli.common import load_model


def push(
    run: Path,
    repo: str,
    data: str | None = None,
    license: str | None = None,
    private: bool = False,
    out: Path | None = None,
) -> None:
    """Publish a run on the Hugging Face hub, with a model card written from it: data, scores, limits, licence.

    Others then give REPO wherever a model is asked for: no path of this machine goes out, and adapters whose model
    lies on this machine are merged into it. Log in first: `hf auth login`.

    Args:
        run: folder of a run; `evaluate` first, so that the card has scores
        repo: OWNER/NAME; made when it is not there
        data: the data set of a notebook's run; `train` notes its own
        license: of the weights; by default mit for the drawn data sets, else other: the data's terms may bind you
        private: only you can see it
        out: write the repository into this folder and publish nothing, to look at it; a new folder, or an earlier one
            of this command that nobody has changed
    """
    from captioning.evaluation.runs import read_run
    from captioning.sharing.card import model_card
    from captioning.sharing.portable import export_model
    from captioning.writing import claim, new_folder

    if repo.count("/") != 1:
        raise ValueError(f"the repository is {repo!r}, expected OWNER/NAME")
    if out:
        claim(out, "push")
    described, model = read_run(run, data), load_model(run)
    with new_folder(out, "push") if out else tempfile.TemporaryDirectory() as folder:
        export_model(run, Path(folder))
        Path(folder, "README.md").write_text(model_card(run, model, described, repo, license), encoding="utf-8")
        if not out:
            print(upload(Path(folder), repo, private))
    if out:
        print(f"{out}: the model, and its card README.md")


def upload(folder: Path, repo: str, private: bool) -> str:
    """The address of the commit. Raises OSError in one sentence when the hub cannot be reached or says no."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    try:
        api = HfApi()
        api.create_repo(repo, private=private, exist_ok=True)
        return str(api.upload_folder(folder_path=folder, repo_id=repo, commit_message="A captioner and its card"))
    except (HfHubHTTPError, LocalTokenNotFoundError) as error:
        raise OSError(
            f"{repo}: the hub says no ({type(error).__name__}: {str(error).splitlines()[0]}). Log in with "
            "`hf auth login`, or write the repository with --out FOLDER"
        ) from error


COMMANDS = {"push": push}
