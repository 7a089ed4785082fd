"""Where the project's folders are, and which profile runs. The only module that reads variables
of the environment whose names are fixed; that of a server's key is chosen by who has it (rebuild/server.py).

CAPTIONING_HOME       the folder that holds dataset/ and output/
CAPTIONING_PROFILE    smoke (a few dozen pictures: tests), mini (a laptop CPU, the default), photos (Flickr8k,
                      a laptop CPU and some hours) or full (real data)
CAPTIONING_REAL_DATA  a folder of real data sets and weights for the tests that need them
"""

import os
from pathlib import Path

from platformdirs import user_cache_path

PROFILES = ("smoke", "mini", "photos", "full")


def home() -> Path:
    """CAPTIONING_HOME; else the repository that this file lies in; else (an installed wheel) the current folder."""
    if chosen := os.environ.get("CAPTIONING_HOME"):
        return Path(chosen).expanduser().resolve()
    repository = Path(__file__).resolve().parents[2]
    return repository if (repository / "pyproject.toml").is_file() else Path.cwd()


def profile() -> str:
    """The profile named by CAPTIONING_PROFILE, mini by default.

    Raises ValueError when it is none of smoke, mini, photos and full.
    """
    name = os.environ.get("CAPTIONING_PROFILE", "mini")
    if name not in PROFILES:
        raise ValueError(f"CAPTIONING_PROFILE is {name!r}, expected one of: {', '.join(PROFILES)}")
    return name


def real_data() -> Path | None:
    """The folder named by CAPTIONING_REAL_DATA, or None when it is not set.

    Raises NotADirectoryError when it is set and there is no such folder.
    """
    chosen = os.environ.get("CAPTIONING_REAL_DATA")
    if not chosen:
        return None
    folder = Path(chosen).expanduser().resolve()
    if not folder.is_dir():
        raise NotADirectoryError(f"CAPTIONING_REAL_DATA is {chosen!r}, which is no folder: correct it or unset it")
    return folder


def cache() -> Path:
    """Where what is found out about this machine is kept: the package's folder in the user's cache."""
    return user_cache_path("captioning")


ROOT = home()
DATASET = ROOT / "dataset"
OUTPUT = ROOT / "output"
