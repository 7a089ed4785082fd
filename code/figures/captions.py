"""Draws captions.png, the README's picture: four test pictures, drawn by lot, with the captions of notebook 02's
transformer. Run it after `bash prepare.sh run`."""

from pathlib import Path

import numpy as np

from captioning import evaluation, paths, plots, profiles
from captioning.data.minifashion import mark
from captioning.data.pictures import read_picture
from captioning.models import saved

test = profiles.fashion_data("mini")["test"]
rows = test.select(np.random.default_rng(0).choice(len(test), 4, replace=False))
captions = evaluation.caption_rows(saved.load(paths.OUTPUT / "02_transformer"), rows, profiles.FASHION_DECODING)
marks = [mark(caption, truth) for caption, truth in zip(captions.values(), rows["attributes"], strict=True)]
plots.style()
figure = plots.caption_grid([read_picture(source) for source in rows["image"]], list(captions.values()), marks)
figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)
