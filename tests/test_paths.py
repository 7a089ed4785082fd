import subprocess
import sys
from pathlib import Path

import pytest

from captioning import paths

REPOSITORY = Path(__file__).resolve().parents[1]


def test_home_is_the_repository(monkeypatch):
    monkeypatch.delenv("CAPTIONING_HOME", raising=False)
    assert paths.home() == REPOSITORY


def test_home_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("CAPTIONING_HOME", str(tmp_path))
    assert paths.home() == tmp_path.resolve()


def test_home_of_an_installed_wheel_is_the_current_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("CAPTIONING_HOME", raising=False)
    monkeypatch.setattr(paths, "__file__", str(tmp_path / "lib" / "site-packages" / "captioning" / "paths.py"))
    monkeypatch.chdir(tmp_path)
    assert paths.home() == tmp_path.resolve()


def test_profile(monkeypatch):
    monkeypatch.delenv("CAPTIONING_PROFILE", raising=False)
    assert paths.profile() == "mini"
    monkeypatch.setenv("CAPTIONING_PROFILE", "smoke")
    assert paths.profile() == "smoke"


def test_an_unknown_profile_is_named_with_the_three_that_exist(monkeypatch):
    monkeypatch.setenv("CAPTIONING_PROFILE", "quick")
    with pytest.raises(ValueError, match="'quick', expected one of: smoke, mini, photos, full"):
        paths.profile()


def test_real_data(monkeypatch, tmp_path):
    monkeypatch.delenv("CAPTIONING_REAL_DATA", raising=False)
    assert paths.real_data() is None
    monkeypatch.setenv("CAPTIONING_REAL_DATA", str(tmp_path))
    assert paths.real_data() == tmp_path.resolve()
    monkeypatch.setenv("CAPTIONING_REAL_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(NotADirectoryError, match="nowhere"):
        paths.real_data()


def test_importing_the_package_imports_nothing_heavy():
    heavy = {"torch", "transformers", "datasets", "matplotlib", "pandas", "timm", "numpy"}
    program = f"import sys, captioning, captioning.paths; print(sorted({heavy} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_code_is_no_package():
    """A package called `code` would hide Python's own module, and pdb with it."""
    assert not (REPOSITORY / "code" / "__init__.py").exists()
