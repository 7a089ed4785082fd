"""A writer behind a server: keys, servers of many habits, requests side by side, and servers that go away."""

import json
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from datasets import Dataset
from PIL import Image

from captioning.rebuild import pipeline, server
from captioning.rebuild.backends import WriterAway, WriterFailed
from captioning.rebuild.pipeline import Task
from captioning.rebuild.prompts import Sampling, prompt
from captioning.rebuild.server import HttpWriter

pytest.importorskip("openai")
ASKED = replace(prompt("background-v2"), sampling=Sampling(samples=2, max_tokens=5))
ONE = replace(ASKED, sampling=Sampling(samples=1))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A table of 12 pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    files = [folder / f"{i:02}.png" for i in range(12)]
    for i, file in enumerate(files):
        Image.new("RGB", (8, 8), (20 * i, 0, 0)).save(file)
    ids = [file.name for file in files]
    captions = [["a man in a hat ."]] * len(ids)
    columns = {"image": list(map(str, files)), "image_id": ids, "captions": captions, "split": ["train"] * len(ids)}
    return Dataset.from_dict(columns)


def choices(*texts, **more):
    """The body of a chat completion."""
    return {
        "choices": [
            {"index": i, "finish_reason": "stop", "message": {"role": "assistant", "content": text}} | more
            for i, text in enumerate(texts)
        ]
    }


@pytest.fixture
def served():
    """A server; `served.reply(asked, number)` gives (status, body) or the body of a 200, `served.asked` what came."""
    state = SimpleNamespace(asked=[], keys=[], lock=threading.Lock())
    state.reply = lambda asked, number: choices(*(f"street {i} ." for i in range(asked["n"])))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with state.lock:
                state.asked.append(asked)
                state.keys.append(self.headers.get("Authorization"))
                number = len(state.asked)
            found = state.reply(asked, number)
            status, body = found if isinstance(found, tuple) else (200, found)
            body = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if body.startswith(b"<") else "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("retry-after-ms", "5")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        state.url = f"http://127.0.0.1:{running.server_port}/v1"
        yield state
        running.shutdown()


def colour(asked):
    """Which picture of the table a request shows."""
    import base64
    import io

    picture = asked["messages"][0]["content"][1]["image_url"]["url"].partition(",")[2]
    return round(Image.open(io.BytesIO(base64.b64decode(picture))).getpixel((4, 4))[0] / 20)


def test_a_request(served, pictures):
    writer = HttpWriter("some-model", served.url)
    assert writer.write(pictures["image"][:2], ASKED, 7) == [["street 0 .", "street 1 ."]] * 2
    first, second = served.asked
    text, image = first["messages"][0]["content"]
    assert text == {"type": "text", "text": ASKED.text}
    assert image["image_url"]["url"].startswith("data:image/jpeg;base64,")
    assert (first["seed"], second["seed"], first["n"], first["max_tokens"], first["top_p"]) == (7, 8, 2, 5, 0.9)


# ---- keys -----------------------------------------------------------------------------------------------------------


def needs_key(served, key):
    def reply(asked, number):
        if served.keys[number - 1] != f"Bearer {key}":
            return 401, {"error": {"message": f"Incorrect API key provided: {served.keys[number - 1]}"}}
        return choices("a street .")

    served.reply = reply


def test_a_key_is_taken_from_the_environment_and_stands_in_no_file(served, pictures, tmp_path, monkeypatch):
    needs_key(served, "sk-secret")
    monkeypatch.setenv("STREET_KEY", "sk-secret")
    address = served.url.replace("http://", "http://me:sk-other@") + "?key=sk-third"
    writer = HttpWriter("m", served.url, key_env="STREET_KEY")
    pipeline.ask(pictures, [Task("vlm", writer, ONE, 4)], tmp_path)
    assert HttpWriter("m", address).facts()["url"] == served.url
    written = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert "a street ." in written and "sk-" not in written


def test_a_wrong_key_stops_at_once_in_the_words_of_the_server(served, pictures, tmp_path, monkeypatch):
    needs_key(served, "sk-secret")
    monkeypatch.setenv("STREET_KEY", "sk-wrong")
    with pytest.raises(WriterAway, match="401: Incorrect API key .*the key in STREET_KEY") as stopped:
        pipeline.ask(pictures, [Task("vlm", HttpWriter("m", served.url, "STREET_KEY"), ONE, 4)], tmp_path)
    assert len(served.asked) == 1 and "sk-" not in str(stopped.value)
    with pytest.raises(WriterAway, match="no key was given.*key_env"):
        HttpWriter("m", served.url).write(pictures["image"][:1], ONE, 0)
    monkeypatch.delenv("STREET_KEY")
    with pytest.raises(WriterAway, match="STREET_KEY, which is not set: export"):
        HttpWriter("m", served.url, "STREET_KEY").write(pictures["image"][:1], ONE, 0)


# ---- servers of many habits -----------------------------------------------------------------------------------------


def test_a_server_that_refuses_n_is_asked_n_times(served, pictures):
    served.reply = lambda asked, number: (
        choices(f"street {asked['seed']} .") if asked["n"] == 1 else (400, {"error": {"message": "Only one choice"}})
    )
    first, second = HttpWriter("m", served.url).write(pictures["image"][:2], ASKED, 7)
    assert len(set(first)) == len(set(second)) == 2, "other words for other seeds"
    assert [asked["n"] for asked in served.asked] == [2, 1, 1, 1, 1], "it is offered n once"


def test_a_server_that_ignores_n_is_asked_again_for_the_rest(served, pictures):
    served.reply = lambda asked, number: choices(f"street {asked['seed']} .")
    [texts] = HttpWriter("m", served.url).write(pictures["image"][:1], replace(ASKED, sampling=Sampling(samples=3)), 7)
    assert len(set(texts)) == 3


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (choices([{"type": "text", "text": "a "}, {"type": "text", "text": "street ."}]), "a street ."),
        (choices([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a street ."}]), "a street ."),
        (choices("a street . there are", finish_reason="length"), "a street . there are…"),
        (choices(None), ""),
        (choices(None, message={"content": None, "refusal": "I cannot."}), "I cannot."),
    ],
)
def test_replies_that_hold_an_answer(served, pictures, body, said):
    served.reply = lambda asked, number: body
    assert HttpWriter("m", served.url).write(pictures["image"][:1], ONE, 0) == [[said]]


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("<html><style>p {}</style><h1>Sign in</h1> first</html>", "01.png, but Sign in first"),
        ({"error": {"message": "model is loading", "code": 1}}, "01.png, but model is loading"),
        ({"error": "no such user"}, "but no such user"),
        ({"choices": []}, r'but {"choices": \[\]}'),
        ("not JSON", "but not JSON"),
        ((400, {"error": {"message": "the picture is too large"}}), "answers 400: the picture is too large .*01.png"),
        ((400, {"detail": "no pictures here"}), "answers 400: no pictures here"),
        ((500, "<h1>Out of memory</h1>"), "answers 500: Out of memory"),
    ],
)
def test_replies_without_an_answer_are_told_in_the_words_of_the_server(served, pictures, reply, said):
    served.reply = lambda asked, number: reply
    with pytest.raises(WriterFailed, match=said) as failed:
        HttpWriter("m", served.url, retries=0).write(pictures["image"][1:2], ONE, 0)
    assert not isinstance(failed.value, WriterAway) and "\n" not in str(failed.value)


def test_a_model_that_the_server_has_not_stops_at_once(served, pictures):
    served.reply = lambda asked, number: (404, {"error": {"message": "model 'm' not found"}})
    with pytest.raises(WriterAway, match="404: model 'm' not found.*`model`"):
        HttpWriter("m", served.url).write(pictures["image"][:1], ONE, 0)


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(served, pictures, status):
    served.reply = lambda asked, number: choices("a street .") if number > 3 else (status, {"error": "busy"})
    assert HttpWriter("m", served.url).write(pictures["image"][:1], ONE, 0) == [["a street ."]]
    served.reply = lambda asked, number: (status, {"error": "busy"})
    with pytest.raises(WriterAway, match=f"answers {status}: busy, 3 times.*same command"):
        HttpWriter("m", served.url, retries=2).write(pictures["image"][:1], ONE, 0)


# ---- side by side ---------------------------------------------------------------------------------------------------


def slow(asked, number, seconds=0.2):
    time.sleep(seconds * (1 + number % 2))  # so that they end in another order
    return choices(f"street {colour(asked)} .")


def test_requests_run_side_by_side_and_answers_stand_in_order(served, pictures, tmp_path):
    writer = HttpWriter("m", served.url)
    writer.write(pictures["image"][:1], ONE, 0)  # what is imported for the first time takes a while
    served.reply = slow
    started = time.perf_counter()
    pipeline.ask(pictures, [Task("vlm", writer, ONE, batch_size=4, parallel=6)], tmp_path)
    assert time.perf_counter() - started < 12 * 0.2, "12 requests of 0.2 and 0.4 s take 3.6 s one by one"
    lines = pipeline.read_batches(tmp_path / "answers" / "vlm.jsonl")
    assert [line["ids"] for line in lines] == [[image_id] for image_id in pictures["image_id"]]
    assert [line["texts"][0] for line in lines] == [[f"street {i} ."] for i in range(12)]
    alone = tmp_path / "alone"
    served.reply = lambda asked, number: slow(asked, number, 0)
    pipeline.ask(pictures, [Task("vlm", writer, ONE, batch_size=4)], alone)
    one, other = (list(pipeline.read_answers(folder, [("vlm", ONE)])) for folder in (tmp_path, alone))
    assert one == other


def test_the_seed_of_a_picture_does_not_depend_on_how_many_run_side_by_side(served, pictures, tmp_path):
    for parallel in (1, 6):
        served.reply = lambda asked, number: choices(f"street {asked['seed']} .")
        task = Task("vlm", HttpWriter("m", served.url), ASKED, batch_size=4, parallel=parallel)
        pipeline.ask(pictures, [task], tmp_path / str(parallel))
    one, many = (list(pipeline.read_answers(tmp_path / name, [("vlm", ASKED)])) for name in ("1", "6"))
    assert one == many


@pytest.mark.parametrize("parallel", [1, 4])
def test_a_server_that_goes_away_stops_the_run_and_costs_no_picture(served, pictures, tmp_path, parallel):
    """It is there for 5 requests, gone (the connection is refused), and there again."""

    def until_5(asked, number):
        if number > 5:
            raise ConnectionAbortedError  # the server closes the connection without a word
        return choices(f"street {colour(asked)} .")

    def tasks(url):
        return [Task("vlm", HttpWriter("m", url, retries=0), ONE, batch_size=1, parallel=parallel)]

    served.reply = until_5
    with pytest.raises(WriterAway, match="cannot be reached.*what was answered is kept.*same command"):
        pipeline.ask(pictures, tasks(served.url), tmp_path)
    answered = list(pipeline.read_answers(tmp_path, [("vlm", ONE)]))
    assert len(answered) == 5
    served.asked.clear()
    served.reply = lambda asked, number: choices(f"street {colour(asked)} .")
    pipeline.ask(pictures, tasks(served.url), tmp_path)
    assert len(served.asked) == 12 - len(answered), "what was answered is not asked again"
    told = {answer.image_id: answer.text for answer in pipeline.read_answers(tmp_path, [("vlm", ONE)])}
    assert list(told.values()) == [f"street {i} ." for i in range(12)] and list(told) == pictures["image_id"]


def test_no_server(pictures):
    with pytest.raises(WriterAway, match=r"http://127.0.0.1:1/v1 cannot be reached, tried 1 times \(.*refused"):
        HttpWriter("m", "http://127.0.0.1:1/v1", retries=0).write(pictures["image"][:1], ONE, 0)


def test_a_page_of_an_error_is_short():
    assert len(server.words_in("<p>" + "word " * 1000)) < 310
