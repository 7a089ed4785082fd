"""`captioning completion`."""

from __future__ import annotations

from typing import Literal

from captioning import cli


def completion(shell: Literal["bash", "zsh", "tcsh"]) -> None:
    """Print a script that lets a shell complete verbs and options with the Tab key.

    For bash: captioning completion bash > ~/.local/share/bash-completion/completions/captioning

    Args:
        shell: bash, zsh or tcsh
    """
    from jsonargparse import auto_parser

    parser = auto_parser({verb: cli.component(verb) for verb in cli.VERBS if " " not in verb}, prog="captioning")
    print(parser.get_completion_script(f"shtab-{shell}"))


COMMANDS = {"completion": completion}
