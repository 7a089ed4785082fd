"""Captions beside pictures and in the files of other programs: killed at any moment, gone on with, and taken back."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from captioning.data import sources, undo
from captioning.data.config import Beside
from captioning.data.formats import beside
from captioning.decoding.config import Decoding
from captioning.serving.written import caption_beside, caption_into, would_change

OLD = [None, b"", b"a tag, another", "\ufeffmit BOM\r\n".encode(), b"no end of line\n\n", b"  blanks  ", "猫".encode()]


@pytest.fixture
def photos(tmp_path):
    """Pictures in two folders, with all kinds of texts beside them."""
    for number in range(28):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(path)
        if (old := OLD[number % len(OLD)]) is not None:
            path.with_suffix(".txt").write_bytes(old)
    return tmp_path / "photos"


def pictures(folder):
    return sorted(str(path) for path in folder.rglob("*.png"))


def engine(model, files, decoding, batch_size, workers):
    """A captioner whose captions tell the picture."""
    for start in range(0, len(files), batch_size):
        some = files[start : start + batch_size]
        yield (
            [{"image": file, "caption": f"no. {os.path.basename(file)[:2]}", "log_probability": -1.0} for file in some],
            [],
        )


APPEND = Beside("append")
MODEL = {"model": "a"}


def run(folder, options=APPEND, to="sidecars", about=None, undo_file=None):
    files = pictures(folder)
    undo_file = beside.undo_file([str(folder)], undo_file)
    return caption_beside(None, files, to, options, undo_file, about or {"to": to}, Decoding(), 4, 0, engine)


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def without_undo(folder):
    return {name: data for name, data in contents(folder).items() if name != beside.UNDO}


@pytest.mark.parametrize("existing", ["skip", "overwrite", "append", "prepend"])
def test_what_is_there_is_skipped_overwritten_or_added_to(photos, existing):
    run(photos, Beside(existing, before="<", after=">"))
    read = {name: data.decode() for name, data in contents(photos).items() if name.endswith(".txt")}
    said = {
        "skip": ("a tag, another", "\ufeffmit BOM\r\n", "no end of line\n\n", "  blanks  "),
        "overwrite": ("<no. 02>", "<no. 03>", "<no. 04>", "<no. 05>"),
        "append": (
            "a tag, another, <no. 02>",
            "\ufeffmit BOM, <no. 03>\r\n",
            "no end of line, <no. 04>\n\n",
            "  blanks, <no. 05>  ",
        ),
        "prepend": (
            "<no. 02>, a tag, another",
            "\ufeff<no. 03>, mit BOM\r\n",
            "<no. 04>, no end of line\n\n",
            "  <no. 05>, blanks  ",
        ),
    }[existing]
    assert (read["a/02.txt"], read["b/03.txt"], read["a/04.txt"], read["b/05.txt"]) == said
    assert read["a/00.txt"] == "<no. 00>" and read["b/01.txt"] == "<no. 01>"  # there was none, or nothing in it


def test_every_byte_can_be_had_back(photos):
    before = contents(photos)
    run(photos)
    assert len(without_undo(photos)) == 28 * 2 and without_undo(photos) != before
    assert undo.undo(photos / beside.UNDO) == 28
    assert contents(photos) == before


def killed_at(photos, monkeypatch, number):
    """The run, in a process of its own that ends at once when it is about to write for the n-th time."""
    if not (child := os.fork()):
        write, left = undo.write, [number]

        def counted(*args):
            left[0] -= 1
            os._exit(9) if left[0] < 0 else write(*args)

        undo.write = counted
        run(photos)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_killed_three_times_it_ends_as_if_undisturbed(photos, tmp_path, monkeypatch):
    before = contents(photos)
    run(photos)
    undisturbed = contents(photos)
    undo.undo(photos / beside.UNDO)
    assert [killed_at(photos, monkeypatch, number) for number in (7, 1, 9)] == [9, 9, 9]
    with (photos / beside.UNDO).open("ab") as file:
        file.write(b'{"picture": "a/2')  # a kill in the middle of a line
    assert contents(photos) != undisturbed
    run(photos)
    assert contents(photos) == undisturbed
    run(photos)  # once more changes nothing
    assert contents(photos) == undisturbed
    undo.undo(photos / beside.UNDO)
    assert contents(photos) == before


def test_what_was_changed_since_stays_and_is_named(photos):
    before = contents(photos)
    run(photos)
    (photos / "a" / "02.txt").write_text("mine now")
    with pytest.raises(ValueError, match=r"27 files are as they were; 1 were changed since and are left \(a/02\.txt\)"):
        undo.undo(photos / beside.UNDO)
    assert without_undo(photos) == before | {"a/02.txt": b"mine now"}
    [line, finished] = (photos / beside.UNDO).read_text().splitlines()[1:]
    assert json.loads(finished).keys() == {"finished"}
    assert json.loads(line)["old"] == "a tag, another"


def test_what_was_changed_by_hand_stays_when_the_run_is_given_again(photos):
    for path in photos.rglob("*.png"):
        path.with_suffix(".txt").write_text("first")
    run(photos, Beside("overwrite"))
    (photos / "b" / "27.txt").write_text("mine now")  # of the last batch
    (photos / "b" / "25.txt").write_text("first")  # is to have a caption, as before the first run
    run(photos, Beside("overwrite"))
    assert (photos / "b" / "27.txt").read_text() == "mine now" and (photos / "b" / "25.txt").read_text() == "no. 25"


def test_a_picture_that_comes_into_another_folder_does_not_begin_a_second_undo_file(photos):
    shutil.rmtree(photos / "b")
    run(photos)
    said = contents(photos / "a")
    Image.new("RGB", (4, 4)).save(photos / "99.png")
    run(photos)
    assert contents(photos / "a") == said and (photos / "99.txt").read_text() == "no. 99"


@pytest.mark.parametrize(
    ("names", "place"),
    [
        (["a"], "a"),
        (["a", "b"], ""),
        (["a/00.png"], "a"),
        (["a/*.png"], "a"),
        (["**/*.png"], ""),
        (["a/00.png", "b/01.png"], ""),
    ],
)
def test_the_undo_file_lies_in_what_is_named(photos, names, place):
    assert beside.undo_file([str(photos / name) for name in names], None) == photos / place / beside.UNDO


def test_other_changes_need_an_undo_file_of_their_own(photos):
    about = {"to": "sidecars", "decoding": {"beams": 3, "seed": 0}, "existing": "append"}
    run(photos, about=about)
    now = about | {"decoding": {"beams": 5, "seed": 0}, "existing": "prepend"}
    said = r'is the undo file of other changes \(beams 3, now 5; existing "append", now "prepend"\): rename it'
    with pytest.raises(ValueError, match=said):
        run(photos, about=now)
    known = now | {"decoding": about["decoding"]}
    with pytest.raises(ValueError, match=r'other changes \(existing "append", now "prepend"\)'):
        told(photos, about={"existing": known["existing"]})
    (photos / "x.jsonl").write_text("mine")
    with pytest.raises(FileExistsError):
        run(photos, undo_file=photos / "x.jsonl")
    with pytest.raises(ValueError, match=r"x\.jsonl is no undo file"):
        undo.undo(photos / "x.jsonl")


def test_bytes_that_are_no_text_are_left_and_named_or_overwritten_and_had_back(photos):
    old = "caf\xe9 \ud83d".encode("latin-1", "ignore") + b"\xed\xa0\xbd\xff\0"
    (photos / "a" / "00.txt").write_bytes(old)
    [problem] = run(photos)
    assert "a/00.txt: byte 3 is not UTF-8, left as it is" in problem and (photos / "a/00.txt").read_bytes() == old
    undo.undo(photos / beside.UNDO)
    run(photos, Beside("overwrite"))
    assert (photos / "a/00.txt").read_bytes() == b"no. 00"
    undo.undo(photos / beside.UNDO)
    assert (photos / "a/00.txt").read_bytes() == old


def test_two_pictures_that_would_share_a_file_are_refused(photos):
    (photos / "a" / "02.jpg").write_bytes((photos / "a" / "02.png").read_bytes())
    files = [*pictures(photos), str(photos / "a" / "02.jpg")]
    for options in (Beside(), Beside(naming="file")):  # there is a 02.txt
        with pytest.raises(ValueError, match=r"02\.png and .*02\.jpg would share 02\.txt; rename one of each"):
            beside.check(files, "sidecars", options)
    (photos / "a" / "02.txt").unlink()
    beside.check(files, "sidecars", Beside(naming="file"))
    (photos / "a" / "00.jpg").touch()
    files.append(str(photos / "a" / "00.jpg"))
    with pytest.raises(ValueError, match=r"02\.txt \(pairs like this: 2\); write captions with --naming file, so"):
        beside.check(files, "sidecars", Beside())


def test_files_that_are_no_pictures_by_their_names_are_named_and_share_nothing(photos):
    """A camera's raw file beside its JPEG, and the texts that a pattern matches with the pictures."""
    for name in ("02.CR2", "02.heic.txt"):
        (photos / "a" / name).write_bytes(b"raw")
    files = [str(path) for path in sorted((photos / "a").iterdir())]
    before = contents(photos)
    words = (None, files, "sidecars", APPEND, photos / "undo.jsonl", MODEL, Decoding(), 4, 0, engine)
    broken = caption_beside(*words)
    assert (
        len(broken) == len(files) - 14 and f"{photos / 'a' / '02.CR2'}: left out by its suffix; a camera's" in broken[0]
    )
    assert (photos / "a" / "02.txt").read_text() == "a tag, another, no. 02"
    undo.undo(photos / "undo.jsonl")
    assert contents(photos) == before
    said = would_change(files, "sidecars", APPEND, photos / "undo.jsonl", MODEL)
    assert [*said][: len(broken)] == broken


def test_a_text_that_is_there_by_another_name_is_the_pictures(photos):
    """As kohya's scripts and OneTrainer call them."""
    (photos / "a" / "00.caption").write_text("a tag")
    (photos / "b" / "01.png.txt").write_text("tag b")
    (photos / "b" / "01.txt").unlink()
    run(photos)
    assert (photos / "a" / "00.caption").read_text() == "a tag, no. 00" and not (photos / "a" / "00.txt").exists()
    assert (photos / "b" / "01.png.txt").read_text() == "tag b, no. 01" and not (photos / "b" / "01.txt").exists()


def told(folder, about=None):
    """What a dry run says."""
    files, undo_file = pictures(folder), beside.undo_file([str(folder)], None)
    said = would_change(files, "sidecars", APPEND, undo_file, about or {"to": "sidecars"})
    return [line.removeprefix(f"{folder}/") for line in said]


def test_a_dry_run_says_what_would_be(photos):
    (photos / "a" / "06.txt").write_bytes(b"caf\xe9")
    before = contents(photos)
    assert told(photos)[:4] == [
        "a/00.txt: new: ...",
        "a/02.txt: changed: a tag, another, ...",
        "a/04.txt: changed: no end of line, ...\n\n",
        "a/06.txt: byte 3 is not UTF-8, left as it is; save it as UTF-8",
    ]
    assert contents(photos) == before


def test_a_dry_run_says_what_is_done_and_what_a_kill_left(photos, monkeypatch):
    assert killed_at(photos, monkeypatch, 6) == 9  # the undo file, a batch of four, and one of the next
    with (photos / beside.UNDO).open("ab") as file:
        file.write(b'{"picture": "a/2')
    before = contents(photos)
    said = told(photos)
    assert contents(photos) == before
    assert said[:5] == [f"a/0{number}.txt: left as it is, done before" for number in (0, 2, 4, 6, 8)]
    assert said[5:9] == [
        "a/10.txt: changed: \ufeffmit BOM, no. 10\r\n",
        "a/12.txt: changed:   blanks, no. 12  ",
        "a/14.txt: new: no. 14",
        "a/16.txt: changed: a tag, another, ...",
    ]
    run(photos)
    assert said[5].endswith((photos / "a" / "10.txt").read_bytes().decode())
    assert all(line.endswith("left as it is, done before") for line in told(photos))


def dies(*args):
    """A captioner that is stopped after the first batch."""
    yield next(iter(engine(*args)))
    raise KeyboardInterrupt


def never(*args):
    raise AssertionError("captioned before all is looked at")


@pytest.mark.parametrize(
    ("to", "name"), [("kohya", "meta.json"), ("imagefolder", "metadata.jsonl"), ("webdataset", "shards")]
)
def test_captions_for_other_programs_are_whole_or_not_there(photos, to, name):
    out = photos / name

    with pytest.raises(KeyboardInterrupt):
        caption_into(None, pictures(photos), to, out, MODEL, Decoding(captions=1), 4, 0, dies)
    assert not out.exists() and (photos / f"{name}.captions.jsonl").exists()
    asked = []

    def listens(model, files, *more):
        asked.extend(files)
        yield from engine(model, files, *more)

    caption_into(None, pictures(photos), to, out, MODEL, Decoding(captions=1), 4, 0, listens)
    assert len(asked) == 24 and not [*photos.glob(f"{name}.captions.*")]
    found = sources.load("folder", out)["test"]
    assert sorted(found["captions"]) == sorted([f"no. {number:02d}"] for number in range(28))
    if to != "webdataset":
        with pytest.raises(FileExistsError, match="give another name"):
            caption_into(None, pictures(photos), to, out, MODEL, Decoding(captions=1), 4, 0, engine)


def test_captions_of_a_stopped_run_are_gone_on_with_by_the_same_run_only(photos, monkeypatch):
    out, files = photos / "meta.json", pictures(photos)
    with pytest.raises(KeyboardInterrupt):
        caption_into(None, files, "kohya", out, MODEL, Decoding(), 4, 0, dies)
    with pytest.raises(
        ValueError, match=r'meta\.json\.captions\.jsonl has captions of another run \(model "a", now "b"\)'
    ):
        caption_into(None, files, "kohya", out, {"model": "b"}, Decoding(), 4, 0, never)
    monkeypatch.chdir(photos)
    some = [os.path.relpath(file) for file in files[2:]]  # two that have captions are not named any more
    caption_into(None, some, "kohya", out, MODEL, Decoding(), 4, 0, engine)
    assert [*json.loads(out.read_text())] == [name.removesuffix(".png") for name in some]


def test_a_file_of_somebody_with_the_name_of_the_captions_stays(photos):
    (photos / "meta.json.captions.jsonl").write_text(mine := '{"image": "a", "caption": "b", "log_probability": 0}\n')
    with pytest.raises(ValueError, match="has captions of another run"):
        caption_into(None, pictures(photos), "kohya", photos / "meta.json", MODEL, Decoding(), 4, 0, never)
    assert (photos / "meta.json.captions.jsonl").read_text() == mine


def test_what_the_file_cannot_hold_is_said_before_captioning(photos):
    (photos / "a").rename(photos / "train")
    (photos / "b").rename(photos / "val")
    with pytest.raises(ValueError, match="there are train, val, and a file has one split"):
        caption_into(None, pictures(photos), "coco-results", photos / "x.json", MODEL, Decoding(), 4, 0, never)
    (photos / "train" / "00.jpg").touch()
    files = [*pictures(photos), str(photos / "train" / "00.jpg")]
    with pytest.raises(ValueError, match=r"00\.png and train/00\.jpg would share 00"):
        caption_into(None, files, "kohya", photos / "x.json", MODEL, Decoding(), 4, 0, never)
