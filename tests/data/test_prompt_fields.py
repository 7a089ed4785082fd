"""Prompts by name, from a file and as they stand; what they say of a picture."""

import struct

import pytest
from PIL import ExifTags, Image

from captioning.data.prompt_fields import PROMPTS, MissingField, filled, prompt_of, require_blind


def photograph(path, date="2026:05:31 10:00:00", gps=True, city=b""):
    """A JPEG with a date, a position and the name of a city, as cameras and photographers write them."""
    exif = Image.Exif()
    if date:
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = date
    if gps:
        exif.get_ifd(ExifTags.IFD.GPSInfo).update(
            {
                ExifTags.GPS.GPSLatitudeRef: "N",
                ExifTags.GPS.GPSLatitude: (48.0, 51.0, 30.0),
                ExifTags.GPS.GPSLongitudeRef: "E",
                ExifTags.GPS.GPSLongitude: (2.0, 17.0, 40.2),
            }
        )
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (8, 8), "red").save(path, exif=exif)
    if city:
        record = b"".join(
            b"\x1c\x02" + bytes([number]) + struct.pack(">H", len(text)) + text
            for number, text in ((90, city), (101, b"France"))
        )
        record += b"\0" * (len(record) % 2)
        body = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(record)) + record
        whole = path.read_bytes()
        path.write_bytes(whole[:2] + b"\xff\xed" + struct.pack(">H", len(body) + 2) + body + whole[2:])
    return str(path)


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


def test_a_prompt_is_a_name_a_file_or_words(tmp_path):
    assert prompt_of("sentence") == PROMPTS["sentence"]
    assert prompt_of("What is seen?") == "What is seen?"
    assert prompt_of("<CAPTION>") == "<CAPTION>"
    (tmp_path / "mine.txt").write_text("Say it\nin verse.\n")
    assert prompt_of(str(tmp_path / "mine.txt")) == "Say it\nin verse."
    (tmp_path / "word.txt").write_text("caption")
    assert prompt_of(str(tmp_path / "word.txt")) == "caption"
    with pytest.raises(FileNotFoundError):
        prompt_of("no/such/file.txt")
    with pytest.raises(ValueError, match="did you mean 'detailed'"):
        prompt_of("detaild")
    with pytest.raises(ValueError, match=r"no field \{title\}; there are \{name\} \(the file's name"):
        prompt_of("What is {title}?")
    with pytest.raises(ValueError, match="that is to be said"):
        require_blind(PROMPTS["better"])
