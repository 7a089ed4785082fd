"""Prompts by name, from a file and as they stand; what they say of a picture."""

import struct

import pytest
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from captioning.data.prompt_fields import PROMPTS, MissingField, filled, prompt_of, require_blind


def photograph(path, date="2026:05:31 10:00:00", gps=True, city=b"", latitude=(48.0, 51.0, 30.0), iptc=None):
    """A JPEG with a date, a position and the name of a city, as cameras and photographers write them."""
    exif = Image.Exif()
    if date:
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = date
    if gps:
        exif.get_ifd(ExifTags.IFD.GPSInfo).update(
            {
                ExifTags.GPS.GPSLatitudeRef: "N",
                ExifTags.GPS.GPSLatitude: latitude,
                ExifTags.GPS.GPSLongitudeRef: "E",
                ExifTags.GPS.GPSLongitude: (2.0, 17.0, 40.2),
            }
        )
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (8, 8), "red").save(path, exif=exif)
    if city or iptc:
        record = iptc or iptc_record((90, city), (101, b"France"))
        record += b"\0" * (len(record) % 2)
        body = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(record)) + record
        whole = path.read_bytes()
        path.write_bytes(whole[:2] + b"\xff\xed" + struct.pack(">H", len(body) + 2) + body + whole[2:])
    return str(path)


def iptc_record(*entries):
    return b"".join(b"\x1c\x02" + bytes([number]) + struct.pack(">H", len(text)) + text for number, text in entries)


def test_fields_say_what_is_known_of_the_picture(tmp_path):
    picture = photograph(tmp_path / "Paris {2026}" / "tower.jpg")
    (tmp_path / "Paris {2026}" / "tower.txt").write_text("an iron\ntower\n")
    assert filled("{name}, {folder}: {caption}", picture) == "tower, Paris {2026}: an iron tower"
    assert filled("{date} at {place}", picture) == "2026-05-31 at 48.8583 N, 2.2945 E"
    named = photograph(tmp_path / "b" / "b.jpg", city=b"Paris")
    assert filled("{place}", named) == "Paris, France"
    assert filled(PROMPTS["sentence"], picture) == PROMPTS["sentence"]


def test_what_is_not_known_is_left_out_or_named(tmp_path):
    picture = photograph(tmp_path / "a" / "a.jpg", date="", gps=False)
    assert filled("Describe it[, taken on {date}][ in {place}] [as it is].", picture) == "Describe it [as it is]."
    known = photograph(tmp_path / "a" / "b.jpg", gps=False)
    assert filled("Describe it[, taken on {date}][ in {place}].", known) == "Describe it, taken on 2026-05-31."
    with pytest.raises(MissingField, match=r"a\.jpg: nothing is known for \{date\}.*square brackets"):
        filled("Taken on {date}.", picture)
    with pytest.raises(MissingField, match=r"this picture: nothing is known for \{folder\}"):
        filled("Of {folder}.", (tmp_path / "a" / "a.jpg").read_bytes())
    assert filled("Taken on[ {date}].", photograph(tmp_path / "a" / "c.jpg", date="0000:00:00 00:00:00")) == "Taken on."


NOWHERE = IFDRational(0, 0)


@pytest.mark.parametrize(
    "written, place",
    [
        ({"latitude": (NOWHERE, NOWHERE, NOWHERE)}, ""),
        ({"latitude": (IFDRational(1, 0), 0.0, 0.0)}, ""),
        ({"latitude": 48.85}, ""),
        ({"iptc": b"no record"}, "48.8583 N, 2.2945 E"),
        ({"iptc": iptc_record((90, b"Paris"), (90, b"Lyon"))}, "48.8583 N, 2.2945 E"),
        ({"iptc": iptc_record((90, b"Paris"), (90, b"Lyon"), (101, b"France"))}, "France"),
        ({"iptc": iptc_record((90, b" "), (101, b"France"))}, "France"),
    ],
)
def test_a_place_that_cannot_be_read_is_not_known(tmp_path, written, place):
    picture = photograph(tmp_path / "a.jpg", **written)
    assert filled("A[ in {place}].", picture) == (f"A in {place}." if place else "A.")


@pytest.mark.parametrize("exif", [b"Exif\0\0no EXIF", b"Exif\0\0MM"])
@pytest.mark.filterwarnings("ignore")  # Pillow's
def test_exif_that_cannot_be_read_is_not_known(tmp_path, exif):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", exif=exif, dpi=(72, 72))  # else Pillow reads it for these
    assert filled("A[ in {place}][ on {date}].", str(tmp_path / "a.jpg")) == "A."


@pytest.mark.parametrize("taken, expected", [("2026:05:31 10:00:00", "2026-05-31"), ("    :  :", "1999-12-31")])
def test_the_day_is_that_on_which_it_was_taken_not_changed(tmp_path, taken, expected):
    exif = Image.Exif()
    exif[ExifTags.Base.DateTime] = "2030:01:01 00:00:00"
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", exif=exif)
    assert filled("A[ on {date}].", str(tmp_path / "a.jpg")) == "A."
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = taken
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeDigitized] = "1999:12:31 00:00:00"
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", exif=exif)
    assert filled("{date}", str(tmp_path / "a.jpg")) == expected


def test_a_prompt_is_a_name_a_file_or_words(tmp_path):
    assert prompt_of("sentence") == PROMPTS["sentence"]
    assert prompt_of("What is seen?") == "What is seen?"
    assert prompt_of("<CAPTION>") == "<CAPTION>"
    (tmp_path / "mine.txt").write_text("Say it\nin verse.\n")
    assert prompt_of(str(tmp_path / "mine.txt")) == "Say it\nin verse."
    (tmp_path / "word.txt").write_text("caption")
    assert prompt_of(str(tmp_path / "word.txt")) == "caption"
    (tmp_path / "my prompts").mkdir()
    (tmp_path / "my prompts" / "ask.txt").write_text("Say it.")
    assert prompt_of(str(tmp_path / "my prompts" / "ask.txt")) == "Say it."
    assert prompt_of("What stands in a.txt") == "What stands in a.txt"
    (tmp_path / "empty.txt").write_text(" \n")
    with pytest.raises(ValueError, match=r"empty\.txt: the file is empty, expected what the model is asked"):
        prompt_of(str(tmp_path / "empty.txt"))
    with pytest.raises(FileNotFoundError):
        prompt_of("no/such/file.txt")
    with pytest.raises(ValueError, match="did you mean 'detailed'"):
        prompt_of("detaild")
    with pytest.raises(ValueError, match=r"no field \{title\}; there are \{name\} \(the file's name"):
        prompt_of("What is {title}?")
    with pytest.raises(ValueError, match="that is to be said"):
        require_blind(PROMPTS["better"])
