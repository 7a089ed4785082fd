"""JSON as its standard has it, so that every program can read what this package writes."""

from __future__ import annotations

import json
import math
import re
from typing import Any

HALF = re.compile("[\ud800-\udfff]")  # of a pair of surrogates: in the name of a file that is not UTF-8


def dumps(content: Any, **options: Any) -> str:
    """`json.dumps`, but what is no finite number becomes null, and half a character an escape, whatever `options`."""
    text = json.dumps(_finite(content), allow_nan=False, **options)
    return HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
