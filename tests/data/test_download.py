import hashlib
import io
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from captioning.data import download
from captioning.data.download import ByHand, Part
from captioning.data.files import BrokenSource


def archive(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return stream.getvalue()


@pytest.fixture
def server():
    """A web server on this machine: `files` are what it has, `log` the (method, Range) of each request.

    `ranges` turns its support of Range off; `stop_after` makes it hang up after so many bytes of an answer.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            web.log.append((self.command, self.headers.get("Range")))
            content = web.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            wanted = self.headers.get("Range") if web.ranges else None
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            self.send_response(206 if wanted else 200)
            if web.ranges:
                self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            if body:
                self.wfile.write(content[start:][: web.stop_after])

        def log_message(self, *args):
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.files, web.log, web.ranges, web.stop_after = {}, [], True, None
    web.url = f"http://127.0.0.1:{web.server_port}"
    threading.Thread(target=web.serve_forever, daemon=True).start()
    yield web
    web.shutdown()
    web.server_close()


CONTENT = archive({f"train/{k}.jpg": np.random.default_rng(k).bytes(100_000) for k in range(3)})
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def toy(server, monkeypatch):
    """A data set `toy` of one archive, whose checksum is not known."""
    server.files["/train.zip"] = CONTENT
    monkeypatch.setitem(download.SETS, "toy", (Part("train/*.jpg", 3, f"{server.url}/train.zip"),))
    return server


def gets(server) -> list[str | None]:
    return [wanted for method, wanted in server.log if method == "GET"]


def test_fetch_unpacks_and_keeps_the_checksum(toy, tmp_path):
    download.fetch("toy", tmp_path)
    assert (tmp_path / "train/2.jpg").read_bytes() == np.random.default_rng(2).bytes(100_000)
    assert (tmp_path / "downloads/SHA256SUMS").read_text() == f"{SHA256[7:]}  train.zip\n"
    download.fetch("toy", tmp_path)
    assert len(gets(toy)) == 1  # complete: nothing is asked for again


def test_a_deleted_picture_is_unpacked_again_without_a_download(toy, tmp_path):
    download.fetch("toy", tmp_path)
    (tmp_path / "train/1.jpg").unlink()
    download.fetch("toy", tmp_path)
    assert (tmp_path / "train/1.jpg").exists() and len(gets(toy)) == 1


def test_an_interrupted_download_goes_on_where_it_stopped(toy, tmp_path):
    toy.stop_after = 200_000
    with pytest.raises(ByHand, match="failed here"):
        download.fetch("toy", tmp_path)
    so_far = (tmp_path / "downloads/train.zip.part").read_bytes()
    assert 100_000 < len(so_far) <= 200_000 and CONTENT.startswith(so_far)
    toy.stop_after = None
    download.fetch("toy", tmp_path)
    assert gets(toy) == [None, f"bytes={len(so_far)}-"]
    assert (tmp_path / "downloads/train.zip").read_bytes() == CONTENT
    assert len(list((tmp_path / "downloads").iterdir())) == 2  # the archive and SHA256SUMS


def test_a_server_without_ranges_is_asked_for_everything_again(toy, tmp_path):
    toy.ranges, toy.stop_after = False, 200_000
    with pytest.raises(ByHand):
        download.fetch("toy", tmp_path)
    toy.stop_after = None
    download.fetch("toy", tmp_path)
    assert gets(toy) == [None, None]
    assert (tmp_path / "downloads/train.zip").read_bytes() == CONTENT


def test_a_whole_part_file_is_not_downloaded_again(toy, tmp_path):
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads/train.zip.part").write_bytes(CONTENT)
    download.fetch("toy", tmp_path)
    assert gets(toy) == [] and (tmp_path / "train/0.jpg").exists()


def test_a_wrong_checksum_is_refused(toy, tmp_path, monkeypatch):
    part = Part("train/*.jpg", 3, f"{toy.url}/train.zip", "sha256:" + "0" * 64)
    monkeypatch.setitem(download.SETS, "toy", (part,))
    with pytest.raises(ByHand, match="does not match the known hash"):
        download.fetch("toy", tmp_path)
    assert not (tmp_path / "train").exists()


def test_a_web_page_instead_of_an_archive_is_deleted(toy, tmp_path):
    toy.files["/train.zip"] = b"<html>please log in</html>"
    with pytest.raises(ByHand, match="the download is no archive"):
        download.fetch("toy", tmp_path)
    assert not list((tmp_path / "downloads").iterdir())


def test_what_cannot_be_had_is_listed_with_its_place(server, tmp_path, monkeypatch):
    parts = (
        Part("annotations/*.json", 3, f"{server.url}/gone.zip"),
        Part("images/*.jpg", 12_000, "https://example.org/form", by_hand="fill in the form"),
    )
    monkeypatch.setitem(download.SETS, "toy", parts)
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.jpg").write_bytes(b"x")
    with pytest.raises(ByHand) as error:
        download.fetch("toy", tmp_path)
    message = str(error.value)
    assert f"Put these into {tmp_path}:" in message
    assert f"annotations/*.json: expected 3, found 0\n      {server.url}/gone.zip\n      download it" in message
    assert "images/*.jpg: expected 12,000, found 1\n      https://example.org/form\n      fill in the form" in message
    assert "python -m captioning data toy --check" in message


def test_an_archive_of_other_files_is_not_taken_for_complete(toy, tmp_path):
    toy.files["/train.zip"] = archive({"elsewhere/0.jpg": b"x"})
    with pytest.raises(ByHand, match=r"train/\*\.jpg: expected 3, found 0\n.*\n.*has other files than expected"):
        download.fetch("toy", tmp_path)


def test_no_network_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(download.SETS, "toy", (Part("*.json", 1, "http://127.0.0.1:1/a.zip"),))
    with pytest.raises(ByHand, match=r"unpack it in .* \(no connection to 127\.0\.0\.1:1 from here\)\n"):
        download.fetch("toy", tmp_path)


def test_unknown_sets_are_refused(tmp_path):
    with pytest.raises(BrokenSource, match="unknown data set 'imagenet', expected one of .*flickr8k, flickr30k"):
        download.fetch("imagenet", tmp_path)


def test_checksums_and_counts_are_well_formed():
    for parts in download.SETS.values():
        for part in parts:
            kind, _, value = (part.checksum or "sha256:" + "0" * 64).partition(":")
            assert len(value) == {"md5": 32, "sha256": 64}[kind]
            assert part.count > 0 and part.url.startswith("http")


def flickr8k(folder):
    (folder / "Flicker8k_Dataset").mkdir()
    for name in "abc":
        Image.new("RGB", (8, 8)).save(folder / f"Flicker8k_Dataset/{name}.jpg")
    (folder / "Flickr8k.token.txt").write_text("".join(f"{name}.jpg#0\ta picture .\n" for name in "abcd"))
    (folder / "Flickr_8k.trainImages.txt").write_text("a.jpg\nb.jpg\n")
    (folder / "Flickr_8k.devImages.txt").write_text("c.jpg\nd.jpg\n")


def test_verify_names_what_is_missing_and_what_is_unreadable(tmp_path):
    flickr8k(tmp_path)
    (tmp_path / "Flicker8k_Dataset/b.jpg").write_bytes(b"")
    findings = download.verify("flickr8k", tmp_path, workers=0)
    assert findings[["split", "image_id", "kind"]].to_numpy().tolist() == [
        ["", "Flickr_8k.*Images.txt", "count"],
        ["", "Flicker8k_Dataset/*.jpg", "count"],
        ["val", "d.jpg", "missing picture"],
        ["train", "b.jpg", "broken picture"],
    ]
    assert "found 3 files, expected 8,091" in findings["detail"][1]


def test_verify_of_a_broken_set_is_a_finding_too(tmp_path):
    findings = download.verify("coco", tmp_path, workers=0)
    assert findings["kind"].tolist() == ["count"] * 4 + ["broken source"]
    assert "looked for dataset_coco.json" in findings["detail"].iloc[-1]


def test_verify_of_a_complete_set_finds_nothing(tmp_path, monkeypatch):
    flickr8k(tmp_path)
    (tmp_path / "Flickr_8k.devImages.txt").write_text("c.jpg\n")
    parts = (Part("Flickr8k.token.txt", 1, "https://x"), Part("Flicker8k_Dataset/*.jpg", 3, "https://x"))
    monkeypatch.setitem(download.SETS, "flickr8k", parts)
    assert len(download.verify("flickr8k", tmp_path, workers=0)) == 0


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("flickr8k", {"Images/a.jpg": 3, "captions.txt": 1}),
        ("flickr8k", {"a.jpg": 3, "dataset_flickr8k.json": 1}),
        ("flickr30k", {"flickr30k_images/a.jpg": 3, "results.csv": 1}),
        ("coco", {"train2014/a.jpg": 3, "val2014/a.jpg": 3, "dataset_coco.json": 1}),
        ("coco", {"train2017/a.jpg": 3, "val2017/a.jpg": 3, "annotations/captions_{}2017.json": 2}),
        ("deepfashion", {"images/a.jpg": 3, "captions.json": 1}),
    ],
)
def test_each_layout_of_the_page_has_all_parts(tmp_path, monkeypatch, name, files):
    parts = [replace(part, count=min(part.count, 3)) for part in download.SETS[name]]
    parts = [replace(part, instead={at: min(count, 3) for at, count in part.instead.items()}) for part in parts]
    monkeypatch.setitem(download.SETS, name, tuple(parts))
    for file, count in files.items():
        for k, split in zip(range(count), ("train", "val", "test"), strict=False):
            path = tmp_path / (file.replace("a.jpg", f"{k}.jpg").format(split))
            path.parent.mkdir(exist_ok=True)
            path.touch()
    assert not any(download.verify(name, tmp_path, workers=0)["kind"] == "count")
    monkeypatch.setattr(download, "_download", None)  # and none of them is downloaded again
    download.fetch(name, tmp_path)
    next(tmp_path.rglob("*.jpg")).unlink()
    finding = download.verify(name, tmp_path, workers=0).iloc[0]
    assert (finding["kind"], finding["detail"][:26]) == ("count", "found 2 files, expected 3;")
