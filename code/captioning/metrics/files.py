"""Reads captions from the file formats of the field, and lists the metrics that this machine can compute of them."""

from pathlib import Path

from captioning.data.files import BrokenSource, field, read_json, unique
from captioning.metrics.base import Metric, Unavailable
from captioning.metrics.clipscore import ClipScore, pictures_by_id
from captioning.metrics.meteor import Meteor
from captioning.metrics.spice import Spice


def read_captions(path: Path) -> dict[str, list]:
    """{image_id: what stands for its captions, in the order of the file}; ids become strings.

    The files: a list of {"image_id", "caption"} (COCO results), the same under "annotations" (COCO annotations), or an
    object {id: caption or [captions]}. Raises BrokenSource (a ValueError) for another file or a damaged one.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; expected JSON: COCO results or annotations, or {{id: captions}}"
        )
    content = read_json(path, (list, dict), object_pairs_hook=lambda pairs: unique(path, pairs))
    if isinstance(content, dict) and "annotations" not in content:
        return {i: texts if isinstance(texts, list) else [texts] for i, texts in content.items()}
    entries = content if isinstance(content, list) else field(content, "annotations", path, list)
    found: dict[str, list] = {}
    for entry in entries:
        image_id = field(entry, "image_id", path)
        if not isinstance(image_id, str | int):
            raise BrokenSource(f"{path}: image_id {image_id!r} is neither a number nor a string; restore the entry")
        found.setdefault(str(image_id), []).append(field(entry, "caption", path))
    return found


def metrics_at_hand(spice: Path | None = None, clip: Path | None = None) -> tuple[list[Metric], list[str]]:
    """METEOR, and what is asked for: SPICE with its folder of jars, CLIPScore with a folder of pictures named by id.

    What cannot be had is not there, and a line says why.
    """
    wanted = [Meteor]
    if spice:
        wanted.append(lambda: Spice(spice))
    if clip:
        wanted.append(lambda: ClipScore(pictures_by_id(clip)))
    found, absent = [], []
    for make in wanted:
        try:
            found.append(make())
        except Unavailable as why:
            absent.append(str(why))
    return found, absent
