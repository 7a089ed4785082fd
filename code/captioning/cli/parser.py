"""The parser of a verb: its options are explained by the comments of the configurations, and a wrong word on the
command line or in a file is named in a sentence, with the nearest right one."""

from __future__ import annotations

import argparse
import ast
import inspect
import io
import re
import textwrap
import tokenize
from collections.abc import Callable
from dataclasses import is_dataclass
from difflib import get_close_matches
from typing import NoReturn, get_type_hints

from jsonargparse import ArgumentParser, Namespace, auto_parser

from captioning.decoding.config import Decoding, DecodingChanges
from captioning.rebuild.prompts import Sampling, SamplingChanges

UNKNOWN = re.compile(r"(?:Group '(.+?)' does not accept option|Option) '(.+?)'")  # what jsonargparse says
CHANGES = re.compile(r"Unexpected keys: \{'(.+?)'")  # of DecodingChanges or SamplingChanges
LEFT = re.compile(r"unrecognized arguments: (\S+)")
KEY = re.compile(r'Parser key "(.+?)":\s*')
SUMMARY = re.compile("Does not validate against any of the Union subtypes|Problem with given class_path")


class Parser(ArgumentParser):
    """Raises argparse.ArgumentError where another parser prints its usage and exits."""

    def add_class_arguments(self, class_type, nested_key=None, *args, **kwargs) -> list[str]:
        added = super().add_class_arguments(class_type, nested_key, *args, **kwargs)
        config = {DecodingChanges: Decoding, SamplingChanges: Sampling}.get(class_type, class_type)
        texts = comments(config) if is_dataclass(config) else {}
        for action in self._actions:
            action.help = texts.get(action.dest.removeprefix(f"{nested_key}."), action.help)
        return added

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        keys, reason = cause(ex) if ex else ([], message)
        if unknown := UNKNOWN.match(reason):
            reason = misspelt("key", ".".join(filter(None, unknown.groups())), [each.dest for each in self._actions])
        elif unexpected := CHANGES.match(reason):
            reason = misspelt(
                "key", unexpected[1], [*DecodingChanges.__annotations__, *SamplingChanges.__annotations__]
            )
        elif left := LEFT.match(reason):
            options = list(self._option_string_actions)
            reason = misspelt("option", left[1], options) if left[1].startswith("-") else f"{left[1]!r} is too much"
        reason = re.sub(r"<class '(.+?)'>|typing\.(Literal)", r"\1\2", reason)
        raise argparse.ArgumentError(None, ": ".join([*keys, reason])) from ex


def options(function: Callable[..., None], command: str, words: list[str]) -> Namespace:
    """What a command line says of a function's parameters. Raises ArgumentError for what they cannot be."""
    parser = auto_parser(function, parser_class=Parser, prog=command, allow_abbrev=False)
    try:
        found = parser.instantiate(parser.parse_args(words))
    except ValueError as error:  # of a configuration that checks itself
        parser.error(str(error), error)
    found.pop("config", None)
    return found


def comments(config: type) -> dict[str, str]:
    """What the comments above and behind the fields of a dataclass say: {field: text}, {field.its field: text}."""
    source = textwrap.dedent(inspect.getsource(config))
    fields = [node for node in ast.parse(source).body[0].body if isinstance(node, ast.AnnAssign)]
    lines: dict[str, list[str]] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        field = next((field for field in fields if token.start[0] <= field.end_lineno), None)
        if token.type == tokenize.COMMENT and field:
            lines.setdefault(field.target.id, []).append(token.string.removeprefix("#").strip())
    found = {name: " ".join(said) for name, said in lines.items()}
    for name, kind in get_type_hints(config).items():
        found |= {f"{name}.{key}": text for key, text in comments(kind).items()} if is_dataclass(kind) else {}
    return found


def cause(error: BaseException) -> tuple[list[str], str]:
    """The keys under which an error arose, and what it says, without the summaries that were made of it."""
    keys = []
    while True:
        message = error.args[0] if isinstance(error, KeyError) else str(error)
        if key := KEY.match(message):
            keys.append(key[1])
            message = message[key.end() :]
        if error.__cause__ is None or not SUMMARY.search(message):
            return keys, message
        error = error.__cause__


def misspelt(what: str, word: str, known: list[str]) -> str:
    """What is wrong, with the nearest of the known ones: one beside it, or the same thing in another place."""
    parent, _, leaf = word.rpartition(".")
    beside = [each for each in known if each.rpartition(".")[0] == parent]
    for names, likeness in ((beside, 0.6), (known, 0.8)):
        leaves = {name.rpartition(".")[2]: name for name in reversed(names)}
        if near := get_close_matches(leaf, leaves, 1, likeness):
            return f"no {what} {word!r}, did you mean {leaves[near[0]]!r}?"
    return f"no {what} {word!r}" + (f"; there are {', '.join(beside)}" if parent and beside else "")
