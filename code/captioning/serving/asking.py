"""A vision-language model at work on picture files: as inference.py and word_maps.py have it of a captioner."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from captioning.data.batches import Readers
from captioning.data.pictures import BrokenPicture
from captioning.data.prompt_fields import MissingField
from captioning.data.workers import forked
from captioning.decoding.config import Decoding
from captioning.models.vlm import Question, VisionLanguageModel
from captioning.serving.inference import Rows, caption_rows
from captioning.serving.word_maps import WordMap, by_word


class ReadableQuestions(torch.utils.data.Dataset):
    """(file, question), or (file, what is wrong) for a picture that cannot be read or asked about."""

    def __init__(self, files: list[str], model: VisionLanguageModel):
        self.files, self.read = files, model.read

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> tuple[str, Question | str]:
        file = self.files[row]
        try:
            return file, self.read(file)
        except (BrokenPicture, MissingField) as error:
            return file, str(error)


def captioned(
    model: VisionLanguageModel, files: list[str], decoding: Decoding, batch_size: int, workers: int
) -> Iterator[tuple[Rows, list[str]]]:
    """What `inference.captioned` gives, in the same order."""
    begun = {"num_workers": workers, "multiprocessing_context": forked(workers)}
    for batch in Readers(ReadableQuestions(files, model), batch_size=batch_size, collate_fn=list, **begun):
        whole = {file: question for file, question in batch if isinstance(question, Question)}
        broken = [problem for _, problem in batch if isinstance(problem, str)]
        yield caption_rows(model, list(whole), list(whole.values()), decoding), broken


def word_maps(model: VisionLanguageModel, picture: bytes, decoding: Decoding) -> list[WordMap]:
    """The captions of one picture, word by word; where the model looks it does not say."""
    said, maps = model.spoken([model.read(picture)], decoding), []
    for ids, log_probs, text in zip(said.ids, said.log_probs, said.texts, strict=True):
        words = by_word(partial(model.tokenizer.decode, skip_special_tokens=True), ids)
        sure = [math.exp(sum(log_probs[places])) for _, places in words]
        caption = " ".join(text.split())
        maps.append(WordMap(caption, [text for text, _ in words], sure, sum(log_probs), None, np.empty((0, 4))))
    return maps
