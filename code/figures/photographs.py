"""Draws photographs.png, the README's picture: photographs that are free to show, with captions by the captioner that
comes with the package. Run it after `scripts/photo_captioner.sh`."""

from pathlib import Path

from captioning.course.world import photograph_features
from captioning.data.pictures import PHOTOGRAPHS, read_picture
from captioning.models import saved
from captioning.plots import figures
from captioning.serving.inference import PHOTO_CAPTIONER

SHOWN = [file for file in PHOTOGRAPHS if file.stem != "flower"]
model = saved.load(PHOTO_CAPTIONER)
captions = model.generate(photograph_features(model, SHOWN), model.usual).best
figures.style()
figure = figures.caption_grid([read_picture(file) for file in SHOWN], captions, columns=3)
figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)
