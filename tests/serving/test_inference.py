"""Captions for picture files: what is found, what is written, what is taken up again, what cannot be read."""

import csv
import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from captioning.data.batches import picture_tensor
from captioning.decoding.config import Decoding
from captioning.models.config import EncoderConfig
from captioning.models.encoder import Encoder
from captioning.models.inference import folded
from captioning.models.ofa.config import ResNetConfig
from captioning.models.ofa.pictures import ResNetEncoder
from captioning.serving import inference
from captioning.serving.inference import caption_files, find_pictures, json_line

BEAM = Decoding(beams=3, max_length=8)


@pytest.fixture
def photos(tmp_path):
    """Four pictures: a.jpg, b.png and, a folder further down, c.JPG and d.webp; and a text file."""
    folder = tmp_path / "photos"
    (folder / "deep" / "down").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a.jpg", "b.png", "deep/down/c.JPG", "deep/down/d.webp"):
        Image.fromarray(rng.integers(0, 256, (70, 90, 3), dtype=np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def model(make_model):
    return make_model("transformer")


def test_a_line_is_strict_json_whatever_the_name_and_the_probability():
    line = json_line(
        {"image": b"caf\xe9.jpg".decode("utf-8", "surrogateescape"), "caption": "a", "log_probability": -np.inf}
    )
    assert line.encode("utf-8") == b'{"image": "caf\\udce9.jpg", "caption": "a", "log_probability": null}'


def spoil(folder):
    """Three files that no decoder can read, named after what is wrong with them."""
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("this is not a picture")
    (folder / "truncated.jpg").write_bytes((folder / "a.jpg").read_bytes()[:300])


def test_finds_files_folders_in_any_depth_and_patterns_each_once(photos):
    a, b, c, d = (str(photos / name) for name in ("a.jpg", "b.png", "deep/down/c.JPG", "deep/down/d.webp"))
    assert find_pictures([str(photos)]) == [a, b, c, d]
    assert find_pictures([b, str(photos)]) == [b, a, c, d]
    assert find_pictures([f"{photos}/*.p*"]) == [b]
    assert find_pictures([f"{photos}/**/*.webp", a]) == [d, a]


def test_a_pattern_leaves_folders_out_and_takes_files_by_their_names(photos):
    odd = photos / "odd[1].jpg"
    odd.write_bytes((photos / "a.jpg").read_bytes())
    assert str(photos / "deep") not in find_pictures([f"{photos}/*"])
    assert find_pictures([str(odd)]) == [str(odd)]


def test_a_folder_gives_every_kind_of_picture_and_neither_hidden_files_nor_folders(tmp_path):
    names = ["a.HEIC", "b.avif", "c.jfif", "d.jpe", "e.jp2"]
    for name in (*names, "._b.avif", ".ipynb_checkpoints/b-checkpoint.jpg", "f.jpg/notes.txt", "g.h5"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    assert find_pictures([str(tmp_path)]) == [str(tmp_path / name) for name in names]
    hidden = str(tmp_path / "._b.avif")
    assert find_pictures([hidden]) == [hidden]  # who names it wants it


def test_a_link_to_nothing_is_named_and_not_passed_over(model, photos, tmp_path):
    (photos / "z.jpg").symlink_to(tmp_path / "moved.jpg")
    for names in ([str(photos)], find_pictures([str(photos)]), [f"{photos}/*.jpg"]):
        [message] = caption_files(model, names, tmp_path / f"{len(names[0])}.jsonl", BEAM)
        assert message.startswith(f"{photos / 'z.jpg'}: cannot be read (No such file or directory)")


def test_a_picture_that_needs_another_package_is_named(model, photos, tmp_path):
    (photos / "z.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    [message] = caption_files(model, [str(photos)], tmp_path / "captions.jsonl", BEAM)
    assert "z.heic" in message and "install the package pillow-heif" in message


@pytest.mark.parametrize("name", ["nowhere.jpg", "nothing/*.jpg", "empty"])
def test_a_name_that_matches_nothing_is_an_error_that_names_it(name, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no picture there; give files, folders or patterns") as error:
        find_pictures([str(tmp_path / name)])
    assert name in str(error.value)


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_a_caption_is_what_generate_says_of_the_picture(model, photos, tmp_path, batch_size):
    out = tmp_path / "captions.jsonl"
    assert caption_files(model, [str(photos)], out, BEAM, batch_size) == []
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["image"] for row in rows] == find_pictures([str(photos)])
    for row in rows:
        alone = model.generate(picture_tensor(row["image"], 64)[None], BEAM)
        assert row["caption"] == alone.best[0]
        assert row["log_probability"] == pytest.approx(float(alone.log_probs[0, 0]), abs=1e-3)


@pytest.fixture
def two_threads():
    """Of torch, as it would have on two cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (2, 2), (3, 0), (16, 1)])
def test_batches_that_are_captioned_together_stay_in_order(
    model, photos, monkeypatch, two_threads, batch_size, workers
):
    healthy, first_two, threads, met = find_pictures([str(photos)]), iter([True] * 2), set(), Barrier(2, timeout=60)
    spoil(photos)
    plain = inference.caption_rows
    model.train()

    def watched(*given):
        assert not model.training
        threads.add(torch.get_num_threads())
        if next(first_two, False):
            met.wait()  # one of them alone would wait in vain
        return plain(*given)

    monkeypatch.setattr(inference, "caption_rows", watched)
    found = list(inference.captioned(model, find_pictures([str(photos)]), BEAM, batch_size, workers))
    assert [row["image"] for rows, _ in found for row in rows] == healthy
    size = min(batch_size, 4)  # of 7 pictures
    assert [len(rows) + len(broken) for rows, broken in found] == [min(size, 7 - i) for i in range(0, 7, size)]
    assert threads == {1} and torch.get_num_threads() == 2 and model.training


def test_who_comes_while_the_threads_are_divided_takes_them_as_they_are(model, photos, two_threads):
    files = find_pictures([str(photos)])
    first, second = (inference.captioned(model, files, BEAM, 1, 0) for _ in range(2))
    next(first)
    next(second)
    first.close()
    assert torch.get_num_threads() == 2
    assert len([*second]) == len(files) - 1 and torch.get_num_threads() == 2
    assert not inference.DIVIDED.locked()


def test_readers_that_cannot_begin_leave_the_threads_to_the_next(model, photos, monkeypatch, two_threads):
    def refused(*given, **how):
        raise OSError("no more processes")

    monkeypatch.setattr(inference, "Readers", refused)
    with pytest.raises(OSError, match="no more processes"):
        next(inference.captioned(model, find_pictures([str(photos)]), BEAM, 1, 2))
    assert not inference.DIVIDED.locked() and torch.get_num_threads() == 2


def test_what_nobody_waits_for_any_more_is_not_begun(model, photos, monkeypatch, two_threads):
    plain, begun = inference.caption_rows, []
    monkeypatch.setattr(inference, "caption_rows", lambda *given: begun.append(given) or plain(*given))
    found = inference.captioned(model, find_pictures([str(photos)]), BEAM, 1, 0)
    next(found)
    found.close()
    assert len(begun) <= 3 and [*inference.captioned(model, [], BEAM, 1, 0)] == []


def test_no_more_is_read_ahead_than_is_worked_on_and_one():
    read = []
    with ThreadPoolExecutor(2) as pool:
        results = inference.in_order(pool, lambda x: 10 * x, (read.append(i) or i for i in range(9)), 2)
        for i, result in enumerate(results):
            assert result == 10 * i and len(read) <= i + 3


def test_several_captions_a_picture_are_rows_of_their_own_best_first(model, photos, tmp_path):
    out = tmp_path / "captions.csv"
    caption_files(model, [str(photos)], out, Decoding(beams=3, captions=2, max_length=8))
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [file for file in find_pictures([str(photos)]) for _ in range(2)]
    images = torch.stack([picture_tensor(row["image"], 64) for row in rows[::2]])
    expected = model.generate(images, Decoding(beams=3, captions=2, max_length=8))
    assert [row["caption"] for row in rows] == [text for texts in expected.texts for text in texts]


def test_without_out_captions_are_printed(model, photos, capsys):
    caption_files(model, [str(photos / "b.png")], None, BEAM)
    expected = model.generate(picture_tensor(str(photos / "b.png"), 64)[None], BEAM).best[0]
    assert capsys.readouterr().out == f"{photos / 'b.png'}\t{expected}\n"


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_unreadable_pictures_are_reported_and_do_not_stop_the_others(model, photos, tmp_path, batch_size):
    healthy, out = find_pictures([str(photos)]), tmp_path / "captions.jsonl"
    spoil(photos)
    broken = caption_files(model, [str(photos)], out, BEAM, batch_size)
    assert [json.loads(line)["image"] for line in out.read_text().splitlines()] == healthy
    assert len(broken) == 3
    for message, name, problem in zip(
        broken, ("empty", "text", "truncated"), ("0 bytes", "no known picture format", "damaged"), strict=True
    ):
        assert str(photos / f"{name}.jpg") in message and problem in message


def test_another_suffix_of_out_is_an_error_before_any_work(photos, tmp_path):
    with pytest.raises(ValueError, match=r"suffix '\.txt', expected \.jsonl or \.csv"):
        caption_files(None, [str(photos)], tmp_path / "captions.txt", BEAM)
    assert not (tmp_path / "captions.txt").exists()


def parrot(model, files, decoding, batch_size, workers):
    """An engine without a model: it says the names of the files, finds no second caption, and says that those with
    "broken" in it are broken."""
    for file in files:
        good = "broken" not in file
        rows = [
            {"image": file, "caption": "" if n else f"{file} 0", "log_probability": -np.inf if n else 0.0}
            for n in range(good * decoding.captions)
        ]
        yield rows, [] if good else [f"{file}: cannot be read"]


def read(out):
    if out.suffix == ".jsonl":
        return [json.loads(line) for line in out.read_text(errors="surrogateescape").splitlines()]
    with out.open(newline="", errors="surrogateescape") as file:
        return [row | {"log_probability": float(row["log_probability"])} for row in csv.DictReader(file)]


formats = pytest.mark.parametrize("name", ["captions.jsonl", "captions.csv"])
ODD = ['ein, "bild".jpg', "写真.jpg", b"latin-1 \xe9.jpg".decode(errors="surrogateescape")]


@formats
def test_rows_survive_commas_quotes_and_letters_of_other_languages(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for file in ODD:
        (tmp_path / file).touch()
    out = tmp_path / name
    caption_files(None, ODD, out, Decoding(), engine=parrot)
    assert read(out) == [{"image": file, "caption": f"{file} 0", "log_probability": 0} for file in ODD]
    assert "写真" in out.read_text(errors="surrogateescape")


@formats
@pytest.mark.parametrize("captions", [1, 2])
def test_a_file_that_was_cut_anywhere_becomes_what_it_would_have_been(photos, tmp_path, monkeypatch, name, captions):
    monkeypatch.chdir(photos)
    for file in (*ODD, "d broken.jpg"):
        (photos / file).touch()
    out, names, decoding = (
        tmp_path / name,
        ["a.jpg", *ODD, "d broken.jpg", "b.png"],
        Decoding(beams=2, captions=captions),
    )
    assert caption_files(None, names, out, decoding, engine=parrot) == ["d broken.jpg: cannot be read"]
    whole = out.read_bytes()
    line_ends = [i for i, byte in enumerate(whole) if byte == ord("\n")]
    for end in {*range(0, len(whole), 11), *line_ends}:
        out.write_bytes(whole[:end])
        assert caption_files(None, names, out, decoding, engine=parrot) == ["d broken.jpg: cannot be read"]
        assert out.read_bytes() == whole, whole[:end]


CHILD = """
import os, signal, sys
from pathlib import Path
from captioning.serving import inference
from captioning.decoding.config import Decoding
from captioning.models.saved import load

def killed(*args):
    for batches, batch in enumerate(inference.captioned(*args)):
        if batches == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        yield batch

model, photos, out = sys.argv[1:]
inference.caption_files(load(model), [photos], Path(out), Decoding(beams=3, max_length=8), 1, 1, killed)
"""


def test_a_run_that_was_killed_goes_on_where_it_was(model, photos, tmp_path, capsys):
    out, undisturbed = tmp_path / "captions.jsonl", tmp_path / "undisturbed.jsonl"
    model.save_pretrained(tmp_path / "model")
    child = subprocess.run([sys.executable, "-c", CHILD, tmp_path / "model", photos, out])
    assert child.returncode == -signal.SIGKILL
    assert [row["image"] for row in read(out)] == find_pictures([str(photos)])[:2]
    assert caption_files(model, [str(photos)], out, BEAM, batch_size=1) == []
    assert "captions.jsonl: 2 of 4 pictures are captioned in it and stay as they are" in capsys.readouterr().err
    caption_files(model, [str(photos)], undisturbed, BEAM, batch_size=1)
    assert out.read_text() == undisturbed.read_text()


def test_only_what_is_missing_is_captioned_and_broken_pictures_are_tried_again(model, photos, tmp_path):
    out, seen = tmp_path / "captions.csv", []

    def watched(model, files, *others):
        seen.append(files)
        return parrot(model, files, *others)

    (photos / "broken.jpg").touch()
    names = find_pictures([str(photos)])
    assert len(caption_files(None, [str(photos)], out, Decoding(), engine=watched)) == 1
    assert len(caption_files(None, [str(photos)], out, Decoding(), engine=watched)) == 1
    (photos / "broken.jpg").rename(photos / "mended.jpg")
    assert caption_files(None, [str(photos)], out, Decoding(), engine=watched) == []
    assert caption_files(None, [str(photos)], out, Decoding(), engine=watched) == []
    assert seen == [names, [str(photos / "broken.jpg")], [str(photos / "mended.jpg")]]
    assert [row["image"] for row in read(out)] == [file for file in names if "broken" not in file] + seen[-1]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("other.csv", "id,text\n1,a cat\n"),
        ("other.csv", "image,caption,log_probability\na.jpg,a cat\n"),
        ("other.csv", "image,caption,log_probability\na.jpg,a cat,-1,more\n"),
        ("other.jsonl", "my diary\n"),
        ("other.jsonl", "my diary, of a single line"),
        ("other.jsonl", '{"file_name": "a.jpg", "text": "a cat"}\n'),
        ("other.jsonl", '{"image": "a.jpg", "text": "a cat"}\n'),
        ("other.jsonl", '{"image": "a.jpg", "caption": "a cat", "log_probability": -1}\nmy diary\n'),
        ("other.jsonl", '{"image": "a.jpg", "caption": "a cat", "log_probability": -1}\n[1, 2]\n'),
        ("other.jsonl", 2 * '{"image": "a.jpg", "caption": "a cat", "log_probability": -1}\n'),
    ],
)
def test_a_file_of_another_kind_is_refused_and_stays_as_it_is(photos, tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=rf"--out .*{name} does not come from this command: .*; give another file"):
        caption_files(None, [str(photos)], tmp_path / name, Decoding(), engine=parrot)
    assert (tmp_path / name).read_text() == content


def test_a_file_with_another_number_of_captions_is_refused(photos, tmp_path):
    out = tmp_path / "captions.jsonl"
    caption_files(None, [str(photos)], out, Decoding(), engine=parrot)
    before = out.read_bytes()
    with pytest.raises(ValueError, match=r"a\.jpg has not the 2 caption\(s\) that each picture is to have"):
        caption_files(None, [str(photos)], out, Decoding(beams=2, captions=2), engine=parrot)
    assert out.read_bytes() == before


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_byobnet", "tf_efficientnet_lite0", "ofa"])
def test_folded_batch_norms_change_no_feature(name):
    torch.manual_seed(0)
    if name == "ofa":
        encoder = ResNetEncoder(ResNetConfig((2, 2, 2), image_size=64)).train(False)
    else:
        encoder = Encoder(EncoderConfig(name, weights=None, image_size=64)).train(False)
    for norm in (module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)):
        for statistic in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            nn.init.uniform_(statistic, 0.5, 1.5)
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    before, quick = encoder(images), folded(encoder)
    torch.testing.assert_close(quick(images), before, atol=1e-4, rtol=1e-4)
    assert torch.equal(encoder(images), before)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in quick.modules())


class Twice(nn.Module):
    """A backbone that uses what its convolution says with the norm and without."""

    num_features = 3

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)
        nn.init.constant_(self.norm.running_mean, 5)

    def forward_features(self, x):
        said = self.conv(x)
        return said + self.norm(said)


class Shared(Twice):
    """One whose norm reads something else, too."""

    def forward_features(self, x):
        return self.norm(self.conv(x)) + self.norm(x)[:, :, 1:-1, 1:-1]


@pytest.mark.parametrize("backbone", [Twice, Shared])
def test_batch_norms_that_cannot_be_folded_stay(backbone):
    encoder = Encoder(EncoderConfig("test_resnet", weights=None, image_size=64))
    encoder.backbone = backbone()
    encoder.eval()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    assert torch.equal(folded(encoder)(images), encoder(images))


def test_ray_writes_the_same_file(model, photos, tmp_path):
    pytest.importorskip("ray")
    from captioning.serving import ray_engine

    spoil(photos)
    here, there = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
    broken = caption_files(model, [str(photos)], here, BEAM, batch_size=2)
    assert caption_files(model, [str(photos)], there, BEAM, batch_size=2, engine=ray_engine.captioned) == broken
    for a, b in zip(read(here), read(there), strict=True):
        assert (a["image"], a["caption"]) == (b["image"], b["caption"])
        assert a["log_probability"] == pytest.approx(b["log_probability"], abs=1e-3)
