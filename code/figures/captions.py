"""Draws captions.png, the README's picture: four test pictures, drawn by lot, with the captions of notebook 02's
transformer. Run it after `bash prepare.sh run`."""

from pathlib import Path

import numpy as np

from captioning import paths
from captioning.course.fashion import FASHION_DECODING, fashion_data
from captioning.data.minifashion import mark
from captioning.data.pictures import read_picture
from captioning.evaluation import splits
from captioning.models import saved
from captioning.plots import figures

test = fashion_data("mini")["test"]
rows = test.select(np.random.default_rng(0).choice(len(test), 4, replace=False))
captions = splits.caption_rows(saved.load(paths.OUTPUT / "mini" / "02_transformer"), rows, FASHION_DECODING)
marks = [mark(caption, truth) for caption, truth in zip(captions.values(), rows["attributes"], strict=True)]
figures.style()
figure = figures.caption_grid([read_picture(source) for source in rows["image"]], list(captions.values()), marks)
figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)
