"""Where the time of a self-critical step goes: drawing, reward, second pass with gradient.

    python tests/bench/rl.py [--pictures 32] [--samples 5] [--repeats 5]

A transformer of the size of code/configs/flickr8k_transformer.yaml with random weights, on random features; references
and vocabulary are those of mini-fashion, 5 a picture, and samples are cut at 20 tokens. The reward runs beside the
second pass; here it is also timed alone, which is its share of the step's work: on the first words of true captions,
because what a model without training says shares next to nothing with the references. At most 10 % is the aim.
"""

import argparse
import os
import time
from statistics import median

import torch

from captioning.data import minifashion
from captioning.learning.config import RLConfig
from captioning.learning.losses import SelfCritical
from captioning.learning.products import QuickLinear
from captioning.learning.rewards import SampleReward
from captioning.models.config import EncoderConfig, TransformerConfig
from captioning.models.saved import new
from captioning.paths import DATASET
from captioning.text import WordTokenizer

CELLS, WORDS = 64, 2600


def timed(run, repeats: int) -> float:
    """Median seconds, after a first run."""
    run()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", type=int, default=32)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    rows = minifashion.build(DATASET / "minifashion")["train"]
    references = dict(zip(rows["image_id"], [texts * 5 for texts in rows["captions"]], strict=True))
    filler = [f"w{k}" for k in range(WORDS - 100)]  # a vocabulary of the size of Flickr8k's
    tokenizer = WordTokenizer.train([*(texts[0] for texts in rows["captions"]), " ".join(filler)])
    decoder = TransformerConfig(width=320, heads=5, encoder_layers=1, layers=2, max_length=48)
    model = new(decoder, EncoderConfig("mobilenetv2_100", weights=None), tokenizer, seed=0)
    reward = SampleReward(references, tokenizer)
    objective = SelfCritical(model, reward, RLConfig(samples=options.samples, max_length=20))
    features = torch.randn(options.pictures, CELLS, model.encoder.channels)
    keys = torch.arange(options.pictures)
    batch = {"images": features, "rows": keys, "keys": keys}
    chosen = keys.repeat_interleave(options.samples).numpy()
    true = [texts[0] for texts in rows["captions"]]
    flat = [tokenizer.encode(true[row + k])[:20] for row in range(options.pictures) for k in range(options.samples)]
    step = timed(lambda: objective(batch)[0].backward(), options.repeats)
    with QuickLinear():  # as the step does
        draw = timed(lambda: objective.draw(features, keys), options.repeats)
    judge = timed(lambda: (reward(flat, chosen), reward.novel(flat)), options.repeats)
    print(f"{options.pictures} pictures x {options.samples} samples, load {os.getloadavg()[0]:.1f}")
    print(f"step {step:.2f} s: drawing {draw:.2f} s ({draw / step:.0%})")
    verdict = "at most" if judge <= 0.1 * step else "more than"
    print(f"the reward alone {1000 * judge:.0f} ms ({judge / step:.1%}, {verdict} 10 %)")


if __name__ == "__main__":
    main()
