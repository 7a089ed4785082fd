"""A writer behind an OpenAI-compatible server: vLLM, Ollama, llama.cpp, or one that wants a key."""

from __future__ import annotations

import base64
import io
import json
import os
import re
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from captioning.data.pictures import read_picture
from captioning.rebuild.backends import WriterAway, WriterFailed, text_part
from captioning.rebuild.prompts import Prompt

if TYPE_CHECKING:
    from openai import OpenAI

CUT = "…"  # ends an answer that the server broke off at max_tokens, so that its last sentence counts as unfinished
NO_MORE = (408, 429, 502, 503, 504)  # still so after all retries: overloaded, or nobody behind the proxy


class HttpWriter:
    """A model at `url`; pictures travel as JPEG in the request.

    key_env: name of the environment variable that has the server's key; the key itself is kept in no file.
    timeout: seconds for one answer. retries: of a request that met no server, or 408, 409, 429 or 5xx; the waits
    between them grow from half a second to eight, unless the server says how long (the client of `openai` does that).
    A server that refuses or ignores `n` is asked once for each sample. May be asked by several threads at once.
    """

    def __init__(self, model: str, url: str, key_env: str = "", timeout: float = 600.0, retries: int = 5):
        self.name, self.url, self.key_env, self.timeout, self.retries = model, url, key_env, timeout, retries
        self.one_by_one = False  # whether the server has refused to give several answers at once

    @property
    def key(self) -> str:
        """Raises WriterAway when the variable is not set."""
        found = os.environ.get(self.key_env, "") if self.key_env else "none"
        if not found:
            raise WriterAway(f"key_env names the variable {self.key_env}, which is not set: export {self.key_env}=...")
        return found

    @cached_property
    def client(self) -> OpenAI:
        try:
            from openai import OpenAI, Timeout
        except ImportError as error:
            raise WriterAway("a writer behind a server needs openai: pip install 'captioning[rebuild]'") from error
        patience = Timeout(self.timeout, connect=min(self.timeout, 10.0))
        return OpenAI(base_url=self.url, api_key=self.key, timeout=patience, max_retries=self.retries)

    def write(self, pictures: Sequence[str], prompt: Prompt, seed: int) -> list[list[str]]:
        return [self.ask(picture, prompt, seed + i) for i, picture in enumerate(pictures)]

    def ask(self, picture: str, prompt: Prompt, seed: int) -> list[str]:
        """All samples about one picture. Raises WriterFailed with the server's words, WriterAway where they would be
        the same about any other picture."""
        wanted, said = prompt.sampling.samples, []
        content = [text_part(prompt), {"type": "image_url", "image_url": {"url": jpeg(picture)}}]
        while len(said) < wanted:  # another seed for each further request: the same would give the same words
            count = 1 if self.one_by_one else wanted - len(said)
            said += self.request(picture, content, prompt, (seed + 1009 * len(said)) % 2**32, count)
        return said[:wanted]

    def request(self, picture: str, content: list[dict], prompt: Prompt, seed: int, count: int) -> list[str]:
        """At least one answer, `count` of them if the server gives so many at once."""
        from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAIError

        sampling = prompt.sampling
        try:
            reply = self.client.chat.completions.with_raw_response.create(
                model=self.name,
                messages=[{"role": "user", "content": content}],
                n=count,
                temperature=sampling.temperature if sampling.sample else 0.0,
                top_p=sampling.top_p,
                max_tokens=sampling.max_tokens,
                seed=seed,
            )
            return answers_in(reply.text)
        except APIStatusError as error:
            if error.status_code in (400, 422) and count > 1:  # perhaps it was `n`; if not, the next says what it is
                said = self.request(picture, content, prompt, seed, 1)
                self.one_by_one = True
                return said
            raise self.failure(error.status_code, picture, error.response.text) from error
        except APITimeoutError as error:
            raise WriterFailed(f"{self.address}: no answer about {picture} in {self.timeout:g} s") from error
        except APIConnectionError as error:
            why = error.__cause__ or error
            raise WriterAway(
                f"{self.address} cannot be reached, tried {self.retries + 1} times ({why}); what was answered is kept: "
                "start the server, then the same command goes on from here"
            ) from error
        except (OpenAIError, NotAnAnswer) as error:
            raise WriterFailed(f"{self.address}: no answer about {picture}, but {self.hushed(str(error))}") from error

    def failure(self, status: int, picture: str, body: str) -> WriterFailed:
        """The error for a status that is not 200."""
        found = f"{self.address} answers {status}: {self.hushed(words_in(body))}"
        if status in (401, 403):
            key = f"; it was given the key in {self.key_env}" if self.key_env else "; no key was given"
            return WriterAway(f"{found}{key}. Give `key_env`, the name of an environment variable that has a key")
        if status == 404:
            return WriterAway(f"{found}; asked for the model {self.name!r}. Correct `url` (it ends in /v1) or `model`")
        if status in NO_MORE:
            return WriterAway(
                f"{found}, {self.retries + 1} times; what was answered is kept: the same command goes on from here"
            )
        return WriterFailed(f"{found} (about {picture})")

    def hushed(self, text: str) -> str:
        """A server's words without the key that it may repeat: they are kept beside the answers."""
        return text.replace(self.key, "(key)") if self.key_env else text

    @property
    def address(self) -> str:
        """The URL without names, passwords and keys in it."""
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    def facts(self) -> dict[str, Any]:
        return {"kind": "http", "model": self.name, "url": self.address}


class NotAnAnswer(ValueError):
    """A reply with status 200 in which there is no answer: the server's words."""


def answers_in(body: str) -> list[str]:
    """The answers of a chat completion (JSON). Raises NotAnAnswer where there is none."""
    try:
        choices = json.loads(body)["choices"]
        said = [answer_in(choice) for choice in choices]
    except (ValueError, TypeError, KeyError, AttributeError):
        said = []
    if not said:
        raise NotAnAnswer(words_in(body) or "nothing")
    return said


def answer_in(choice: dict[str, Any]) -> str:
    """What is said: a string, parts with text, a refusal, or nothing; with `CUT` behind it where it was broken off."""
    content = choice["message"].get("content") or choice["message"].get("refusal") or ""
    if not isinstance(content, str):
        content = "".join(part["text"] for part in content if part.get("type", "text") == "text")
    return content + CUT if choice.get("finish_reason") == "length" else content


def words_in(body: str) -> str:
    """What a server says of an error, in at most 300 letters: the message of its JSON, or the text of a page."""
    try:
        found = json.loads(body)
        for name in ("error", "message", "detail"):
            found = found.get(name, found) if isinstance(found, dict) else found
        text = found if isinstance(found, str) else json.dumps(found)
    except ValueError:
        text = re.sub(r"(?s)<(style|script)\b.*?</\1>|<[^>]*>", " ", body)
    text = " ".join(text.split())
    return text if len(text) <= 300 else text[:300] + " ..."


def jpeg(picture: str) -> str:
    """A picture as a data URL."""
    buffer = io.BytesIO()
    read_picture(picture).save(buffer, "JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
