"""Captions per second of captioning.decoding.search, of Hugging Face's `generate` and one picture at a time.

    python tests/bench/decoding.py [--sizes 110x20 10000x60] [--beams 1 5] [--repeats 3] [--threads 1]

Decoders of width 512, 8 heads and 3 layers on 196 cells, with random weights: `--sizes` are words in the vocabulary x
tokens a caption. Hugging Face's model is a Pegasus decoder with the same weights and a key/value cache, at batch 32 and
at the best of `--batches`; the search one picture at a time has no cache, as in course code, and is timed on a few
pictures only. All captions are as long as they may be, so that every engine does the same work. The engines take
turns; the times are medians, in milliseconds a picture, with the share of captions that are the same as ours.

`--gru` compares the GRU with the search that the fashion course had for it: its memory kept, one picture at a time.
"""

import argparse
import os
import string
import time
from collections.abc import Callable
from itertools import product
from statistics import median

import torch
from transformers import PegasusConfig, PegasusForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from captioning.decoding.config import Decoding
from captioning.models.base import CaptionModel
from captioning.models.config import EncoderConfig, GRUConfig, TransformerConfig
from captioning.models.gru import GRUCaptioner
from captioning.models.transformer import TransformerCaptioner
from captioning.serving.quantized import faster
from captioning.text import WordTokenizer

PICTURES, CELLS, ALONE = 32, 196, 2  # ALONE: pictures for the search one picture at a time
ENCODER = EncoderConfig("test_resnet", weights=None, image_size=64)  # never run: the features are random
Captions = list[list[int]]


def tokenizer_of(size: int) -> WordTokenizer:
    words = ("".join(letters) for letters in product(string.ascii_lowercase, repeat=3))
    return WordTokenizer.train([" ".join(word for word, _ in zip(words, range(size - 4), strict=False))])


def make_model(kind: str, vocabulary: int) -> CaptionModel:
    """Random weights, scaled up so that no two words are about equally likely."""
    torch.manual_seed(0)
    if kind == "gru":
        model = GRUCaptioner(GRUConfig(), ENCODER, tokenizer_of(vocabulary))
        torch.nn.init.normal_(model.head.weight, std=0.5)
    else:
        config = TransformerConfig(encoder_layers=0, max_length=64)
        model = TransformerCaptioner(config, ENCODER, tokenizer_of(vocabulary))
        torch.nn.init.normal_(model.embedding.weight, std=0.2)
        torch.nn.init.normal_(model.norm.weight)  # else each word predicts itself
    return model.eval()


def pegasus(model: TransformerCaptioner) -> PegasusForConditionalGeneration:
    """Hugging Face's pre-norm decoder with the weights of ours."""
    config, size = model.config, len(model.tokenizer)
    theirs = PegasusForConditionalGeneration(
        PegasusConfig(
            vocab_size=size, d_model=config.width, encoder_layers=1, decoder_layers=config.layers,
            decoder_attention_heads=config.heads, encoder_attention_heads=config.heads,
            decoder_ffn_dim=4 * config.width, encoder_ffn_dim=4, max_position_embeddings=config.max_length,
            activation_function="gelu", scale_embedding=False, pad_token_id=0, eos_token_id=2,
        )
    ).eval()  # fmt: skip
    decoder = theirs.model.decoder
    with torch.no_grad():
        theirs.model.shared.weight.copy_(model.embedding.weight)
        decoder.embed_positions.weight.copy_(model.position.weight)
        decoder.layer_norm.load_state_dict(model.norm.state_dict())
        for ours, layer in zip(model.layers, decoder.layers, strict=True):
            copy_layer(ours, layer)
    return theirs


def copy_layer(ours: torch.nn.Module, theirs: torch.nn.Module) -> None:
    cross = ours.cross_attention
    key, value = (halves(cross.key_value, i) for i in (0, 1))
    for attention, weights in (
        (theirs.self_attn, [halves(ours.self_attention.qkv, i, 3) for i in range(3)]),
        (theirs.encoder_attn, [cross.query.state_dict(), key, value]),
    ):
        for name, state in zip(("q_proj", "k_proj", "v_proj"), weights, strict=True):
            getattr(attention, name).load_state_dict(state)
    theirs.self_attn.out_proj.load_state_dict(ours.self_attention.out.state_dict())
    theirs.encoder_attn.out_proj.load_state_dict(cross.out.state_dict())
    theirs.fc1.load_state_dict(ours.feed_forward[0].state_dict())
    theirs.fc2.load_state_dict(ours.feed_forward[2].state_dict())
    for name, norm in (("self_attn", ours.norm1), ("encoder_attn", ours.norm2), ("final", ours.norm3)):
        getattr(theirs, f"{name}_layer_norm").load_state_dict(norm.state_dict())


def halves(linear: torch.nn.Linear, i: int, parts: int = 2) -> dict[str, torch.Tensor]:
    """Part i of the outputs of a layer."""
    return {name: x.chunk(parts)[i] for name, x in linear.state_dict().items()}


def ours(model: CaptionModel, features: torch.Tensor, config: Decoding) -> Captions:
    return [ids[0] for ids in model.generate(features, config).ids]


@torch.inference_mode()
def hugging_face(theirs, model: TransformerCaptioner, features, config: Decoding, batch: int) -> Captions:
    captions = []
    for part in features.split(batch):
        captions += theirs.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=model.grid(part)),
            decoder_start_token_id=model.tokenizer.bos_id,
            suppress_tokens=list(model.tokenizer.never),
            num_beams=config.beams,
            max_new_tokens=config.max_length,
            min_new_tokens=config.min_length,
            do_sample=False,
            forced_eos_token_id=None,
        )[:, 1:].tolist()
    return captions


@torch.inference_mode()
def one_picture_at_a_time(model: CaptionModel, features: torch.Tensor, config: Decoding) -> Captions:
    """Beam search as course code has it: lists, a whole forward pass for each word, a copy of the picture a beam."""
    captions = []
    for picture in features[:ALONE]:
        said, total = [[model.tokenizer.bos_id]], torch.zeros(1)
        for t in range(config.max_length):
            logits = model.decode(picture.expand(len(said), -1, -1), torch.tensor(said))[:, -1]
            said, total, _ = continued(model, said, total, logits, t, config)
        captions.append(said[0][1:])
    return captions


@torch.inference_mode()
def one_picture_at_a_time_gru(model: GRUCaptioner, features: torch.Tensor, config: Decoding) -> Captions:
    """The same with the GRU's memory kept between words."""
    captions = []
    for picture in features:
        said, total = [[model.tokenizer.bos_id]], torch.zeros(1)
        shown, hidden = model.show(picture[None])
        for t in range(config.max_length):
            last = torch.tensor([words[-1:] for words in said])
            logits, hidden = model.run(last, shown.expand(len(said), -1), hidden)
            said, total, parents = continued(model, said, total, logits[:, -1], t, config)
            hidden = hidden[parents]
        captions.append(said[0][1:])
    return captions


def continued(model, said: list[list[int]], total: torch.Tensor, logits: torch.Tensor, t: int, config: Decoding):
    """The best continuations of one picture's hypotheses, their scores and whose continuations they are."""
    scores = logits.log_softmax(dim=-1)
    scores[:, list(model.tokenizer.never)] = -torch.inf
    if t < config.min_length:
        scores[:, model.tokenizer.eos_id] = -torch.inf
    total, index = (total[:, None] + scores).flatten().topk(config.beams)
    parents, words = index // scores.shape[1], index % scores.shape[1]
    grown = [[*said[p], w] for p, w in zip(parents.tolist(), words.tolist(), strict=True)]
    return grown, total, parents


def measure(
    engines: dict[str, Callable[[], Captions]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> None:
    """The engines take turns, so that whatever else the machine does falls on all of them."""
    captions = {name: run() for name, run in engines.items()}  # and warm
    seconds = {name: [] for name in engines}
    for _ in range(repeats):
        for name, run in engines.items():
            start = clock()
            run()
            seconds[name].append((clock() - start) / len(captions[name]))
    first = next(iter(engines))
    for name in engines:
        same = sum(a == b for a, b in zip(captions[first], captions[name], strict=False))
        ratio = median(seconds[name]) / median(seconds[first])
        rate = f"{1000 * median(seconds[name]):8.1f} ms {1 / median(seconds[name]):8.1f} captions/s"
        print(f"  {name:34} {rate} {ratio:7.2f} x   same {same}/{len(captions[name])}", flush=True)


def compare(kind: str, vocabulary: int, tokens: int, beams: int, batches: list[int], repeats: int) -> None:
    model = make_model(kind, vocabulary)
    corners = torch.rand(PICTURES, CELLS, 2, 2).sort(dim=2).values.flatten(2)
    features = torch.cat([torch.randn(PICTURES, CELLS, model.encoder.channels - 4), corners], dim=-1)
    config = Decoding(beams=beams, max_length=tokens, min_length=tokens - 1)
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    print(f"{kind}, {vocabulary:,} words, {tokens} tokens, beam {beams}; load {load}", flush=True)
    engines = {"ours": lambda: ours(model, features, config)}
    for how in ("packed", "int8"):
        quick = faster(model, how)
        engines[f"ours, {how}"] = lambda quick=quick: ours(quick, features, config)
    if kind == "gru":
        engines["one picture at a time"] = lambda: one_picture_at_a_time_gru(model, features, config)
    else:
        theirs = pegasus(model)
        for batch in batches:
            engines[f"Hugging Face, batch {batch}"] = lambda n=batch: hugging_face(theirs, model, features, config, n)
        engines["one picture at a time, no cache"] = lambda: one_picture_at_a_time(model, features, config)
    measure(engines, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", default=["110x20", "110x60", "10000x20", "10000x60"])
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 8], help="of Hugging Face's generate")
    parser.add_argument("--gru", action="store_true", help="the GRU in place of the transformer")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} thread(s); x: times as long as ours")
    for size, beams in product(options.sizes, options.beams):
        vocabulary, tokens = map(int, size.split("x"))
        compare("gru" if options.gru else "transformer", vocabulary, tokens, beams, options.batches, options.repeats)


if __name__ == "__main__":
    main()
