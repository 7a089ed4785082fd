"""What can go wrong while a command runs, made to happen; each function asserts what must hold then."""

import functools
import http.server
import json
import os
import random
import shutil
import signal
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stage import PICTURES, Command, Ended, Stage, content, hidden

from captioning.rebuild.prompts import prompt

FULL = "no room for it"
BUSY = "another process is at work on it (process"


def done(command: Command) -> Ended:
    ended = command.end()
    assert ended.status == 0, ended.err
    return ended


def refused(command: Command, *words: str) -> Ended:
    """It ends with 1 and a message that has these words, and none of Python's own."""
    ended = command.end()
    assert ended.status == 1 and "Traceback" not in ended.err, (ended.status, ended.err)
    missing = [word for word in words if word not in ended.err]
    assert not missing, f"{missing} not in: {ended.err}"
    return ended


# --- a server that goes away ---


class Reply(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = asked["messages"][0]["content"][0]["text"]
        said = "there is a car in a street" if text == prompt("background-v2").text else "she wears a red long skirt"
        messages = [{"message": {"role": "assistant", "content": f"{said} number {asked['seed']} ."}}]
        body = json.dumps({"choices": messages}).encode()
        time.sleep(self.server.pause)
        self.server.left -= 1
        if self.server.left < 0:
            self.close_connection = True
            return  # gone without a word
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Quiet."""


@contextmanager
def served(port: int = 0, answers: int = 10**6, pause: float = 0.0) -> Iterator[int]:
    """A server at a port of 127.0.0.1, which goes away after so many answers; each takes `pause` seconds."""
    http.server.ThreadingHTTPServer.allow_reuse_address = True
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Reply) as server:
        server.left, server.pause = answers, pause
        server.handle_error = lambda request, client: None  # clients are killed
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def impatient() -> None:
    """Requests that fail are not tried again, so that a trial takes no half minute."""
    from captioning.rebuild.server import HttpWriter

    HttpWriter.__init__.__defaults__ = ("", 60.0, 0)


def rebuild(stage: Stage, out: Path, port: int, **how: object) -> Command:
    about = {"kind": "http", "model": "m", "url": f"http://127.0.0.1:{port}/v1", "batch_size": 1}
    writers = [about | {"prompt": f"{topic}-v2", "name": topic} for topic in ("clothes", "background")]
    words = ["rebuild", out, "--data", "folder", "--folder", stage.photos, "--writers", json.dumps(writers)]
    return Command(*words, "--parallel", 1, before=impatient, **how)


def rebuilt(out: Path) -> dict[str, bytes]:
    """What must be the same: answers without their seconds, and the new captions."""
    lines = {path.name: path.read_text().splitlines() for path in sorted((out / "answers").iterdir())}
    answers = {name: [json.loads(line) | {"seconds": 0} for line in found] for name, found in lines.items()}
    captions = {path.name: path.read_bytes() for path in sorted(out.glob("*_captions.json"))}
    assert captions, "no new data set"
    return captions | {"answers": json.dumps(answers).encode()}


@functools.cache
def undisturbed_rebuild(stage: Stage) -> tuple[dict[str, bytes], int, float]:
    """What it gives, the port of the server (which stands in the configuration), and its seconds."""
    out = stage.folder() / "rebuilt"
    with served() as port:
        begun = time.monotonic()
        done(rebuild(stage, out, port))
        return rebuilt(out), port, time.monotonic() - begun


def server_goes_away(stage: Stage, rng: random.Random) -> None:
    expected, port, _ = undisturbed_rebuild(stage)
    out = stage.folder() / "rebuilt"
    answers = rng.randrange(1, 2 * PICTURES)
    with served(port, answers):
        refused(rebuild(stage, out, port), "cannot be reached", "the same command goes on from here")
    refused(rebuild(stage, out, port), "cannot be reached")
    with served(port):
        done(rebuild(stage, out, port))
    assert rebuilt(out) == expected


# --- kills, and signals ---


@functools.cache
def undisturbed_captions(stage: Stage, suffix: str = ".jsonl") -> tuple[bytes, float]:
    out = stage.folder() / f"x{suffix}"
    begun = time.monotonic()
    done(stage.caption(out))
    return out.read_bytes(), time.monotonic() - begun


def weights(run: Path) -> dict[str, bytes]:
    return {name: (run / name / "model.safetensors").read_bytes() for name in ("best", "last")}


@functools.cache
def undisturbed_training(stage: Stage) -> tuple[dict[str, bytes], float]:
    run = stage.folder() / "run"
    begun = time.monotonic()
    done(stage.train(run))
    return weights(run), time.monotonic() - begun


def killed(begin: Callable[[], Command], seconds: float, rng: random.Random, times: int = 2) -> None:
    """It is killed at random moments, and then let go on."""
    for _ in range(times):
        command = begin()
        time.sleep(rng.uniform(0, seconds))
        command.tell(signal.SIGKILL, group=True)
        command.end()
    done(begin())


def killed_captioning(stage: Stage, rng: random.Random) -> None:
    suffix, folder = rng.choice([".jsonl", ".csv"]), stage.folder()
    expected, seconds = undisturbed_captions(stage, suffix)
    killed(lambda: stage.caption(folder / f"x{suffix}"), seconds, rng)
    assert (folder / f"x{suffix}").read_bytes() == expected and not hidden(folder)


def killed_training(stage: Stage, rng: random.Random) -> None:
    expected, seconds = undisturbed_training(stage)
    folder = stage.folder()
    killed(lambda: stage.train(folder / "run"), seconds, rng)
    assert weights(folder / "run") == expected and not hidden(folder)


def killed_rebuild(stage: Stage, rng: random.Random) -> None:
    expected, port, seconds = undisturbed_rebuild(stage)
    folder = stage.folder()
    with served(port):
        killed(lambda: rebuild(stage, folder / "rebuilt", port), seconds, rng)
    assert rebuilt(folder / "rebuilt") == expected and not hidden(folder)


def killed_archives(stage: Stage, rng: random.Random) -> None:
    """What killed backups and restores leave behind goes with the next one."""
    folder = stage.folder()
    archive, back = folder / "a.tar", folder / "back"
    for _ in range(3):
        command = Command("backup", stage.run, "--out", archive)
        time.sleep(rng.uniform(0, 0.3))
        command.tell(signal.SIGKILL)
        command.end()
    archive.unlink(missing_ok=True)
    done(Command("backup", stage.run, "--out", archive))
    assert not hidden(folder)
    for _ in range(3):
        command = Command("restore", archive, back)
        time.sleep(rng.uniform(0, 0.3))
        command.tell(signal.SIGKILL)
        command.end()
    shutil.rmtree(back, ignore_errors=True)
    done(Command("restore", archive, back))
    assert not hidden(folder) and content(back / "best") == content(stage.run / "best")


def die_between_renames() -> None:
    """When the new `best` is to take its place, and the old one has left it."""
    rename = Path.rename

    def deadly(path: Path, target: Path) -> Path:
        if Path(target).name == "best":
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(path, target)

    Path.rename = deadly


def killed_between_two_renames(stage: Stage, rng: random.Random) -> None:
    folder = stage.folder()
    run = folder / "run"
    shutil.copytree(stage.run, run)
    best = weights(run)["best"]
    command = Command("restore", "x", "y", before=functools.partial(replace_best, run))
    assert command.end().status == -signal.SIGKILL and not (run / "best").exists()
    done(Command("caption", stage.photos / "00.png", "--model", run, "--decoding.max_length", 8))
    done(Command("backup", run, "--out", folder / "a.tar"))
    done(stage.train(run))
    done(Command("caption", stage.photos / "00.png", "--model", run, "--decoding.max_length", 8))
    assert weights(run)["best"] == best and not hidden(folder)


def replace_best(run: Path) -> None:
    from captioning.learning.loop import save_model
    from captioning.models.saved import load

    model = load(run)
    die_between_renames()
    save_model(model, run / "best")


def told_to_end(stage: Stage, rng: random.Random, begin: Callable[[], Command], seconds: float) -> None:
    """By Ctrl-C, `kill` or a terminal that is closed; the last two also reach it before it listens, and kill it."""
    number = rng.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    command = begin()
    time.sleep(rng.uniform(0.05, seconds))
    command.tell(number, group=number != signal.SIGTERM)
    ended = command.end()
    assert ended.status in (0, 128 + number, -number), (number, ended.status, ended.err)
    assert "Traceback" not in ended.err and "Exception ignored" not in ended.err, ended.err
    if ended.status == 128 + number:
        assert "the same command goes on where this one was" in ended.err


def signals_while_captioning(stage: Stage, rng: random.Random) -> None:
    expected, seconds = undisturbed_captions(stage)
    folder = stage.folder()
    begin = functools.partial(stage.caption, folder / "x.jsonl", "--workers", 2)
    told_to_end(stage, rng, begin, seconds)
    assert not hidden(folder)
    done(begin())
    assert (folder / "x.jsonl").read_bytes() == expected


def signals_while_training(stage: Stage, rng: random.Random) -> None:
    """With the features of the encoder computed by readers, in a cache of its own."""
    _, seconds = undisturbed_training(stage)
    folder = stage.folder()
    cache = functools.partial(features_in, folder / "features")
    begin = functools.partial(stage.train, folder / "run", "--recipe.workers", 2, "--training.epochs", 1, before=cache)
    told_to_end(stage, rng, begin, seconds)
    assert not hidden(folder)
    done(begin())


def features_in(folder: Path) -> None:
    from captioning.evaluation import splits

    splits.FEATURES = folder


# --- two at once ---


def two_at_once(stage: Stage, folder: Path, begin: Callable[[], Command], lock: str) -> None:
    """The first is held up in the middle, the second is told so, and the first ends as if nothing had been."""
    first = begin()
    first.wait_for((folder / lock).exists)
    first.wait_for(lambda: bool((folder / lock).read_text()))
    first.tell(signal.SIGSTOP)
    refused(begin(), BUSY, str(first.pid))
    first.tell(signal.SIGCONT)
    done(first)
    assert not hidden(folder)


def two_captionings(stage: Stage, rng: random.Random) -> None:
    expected, _ = undisturbed_captions(stage)
    folder = stage.folder()
    two_at_once(stage, folder, lambda: stage.caption(folder / "x.jsonl"), ".x.jsonl.captioning.lock")
    assert (folder / "x.jsonl").read_bytes() == expected


def two_captionings_beside(stage: Stage, rng: random.Random) -> None:
    folder, before = stage.folder(), content(stage.photos)
    words = (folder / "x.jsonl", "--workers", 0, "--to", "sidecars")
    two_at_once(stage, folder, lambda: stage.caption(*words), ".x.jsonl.captioning.lock")
    assert len(content(stage.photos)) > len(before)
    done(Command("caption", "--undo", folder / "x.jsonl"))
    assert content(stage.photos) == before and not content(folder)


def two_rebuilds(stage: Stage, rng: random.Random) -> None:
    expected, port, _ = undisturbed_rebuild(stage)
    folder = stage.folder()
    with served(port):
        two_at_once(stage, folder, lambda: rebuild(stage, folder / "new", port), ".new.captioning.lock")
    assert rebuilt(folder / "new") == expected


def two_trainings(stage: Stage, rng: random.Random) -> None:
    expected, _ = undisturbed_training(stage)
    folder = stage.folder()
    two_at_once(stage, folder, lambda: stage.train(folder / "run"), ".run.captioning.lock")
    assert weights(folder / "run") == expected


def lock_of_a_killed_one(stage: Stage, rng: random.Random) -> None:
    expected, _ = undisturbed_captions(stage)
    folder = stage.folder()
    first = stage.caption(folder / "x.jsonl", "--workers", 2)
    first.wait_for((folder / "x.jsonl").exists)
    first.tell(signal.SIGKILL)  # its readers live on for a moment
    done(stage.caption(folder / "x.jsonl"))
    first.end()
    assert (folder / "x.jsonl").read_bytes() == expected and not hidden(folder)


# --- a full disk ---


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[bool]:
    """A file system of so many bytes in a folder, if this process may mount one."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
    try:
        if not mounted.returncode:
            folder.chmod(0o777)
        yield not mounted.returncode
    finally:
        if not mounted.returncode:
            subprocess.run(["umount", "-l", folder], check=True)


def full_while_captioning(stage: Stage, rng: random.Random) -> None:
    suffix, folder = rng.choice([".jsonl", ".csv"]), stage.folder()
    expected, _ = undisturbed_captions(stage, suffix)
    out = folder / f"x{suffix}"
    room = rng.randrange(100, len(expected))  # with less there is none for the lock either
    refused(stage.caption(out, room=room), str(out), FULL, "What it has stays")
    assert expected.startswith(out.read_bytes()) and out.read_bytes()[-1:] in (b"", b"\n")
    done(stage.caption(out))
    assert out.read_bytes() == expected and not hidden(folder)


def full_while_scoring(stage: Stage, rng: random.Random) -> None:
    """The table is printed, and an earlier result stays."""
    folder = stage.folder()
    names = [f"{number:02}" for number in range(PICTURES)]
    (folder / "said.json").write_text(json.dumps(dict.fromkeys(names, "a red hat")))
    (folder / "true.json").write_text(json.dumps({name: ["a red hat", "a dog"] for name in names}))
    words = ["score", folder / "said.json", folder / "true.json", "--out", folder / "scores.json"]
    done(Command(*words))
    before = content(folder)
    ended = refused(Command(*words, room=50), "scores.json", FULL, "What was there stays")
    assert "BLEU-4" in ended.out and content(folder) == before


def full_while_evaluating(stage: Stage, rng: random.Random) -> None:
    folder = stage.folder()
    shutil.copytree(stage.run, folder / "run")
    done(Command("evaluate", folder / "run"))
    before = content(folder)
    ended = refused(Command("evaluate", folder / "run", room=100), "_val.json", FULL, "What was there stays")
    assert "BLEU-4" in ended.out and content(folder) == before


def full_while_training(stage: Stage, rng: random.Random) -> None:
    expected, _ = undisturbed_training(stage)
    folder = stage.folder()
    largest = max(map(len, content(stage.run).values()))
    refused(stage.train(folder / "run", room=rng.randrange(3_000, largest)), FULL, "make room", str(folder / "run"))
    done(stage.train(folder / "run"))
    assert weights(folder / "run") == expected and not hidden(folder)


def full_while_rebuilding(stage: Stage, rng: random.Random) -> None:
    expected, port, _ = undisturbed_rebuild(stage)
    folder = stage.folder()
    with served(port):
        refused(rebuild(stage, folder / "new", port, room=rng.randrange(1_000, 2_500)), "new/", FULL, "make room")
        done(rebuild(stage, folder / "new", port))
    assert rebuilt(folder / "new") == expected and not hidden(folder)


def full_while_packing(stage: Stage, rng: random.Random) -> None:
    folder = stage.folder()
    archive, room = folder / "a.tar", rng.randrange(3_000, 20_000)
    refused(Command("backup", stage.run, "--out", archive, room=room), "a.tar", FULL, "Nothing was written")
    assert not content(folder)
    done(Command("backup", stage.run, "--out", archive))
    refused(Command("restore", archive, folder / "back", room=room), "back", FULL, "Nothing was written")
    assert content(folder).keys() == {"a.tar"}
    done(Command("restore", archive, folder / "back"))


def small_file_system(stage: Stage, rng: random.Random) -> None:
    """A real one, where this may mount: what does not fit is told before it is written, with what it needs."""
    folder = stage.folder()
    done(Command("backup", stage.run, "--out", folder / "a.tar"))
    (folder / "disk").mkdir()
    with small_disk(folder / "disk", 300_000) as mounted:
        if mounted:
            place = folder / "disk"
            refused(Command("backup", stage.run, "--out", place / "a.tar"), "a.tar: needs", "MB are free", "make room")
            refused(Command("restore", folder / "a.tar", place / "back"), "back", "needs", "Nothing was written")
            refused(stage.train(place / "run"), FULL, str(place / "run"), "checkpoint is intact")
            cache = functools.partial(features_in, place / "features")
            done(stage.train(folder / "run", before=cache))  # the features then lie in a temporary folder


# --- permissions ---


def closed_folder(stage: Stage, rng: random.Random) -> None:
    folder = stage.folder()
    photos = folder / "photos"
    shutil.copytree(stage.photos, photos)
    (photos / "private").mkdir()
    shutil.copy(stage.photos / "00.png", photos / "private")
    (photos / "private").chmod(0)
    try:
        words = ["caption", photos, "--model", stage.run, "--out", folder / "x.jsonl"]
        refused(Command(*words, nobody=True), "private", "Permission denied", "name the other folders")
        words = ["data", "folder", "--folder", photos, "--check"]
        refused(Command(*words, nobody=True), "private", "Permission denied")
    finally:
        (photos / "private").chmod(0o755)


def other_users(stage: Stage, rng: random.Random) -> None:
    """What one wrote another can read; what he has closed is told as closed; a cache that is his is not needed."""
    folder = stage.folder()
    shutil.copytree(stage.run, folder / "run")
    done(Command("backup", stage.run, "--out", folder / "a.tar"))
    done(Command("restore", folder / "a.tar", folder / "back"))
    for run in (stage.run, folder / "back"):
        done(stage.caption(folder / "x.jsonl", "--workers", 0, nobody=True))
        closed = [path for path in (run / "best").iterdir() if path.stat().st_mode & 0o777 != 0o644]
        assert not closed, closed
    (folder / "run" / "best" / "model.safetensors").chmod(0)
    words = ["caption", stage.photos / "00.png", "--model", folder / "run"]
    refused(Command(*words, nobody=True), "model.safetensors: permission denied")
    (folder / "features").mkdir(mode=0o555)
    for path in (folder / "back", folder / "back" / "best"):
        path.chmod(0o777)
    cache = functools.partial(features_in, folder / "features")
    ended = done(Command("evaluate", folder / "back", nobody=True, before=functools.partial(alone_in, cache)))
    assert "kept in a temporary folder only" in ended.err and not content(folder / "features")


def alone_in(cache: Callable[[], None]) -> None:
    """Somebody who may not read this Python cannot begin another process of it."""
    from captioning.data import sources

    cache()
    sources._problems = lambda pictures, workers: [None] * len(pictures)


# --- archives and odd names ---


def cut_archives(stage: Stage, rng: random.Random) -> None:
    """Wherever an archive is cut, it is refused."""
    done(Command(before=functools.partial(cut_everywhere, stage.run, stage.folder(), rng)))


def cut_everywhere(run: Path, folder: Path, rng: random.Random) -> None:
    from captioning.sharing import backup

    names = backup.backup(run, folder / "a.tar")
    whole = (folder / "a.tar").read_bytes()
    with tarfile.open(folder / "a.tar") as packed:
        starts = [place for member in packed.getmembers() for place in (member.offset, member.offset_data)]
        end = packed.offset + 1024
    for length in {*starts, end - 1024, end - 512, end - 1, *(rng.randrange(end) for _ in range(50))}:
        (folder / "cut.tar").write_bytes(whole[:length])
        try:
            backup.restore(folder / "cut.tar", folder / "back")
        except ValueError as error:
            assert "cut.tar" in str(error) and not (folder / "back").exists()
        else:
            raise AssertionError(f"cut at {length} of {end} bytes ({len(whole)} with what fills it up), and taken")
    (folder / "cut.tar").write_bytes(whole[:end])
    assert sorted(backup.restore(folder / "cut.tar", folder / "back")) == sorted(names)


def odd_names(stage: Stage, rng: random.Random) -> None:
    """Line breaks, quotes and commas in the names of pictures, and the table cut at any byte."""
    done(Command(before=functools.partial(cut_table, stage.folder() / "x.csv")))


def cut_table(out: Path) -> None:
    from captioning.serving.inference import put, resume

    names = ["a\nb.png", "c\rd.png", 'e\r\n"f.png', "g,\u2028h.png", "i.png"]
    rows = [{"image": name, "caption": 'a "dog", red', "log_probability": -1.5} for name in names]
    put(rows, out)
    whole = out.read_bytes()
    for length in range(len(whole) + 1):
        out.write_bytes(whole[:length])
        known = resume(out, 1)
        put([row for row in rows if row["image"] not in known], out)
        assert out.read_bytes() == whole, f"cut at byte {length}"
