"""SPICE with a stand-in for Java: the parser that the real program needs cannot be had without a download by hand."""

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest

from captioning.metrics.base import Captioned, Unavailable
from captioning.metrics.spice import PARSER, Spice, _version
from conftest import write_program

JAVA = """
import json, sys
arguments = sys.argv[1:]
if arguments == ["-version"]:
    print('openjdk version "VERSION" 2020-01-01', file=sys.stderr)
    sys.exit()
pictures = json.load(open(arguments[arguments.index("edu.anu.spice.SpiceScorer") + 1]))
if any("fail" in picture["test"] for picture in pictures):
    sys.exit('Exception in thread "main" java.lang.OutOfMemoryError\\n\\tat edu.anu.spice')
def score(picture):
    return {"f": None if not picture["test"] else len(picture["test"].split()) / len(picture["refs"]) / 10, "re": 0.5}
json.dump({"arguments": arguments, "pictures": pictures}, open("LOG", "w"))
scores = [{"image_id": p["image_id"], "scores": {"All": score(p), "Color": {"f": 1.0}}} for p in pictures]
json.dump(scores[::-1], open(arguments[arguments.index("-out") + 1], "w"))
"""


def pictures(*captions: str) -> Captioned:
    references = [["a dog", "1\u00a01/2 cups"]] * len(captions)
    words = [c.split() for c in captions]
    return Captioned(tuple("xyz"[: len(captions)]), list(captions), words, references, [[["a"], ["b"]]] * len(captions))


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A pycocoevalcap with SPICE's jar and no parser, and on the path a Java 11 that writes what it was told."""
    spice = tmp_path / "pycocoevalcap" / "spice"
    (spice / "lib").mkdir(parents=True)
    (spice / "spice-1.0.jar").touch()
    spec = importlib.util.spec_from_loader("pycocoevalcap", None, is_package=True)
    spec.submodule_search_locations = [str(spice.parent)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    fake_java(tmp_path, "11.0.2")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return spice


def fake_java(folder: Path, version: str) -> None:
    body = JAVA.replace("VERSION", version).replace("LOG", str(folder / "log.json"))
    write_program(folder / "java", body)


@pytest.fixture
def jars(tmp_path) -> Path:
    folder = tmp_path / "jars"
    folder.mkdir()
    for name in PARSER:
        (folder / name).touch()
    return folder


def test_scores_are_the_pictures_f_in_their_order(package, jars, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    measured = Spice(jars)(pictures("a dog", "a dog in a hat", "dog"))
    assert measured.names == ("SPICE",)
    assert measured.statistics[:, 0].tolist() == [0.1, 0.25, 0.05]
    assert measured.from_sums(measured.statistics.sum(0)) == pytest.approx([0.4 / 3])
    log = json.loads((tmp_path / "log.json").read_text())
    assert log["pictures"][1] == {"image_id": 1, "test": "a dog in a hat", "refs": ["a", "b"]}
    classpath = log["arguments"][log["arguments"].index("-cp") + 1]
    assert classpath.split(os.pathsep) == [str(package / "spice-1.0.jar"), str(jars / "*")]
    assert not list((tmp_path / "temporary").iterdir())
    assert sorted(p.name for p in package.rglob("*")) == ["lib", "spice-1.0.jar"]


def test_a_picture_without_a_score_leaves_the_corpus_without_one(package, jars):
    measured = Spice(jars)(pictures("", "a dog"))
    np.testing.assert_array_equal(measured.statistics[:, 0], [np.nan, 0.1])
    assert np.isnan(measured.from_sums(measured.statistics.sum(0)))


def test_the_parser_may_lie_in_pycocoevalcaps_own_folder(package):
    for name in PARSER:
        (package / "lib" / name).touch()
    assert Spice()(pictures("a dog")).statistics[0, 0] == 0.1


def test_missing_files_are_named_with_the_place_to_put_them(package, jars):
    with pytest.raises(Unavailable) as both:
        Spice()
    assert str(both.value).startswith(f"SPICE needs {PARSER[0]} and {PARSER[1]}, of http")
    assert f"put them into {package / 'lib'} or a folder named by jars=" in str(both.value)
    (jars / PARSER[1]).unlink()
    with pytest.raises(Unavailable) as one:
        Spice(jars)
    assert str(one.value).startswith(f"SPICE needs {PARSER[1]}, of ") and str(one.value).endswith(
        f"put them into {jars}"
    )
    assert "\n" not in str(both.value)


def test_a_java_without_javascript_is_refused_before_hours_of_work(package, jars, tmp_path):
    fake_java(tmp_path, "17.0.15")
    with pytest.raises(Unavailable, match="JavaScript that Java 17 no longer has: name a Java 8 to 14 with java="):
        Spice(jars)
    (jars / "nashorn-core-15.4.jar").touch()
    assert Spice(jars)(pictures("a dog")).statistics[0, 0] == 0.1


@pytest.mark.parametrize("written, version", [("1.8.0_402", 8), ("11.0.2", 11), ("25", 25)])
def test_the_version_of_java_is_read(tmp_path, written, version):
    fake_java(tmp_path, written)
    assert _version(str(tmp_path / "java")) == version


def test_what_java_dies_of_is_told(package, jars):
    with pytest.raises(RuntimeError, match="exit status 1: Exception in thread .main. java.lang.OutOfMemoryError$"):
        Spice(jars)(pictures("fail"))


def test_no_java_is_said(package, jars):
    with pytest.raises(Unavailable, match="^SPICE needs Java, and there is no `no-such-java` on the path"):
        Spice(jars, java="no-such-java")
