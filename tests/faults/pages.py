"""The page of `captioning demo` under visitors: what it hands out, what it keeps, and how it ends."""

import http.client
import io
import json
import random
import re
import shutil
import signal
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

import numpy as np
from PIL import Image
from stage import Command, Stage

BOUND = 200  # MB that the page may grow by, whatever its visitors send


@contextmanager
def page(stage: Stage, *more: object, before: Callable[[], None] | None = None) -> Iterator[tuple[Command, str]]:
    """A server, and its address."""
    words = ["demo", stage.run, "--feedback", stage.folder() / "votes", *more]
    command = Command(*words, before=before)
    try:
        command.wait_for(lambda: "open http" in command.text("out"))
        assert "open http" in command.text("out"), command.end()
        yield command, re.search(r"open (http\S+)", command.text("out"))[1]
    finally:
        if not command.told:  # a second signal would meet it while it ends
            command.tell(signal.SIGTERM)
        ended = command.end()
    assert ended.status == 0 and "uploads are deleted" in ended.out, ended


def get(address: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(address, timeout=60) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def page_shows_its_examples_only(stage: Stage, rng: random.Random) -> None:
    folder = stage.folder()
    pictures = folder / "pictures"
    shutil.copytree(stage.photos, pictures)
    (pictures / "deep").mkdir()
    secrets = [pictures / name for name in ("secret.txt", ".hidden", "deep/secret.png", "23.png", "metadata.jsonl")]
    for path in secrets:
        path.touch()
    with page(stage, "--examples", pictures) as (_, address):
        config = json.loads(get(f"{address}config")[1])
        [samples] = [each["props"]["samples"] for each in config["components"] if each["type"] == "dataset"]
        shown = [sample[0]["url"] for sample in samples]
        assert shown and all(get(url)[0] == 200 for url in shown)
        for path in (*secrets, pictures / "00.png", stage.run / "config.json"):
            status, body = get(f"{address}gradio_api/file={quote(str(path))}")
            assert status in (403, 404), (path, status, body[:100])


def large_picture(seed: int, side: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    written = io.BytesIO()
    Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST).save(written, "PNG", compress_level=1)
    return written.getvalue()


class Visitor:
    """A browser's part: a connection that says that somebody is there, pictures sent, captions received."""

    def __init__(self, address: str, name: str):
        self.address, self.name = address, name
        self.config = json.loads(get(f"{address}config")[1])
        self.there = http.client.HTTPConnection(urlsplit(address).netloc)
        self.there.request("GET", f"/gradio_api/heartbeat/{name}")

    def caption(self, content: bytes) -> str:
        """What the page shows of a picture."""
        head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        [path] = self.post("gradio_api/upload", head + content + b"\r\n--x--\r\n", kind)
        [asked] = [each for each in self.config["dependencies"] if len(each["outputs"]) == 5]
        defaults = {each["id"]: each["props"].get("value") for each in self.config["components"]}
        data = [defaults[number] for number in asked["inputs"]]
        data[0] = {"path": path, "meta": {"_type": "gradio.FileData"}}
        body = {"data": data, "fn_index": asked["id"], "session_hash": self.name}
        self.post("gradio_api/queue/join", json.dumps(body).encode(), {"Content-Type": "application/json"})
        answers = f"{self.address}gradio_api/queue/data?session_hash={self.name}"
        with urllib.request.urlopen(answers, timeout=120) as lines:
            for line in lines:
                if b"process_completed" in line:
                    found = json.loads(line.removeprefix(b"data:"))
                    assert found["success"], found
                    return found["output"]["data"][0]
        raise AssertionError("no answer")

    def post(self, where: str, body: bytes, headers: dict[str, str]) -> object:
        asked = urllib.request.Request(f"{self.address}{where}", body, headers)
        with urllib.request.urlopen(asked, timeout=120) as reply:
            return json.load(reply)

    def leave(self) -> None:
        self.there.close()


def megabytes(pid: int) -> float:
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def page_of_many_visitors(stage: Stage, rng: random.Random, visits: int = 4) -> None:
    """Each looks at a picture of 36 million pixels, 144 MB in memory; one after the other, and they stay."""
    with page(stage, "--examples", stage.photos) as (command, address):
        visitors = [Visitor(address, f"visitor{number}") for number in range(visits)]
        before = megabytes(command.pid)
        for number, visitor in enumerate(visitors):
            assert "<figure" in visitor.caption(large_picture(number, 6000))
        grown = megabytes(command.pid) - before
        assert grown < BOUND, f"{len(visitors)} visitors hold {grown:.0f} MB"
        for visitor in visitors:
            visitor.leave()


def password() -> None:
    from captioning.cli import demo

    demo.getpass = lambda prompt: "sesame"


def page_with_a_password(stage: Stage, rng: random.Random) -> None:
    with page(stage, "--auth", "ann", "--host", "0.0.0.0", before=password) as (command, address):
        command.wait_for(lambda: "whoever reaches this machine and knows the password of ann" in command.text("out"))
        address = address.replace("0.0.0.0", "127.0.0.1")
        assert get(f"{address}config")[0] == 401
        for word, status in (("wrong", 400), ("sesame", 200)):
            try:
                with urllib.request.urlopen(f"{address}login", f"username=ann&password={word}".encode()) as reply:
                    assert reply.status == status
            except urllib.error.HTTPError as error:
                assert error.code == status, error


def page_that_is_ended(stage: Stage, rng: random.Random) -> None:
    """By a terminal that is closed, too: what visitors sent goes."""
    before = uploads()
    with page(stage, "--examples", stage.photos) as (command, address):
        visitor = Visitor(address, "visitor")
        visitor.caption(large_picture(1, 64))
        assert uploads() - before
        command.tell(rng.choice([signal.SIGHUP, signal.SIGINT, signal.SIGTERM]))
        end = time.monotonic() + 60
        while uploads() - before:
            assert time.monotonic() < end, uploads() - before
            time.sleep(0.1)
        visitor.leave()


def uploads() -> set[str]:
    return {path.name for path in Path(tempfile.gettempdir()).glob("captioning-*")}
