"""Settings of training: the loop, the training samples, self-critical training, its reward, and distillation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from captioning.data.config import Augmentation
from captioning.models.ofa.config import Tasks

REWARDED = ("CIDEr-D", "BLEU-4", "ROUGE-L", "METEOR", "attributes")


@dataclass(frozen=True)
class TrainConfig:
    """The training loop."""

    epochs: int = 10  # passes over the training pictures
    batch_size: int = 32  # pictures a process and step; `accumulation` steps make one update
    accumulation: int = 1  # steps whose gradients make one update
    optimizer: Literal["adamw", "muon"] = "adamw"  # muon: for short trainings of new models
    lr: float = 5e-4  # the highest learning rate
    encoder_lr: float = 1e-4  # the same for whatever part of the encoder is trained
    warmup: float = 0.05  # share of all updates in which the rate rises from 0
    decay: Literal["cosine", "linear"] = "cosine"  # how it falls back to 0
    weight_decay: float = 0.01  # of the optimizer
    clip: float = 5.0  # largest norm of the gradient
    average: float = 0.0  # decay of the running average of the weights that is evaluated and saved (0: none)
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"  # of the model's arithmetic; weights stay in 32 bits
    patience: int = 0  # epochs without a better validation score before stopping (0: never stop early)
    checkpoint_every: int = 500  # updates from one checkpoint to the next; each epoch ends with one, too
    log_every: int = 10  # updates from one line of the log to the next
    seed: int = 0  # of the new weights, the order of the pictures, and dropout
    tracker: Literal["tensorboard", "wandb"] = "tensorboard"  # shows the log; Weights & Biases is kept offline


@dataclass(frozen=True)
class Recipe:
    """How captions become training samples, and what is minimised."""

    captions: int = 1  # captions of a picture in one step; its features are encoded once for all of them
    max_length: int = 100  # tokens of a caption, the end included; the tail of longer ones is not trained on
    # what a caption is made of, for a model that is trained from scratch: words, which stand between blanks, or single
    # characters, for languages that are written without blanks (Chinese, Japanese, Thai)
    tokenizer: Literal["words", "characters"] = "words"
    min_count: int = 1  # rarer words become <unk>
    smoothing: float = 0.1  # label smoothing
    coverage: float = 0.0  # weight of the doubly stochastic attention term (attention model only)
    drop_words: float = 0.0  # share of input words hidden from the decoder
    drop_worst: float = 0.0  # share of a batch's words, those that are least expected, that are not learned from
    tasks: Tasks = field(default_factory=Tasks)  # what a model that is asked is asked for, besides captions
    augmentation: Augmentation = field(default_factory=Augmentation)  # what is done to a training picture
    workers: int = 2  # processes that decode pictures; cached features are read in this one
    choose: Literal["CIDEr-D", "BLEU-4", "ROUGE-L", "attributes"] = "CIDEr-D"  # the epoch that is best in this on val

    def require_default(self, training: str, *names: str) -> None:
        """Raises ValueError for a setting of these `names` that is not as by default: they change nothing in this kind
        of training."""
        usual = Recipe()
        if odd := [name for name in names if getattr(self, name) != getattr(usual, name)]:
            raise ValueError(f"recipe.{odd[0]}: changes nothing in {training}; leave it out")


@dataclass(frozen=True)
class RLConfig:
    """Self-critical training: how samples are drawn, what they are compared with, what keeps the language alive."""

    samples: int = 5  # captions a picture and step
    # what a sample must beat: the greedy caption (Rennie et al. 2017), the mean of the picture's other samples (Luo
    # 2020), or: the samples are the n best beams and the baseline is their mean (Cornia et al. 2020; biased, because
    # beams are not draws from the model)
    baseline: Literal["greedy", "others", "beams"] = "others"
    # minimum risk instead of policy gradient: the expected reward if only the samples existed, each of them (however
    # often drawn) as likely as the model finds it beside the others (Shen et al. 2016); nothing is subtracted, and
    # `baseline` only says whether the samples are draws or beams; `per` says nothing
    objective: Literal["policy gradient", "minimum risk"] = "policy gradient"
    per: Literal["sentence", "token"] = "sentence"  # sum of a caption's log-probabilities, or mean over all tokens
    max_length: int = 20  # tokens of a sample, the end token included
    temperature: float = 1.0  # of the samples: below 1 sharper, above 1 flatter
    # samples are drawn and scored again with the model's dropout, which holds small data sets back from being learned
    # by heart; the masks of the two differ, so the estimate is no longer unbiased
    dropout: bool = False
    cross_entropy: float = 0.0  # weight of teacher forcing on the batch's true captions
    entropy: float = 0.0  # weight of the entropy bonus, nats a token
    kl: float = 0.0  # weight of KL(policy || the model at the start), nats a token

    def __post_init__(self):
        least = 1 if self.baseline == "greedy" and self.objective == "policy gradient" else 2
        if self.samples < least:
            raise ValueError(
                f"samples={self.samples}, baseline={self.baseline!r}: needs at least {least} sample(s) a picture"
            )


@dataclass(frozen=True)
class RewardConfig:
    """What is rewarded. Raises ValueError for weights of other names, and when none is above or below 0."""

    # weights of CIDEr-D, BLEU-4, ROUGE-L, METEOR (needs Java) and, where the data set knows the truth, attributes
    weights: dict[str, float] = field(default_factory=lambda: {"CIDEr-D": 1.0})
    end: bool = True  # the end of a sentence is a word of its n-grams, in CIDEr-D and BLEU-4

    def __post_init__(self):
        if not set(self.weights) <= set(REWARDED) or not any(self.weights.values()):
            raise ValueError(f"weights {self.weights}: expected numbers for some of {', '.join(REWARDED)}, not all 0")


@dataclass(frozen=True)
class DistillConfig:
    """What a student learns from, and how much of it."""

    captions: bool = False  # the teacher's own captions take the place of the data set's (Kim and Rush 2016)
    cross_entropy: float = 1.0  # weight of -log p of the captions, with the recipe's label smoothing
    logits: float = 1.0  # weight of T^2 KL(teacher || student), nats a word
    temperature: float = 1.0  # T: above 1 the words that the teacher holds unlikely count for more
    attention: float = 0.0  # weight of the squared distance of attention maps, mean over words and maps
    # whose maps: of the words on the words before them, of the words on the picture, of the encoder's cells
    attention_of: tuple[Literal["self", "cross", "encoder"], ...] = ("cross",)
    hidden: float = 0.0  # weight of the hidden states: the share of the teacher's variance that is not predicted
    # pairs (student layer, teacher layer), from 0; by default each student layer has one, spread over the teacher's
    layers: tuple[tuple[int, int], ...] = ()
    # the teacher's k likeliest next words are written to disk once and read from there; 0: the teacher runs along
    top_k: int = 0

    def __post_init__(self):
        if self.temperature <= 0:
            raise ValueError(f"temperature={self.temperature}: needs to be above 0")
        if min(self.cross_entropy, self.logits, self.attention, self.hidden, self.top_k) < 0:
            raise ValueError(f"{self}: weights and top_k need to be 0 or more")
        if self.top_k and (self.attention or self.hidden):
            raise ValueError(
                f"top_k={self.top_k} with attention={self.attention}, hidden={self.hidden}: only logits are kept on "
                "disk; use top_k=0, and the teacher runs along"
            )

    @property
    def inside(self) -> bool:
        """Whether more than logits is compared."""
        return bool(self.attention or self.hidden)

    @property
    def asks(self) -> bool:
        """Whether the teacher is asked for more than its captions."""
        return bool(self.logits or self.inside)
