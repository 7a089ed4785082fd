"""The training tasks of an OFA with styles: captions, and two more about the same pictures, mixed by weight."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
from datasets import Dataset

from captioning.data.batches import CaptionRows, Item, encoded
from captioning.models.ofa.captioner import OFACaptioner
from captioning.models.ofa.config import Tasks
from captioning.models.ofa.styles import MASKED, MATCHING


class StyledRows(CaptionRows):
    """CaptionRows of a data set with the column `style`; which task a picture is asked for, and how, changes with the
    epoch. `settings` are those of CaptionRows."""

    hidden = 0.3  # share of the words that the task `masked` hides

    def __init__(self, rows: Dataset, model: OFACaptioner, tasks: Tasks, **settings):
        prompts = {style: model.prompt_ids(model.prompt(style)) for style in set(rows["style"])}
        self.styles, self.texts, self.model = list(rows["style"]), list(rows["captions"]), model
        self.of_style = {style: np.flatnonzero(np.array(self.styles) == style) for style in prompts}
        self.weights = np.array(astuple(tasks)) / sum(astuple(tasks))
        super().__init__(
            rows,
            model.tokenizer,
            model.encoder.config.image_size,
            prompts=[prompts[style] for style in self.styles],
            **settings,
        )

    def __getitem__(self, index: tuple[int, int]) -> Item:
        _, image, tokens, prompt = super().__getitem__(index)
        epoch, row = index
        rng = np.random.default_rng((self.seed, epoch, row, 1))
        task = rng.choice(3, p=self.weights)
        if task == 0:
            return index, image, tokens, prompt
        question, answer = (self.matching if task == 1 else self.masked)(row, rng)
        answers = [encoded(self.model.tokenizer, answer, self.max_length)] * len(tokens)
        return index, image, answers, self.model.prompt_ids(question)

    def matching(self, row: int, rng: np.random.Generator) -> tuple[str, str]:
        """Question and answer: half the captions belong to the picture and style; of a quarter each the picture
        (" no") or the style (" personality") is another. A style with a single item has no other picture, and a model
        of one style no other style."""
        caption, style, answer = str(rng.choice(self.texts[row])), self.styles[row], "yes"
        others = self.of_style[style][self.of_style[style] != row]
        if (draw := rng.random()) < 0.25 and len(others):
            caption, answer = str(rng.choice(self.texts[rng.choice(others)])), "no"
        elif draw < 0.5 and len(self.model.styles) > 1:
            style, answer = str(rng.choice([name for name in self.model.styles if name != style])), "personality"
        return MATCHING.format(caption, self.model.style_name(style)), answer

    def masked(self, row: int, rng: np.random.Generator) -> tuple[str, str]:
        """Question and answer: a caption of which whole words are hidden, at least one; and the caption."""
        caption = str(rng.choice(self.texts[row]))
        words = caption.split()
        hidden = rng.random(len(words)) < self.hidden
        hidden[rng.integers(len(words))] = True
        shown = ["<mask>" if gone else word for word, gone in zip(words, hidden, strict=True)]
        return MASKED.format(" ".join(shown), self.model.style_name(self.styles[row])), caption
