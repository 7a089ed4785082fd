"""The package as others get it: quick to import, one call for a caption, a wheel that holds all that is needed."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import captioning
from captioning.data.pictures import BrokenPicture
from captioning.decoding import Decoding
from captioning.inference import loaded

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


def test_a_model_is_read_once_and_again_when_it_changed(make_model, photo, tmp_path):
    folder = tmp_path / "model"
    make_model("transformer", max_length=12).save_pretrained(folder)
    before = loaded.cache_info().misses
    first, again = (captioning.caption(photo, folder) for _ in range(2))
    assert first == again and loaded.cache_info().misses == before + 1
    make_model("transformer", max_length=8).save_pretrained(folder)
    captioning.caption(photo, folder)
    assert loaded.cache_info().misses == before + 2


def test_what_cannot_be_captioned_is_said(make_model, tmp_path):
    with pytest.raises(BrokenPicture, match="nothing.jpg: cannot be read"):
        captioning.caption(tmp_path / "nothing.jpg", make_model("gru"))
    with pytest.raises(FileNotFoundError, match="no such folder; give a run folder, or a hub repository"):
        captioning.caption(tmp_path / "nothing.jpg", tmp_path / "nowhere")


BUILD = "import setuptools.build_meta as b, sys; print(b.build_wheel(sys.argv[1]))"


def test_the_wheel_holds_every_file_of_the_package(tmp_path):
    """Built from a copy, because building leaves folders behind."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    skip = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(ROOT / "code" / "captioning", tmp_path / "code" / "captioning", ignore=skip)
    subprocess.run([sys.executable, "-c", BUILD, tmp_path / "dist"], cwd=tmp_path, check=True, capture_output=True)
    [wheel] = (tmp_path / "dist").glob("captioning-*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("captioning/")}
    source = tmp_path / "code"
    expected = {
        str(file.relative_to(source)) for file in source.rglob("*") if file.is_file() and ".egg-info" not in str(file)
    }
    assert packed == {name for name in expected if not name.endswith(".md")}
    assert {"captioning/py.typed", "captioning/web.css", "captioning/course.html.j2"} <= packed
