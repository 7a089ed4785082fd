"""The package as others get it: quick to import, one call for a caption, a wheel that holds all that is needed."""

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image

import captioning
from captioning.data.pictures import BrokenPicture
from captioning.decoding.config import Decoding
from captioning.serving.inference import loaded

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(path)
    return path


def test_importing_captioning_takes_no_time():
    code = "import sys, time; start = time.perf_counter(); import captioning; print(time.perf_counter() - start);"
    code += "print(*(name for name in ('torch', 'numpy', 'PIL', 'datasets') if name in sys.modules))"
    seconds, *heavy = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert float(seconds) < 0.3 and heavy == []


def test_a_caption_is_what_generate_says_for_files_bytes_and_models(make_model, photo, tmp_path):
    model = make_model("transformer", max_length=12)
    model.save_pretrained(tmp_path / "model")
    images = torch.from_numpy(np.array(Image.open(photo).resize((64, 64), 3))).permute(2, 0, 1)[None]
    expected = model.generate(images, Decoding(beams=3, max_length=12)).best[0]
    assert captioning.caption(str(photo), model=str(tmp_path / "model")) == expected
    assert captioning.caption(photo.read_bytes(), model) == expected
    assert (
        captioning.caption(photo, model, Decoding(max_length=3))
        == model.generate(images, Decoding(max_length=3)).best[0]
    )
    with patch.object(model, "generate", side_effect=model.generate) as asked:
        captioning.caption(photo, model, {"beams": 2})
    assert asked.call_args.args[1] == replace(model.usual, beams=2)


def test_a_model_is_read_once_and_again_when_it_changed(make_model, photo, tmp_path):
    folder = tmp_path / "model"
    make_model("transformer", max_length=12).save_pretrained(folder)
    before = loaded.cache_info().misses
    first, again = (captioning.caption(photo, folder) for _ in range(2))
    assert first == again and loaded.cache_info().misses == before + 1
    make_model("transformer", max_length=8).save_pretrained(folder)
    captioning.caption(photo, folder)
    assert loaded.cache_info().misses == before + 2


def test_a_picture_may_lie_in_ones_home(make_model, photo, monkeypatch):
    monkeypatch.setenv("HOME", str(photo.parent))
    model = make_model("gru")
    assert captioning.caption(f"~/{photo.name}", model) == captioning.caption(photo, model)


def test_what_cannot_be_captioned_is_said(make_model, tmp_path):
    with pytest.raises(BrokenPicture, match="nothing.jpg: cannot be read"):
        captioning.caption(tmp_path / "nothing.jpg", make_model("gru"))
    with pytest.raises(IsADirectoryError, match="a folder, expected a picture; `captioning caption FOLDER`"):
        captioning.caption(tmp_path)
    with pytest.raises(TypeError, match="a Image, expected the path of a picture, or the bytes of its file"):
        captioning.caption(Image.new("RGB", (8, 8)))
    with pytest.raises(FileNotFoundError, match="no such folder; give a run folder, or a hub repository"):
        captioning.caption(tmp_path / "nothing.jpg", tmp_path / "nowhere")


BUILD = "import setuptools.build_meta as b, sys; print(b.build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, because building leaves folders behind."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    skip = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(ROOT / "code" / "captioning", source / "code" / "captioning", ignore=skip)
    subprocess.run([sys.executable, "-c", BUILD, source / "dist"], cwd=source, check=True, capture_output=True)
    [built] = (source / "dist").glob("captioning-*.whl")
    return built


def test_the_wheel_holds_every_file_of_the_package(wheel):
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("captioning/")}
    source = ROOT / "code"
    files = (file for file in (source / "captioning").rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    pages = {"photographs", "photo_captioner", "seeing_captioner"}  # whose licences and limits go along
    assert packed == {str(f.relative_to(source)) for f in files if f.suffix != ".md" or f.parent.name in pages}
    assert {"captioning/py.typed", "captioning/serving/web.css", "captioning/course/course.html.j2"} <= packed


CAPTION = """
import captioning
print(captioning.__file__, captioning.caption('photo.png', model='model'), captioning.caption('photo.png'), sep='\\n')
"""


def test_the_wheel_captions_a_picture_in_an_environment_of_its_own(wheel, make_model, photo, tmp_path):
    """An empty environment into which pip puts the wheel; only what it depends on is lent from this one."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    [site] = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (site / "lent.pth").write_text(sysconfig.get_path("purelib"))
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        tmp_path / "venv",
        "install",
        "--no-deps",
        "--no-index",
        "-q",
        wheel,
    ]
    subprocess.run(pip, check=True, capture_output=True)
    model = make_model("transformer", max_length=12)
    model.save_pretrained(tmp_path / "model")
    run = partial(subprocess.run, cwd=tmp_path, check=True, capture_output=True, text=True, env={})
    file, said, shipped = run([tmp_path / "venv/bin/python", "-c", CAPTION]).stdout.splitlines()
    assert Path(file).is_relative_to(tmp_path / "venv") and said == captioning.caption(photo, model)
    assert shipped == captioning.caption(photo)
    assert "captioning VERB" in run([tmp_path / "venv/bin/captioning", "--help"]).stdout
