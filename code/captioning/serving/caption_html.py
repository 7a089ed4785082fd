"""Captions as HTML: each word with its probability, and, when it is pointed at, where the model looked for it.

Nothing here needs a script: a word is a radio button whose map lies over the picture while it is chosen or pointed at.
"""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

from captioning.serving.word_maps import WordMap, heat

if TYPE_CHECKING:
    from captioning.evaluation.comparison import Told

SHOWN = 640  # pixels of the longer side of the picture on the page
INK, DARK = (10, 18, 28), 215  # what is not looked at is covered with this colour, of this opacity
TOP = 'style="text-align:left; vertical-align:top; white-space:normal; padding:6px 8px'
CELL, TEXT = f'{TOP}"', f'{TOP}; min-width:16em"'  # a table that is too narrow for a caption scrolls
WRONG = "light-dark(#c25100, #ff9447)"
serial = itertools.count()  # radio buttons of different captions have different names


def card(picture: Image.Image, model: str, captions: list[WordMap], seconds: float) -> str:
    """What one model says of a picture."""
    figures = "".join(caption_figure(picture, each) for each in captions)
    facts = f"{seconds:.2f} s" if captions else "the constraints leave no caption"
    return f'<article class="card"><h3>{escape(model)} <small>{facts}</small></h3>{figures}</article>'


def caption_figure(picture: Image.Image, word_map: WordMap) -> str:
    """The picture, and the words of one caption."""
    name, width, height = f"caption{next(serial)}", *picture.size
    maps = (
        [None] * len(word_map.words)
        if word_map.attention is None
        else [veil(row, word_map.boxes) for row in word_map.attention]
    )
    said = zip(word_map.words, word_map.probabilities, maps, strict=True)
    words = "".join(word(name, *each) for each in said)
    note = "" if word_map.attention is not None else " · this model does not say where it looks"
    shape, alt, length = (
        f"--shape:{width}/{height};--ratio:{width / height:.4f}",
        escape(word_map.caption),
        len(word_map.caption.split()),
    )
    return (
        f'<figure class="caption" style="{shape}"><img class="photo" src="{thumbnail(picture)}" alt="{alt}">'
        f'<figcaption><p class="words" role="radiogroup" aria-label="{alt}">{words}</p>'
        f'<p class="facts">log-probability {word_map.log_probability:.2f} · {length} words{note}</p>'
        "</figcaption></figure>"
    )


def word(name: str, text: str, probability: float, veil: str | None) -> str:
    """A word with its probability in percent; the redder its line, the less sure it was."""
    shown = escape(text) if text else "<i>end</i>"
    overlay = f'<img class="veil" src="{veil}" alt="">' if veil else ""
    return (
        f'<label class="word" style="--p:{probability:.3f}" title="probability {probability:.3f}">'
        f'<input type="radio" name="{name}"><span>{shown}</span><small>{100 * probability:.0f}</small>{overlay}</label>'
    )


def side_by_side(picture: Image.Image, alt: str, said: Mapping[str, str], told: Mapping[str, Told]) -> str:
    """A picture and, in a table beside it, what each system says of it: how many true things, what it invents, and of
    what it says nothing. Systems that say the same share a row.

    alt: the picture in words. told: what is true of each system's caption (`comparison.told`).
    """
    names: dict[str, list[str]] = {}
    for name, caption in said.items():
        names.setdefault(caption, []).append(name)
    rows = [spoken_row(who, caption, told[who[0]]) for caption, who in names.items()]
    shown = f'<img src="{thumbnail(picture)}" style="width:150px; max-width:none" alt="{escape(alt)}">'
    first = f'<td rowspan="{len(rows)}" {CELL}>{shown}</td>'
    return f"<table><tbody><tr>{first}{'</tr><tr>'.join(rows)}</tr></tbody></table>"


def spoken_row(names: list[str], caption: str, told: Told) -> str:
    kinds = (("invented", told.invented, f' style="color:{WRONG}"'), ("unsaid", told.unsaid, ""))
    faults = "".join(f"<br><span{look}>{kind}: {listed(claims)}</span>" for kind, claims, look in kinds if claims)
    who = "<br>".join(f'<b style="white-space:nowrap">{escape(name)}</b>' for name in names)
    return f"<td {CELL}>{who}</td><td {CELL}>{len(told.true)} true</td><td {TEXT}>{escape(caption)}{faults}</td>"


def listed(claims: set[tuple[str, str]]) -> str:
    """Claims in words, *hat* for (hat, yes)."""
    words = (name if value == "yes" else f"{name} {value}" for name, value in sorted(claims))
    return escape(", ".join(words).replace("_", " "))


def message(text: str) -> str:
    return f'<p class="message" role="status">{escape(text)}</p>'


def veil(weights: np.ndarray, boxes: np.ndarray) -> str:
    """A dark cover over the picture with holes where the attention is, as the address of a small PNG."""
    spread = Image.fromarray(np.rint(255 * heat(weights, boxes)).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1.5))
    light = np.asarray(spread, dtype=float) / max(1, np.max(spread))
    cover = Image.new("RGBA", spread.size, INK)
    cover.putalpha(Image.fromarray(np.rint(DARK * (1 - light)).astype(np.uint8)))
    return address(cover, "PNG")


def thumbnail(picture: Image.Image) -> str:
    small = picture.copy()
    small.thumbnail((SHOWN, SHOWN))
    return address(small, "JPEG")


def address(picture: Image.Image, kind: str) -> str:
    """The picture itself as a `data:` address."""
    written = io.BytesIO()
    picture.save(written, kind, optimize=True)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(written.getvalue()).decode()}"
