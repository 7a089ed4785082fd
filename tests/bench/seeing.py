"""Captions per second of a language model that sees, of our search and of Hugging Face's `generate`.

    python tests/bench/seeing.py [--vocabularies 49152 7895] [--forms packed bf16 int8] [--beams 5] [--repeats 3]

A Llama of the size of SmolLM2-135M with random weights reads 16 visual tokens a picture and writes 20 words for each of
16 pictures; 49,152 words are all of SmolLM2's, 7,895 those of Flickr8k's captions. `generate` copies the visual tokens
for every beam, ours reads them once. Beside the plain 32 bits stand the other forms of weights that `caption --weights`
has, and `generate` in bfloat16. All captions are as long as they may be, the engines take turns, and the times are
medians of CPU time, which other work on the machine does not lengthen much, with the share of captions that are the
same as ours.
"""

import argparse
import os
import time
from copy import deepcopy

import torch
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from captioning.decoding.config import Decoding
from captioning.models.config import EncoderConfig, SeeingConfig
from captioning.models.pieces import PieceTokenizer
from captioning.models.seeing import SeeingCaptioner
from captioning.serving.quantized import faster
from decoding import Captions, measure, ours

PICTURES, VISUAL, WORDS = 16, 16, 20
ENCODER = EncoderConfig("test_resnet", weights=None, image_size=128)  # 4 x 4 cells; the features are random
SMOLLM2 = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
}


def make_model(vocabulary: int) -> SeeingCaptioner:
    """Random weights, large ones, so that no two words are about equally likely."""
    torch.manual_seed(0)
    words = {f"w{i}": i for i in range(vocabulary)}
    special = {"bos": 0, "eos": 1, "pad": 2, "unk": 3}
    tokenizer = PieceTokenizer(Tokenizer(models.WordLevel(words, "w3")), range(vocabulary), special, ())
    language = LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, initializer_range=0.1, **SMOLLM2))
    return SeeingCaptioner(SeeingConfig(trained="nothing", merge=1), ENCODER, tokenizer, language).eval()


@torch.inference_mode()
def hugging_face(language: PreTrainedModel, model: SeeingCaptioner, features: torch.Tensor, beams: int) -> Captions:
    begin = model.embed(torch.full((len(features), 1), model.tokenizer.bos_id))
    read = torch.cat([model.projector(features), begin], dim=1).to(language.dtype)
    said = language.generate(
        inputs_embeds=read, attention_mask=torch.ones(read.shape[:2], dtype=torch.long), num_beams=beams,
        min_new_tokens=WORDS - 1, max_new_tokens=WORDS, do_sample=False,
        suppress_tokens=list(model.tokenizer.never), bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    return said.tolist()


def compare(vocabulary: int, beams: int, repeats: int, forms: list[str]) -> None:
    model = make_model(vocabulary)
    features = torch.randn(PICTURES, VISUAL, model.encoder.channels)
    config = Decoding(beams=beams, max_length=WORDS, min_length=WORDS - 1)
    plain = deepcopy(model.language)
    plain.set_attn_implementation("sdpa")
    half = deepcopy(plain).bfloat16()
    engines = {"ours": lambda: ours(model, features, config)}
    for how in forms:
        quick = faster(model, how)
        engines[f"ours, {how}"] = lambda quick=quick: ours(quick, features, config)
    engines["generate"] = lambda: hugging_face(plain, model, features, beams)
    engines["generate, bf16"] = lambda: hugging_face(half, model, features, beams)
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    print(f"{vocabulary:,} words, {WORDS} a caption, beam {beams}; load {load}", flush=True)
    measure(engines, repeats, time.process_time)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--vocabularies", type=int, nargs="+", default=[49_152, 7_895])
    parser.add_argument("--beams", type=int, default=5)
    parser.add_argument("--forms", nargs="*", default=["packed", "bf16", "int8"], help="of our weights")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} thread(s); x: times as long as ours")
    for vocabulary in options.vocabularies:
        compare(vocabulary, options.beams, options.repeats, options.forms)


if __name__ == "__main__":
    main()
