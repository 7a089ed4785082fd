"""Captions of a folder reviewed: what is read, found, replaced, saved and undone; the page's server; and the page."""

import json
import re
import sys

import numpy as np
import pytest
from PIL import Image

from captioning import cli
from captioning.data import undo
from captioning.serving.review import UNDO, Replacement, Review

CAPTIONS = {
    "a.txt": b"A grey cat sits on a mat.\n",
    "b.txt": b"\xef\xbb\xbfa grey dog runs over the grass\r\n",
    "deep/c.caption": b"Sure! Here is a caption: two boys play in the sand.",
    "d.jpg.txt": b"a red bus \xff on a street",  # not UTF-8
    "f.txt": b"a grey dog, running over the grass\n",
    "g.txt": b"a dog runs, a dog runs, a dog runs here\n",
    "h.txt": b"a boat",
}


def picture(path, seed=0, size=(32, 24)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    """Eight pictures, one of them without a caption, and a hidden one."""
    folder = tmp_path / "photos"
    for seed, name in enumerate(("a", "b", "deep/c", "d", "e", "f", "g", "h", ".hidden")):
        picture(folder / f"{name}.jpg", seed)
    for name, content in CAPTIONS.items():
        (folder / name).write_bytes(content)
    return folder


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(review, **wanted):
    return [review.entries[number].name.removesuffix(".jpg") for number in review.shown(**wanted)]


# --- what is there ---


def test_every_picture_has_the_caption_of_its_file(folder):
    review = Review(folder)
    assert {entry.name: (entry.file, entry.caption) for entry in review.entries} == {
        "a.jpg": ("a.txt", "A grey cat sits on a mat."),
        "b.jpg": ("b.txt", "a grey dog runs over the grass"),
        "d.jpg": ("d.jpg.txt", "a red bus \udcff on a street"),
        "deep/c.jpg": ("deep/c.caption", "Sure! Here is a caption: two boys play in the sand."),
        "e.jpg": ("e.txt", ""),
        "f.jpg": ("f.txt", "a grey dog, running over the grass"),
        "g.jpg": ("g.txt", "a dog runs, a dog runs, a dog runs here"),
        "h.jpg": ("h.txt", "a boat"),
    }
    assert review.counts()["edited"] == 0


def test_a_folder_that_cannot_be_reviewed_says_why(folder, tmp_path):
    picture(folder / "a.png")
    with pytest.raises(ValueError, match=r"a\.jpg and .*a\.png would share a\.txt; rename one of each"):
        Review(folder)
    (folder / "a.png").unlink()
    (folder / "deep" / "metadata.csv").write_text("file_name,caption\n")
    with pytest.raises(
        ValueError, match=r"deep/metadata\.csv has the captions of its pictures, expected metadata\.jsonl"
    ):
        Review(folder)
    (folder / "deep" / "metadata.csv").unlink()
    (folder / "metadata.jsonl").write_text('{"file_name": "a.jpg", "captions": ["one", "two"]}\n')
    with pytest.raises(ValueError, match=r"metadata\.jsonl, line 1: expected an object with file_name and one caption"):
        Review(folder)
    (folder / "metadata.jsonl").unlink()
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty: no picture there"):
        Review(tmp_path / "empty")
    with pytest.raises(NotADirectoryError, match="nowhere: no such folder"):
        Review(tmp_path / "nowhere")


def test_a_cameras_raw_file_beside_its_picture_is_named_and_left_out(folder, capsys):
    before = len(Review(folder).entries)
    (folder / "a.cr2").write_bytes(b"raw")
    assert len(Review(folder).entries) == before
    assert "a.cr2: left out by its suffix; a camera's raw file" in capsys.readouterr().err


def test_captions_are_checked(folder):
    (folder / "b.txt").write_text("The grey dog running: over grass!")  # the words of f that carry something
    review = Review(folder)
    found = {entry.name.removesuffix(".jpg"): review.checks(entry) for entry in review.entries}
    assert found == {
        "a": [],
        "d": [],
        "e": ["empty"],
        "h": ["short"],
        "deep/c": ["chatter"],
        "g": ["loop"],
        "b": ["duplicate"],
        "f": ["duplicate"],
    }
    assert names(review, check="duplicate") == ["b", "f"]
    assert review.edit({5: "a white dog, running over the grass"}) == [1, 5], "b is no duplicate any more"
    assert review.counts() == {
        "empty": 1,
        "short": 1,
        "loop": 1,
        "language": 0,
        "chatter": 1,
        "duplicate": 0,
        "edited": 1,
    }


def test_captions_are_searched_and_sorted(folder):
    review = Review(folder)
    assert names(review, find="GREY") == ["a", "b", "f"] and names(review, find="deep/") == ["deep/c"]
    assert names(review, order="long")[0] == "deep/c"
    assert names(review, find="grey", order="long") == ["a", "b", "f"], "of as many words by name"
    assert names(review, order="short")[:2] == ["e", "h"]
    assert names(review, find="grey", check="empty") == []


def test_doubt_is_what_the_model_and_others_say(folder, tmp_path):
    """Log-probability a word; and how far the caption is from other captions of the picture."""
    rows = {"a": ("A grey cat sits on a mat.", -14), "b": ("a dog", -20), "e": ("a new caption of e", -5)}
    lines = [{"image": f"/x/photos/{k}.jpg", "caption": c, "log_probability": p} for k, (c, p) in rows.items()]
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "other.json").write_text('{"a.jpg": ["A grey cat sits on a mat.", "a car"], "elsewhere.jpg": "a man"}')
    before = contents(folder)
    review = Review(folder, tmp_path / "said.jsonl", tmp_path / "other.json")
    assert names(review, order="unlikely")[:4] == ["b", "a", "e", "d"]  # 10, 2 and 1 nats a word, and nothing known
    assert names(review, order="disputed")[:3] == ["b", "a", "e"]
    doubts = [review.row(number)["doubts"] for number in (0, 2)]
    assert doubts[0]["unlikely"] == 2 and 0.2 < doubts[0]["disputed"] < 0.3 and doubts[1] == {}
    assert names(review, check="edited") == ["e"], "a picture without a caption has the model's, not saved"
    assert contents(folder) == before


TABLE = """\
{"file_name": "a.jpg", "text": "a grey cat", "style": "plain"}

{"file_name":"deep/c.jpg","captions":["two boys é"]}
{"file_name": "h.jpg"}"""


def test_captions_of_a_table_are_saved_in_their_lines_and_can_be_had_back(tmp_path):
    folder = tmp_path / "table"
    for name in ("a", "deep/c", "h", "new"):
        picture(folder / f"{name}.jpg")
    (folder / "metadata.jsonl").write_text(TABLE)
    before, review = contents(folder), Review(folder)
    assert {entry.name: entry.caption for entry in review.entries} == {
        "a.jpg": "a grey cat",
        "deep/c.jpg": "two boys é",
        "h.jpg": "",
        "new.jpg": "",
    }
    number = {entry.name: each for each, entry in enumerate(review.entries)}
    review.edit({number["deep/c.jpg"]: "two girls", number["h.jpg"]: "a boat", number["new.jpg"]: "something new"})
    assert contents(folder) == before and review.save() == 3
    lines = (folder / "metadata.jsonl").read_text().split("\n")
    assert lines[:2] == TABLE.split("\n")[:2], "what is not edited stays as it is, byte for byte"
    assert [json.loads(line) for line in lines[2:]] == [
        {"file_name": "deep/c.jpg", "captions": ["two girls"]},
        {"file_name": "h.jpg", "caption": "a boat"},
        {"file_name": "new.jpg", "caption": "something new"},
    ]
    review.edit({number["new.jpg"]: "something newer"})
    assert review.save() == 1 and (folder / "metadata.jsonl").read_text().count("something new") == 1
    (folder / "metadata.jsonl").write_text("mine\n" + TABLE)
    review.edit({number["a.jpg"]: "a cat"})
    with pytest.raises(FileExistsError, match=r"metadata\.jsonl changed in the folder since this page was opened"):
        review.save()
    (folder / "metadata.jsonl").write_text("\n".join([*lines[:4], lines[4].replace('new"', 'newer"')]))
    undo.undo(folder / UNDO)
    assert contents(folder) == before


def table(folder, lines, *pictures):
    """A folder of pictures and a metadata.jsonl."""
    for name in pictures:
        picture(folder / name)
    (folder / "metadata.jsonl").write_bytes(lines)
    return folder / "metadata.jsonl"


def test_a_picture_without_a_line_gets_it_in_the_nearest_table(tmp_path):
    above = table(tmp_path, b'{"file_name": "0.png", "text": "zero"}\n', "0.png")
    near = table(tmp_path / "train", b'{"file_name": "1.png", "text": "one"}\n', "1.png", "2.png")
    before, review = above.read_bytes(), Review(tmp_path)
    review.edit({review.numbers["train/2.png"]: "two"})
    assert review.save() == 1 and above.read_bytes() == before
    assert json.loads(near.read_text().split("\n")[1]) == {"file_name": "2.png", "caption": "two"}
    assert [entry.caption for entry in Review(tmp_path).entries] == ["zero", "one", "two"]


def test_what_ends_the_lines_of_a_table_stays(tmp_path):
    lines = b'{"file_name": "a.png", "text": "one"}\r\n{"file_name": "b.png", "text": "two"}\r\n'
    file, review = table(tmp_path, lines, "a.png", "b.png", "c.png"), Review(tmp_path)
    for said in (b"three", b"four"):
        review.edit({0: said.decode(), 2: said.decode()})
        assert review.save() == 2
        new = lines.replace(b"one", said) + b'{"file_name": "c.png", "caption": "' + said + b'"}\r\n'
        assert file.read_bytes() == new


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_a_new_line_of_a_table_whose_save_failed_is_there_once(tmp_path, monkeypatch, end):
    first = table(tmp_path / "1", b'{"file_name": "a.png", "text": "one"}' + end, "a.png", "b.png")
    table(tmp_path / "2", b"", "c.png")
    review, write = Review(tmp_path), undo.write
    review.edit({1: "two", 2: "three"})

    def full(path, content):
        if path.parent.name == "2":
            raise OSError("no space left on device")
        write(path, content)

    monkeypatch.setattr(undo, "write", full)
    with pytest.raises(OSError, match="no space"):
        review.save()
    monkeypatch.undo()
    assert first.read_bytes().count(b"b.png") == 1
    review.edit({1: "another"})
    with pytest.raises(FileExistsError, match="changed in the folder"):
        review.save()
    review.edit({1: "two"})
    assert review.save() == 2 and first.read_bytes().count(b"b.png") == 1
    assert [entry.caption for entry in Review(tmp_path).entries] == ["one", "two", "three"]


# --- find and replace ---


@pytest.mark.parametrize(
    "replacement, text, expected",
    [
        (Replacement("grey", "gray"), "Grey, greyish", "gray, grayish"),
        (Replacement("grey", "gray", case=True), "Grey, greyish", "Grey, grayish"),
        (Replacement("grey", "gray", words=True), "Grey, greyish", "gray, greyish"),
        (Replacement("a.b", r"\1"), "a.b axb", r"\1 axb"),
        (Replacement(r"(\w+) and (\w+)", r"\2 and \1", regex=True), "salt and pepper", "pepper and salt"),
        (Replacement("^", "photo of ", regex=True), "a cat", "photo of a cat"),
        (Replacement("", "x"), "a cat", "a cat"),
    ],
)
def test_what_is_found_is_replaced(replacement, text, expected):
    pieces = replacement.pieces(text)
    assert "".join(old for old, _ in pieces) == text and "".join(new for _, new in pieces) == expected


@pytest.mark.parametrize(
    "find, by, said", [("(", "", "'\\(' is no regular"), ("a", r"\1", r"cannot stand in place of 'a'")]
)
def test_what_is_no_expression_is_said(find, by, said):
    with pytest.raises(ValueError, match=said):
        Replacement(find, by, regex=True).pieces("a cat")


def test_a_replacement_names_the_captions_that_change(folder):
    review = Review(folder)
    assert list(review.replaced([0, 1, 2], Replacement("grey", "gray"))) == [0, 1]
    assert review.replaced(range(8), Replacement("grey", "grey")) == {}


# --- saving ---


def test_saving_writes_what_was_edited_and_undo_gives_back_every_byte(folder):
    before = contents(folder)
    review = Review(folder)
    review.edit({0: "one", 1: "two", 2: "three", 4: "four", 7: "two\r\nlines"})
    review.edit({0: "A grey cat sits on a mat."})  # as it was
    assert contents(folder) == before, "nothing is written before Save"
    assert review.save() == 4 and review.save() == 0
    changed = {"b.txt": b"\xef\xbb\xbftwo\r\n", "d.jpg.txt": b"three", "e.txt": b"four\n", "h.txt": b"two\nlines"}
    after = contents(folder)
    assert {name: after[name] for name in after if after[name] != before.get(name)} == changed | {UNDO: after[UNDO]}
    review = Review(folder)
    review.edit({1: "again", 4: ""})
    assert review.save() == 2
    assert undo.undo(folder / UNDO) == 4
    assert contents(folder) == before


def test_what_somebody_else_changed_is_not_saved_over(folder):
    review = Review(folder)
    review.edit({0: "one", 1: "two"})
    (folder / "a.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"a\.txt changed in the folder since .* nothing was saved"):
        review.save()
    assert (folder / "b.txt").read_bytes() == CAPTIONS["b.txt"] and not (folder / UNDO).exists()


@pytest.mark.parametrize("again", [False, True])
def test_a_save_that_ends_between_the_files_is_saved_again_or_undone(folder, monkeypatch, again):
    before, review = contents(folder), Review(folder)
    review.edit({0: "one", 1: "two", 4: "three"})
    write = undo.write

    def killed(path, content):
        if path.name == "b.txt":
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(undo, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        review.save()
    monkeypatch.undo()
    assert contents(folder)["a.txt"] == b"one\n" and contents(folder)["b.txt"] == before["b.txt"]
    if again:
        assert review.save() == 3 and contents(folder)["e.txt"] == b"three\n"
    undo.undo(folder / UNDO)
    assert contents(folder) == before


# --- the command and the server ---


@pytest.mark.parametrize("words", [["review", ".", "--undo"], ["caption", "--undo", UNDO]])
def test_the_commands_undo(folder, monkeypatch, capsys, words):
    before, review = contents(folder), Review(folder)
    review.edit({0: "one"})
    review.save()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["captioning", *words])
    cli.main()
    assert re.search("1 (captions|files) are as they were", capsys.readouterr().out)
    assert contents(folder) == before


@pytest.fixture
def client(folder):
    return client_of(Review(folder))


def client_of(review):
    pytest.importorskip("starlette.testclient", reason="needs Starlette and httpx: pip install 'captioning[web]'")
    from starlette.testclient import TestClient

    from captioning.serving.review_page import HOST, build

    return TestClient(build(review), base_url=f"http://{HOST}")


def test_the_server_edits_replaces_and_saves(client, folder):
    before = contents(folder)
    about = client.get("/rows").json()
    assert (
        len(about["rows"]) == 8 and about["orders"].keys() == {"name", "short", "long"} and about["folder"] == "photos"
    )
    numbers = client.get("/shown", params={"find": "grey", "check": "", "order": "name"}).json()
    asked = {"find": "grey", "by": "gray", "regex": False, "case": False, "words": True, "numbers": numbers}
    preview = client.post("/replace", json=asked | {"apply": False}).json()
    assert [change["number"] for change in preview] == [0, 1, 5]
    assert preview[1]["pieces"] == [["a ", "a "], ["grey", "gray"], [" dog runs over the grass"] * 2]
    assert client.get("/rows").json()["counts"]["edited"] == 0
    assert client.post("/replace", json=asked | {"apply": True}).json()["counts"]["edited"] == 3
    edited = client.post("/edit", json={"4": "a new one"}).json()
    assert [row["caption"] for row in edited["rows"]] == ["a new one"] and edited["counts"]["edited"] == 4
    assert contents(folder) == before
    assert client.post("/save", json={}).json()["saved"] == 4
    assert (folder / "a.txt").read_text() == "A gray cat sits on a mat.\n"
    client.post("/edit", json={"4": "another"})
    assert client.post("/discard", json={}).json()["counts"]["edited"] == 0
    assert client.get("/rows").json()["rows"][4]["caption"] == "a new one", "as it was saved"


def test_the_model_s_captions_are_not_discarded(folder, tmp_path):
    said = [{"image": "x/e.jpg", "caption": "a dog runs , on grass .", "log_probability": -5}]
    (tmp_path / "said.jsonl").write_text(json.dumps(said[0]) + "\n")
    client = client_of(Review(folder, tmp_path / "said.jsonl"))
    row = client.get("/rows").json()["rows"][4]
    assert row["caption"] == row["before"] == "a dog runs, on grass." and row["checks"] == ["edited"]
    client.post("/edit", json={"0": "a cat", "4": "a cat, too"})
    rows = client.post("/discard", json={}).json()["rows"]
    assert {row["number"]: row["caption"] for row in rows} == {
        0: "A grey cat sits on a mat.",
        4: "a dog runs, on grass.",
    }
    assert client.post("/save", json={}).json()["saved"] == 1
    assert (folder / "e.txt").read_text() == "a dog runs, on grass.\n"


def test_the_server_answers_nobody_else(client, folder):
    assert client.get("/rows", headers={"Host": "evil.example"}).status_code == 400
    as_a_form = client.post("/save", content="{}", headers={"Content-Type": "text/plain"})
    assert as_a_form.status_code == 415, "what another page in the same browser may send changes nothing"


def test_what_cannot_be_done_is_told_the_page(client, folder):
    asked = {"find": "(", "by": "", "regex": True, "case": False, "words": False, "numbers": [0], "apply": False}
    answer = client.post("/replace", json=asked)
    assert answer.status_code == 409 and "no regular expression" in answer.json()["error"]
    client.post("/edit", json={"0": "one"})
    (folder / "a.txt").write_text("mine")
    answer = client.post("/save", json={})
    assert answer.status_code == 409 and "nothing was saved" in answer.json()["error"]


def test_pictures_are_sent_small_and_a_broken_one_is_said(client, folder):
    import io

    picture(folder / "a.jpg", size=(900, 600))
    small, large = (Image.open(io.BytesIO(client.get(f"/picture/0/{size}").content)) for size in (0, 1))
    assert small.size == (320, 213) and large.size == (900, 600)
    (folder / "b.jpg").write_bytes(b"broken")
    assert client.get("/picture/1/0").status_code == 409


# --- the page ---


@pytest.fixture
def opened(browser):
    """Opens the page of a review; fails at the end when the page had an error."""
    pytest.importorskip("uvicorn", reason="needs Starlette and Uvicorn: pip install 'captioning[web]'")
    from captioning.serving import review_page

    servers, errors = [], []

    def show(review):
        servers.append(review_page.serving(review))
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(servers[-1].__enter__())
        page.locator("#status", has_text="pictures").wait_for()
        return page

    yield show
    for server in servers:
        server.__exit__(None, None, None)
    assert errors == []


def test_captions_are_reviewed_in_a_browser(opened, folder):
    before, page = contents(folder), opened(Review(folder))
    assert page.locator(".row").count() == 8 and page.locator("h1").inner_text() == "photos"
    # Search, and a filter.
    page.locator("#find").fill("grey")
    page.locator("#status", has_text="3 of 8 pictures").wait_for()
    # Find and replace with a preview; in what is shown only.
    page.locator("#open").click()
    page.locator("#old").fill("a")
    page.locator("#new").fill("the")
    page.locator("#preview").click()
    page.locator("#apply", has_text="Replace in 3 captions").wait_for()
    assert page.locator("#changes del").all_inner_texts() == ["A", "a", "a", "a"]
    assert page.locator("#save").is_disabled()
    page.locator("#apply").click()
    page.locator("#save", has_text="Save 3 captions").wait_for()
    page.locator("#find").fill("")
    page.locator("#status", has_text="8 of 8").wait_for()
    assert page.get_by_label("Caption of a.jpg").input_value() == "the grey cat sits on the mat."
    # A caption by hand, one taken back, a filter.
    page.get_by_label("Caption of e.jpg").fill("a new caption of e")
    page.locator("#save", has_text="Save 4 captions").wait_for()
    page.locator(".row", has_text="b.jpg").get_by_role("button", name="as before").click()
    page.locator("#save", has_text="Save 3 captions").wait_for()
    page.locator("#check").select_option("edited")
    page.locator("#status", has_text="3 of 8").wait_for()
    assert contents(folder) == before, "nothing is written before Save"
    # What is typed is saved, however quick the hand is.
    page.get_by_label("Caption of e.jpg").fill("a newer caption of e")
    page.keyboard.press("Control+s")
    page.locator("#status", has_text="Saved: 3").wait_for()
    assert (folder / "e.txt").read_text() == "a newer caption of e\n"
    assert (folder / "a.txt").read_text() == "the grey cat sits on the mat.\n"
    assert (folder / "b.txt").read_bytes() == before["b.txt"]
    # What cannot be saved is told.
    page.locator("#check").select_option("")
    page.get_by_label("Caption of h.jpg").fill("a boat on a lake")
    page.locator("#save", has_text="Save 1 caption").wait_for()
    (folder / "h.txt").write_text("mine")
    page.locator("#save").click()
    page.locator("#status.wrong", has_text="nothing was saved").wait_for()


SCROLL = """async () => {
    const times = [];
    scrollTo(0, 0);
    for (let y = 0, last = performance.now(); y + innerHeight < document.body.scrollHeight; y += 120) {
        scrollTo(0, y);
        await new Promise(requestAnimationFrame);
        times.push(performance.now() - last);
        last = performance.now();
    }
    return times.sort((a, b) => a - b)[times.length >> 1];
}"""


def test_500_pictures_scroll_as_smoothly_as_an_empty_page(opened, tmp_path):
    for number in range(500):
        picture(tmp_path / f"{number:03}.jpg", number)
        (tmp_path / f"{number:03}.txt").write_text(f"a caption of picture {number} that says what can be seen there\n")
    page = opened(Review(tmp_path))
    page.evaluate(SCROLL)  # each picture is made small when it first comes near
    page.wait_for_load_state("networkidle")
    broken = "[...document.images].filter(image => image.closest('.row') && !(image.complete && image.naturalWidth))"
    page.wait_for_function(f"{broken}.length === 0")
    full = page.evaluate(SCROLL)
    page.set_content("<body style='margin: 0'><div style='height: 80000px'>")
    empty = page.evaluate(SCROLL)
    assert full < max(50, 3 * empty), f"{full:.0f} ms a frame, {empty:.0f} on an empty page"
