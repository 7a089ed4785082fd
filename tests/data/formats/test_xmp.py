"""XMP sidecars: a description merged into what photo programs have written."""

import re

import pytest
from PIL import Image

from captioning.data import sources
from captioning.data.config import Beside
from captioning.data.formats import beside, xmp
from captioning.data.formats.known import captioned_in

pyexiv2 = pytest.importorskip("pyexiv2")

DARKTABLE = """<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:darktable="http://darktable.sf.net/"
    xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:mine="http://example.org/"
    xmp:Rating="4" mine:note="keep &amp; me">
   <dc:subject><rdf:Bag><rdf:li>dog</rdf:li><rdf:li>beach</rdf:li></rdf:Bag></dc:subject>
   <dc:description><rdf:Alt><rdf:li xml:lang="x-default">Ein Hund</rdf:li><rdf:li xml:lang="de">Ein Hund</rdf:li>
   </rdf:Alt></dc:description>
   <darktable:history><rdf:Seq><rdf:li darktable:num="0" darktable:operation="exposure"/></rdf:Seq></darktable:history>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""


def tags(data):
    with pyexiv2.ImageData(data) as image:
        return image.read_xmp()


def changed(picture, options, caption="A dog <on> a beach & 猫"):
    return {place.name: new for _, place, new in beside.changes(picture, [caption], "xmp", options)}


@pytest.fixture
def picture(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg")
    return tmp_path / "a.jpg"


@pytest.mark.parametrize(("naming", "name"), [("stem", "a.xmp"), ("file", "a.jpg.xmp")])
def test_a_new_sidecar_has_the_description(picture, naming, name):
    [(found, data)] = changed(picture, Beside(naming=naming, language="en-GB")).items()
    said = "A dog <on> a beach & 猫"
    assert found == name and xmp.descriptions(data, picture) == {"x-default": said, "en-GB": said}


@pytest.mark.parametrize("name", ["a.xmp", "a.jpg.xmp"])
def test_a_description_is_merged_into_what_is_there(picture, name):
    """By either name; all other tags, of programs that are not known here, too, are as they were."""
    picture.with_name(name).write_text(DARKTABLE)
    before = tags(DARKTABLE.encode())
    [(found, data)] = changed(picture, Beside("overwrite", language="en")).items()
    after = tags(data)
    assert found == name and after | {xmp.KEY: None} == before | {xmp.KEY: None}
    assert xmp.descriptions(data, picture) == {
        "x-default": "Ein Hund",
        "de": "Ein Hund",
        "en": "A dog <on> a beach & 猫",
    }
    assert changed(picture, Beside("skip")) == {}  # there is a description in the default language
    [data] = changed(picture, Beside("append", language="de"), "am Strand").values()
    assert xmp.descriptions(data, picture) == {"x-default": "Ein Hund", "de": "Ein Hund am Strand"}


def test_both_are_changed_where_both_are_there(picture):
    for name in ("a.xmp", "a.jpg.xmp"):
        picture.with_name(name).write_text(DARKTABLE)
    assert changed(picture, Beside("overwrite")).keys() == {"a.xmp", "a.jpg.xmp"}


def test_what_is_no_xmp_is_named(picture):
    picture.with_name("a.xmp").write_text("mine")
    with pytest.raises(beside.NotText, match=r"a\.xmp: no XMP .*repair or remove it"):
        changed(picture, Beside("overwrite"))


def test_what_is_no_xmp_stops_no_other_picture(picture):
    """An empty file is none, and a broken one is named."""
    for name in ("b.jpg", "c.jpg"):
        Image.new("RGB", (4, 4)).save(picture.with_name(name))
    picture.with_name("b.xmp").touch()
    picture.with_name("c.xmp").write_text("mine")
    picture.with_suffix(".txt").write_text("a dog")
    data, left_out = sources.read("folder", picture.parent)
    assert data["test"]["captions"][:] == [["a dog"], [], []]
    assert left_out[["image_id", "kind"]].to_numpy().tolist() == [["c.xmp", "captions not read"]]
    picture.with_suffix(".txt").unlink()
    picture.with_suffix(".xmp").write_text(DARKTABLE)
    data, left_out = sources.read("folder", picture.parent)
    assert data["test"]["captions"][:] == [["Ein Hund"], [], []]
    [[image_id, detail]] = left_out[["image_id", "detail"]].to_numpy().tolist()
    assert image_id == "c.jpg" and "c.xmp: no XMP" in detail
    assert captioned_in(picture.parent, [str(picture)]) == {str(picture)}


def test_a_joint_may_be_empty(picture):
    picture.with_name("a.xmp").write_text(DARKTABLE)
    for joint, said in (None, "Ein Hund am Strand"), ("", "Ein Hundam Strand"), (", ", "Ein Hund, am Strand"):
        [data] = changed(picture, Beside("append", joint=joint, language="de"), "am Strand").values()
        assert xmp.descriptions(data, picture)["de"] == said


@pytest.mark.parametrize("language", ["en_GB", "zh-Hans-CN", "", "deutsch (de)"])
def test_what_is_no_tag_of_a_language_is_refused(picture, language):
    with pytest.raises(ValueError, match=f"--language {re.escape(language)}: expected a tag as RFC 3066 .* en-GB"):
        beside.check([str(picture)], "xmp", Beside(language=language))


def test_a_tag_that_cannot_be_written_again_is_named(picture):
    picture.with_name("a.xmp").write_text(DARKTABLE.replace('"de"', '"de_DE"'))
    with pytest.raises(beside.NotText, match=r'a\.xmp: cannot be written \(Invalid LangAlt value .*"de_de"'):
        changed(picture, Beside("overwrite"))


def test_descriptions_are_captions_and_ratings_are_none(picture):
    picture.with_name("a.xmp").write_text(DARKTABLE)
    assert sources.load("folder", picture.parent)["test"]["captions"][:] == [["Ein Hund"]]
    start, end = DARKTABLE.index("   <dc:description>"), DARKTABLE.index("   <darktable:history>")
    picture.with_name("a.xmp").write_text(DARKTABLE[:start] + DARKTABLE[end:])
    assert sources.load("folder", picture.parent)["test"]["captions"][:] == [[]]


def test_without_the_package_it_is_said_what_to_install(picture, monkeypatch):
    monkeypatch.setattr(xmp, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"xmp needs pyexiv2: pip install 'captioning\[xmp\]'"):
        beside.check([str(picture)], "xmp", Beside())
