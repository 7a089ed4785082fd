"""Formats from the command line: shown, converted, trained on, captioned into, skipped, scored, and taken back."""

import io
import json
import shutil
import tarfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from captioning.data import download, sources
from captioning.data.formats import parquet
from captioning.rebuild import pipeline, report
from small_run import SMALL, say, small_home

WORDS = ("a red hat", "a blue hat", "a man in a hat", "two dogs run")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with small_home(tmp_path_factory.mktemp("home")) as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "PICTURES", folder / "output" / "pictures")
        yield folder


def pictures(count=20):
    """(number, JPEG, caption) each."""
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        data = io.BytesIO()
        Image.fromarray(pixels).save(data, "JPEG")
        yield number, data.getvalue(), f"{WORDS[number % 4]}, no {number % 3}"


def taggui(folder):
    for number, data, caption in pictures():
        (folder / f"{number}.jpg").write_bytes(data)
        (folder / f"{number}.txt").write_text(caption)


def kohya(folder):
    """Folders of repeats, and the file that its scripts make of them."""
    entries = {}
    for number, data, caption in pictures():
        place = folder / f"{10 - number % 2}_sks dog" / f"{number}.jpg"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(data)
        entries[str(place.with_suffix(""))] = {"caption": caption, "tags": "dog"}
    (folder / "meta_cap.json").write_text(json.dumps(entries))


def img2dataset(folder):
    for shard in (0, 1):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as archive:
            for number, data, caption in pictures(10 + shard):
                for suffix, content in {"jpg": data, "txt": caption.encode(), "json": b'{"status": "success"}'}.items():
                    entry = tarfile.TarInfo(f"{shard:05d}{number:04d}.{suffix}")
                    entry.size = len(content)
                    archive.addfile(entry, io.BytesIO(content))


@pytest.mark.parametrize("layout", [taggui, kohya, img2dataset])
def test_what_others_have_trains_a_model_from_end_to_end(layout, home, tmp_path, capsys):
    """Seen, trained on, evaluated with the same splits, and captioned."""
    folder, run = tmp_path / "set", tmp_path / "run"
    folder.mkdir()
    layout(folder)
    assert say("data", "--show", folder) == (0, "")
    shown = capsys.readouterr().out
    assert f"{21 if layout is img2dataset else 20} pictures" in shown
    assert say("train", "gru", "--data", "unsplit", "--folder", folder, "--run", run, *SMALL) == (0, "")
    assert say("evaluate", run, "--split", "test") == (0, "")
    said = [entry["image_id"] for entry in json.loads((run / "predictions_test.json").read_text())]
    data = sources.load("unsplit", folder)
    assert said == data["test"]["image_id"][:] and len(said) == 2 and not {*said} & {*data["train"]["image_id"]}


def test_a_file_of_captions_is_shown_and_what_is_not_there_is_said(home, tmp_path, capsys):
    kohya(tmp_path)
    assert say("data", "--show", tmp_path / "meta_cap.json") == (0, "")
    assert "meta_cap.json: kohya: meta_cap.json\n  test: 20 pictures" in capsys.readouterr().out
    status, said = say("data", "--show", tmp_path / "nosuch")
    assert status == 1 and "nosuch: no such file or folder; correct --show" in said


def test_a_set_without_a_needed_split_says_how_it_may_be_divided(home, tmp_path):
    taggui(tmp_path)
    status, said = say("train", "gru", "--data", "folder", "--folder", tmp_path, "--run", tmp_path / "run", *SMALL)
    assert status == 1 and "--data unsplit" in said


def test_a_folder_becomes_shards_and_comes_back(home, tmp_path, capsys):
    assert say("data", "convert", home / "photos", tmp_path / "shards", "--to", "webdataset") == (0, "")
    assert say("data", "convert", tmp_path / "shards", tmp_path / "back", "--to", "imagefolder", "--link") == (0, "")
    first, again = (sources.load("folder", folder) for folder in (home / "photos", tmp_path / "back"))
    for split in ("train", "val", "test"):
        assert first[split].remove_columns("image").to_list() == again[split].remove_columns("image").to_list()
    assert say("data", "convert", home / "photos", tmp_path / "page", "--to", "nothing")[0] == 1
    status, said = say("data", "convert", home / "photos", home / "photos" / "metadata.jsonl", "--to", "imagefolder")
    assert status == 1 and "give another name" in said


def test_captions_of_another_format_are_put_beside_the_pictures_and_taken_back(home, tmp_path, capsys):
    photos = shutil.copytree(home / "photos", tmp_path / "photos")
    before = sorted(photos.rglob("*"))
    words = ["data", "convert", photos, photos, "--to", "sidecars", "--before", "sks, "]
    assert say(*words, "--dry_run") == (0, "") and sorted(photos.rglob("*")) == before
    assert f"{photos / 'a' / '0.txt'}: new: sks, a red hat" in capsys.readouterr().out
    assert say(*words) == (0, "")
    assert (photos / "a" / "0.txt").read_text() == "sks, a red hat"
    assert say("caption", "--undo", photos / "captions_undo.jsonl") == (0, "")
    assert sorted(photos.rglob("*")) == before
    status, said = say("data", "convert", photos, tmp_path / "new", "--to", "kohya", "--existing", "append")
    assert status == 1 and "beside the pictures of one folder" in said


def test_two_formats_are_put_beside_the_pictures_with_an_undo_file_each(home, tmp_path):
    photos = shutil.copytree(home / "photos", tmp_path / "photos")
    before = {path: path.read_bytes() for path in photos.rglob("*") if path.is_file()}
    words = ["data", "convert", photos, photos, "--data", "imagefolder", "--to"]
    assert say(*words, "sidecars") == (0, "")
    status, said = say(*words, "sidecar-lines")
    undo = photos / "captions_undo.jsonl"
    assert status == 1 and f"{undo} is the undo file of other changes (to" in said
    assert "rename it, in its folder, and it still takes them back; or take them back now (captioning caption" in said
    undo.rename(photos / "first.jsonl")
    assert say(*words, "sidecar-lines", "--existing", "append") == (0, "")
    for name in ("captions_undo.jsonl", "first.jsonl"):
        assert say("caption", "--undo", photos / name) == (0, "")
    assert {path: path.read_bytes() for path in photos.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("to", "text"), [("sidecars", "a hat a cap"), ("sidecar-lines", "a hat\na cap")])
def test_what_has_no_place_beside_the_pictures_is_said(to, text, home, tmp_path, capsys):
    for number, data, _ in pictures(2):
        (tmp_path / f"{number}.jpg").write_bytes(data)
    lines = [{"file_name": "0.jpg", "captions": ["a hat", "a cap"], "style": "Sweet"}, {"file_name": "1.jpg"}]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert say("data", "convert", tmp_path, tmp_path, "--to", to) == (0, "")
    said = capsys.readouterr().err
    assert "no place for style, of which there are 1" in said
    assert ("captions in one: 1 pictures have more than one" in said) == (to == "sidecars")
    assert (tmp_path / "0.txt").read_text() == text and not (tmp_path / "1.txt").exists()


def test_beside_the_pictures_of_shards_no_text_can_lie(tmp_path):
    img2dataset(tmp_path)
    status, said = say("data", "convert", tmp_path, tmp_path, "--to", "sidecars")
    assert status == 1 and "00000.tar is a shard: its pictures are no files" in said


@pytest.fixture
def photos(home, tmp_path):
    """Pictures of the data set without their captions."""
    folder = shutil.copytree(home / "photos", tmp_path / "photos")
    (folder / "metadata.jsonl").unlink()
    return folder


def test_pictures_are_captioned_for_other_programs(home, photos, capsys):
    words = ["caption", photos, "--model", home / "output" / "run", "--workers", 0]
    (photos / "a" / "0.txt").write_text("mine")
    dry = [*words, "--to", "sidecars", "--existing", "append", "--dry_run"]
    assert say(*dry) == (0, "") and not (photos / "a" / "1.txt").exists()
    assert f"{photos / 'a' / '0.txt'}: changed: mine, ..." in capsys.readouterr().out
    assert say(*dry[:-1]) == (0, "")
    assert say(*dry) == (0, "")
    assert all(line.endswith(".txt: left as it is, done before") for line in capsys.readouterr().out.splitlines()[-7:])
    beside = {path: path.read_text() for path in photos.rglob("*.txt")}
    assert len(beside) == 7 and beside[photos / "a" / "0.txt"].startswith("mine, ")
    assert say(*words, "--to", "kohya", "--out", photos / "meta.json") == (0, "")
    said = json.loads((photos / "meta.json").read_text())
    assert said["a/1"]["caption"] == beside[photos / "a" / "1.txt"]
    assert say(*words, "--to", "parquet", "--out", photos.parent / "hub") == (0, "")
    assert sources.load("folder", photos.parent / "hub")["test"]["captions"][0] == [said["a/0"]["caption"]]
    assert say("caption", "--undo", photos / "captions_undo.jsonl") == (0, "")
    assert [path.read_text() for path in photos.rglob("*.txt")] == ["mine"]


def test_pictures_that_have_a_caption_elsewhere_are_left_out(home, photos, tmp_path, capsys):
    words = ["caption", photos, "--model", home / "output" / "run", "--workers", 0]
    (photos / "a" / "0.txt").write_text("mine")
    assert say(*words, "--skip", photos, "--out", tmp_path / "rest.jsonl") == (0, "")
    assert len((tmp_path / "rest.jsonl").read_text().splitlines()) == 6
    assert say(*words, "--skip", tmp_path / "rest.jsonl", "--out", tmp_path / "more.jsonl") == (0, "")
    assert [json.loads(line)["image"] for line in (tmp_path / "more.jsonl").open()] == [str(photos / "a" / "0.png")]
    assert "6 of 7 pictures have a caption there" in capsys.readouterr().err
    status, said = say(*words, "--skip", tmp_path / "nowhere")
    assert status == 1 and "no such file or folder" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "kohya"], "--to kohya needs --out"),
        (["--to", "word"], "--to word: expected one of imagefolder, karpathy"),
        (["--existing", "append"], "are for captions beside the pictures: give --to sidecars"),
        (["--to", "kohya", "--out", "x.json", "--dry_run"], "are for captions beside the pictures"),
        (["--undo", "x.jsonl", "--to", "xmp"], "changes back and does nothing else: leave pictures, --to out"),
        (["--batch_size", 0], "--batch_size 0: expected 1 picture at a time, or more"),
        (["--to", "sidecars", "--dry_run", "--batch_size", -1], "--batch_size -1: expected 1"),
        (["--to", "sidecars", "--random", 1], "for pictures, not for requests or --random"),
    ],
)
def test_options_that_do_not_go_together_are_one_sentence(words, said, home, photos):
    status, message = say("caption", photos, "--model", home / "output" / "run", *words)
    assert status == 1 and said in message


def test_undo_and_dry_run_do_not_go_together(home, photos):
    words = ["caption", photos, "--model", home / "output" / "run", "--workers", 0, "--to", "sidecars"]
    assert say(*words) == (0, "")
    done = {path: path.read_bytes() for path in photos.rglob("*") if path.is_file()}
    for more, said in (("--dry_run",), "--dry_run"), (("--existing", "append"), "--existing and what belongs to it"):
        status, message = say("caption", "--undo", photos / "captions_undo.jsonl", *more)
        assert status == 1 and f"leave {said} out" in message
    assert {path: path.read_bytes() for path in photos.rglob("*") if path.is_file()} == done


@pytest.mark.parametrize("words", [["--out", "own.csv"], ["--to", "kohya", "--out", "photos/own.json"]])
def test_a_file_of_this_command_tells_pictures_of_one_name_apart(words, home, photos, tmp_path, monkeypatch, capsys):
    """0.png, a/0.png and b/0.png."""
    shutil.copy(photos / "a" / "0.png", photos)
    monkeypatch.chdir(tmp_path)
    for folder in ("photos", photos):
        assert say("caption", folder, "--model", home / "output" / "run", "--workers", 0, *words) == (0, "")
        assert say("caption", folder, "--model", home / "output" / "run", "--skip", words[-1]) == (0, "")
        assert "8 of 8 pictures have a caption there" in capsys.readouterr().err
        (tmp_path / words[-1]).unlink()


@pytest.mark.filterwarnings("ignore:.*imagefolder was found, too")
def test_a_text_to_which_nothing_can_be_added_does_not_stop_the_others(home, tmp_path, capsys):
    photos = shutil.copytree(home / "photos", tmp_path / "photos")
    (photos / "a" / "0.txt").write_bytes(b"caf\xe9")
    words = ["data", "convert", photos, photos, "--to", "sidecars", "--existing", "append"]
    assert say(*words, "--dry_run") == (0, "")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7 and "0.txt: byte 3 is not UTF-8, left as it is" in lines[0]
    status, said = say(*words)
    assert status == 1 and "texts that could not be added to: 1 (above); all others are done" in said
    assert (photos / "a" / "0.txt").read_bytes() == b"caf\xe9" and len([*photos.rglob("*.txt")]) == 7
    capsys.readouterr()
    assert say(*words, "--dry_run") == (0, "")
    lines = capsys.readouterr().out.splitlines()
    assert "byte 3" in lines[0] and all(line.endswith("left as it is, done before") for line in lines[1:])


def test_folders_and_whole_sets_are_scored(home, photos, tmp_path, capsys):
    words = dict(zip(sorted(photos.rglob("*.png")), WORDS * 2, strict=False))
    for path, text in words.items():
        path.with_suffix(".txt").write_text(text)
    images = [
        {"filename": path.relative_to(photos).as_posix(), "split": "test", "sentences": [{"raw": text}]}
        for path, text in words.items()
    ]
    images.append({"filename": "other.png", "split": "train", "sentences": [{"raw": "not of test"}]})
    (tmp_path / "dataset_mine.json").write_text(json.dumps({"images": images}))
    assert say("score", photos, tmp_path / "dataset_mine.json", "--json") == (0, "")
    found = json.loads(capsys.readouterr().out)
    assert found["scores"]["predictions"]["n"] == 7 and "domains" not in found


def test_nocaps_domains_are_scored_apart(tmp_path, capsys):
    images = [{"id": n, "file_name": f"{n}.jpg", "domain": ["in-domain", "out-domain"][n % 2]} for n in range(6)]
    said = [{"id": n, "image_id": n, "caption": WORDS[n % 4]} for n in range(6)]
    (tmp_path / "nocaps.json").write_text(json.dumps({"images": images, "annotations": said}))
    results = [{"image_id": n, "caption": WORDS[n % 4] if n % 2 else "nothing of that"} for n in range(6)]
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert say("score", tmp_path / "results.json", tmp_path / "nocaps.json", "--json") == (0, "")
    domains = json.loads(capsys.readouterr().out)["domains"]
    assert domains["out-domain"]["BLEU-1"]["score"] > 0.99 > domains["in-domain"]["BLEU-1"]["score"]
    assert say("score", tmp_path / "results.json", tmp_path / "nocaps.json") == (0, "")
    assert "in-domain: 3" in capsys.readouterr().out


def test_a_set_of_the_hub_is_fetched_once_and_read_as_a_folder(home, tmp_path, monkeypatch, capsys):
    def snapshot(name, repo_type, local_dir):
        assert (name, repo_type) == ("me/cats", "dataset")
        shutil.copytree(home / "photos", local_dir, dirs_exist_ok=True)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    monkeypatch.setattr(download.sources, "check", lambda data, workers: sources._findings([]))
    assert say("data", "me/cats") == (0, "")
    assert sources.load("me/cats", home / "dataset" / "me" / "cats")["test"].num_rows == 2
    status, said = say("train", "gru", "--data", "me/dogs", *SMALL)
    assert status == 1 and "no such folder" in said


def test_a_rebuilt_set_is_written_for_other_programs(home, tmp_path, monkeypatch):
    """After the asking and the cleaning, which have tests of their own."""
    new = sources.load("folder", home / "photos")
    monkeypatch.setattr(pipeline, "ask", lambda *args, **kwargs: None)
    monkeypatch.setattr(pipeline, "clean", lambda *args: pipeline.Rebuilt(new, [], [], []))
    monkeypatch.setattr(report, "page", lambda *args: None)
    monkeypatch.setattr(report, "filter_table", lambda verdicts: pd.DataFrame())
    writers = json.dumps(
        [{"kind": "captioner", "prompt": "clothes-v1", "model": str(home / "output" / "run" / "best")}]
    )
    words = ["rebuild", tmp_path / "new", "--data", "folder", "--folder", home / "photos", "--writers", writers]
    assert say(*words, "--to", "kohya") == (0, "")
    entries = json.loads((tmp_path / "new" / "kohya" / "meta_cap.json").read_text())
    assert entries["train/a/0"] == {"caption": "a red hat"} and len(entries) == 7
    again = sources.load("folder", tmp_path / "new" / "kohya")
    assert [again[split]["captions"][:] for split in new] == [new[split]["captions"][:] for split in new]
