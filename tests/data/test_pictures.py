import io
import sys
from pathlib import PurePosixPath
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from captioning.data import pictures
from captioning.data.pictures import BrokenPicture, is_picture, problem, read_picture, suffixes


def encoded(picture: Image.Image, format: str, **options) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format, **options)
    return stream.getvalue()


def pixel(data: bytes, x: int = 0, y: int = 0) -> tuple[int, int, int]:
    picture = read_picture(data)
    assert picture.mode == "RGB"
    return picture.getpixel((x, y))


def test_sixteen_bit_grey_is_scaled_and_not_clipped():
    levels = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)  # as 8 bits: 0, 1, 127.5, 255
    data = encoded(Image.fromarray(levels), "PNG")
    assert Image.open(io.BytesIO(data)).mode == "I;16"
    assert [pixel(data, x)[0] for x in range(4)] == [0, 1, 128, 255]


def test_thirty_two_bit_levels_beyond_sixteen_bits_and_floats_are_refused():
    with pytest.raises(BrokenPicture, match="grey levels 0 to 70000, expected 16 bits"):
        read_picture(encoded(Image.fromarray(np.array([[0, 70000]], dtype=np.int32)), "TIFF"))
    with pytest.raises(BrokenPicture, match="floating-point"):
        read_picture(encoded(Image.fromarray(np.zeros((2, 2), dtype=np.float32)), "TIFF"))


def test_cmyk_jpeg_becomes_red_again():
    red = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95)
    assert Image.open(io.BytesIO(red)).mode == "CMYK"
    r, g, b = pixel(red)
    assert r > 240 and g < 15 and b < 15


def test_palette_and_its_transparent_colour():
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putpixel((1, 0), 1)
    assert pixel(encoded(picture, "PNG")) == (10, 20, 30)
    holed = encoded(picture, "PNG", transparency=0)
    assert pixel(holed) == (255, 255, 255)
    assert pixel(holed, 1) == (200, 100, 50)


@pytest.mark.parametrize(("mode", "colour"), [("LA", (0, 0)), ("RGBA", (0, 0, 0, 0))])
def test_transparency_is_laid_over_white(mode, colour):
    assert pixel(encoded(Image.new(mode, (2, 2), colour), "PNG")) == (255, 255, 255)


def test_half_transparency_mixes_with_white():
    assert pixel(encoded(Image.new("RGBA", (2, 2), (0, 0, 0, 128)), "PNG")) == (127, 127, 127)


def test_exif_rotation_is_applied():
    picture = Image.new("RGB", (32, 16), "black")
    picture.paste("white", (0, 0, 16, 16))  # the left half
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show: left comes to the top
    upright = read_picture(encoded(picture, "JPEG", exif=exif))
    assert upright.size == (16, 32)
    assert upright.getpixel((8, 4))[0] > 200 and upright.getpixel((8, 28))[0] < 50


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_odd_entry_of_the_exif_leaves_the_picture_good_and_upright(orientation):
    stored = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 32, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    even = read_picture(encoded(stored, "PNG", exif=exif))
    # XResolution, an unsigned rational, gets the type of a signed one and the value -1/0, which cannot be written again
    exif[0x011A] = 72.0
    data = exif.tobytes()
    at = data.index(b"\x01\x1a\x00\x05") if data[6:8] == b"MM" else data.index(b"\x1a\x01\x05\x00")
    order = "big" if data[6:8] == b"MM" else "little"
    value = 6 + int.from_bytes(data[at + 8 : at + 12], order)
    odd = bytearray(data)
    odd[value : value + 8] = (2**32 - 1).to_bytes(4, order) + bytes(4)
    odd[at + 2 : at + 4] = (10).to_bytes(2, order)
    found = read_picture(encoded(stored, "PNG", exif=bytes(odd)))
    assert found.size == ((32, 16) if orientation < 5 else (16, 32))
    assert np.array_equal(np.array(found), np.array(even))
    assert problem(encoded(stored, "PNG", exif=b"Exif\0\0MM\0*nonsense")) is None


def test_pictures_are_what_this_pillow_decodes():
    assert {".jpg", ".jfif", ".jpe", ".mpo", ".png", ".webp", ".gif", ".bmp", ".tif"} <= suffixes()
    assert not {".h5", ".mpg", ".pdf", ".eps", ".wmf"} & suffixes()
    picture = Image.new("RGB", (8, 8), "teal")
    for format in ("JPEG", "MPO", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000", "TGA", "PPM", "QOI"):
        if any(Image.EXTENSION[suffix] == format for suffix in suffixes()):
            assert read_picture(encoded(picture, format)).size == (8, 8)


def test_a_format_without_its_codec_is_not_promised(monkeypatch):
    monkeypatch.setattr(pictures.features, "check", lambda codec: codec != "avif")
    assert {"AVIF", "JPEG2000"} & {*pictures.formats.__wrapped__()} == {"JPEG2000"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("deep/a.JPG", True),
        ("a.heic", True),
        ("a.nef", True),
        ("a.txt", False),
        ("jpg", False),
        ("._a.jpg", False),
        (".ipynb_checkpoints/a-checkpoint.jpg", False),
        ("__MACOSX/a.jpg", False),
        ("./a.jpg", True),
    ],
)
def test_a_name_tells_whether_it_is_a_picture(name, expected):
    assert is_picture(PurePosixPath(name)) == expected


def test_what_is_not_read_is_named_with_the_package_that_would(tmp_path):
    for name, cure in (("a.HEIC", "pillow-heif"), ("a.jxl", "pillow-jxl-plugin"), ("a.cr3", "export it as JPEG")):
        (tmp_path / name).write_bytes(b"\0\0\0\x18ftyp????" + bytes(40))
        assert cure in problem(tmp_path / name)
    assert "replace the file" in problem(b"text")


def test_a_package_that_reads_more_is_made_use_of(monkeypatch):
    called = []
    fake = SimpleNamespace(register_heif_opener=lambda: called.append("heif"), __spec__=SimpleNamespace())
    monkeypatch.setitem(sys.modules, "pillow_heif", fake)
    pictures._plugins.__wrapped__()
    assert called == ["heif"]


def test_a_target_size_decodes_a_large_jpeg_small_but_never_too_small():
    data = encoded(Image.new("RGB", (1600, 1200), "teal"), "JPEG")
    assert read_picture(data).size == (1600, 1200)
    assert read_picture(data, size=224).size == (400, 300)  # libjpeg's quarter; an eighth would be 150 high
    assert read_picture(data, size=2000).size == (1600, 1200)


def test_a_bomb_is_refused_by_name(tmp_path):
    path = tmp_path / "bomb.png"
    Image.new("1", (20_000, 20_000)).save(path)
    assert path.stat().st_size < 200_000
    with pytest.raises(BrokenPicture, match=r"bomb\.png: .*89,000,000 pixels.*scale it down, or leave it out"):
        read_picture(path)


def test_a_picture_just_over_the_limit_is_refused(tmp_path):
    path = tmp_path / "big.png"
    Image.new("1", (10_000, 8_901)).save(path)
    with pytest.raises(BrokenPicture, match=r"10000 x 8901 pixels, over the limit"):
        read_picture(path)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_jpeg_of_108_million_pixels_is_read_where_few_of_them_are_asked_for(tmp_path):
    path = tmp_path / "phone.jpg"
    Image.new("L", (12_000, 9_000), 100).save(path)
    assert read_picture(path, 256).size == (1500, 1125)  # an eighth, which is as far as the decoder goes
    with pytest.raises(BrokenPicture, match="12000 x 9000 pixels, over the limit of 89,000,000; scale it down"):
        read_picture(path)
    Image.new("L", (12_000, 9_000), 100).save(path, progressive=True)  # would be held in memory whole
    with pytest.raises(BrokenPicture, match="12000 x 9000 pixels, over the limit"):
        read_picture(path, 256)


def test_truncated_empty_foreign_and_missing_files(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    whole = encoded(Image.fromarray(noise), "JPEG")
    contents = {"cut.jpg": whole[: len(whole) // 2], "empty.jpg": b"", "page.jpg": b"<html>not found</html>"}
    found = {"cut.jpg": "truncated", "empty.jpg": "0 bytes", "page.jpg": "<html>", "gone.jpg": "No such file"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for name, words in found.items():
        message = problem(tmp_path / name)
        assert name in message and words in message and "leave it out" in message


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about the damage
def test_any_damage_ends_in_one_kind_of_error():
    rng = np.random.default_rng(1)
    noise = Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8))
    for format in ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP"):
        data = encoded(noise, format)
        for _ in range(60):
            damaged = bytearray(data)
            for at in rng.integers(0, len(data), 4):
                damaged[at] = rng.integers(256)
            problem(bytes(damaged[: rng.integers(1, len(data))]))  # raises nothing


def test_a_healthy_picture_has_no_problem():
    assert problem(encoded(Image.new("RGB", (4, 4)), "PNG")) is None


def test_a_drawing_that_another_program_would_draw_is_no_picture_whatever_it_is_called(tmp_path):
    drawing = io.BytesIO()
    Image.new("RGB", (8, 8)).save(drawing, "EPS")
    (tmp_path / "a.jpg").write_bytes(drawing.getvalue())
    with pytest.raises(BrokenPicture, match="a.jpg: .* bytes in no known picture format"):
        read_picture(tmp_path / "a.jpg")
