"""`captioning translate`."""

from __future__ import annotations

from pathlib import Path


def translate(old: Path) -> None:
    """Print an old JSON configuration (model_name, tokenize_style, img_addr, ...) as one for `captioning train ofa`.

    captioning translate trainer_config.json > new.yaml, and then captioning train ofa --config new.yaml

    Args:
        old: a configuration file of the earlier stylised-captioning project
    """
    import yaml

    from captioning.cli.old_config import translated

    print(f"# {old.name} for `captioning train ofa --config`")
    print(yaml.safe_dump(translated(old), sort_keys=False), end="")


COMMANDS = {"translate": translate}
