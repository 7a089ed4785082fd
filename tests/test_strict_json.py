"""JSON that every program can read: no NaN, no infinity, no half of a character."""

import json
import math

import numpy as np
import pytest

from captioning.writing import dumps


def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, np.float64("nan")])
def test_what_is_no_finite_number_is_null_at_any_depth(number):
    content = {"scores": [{"SPICE": number, "n": 3}, (number, 0.5)], "name": "a"}
    found = json.loads(dumps(content, indent=1), parse_constant=refuse)
    assert found == {"scores": [{"SPICE": None, "n": 3}, [None, 0.5]], "name": "a"}


@pytest.mark.parametrize("ascii_only", [True, False])
def test_the_name_of_a_file_that_is_not_utf_8_can_be_written_and_read_again(ascii_only):
    content = {"image": b"caf\xe9.jpg".decode("utf-8", "surrogateescape"), "caption": "café 🐶 \u2028"}
    text = dumps(content, ensure_ascii=ascii_only)
    assert json.loads(text.encode("utf-8")) == content
    assert ("é" in text) == (not ascii_only)


def test_what_was_strict_is_as_json_writes_it():
    content = {"a": [1, 2.5, None, True, "x"], "b": {}}
    assert dumps(content, indent=2) == json.dumps(content, indent=2)
