"""What the course's page opens with: photographs with what the shipped captioner says of them, and one caption word by
word."""

from __future__ import annotations

import functools
from html import escape

from captioning.course.world import photograph_features
from captioning.data.pictures import PHOTOGRAPHS, read_picture
from captioning.models import saved
from captioning.serving import caption_html
from captioning.serving.inference import PHOTO_CAPTIONER
from captioning.serving.word_maps import word_maps
from captioning.text import punctuated

TAKEN_APART = "temple"  # the photograph whose caption is shown word by word
TOLD = (
    '<p class="quiet">One caption, word by word: the number is the probability in percent. Point at a word, or choose '
    "it, to see where the model looked for it.</p>"
)


@functools.cache
def opening() -> str:
    """HTML without a script: a figure a photograph, then the caption of one whose words show where the model looked."""
    model = saved.load(PHOTO_CAPTIONER)
    features = photograph_features(model)
    said = model.generate(features, model.usual).best
    [at] = [i for i, file in enumerate(PHOTOGRAPHS) if file.stem == TAKEN_APART]
    others = [each for i, each in enumerate(zip(PHOTOGRAPHS, said, strict=True)) if i != at]
    figures = [shown(read_picture(file), text) for file, text in others]
    [words] = word_maps(model, features[at : at + 1], model.usual)
    apart = caption_html.caption_figure(read_picture(PHOTOGRAPHS[at]), words)
    return f'<div class="photographs">{"".join(figures)}</div><div class="apart">{apart}{TOLD}</div>'


def shown(picture: caption_html.Image.Image, caption: str) -> str:
    text = escape(punctuated(caption))
    return f'<figure><img src="{caption_html.thumbnail(picture)}" alt=""><figcaption>{text}</figcaption></figure>'
