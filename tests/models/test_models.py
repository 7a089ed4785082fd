"""What every captioner promises, and each decoder against an independent implementation with the same weights."""

import json
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn
from torch.testing import assert_close

from captioning.decoding.config import Decoding
from captioning.learning.losses import CrossEntropy
from captioning.models import saved, transformer
from captioning.models.attention import AdditiveAttention, Grid, SelfAttention
from captioning.models.config import EncoderConfig
from captioning.models.transformer import CrossAttention
from conftest import TINY_DECODERS, TINY_ENCODER

KINDS = tuple(TINY_DECODERS)
LOOKING = ("attention", "transformer")  # the models that have attention maps
B, T, N = 3, 7, 9


@pytest.fixture(params=KINDS)
def model(request, make_model):
    return make_model(request.param)


def random_features(model, pictures: int = B, cells: int = N) -> torch.Tensor:
    corners = torch.rand(pictures, cells, 2, 2).sort(dim=2).values.flatten(2)  # x0 < x1, y0 < y1
    return torch.cat([torch.randn(pictures, cells, model.encoder.channels - 4), corners], dim=-1)


def random_tokens(model, rows: int = B, length: int = T) -> torch.Tensor:
    words = torch.randint(4, len(model.tokenizer), (rows, length))
    words[:, 0] = model.tokenizer.bos_id
    return words


def random_images(pictures: int = B) -> torch.Tensor:
    return torch.randint(0, 256, (pictures, 3, 64, 64), dtype=torch.uint8)


@torch.no_grad()
def test_step_equals_forward(model):
    features, tokens = random_features(model), random_tokens(model)
    state, stepped = model.init_state(features), []
    for t in range(T):
        logits, state = model.step(tokens[:, t : t + 1], state)
        assert logits.shape == (B, 1, len(model.tokenizer))
        stepped.append(logits[:, 0])
    assert_close(torch.stack(stepped, dim=1), model(features, tokens))


@torch.no_grad()
@pytest.mark.parametrize("slots", [64, 2])
def test_step_equals_forward_for_reordered_hypotheses_and_kept_pictures(model, slots, monkeypatch):
    monkeypatch.setattr(transformer, "FIRST_SLOTS", slots)  # 2: the cache has to grow on the way
    features, k = random_features(model, pictures=5), 4
    bos = torch.full((5, 1), model.tokenizer.bos_id)
    logits, state = model.step(bos, model.init_state(features))
    tokens = bos[..., None]  # (B, K, T)
    for t in range(T):
        parents = torch.randint(0, tokens.shape[1], (len(tokens), k))
        words = torch.randint(4, len(model.tokenizer), (len(tokens), k))
        tokens = torch.cat([tokens.gather(1, parents[..., None].expand(-1, -1, t + 1)), words[..., None]], dim=-1)
        logits, state = model.step(words, state.reorder(parents))
        expected = model(features, tokens.flatten(0, 1))[:, -1]
        assert_close(logits, expected.view_as(logits))
        if t == 3:  # pictures 1 and 4 are done
            rows = torch.tensor([0, 2, 3])
            features, tokens, state = features[rows], tokens[rows], state.keep(rows)


@torch.no_grad()
def test_several_captions_a_picture_equal_one_at_a_time(model):
    features, n = random_features(model), 2
    tokens = random_tokens(model, rows=B * n)
    together = model(features, tokens).view(B, n, T, -1)
    for i in range(n):
        assert_close(together[:, i], model(features, tokens.view(B, n, T)[:, i]))


@torch.no_grad()
def test_images_and_their_features_give_the_same(model):
    images, tokens = random_images(), random_tokens(model)
    features = model.features(images)
    assert features.shape == (B, 4, model.encoder.channels)  # 64 pixels, stride 32
    assert_close(model(images, tokens), model(features, tokens))
    assert model.generate(images).ids == model.generate(features).ids


@torch.no_grad()
def test_a_picture_does_not_see_its_batch(model):
    # The earlier course ran its self-attention over the pictures of a batch instead of the cells of a picture.
    images, tokens = random_images(), random_tokens(model)
    others = torch.cat([images[:1], random_images(B - 1)])
    assert_close(model(images, tokens)[0], model(others, tokens)[0])
    assert_close(model(images, tokens)[:1], model(images[:1], tokens[:1]))
    assert not torch.allclose(model(images, tokens)[1], model(others, tokens)[1])


@torch.no_grad()
def test_a_word_does_not_see_later_words(model):
    features, tokens = random_features(model), random_tokens(model)
    changed = tokens.clone()
    changed[:, 4:] = (tokens[:, 4:] - 4 + 1) % 26 + 4
    before, after = model(features, tokens), model(features, changed)
    assert_close(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])


def test_padding_changes_neither_words_nor_gradients(model):
    features, tokens = random_features(model), random_tokens(model, rows=2 * B)
    tokens[1::2, 4:] = model.tokenizer.pad_id
    padded = model.decode(features, tokens)
    short, long = (model.decode(features, x) for x in (tokens[1::2, :4], tokens[::2]))
    assert_close(padded[1::2, :4], short)
    assert_close(padded[::2], long)
    parameters = [p for p in model.parameters() if p.requires_grad]
    losses = padded[1::2, :4].square().sum() + padded[::2].square().sum(), short.square().sum() + long.square().sum()
    found, expected = (torch.autograd.grad(loss, parameters) for loss in losses)
    assert_close(found, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_logits_of_the_words_that_are_said_alone(model):
    features, tokens = random_features(model), random_tokens(model)
    said = torch.ones_like(tokens, dtype=torch.bool)
    said[::2, 3:] = False
    assert_close(model.decode_said(features, tokens, said), model.decode(features, tokens)[said])


@pytest.mark.parametrize("kind", LOOKING)
@torch.no_grad()
def test_attention_maps_are_distributions_over_the_cells(make_model, kind):
    model, n = make_model(kind), 2
    features, tokens = random_features(model), random_tokens(model, rows=B * n)
    maps = model.attention_maps(features, tokens)
    assert maps.shape == (B * n, T, N)
    assert maps.min() >= 0
    assert_close(maps.sum(dim=-1), torch.ones(B * n, T))
    assert_close(maps[1::n], model.attention_maps(features, tokens[1::n]))  # caption 1 of each picture, on its own


@torch.no_grad()
def test_cross_attention_mixes_with_the_weights_it_shows():
    attention = CrossAttention(16, heads=4)
    x, memory = torch.randn(B, T, 16), torch.randn(B, N, 16)
    keys, values = attention.keys_values(memory)
    values = values[:, :1].expand_as(values)  # the same for every head, so that the mean over heads is enough
    mixed = attention.weights(x, keys) @ values[:, 0]  # (B, T, D / heads): what a head sees on average
    # The output layer that averages the heads: 4 blocks of identity / 4.
    attention.out.weight.copy_(torch.cat([torch.eye(4) / 4] * 4, dim=1).repeat(4, 1))
    attention.out.bias.zero_()
    assert_close(attention(x, keys, values)[..., :4], mixed)


@torch.no_grad()
def test_transformer_maps_are_those_of_its_forward_pass(make_model, monkeypatch):
    model, seen = make_model("transformer", heads=1), []
    look = CrossAttention.forward

    def recorded(self, x, keys, values, words):
        weights = self.weights(x.view(len(keys), -1, 16), keys)  # there is no padding
        seen.append((weights, self.out(weights @ values[:, 0]).flatten(0, 1), look(self, x, keys, values, words)))
        return seen[-1][-1]

    features, tokens = random_features(model), random_tokens(model)
    monkeypatch.setattr(CrossAttention, "forward", recorded)
    model(features, tokens)
    for _, by_hand, output in seen:
        assert_close(by_hand, output)
    maps = torch.stack([weights for weights, _, _ in seen]).mean(dim=0)
    assert_close(model.attention_maps(features, tokens), maps)


@pytest.mark.parametrize(("learns", "types"), [(True, {torch.float32}), (False, {torch.bfloat16})])
def test_attention_is_trained_in_32_bits_under_autocast_and_runs_in_16(make_model, monkeypatch, learns, types):
    model, seen, attention = make_model("transformer"), set(), F.scaled_dot_product_attention

    def watched(*parts, **how):
        mixed = attention(*parts, **how)
        seen.add(mixed.dtype)
        return mixed

    monkeypatch.setattr(F, "scaled_dot_product_attention", watched)
    with torch.set_grad_enabled(learns), torch.autocast("cpu", torch.bfloat16):
        logits = model(random_features(model), random_tokens(model))
    assert seen == types
    assert logits.dtype == torch.bfloat16


def test_gradient_reaches_every_parameter(make_model):
    for kind in KINDS:
        model = make_model(kind, replace(TINY_ENCODER, trained_stages="all")).train()
        batch = {"images": random_images(), "tokens": random_tokens(model)}
        CrossEntropy(model)(batch)[0].backward()
        without = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
        assert without <= {"attention.score.bias"}, kind  # shifts all cells alike: its gradient is 0 but for rounding


def test_a_frozen_encoder_neither_learns_nor_moves(model):
    model.train()
    before = {name: tensor.clone() for name, tensor in model.encoder.state_dict().items()}
    tokens = random_tokens(model)
    model(random_images(), tokens).logsumexp(dim=-1).sum().backward()
    assert model.encoder.frozen
    assert all(p.grad is None for p in model.encoder.parameters())
    assert model.head.weight.grad is not None if hasattr(model.head, "weight") else model.embedding.weight.grad.any()
    assert_close(model.encoder.state_dict(), before, rtol=0, atol=0)  # batch norm statistics too


def test_saved_and_loaded_models_agree_bit_for_bit(model, tmp_path):
    features, tokens = random_features(model), random_tokens(model)
    model.save_pretrained(tmp_path / "run" / "best")
    for folder in (tmp_path / "run", tmp_path / "run" / "best"):  # a run's best, or a model's folder
        loaded = saved.load(folder)
        assert type(loaded) is type(model)
        assert not loaded.training
        assert loaded.config == model.config
        assert torch.equal(loaded(features, tokens), model(features, tokens))
        images = random_images()
        assert loaded.generate(images).texts == model.generate(images).texts


def test_load_names_what_is_missing(model, tmp_path):
    model.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json missing"):
        saved.load(tmp_path)


def test_frozen_eyes_of_a_package_stay_there(make_model, tmp_path):
    eyes = EncoderConfig("tf_efficientnet_lite0", weights="package", image_size=64)
    model = make_model("transformer", eyes, layers=1).eval()
    model.save_pretrained(tmp_path / "model")
    saved_names = load_file(tmp_path / "model" / "model.safetensors").keys()
    assert saved_names == {name for name in model.state_dict() if not name.startswith("encoder.")}
    loaded = saved.load(tmp_path / "model")
    assert loaded.encoder.config.weights == "package" and loaded.encoder.frozen
    assert_close(loaded.state_dict(), model.state_dict(), rtol=0, atol=0)
    loaded.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / "model.safetensors").stat().st_size < 1e6
    make_model("transformer", replace(eyes, trained_stages=1), layers=1).save_pretrained(tmp_path / "trained")
    assert saved.load(tmp_path / "trained").encoder.config.weights is None
    save_file(load_file(tmp_path / "model" / "model.safetensors") | {"more": torch.zeros(1)}, tmp_path / "weights")
    (tmp_path / "weights").rename(tmp_path / "model" / "model.safetensors")
    with pytest.raises(RuntimeError, match=r"model\.safetensors: 0 weights missing \[\], left over \['more'\]"):
        saved.load(tmp_path / "model")


def test_load_refuses_an_unknown_kind(model, tmp_path):
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"kind": "lstm"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="kind 'lstm', expected one of gru, attention, transformer"):
        saved.load(tmp_path)


# Parity: the same weights in torch's own modules.


def copy_attention(ours: SelfAttention, theirs: nn.MultiheadAttention) -> None:
    theirs.in_proj_weight.copy_(ours.qkv.weight)
    theirs.in_proj_bias.copy_(ours.qkv.bias)
    theirs.out_proj.load_state_dict(ours.out.state_dict())


def copy_layer(ours: nn.Module, theirs: nn.Module) -> None:
    copy_attention(ours.self_attention if hasattr(ours, "self_attention") else ours.attention, theirs.self_attn)
    theirs.linear1.load_state_dict(ours.feed_forward[0].state_dict())
    theirs.linear2.load_state_dict(ours.feed_forward[2].state_dict())
    for name, norm in ours.named_children():
        if name.startswith("norm"):
            nn.init.normal_(norm.weight, mean=1)  # new norms are all ones and zeros, which would hide a swap
            nn.init.normal_(norm.bias)
            getattr(theirs, name).load_state_dict(norm.state_dict())


@torch.no_grad()
@pytest.mark.parametrize("causal", [False, True])
def test_self_attention_is_torchs(causal):
    ours, theirs, x = SelfAttention(16, 4), nn.MultiheadAttention(16, 4, batch_first=True), torch.randn(B, T, 16)
    copy_attention(ours, theirs)
    mask = nn.Transformer.generate_square_subsequent_mask(T) if causal else None
    assert_close(ours(x, causal=causal), theirs(x, x, x, attn_mask=mask)[0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_grid_is_torchs_encoder():
    ours = Grid(20, 16, heads=4, layers=2, dropout=0.1).eval()
    layer = nn.TransformerEncoderLayer(16, 4, 64, activation="gelu", batch_first=True, norm_first=True)
    theirs = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(16), enable_nested_tensor=False).eval()
    for mine, other in zip(ours.layers, theirs.layers, strict=True):
        copy_layer(mine, other)
    features = torch.rand(B, N, 20)
    frequencies = [math.pi * 32 ** (i / 3) for i in range(4)]  # pi to 32 pi in equal ratios
    centres = [(features[..., -4 + axis] + features[..., -2 + axis]) / 2 for axis in (0, 1)]
    waves = [wave(x * f) for wave in (torch.sin, torch.cos) for x in centres for f in frequencies]
    scaled = nn.functional.layer_norm(features, features.shape[-1:])
    x = ours.project(scaled) + torch.stack(waves, dim=-1)
    assert_close(ours(features), theirs(x), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_transformer_is_torchs_decoder(make_model):
    model = make_model("transformer", layers=3, heads=4)
    layer = nn.TransformerDecoderLayer(16, 4, 64, activation="gelu", batch_first=True, norm_first=True)
    theirs = nn.TransformerDecoder(layer, 3, norm=nn.LayerNorm(16)).eval()
    for mine, other in zip(model.layers, theirs.layers, strict=True):
        copy_layer(mine, other)
        cross = mine.cross_attention
        other.multihead_attn.in_proj_weight.copy_(torch.cat([cross.query.weight, cross.key_value.weight]))
        other.multihead_attn.in_proj_bias.copy_(torch.cat([cross.query.bias, cross.key_value.bias]))
        other.multihead_attn.out_proj.load_state_dict(cross.out.state_dict())
    features, tokens = random_features(model), random_tokens(model)
    x = model.embedding(tokens) + model.position.weight[:T]
    mask = nn.Transformer.generate_square_subsequent_mask(T)
    hidden = theirs(x, model.grid(features), tgt_mask=mask)
    assert_close(model(features, tokens), hidden @ model.embedding.weight.T, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_gru_is_a_loop_over_torchs_cell(make_model):
    model = make_model("gru")
    cell = nn.GRUCell(8 + 12, 16)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        getattr(cell, name).copy_(getattr(model.gru, f"{name}_l0"))
    features, tokens = random_features(model), random_tokens(model)
    picture = features.mean(dim=1) @ model.picture.weight.T + model.picture.bias
    hidden = picture @ model.start.weight.T + model.start.bias
    logits = []
    for t in range(T):
        hidden = cell(torch.cat([model.embedding.weight[tokens[:, t]], picture], dim=1), hidden)
        logits.append(hidden @ model.head.weight.T + model.head.bias)
    assert_close(model(features, tokens), torch.stack(logits, dim=1), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_additive_attention_by_hand():
    attention, query, memory = AdditiveAttention(16, 12), torch.randn(B, 2, 16), torch.randn(B, N, 16)
    context, weights = attention(query, attention.key(memory), memory)
    for b in range(B):
        for k in range(2):
            energy = torch.tanh(
                attention.key.weight @ memory[b].T
                + attention.key.bias[:, None]
                + (attention.query.weight @ query[b, k])[:, None]
            )  # (A, N)
            expected = torch.softmax(torch.einsum("a,an->n", attention.score.weight[0], energy), dim=0)
            assert_close(weights[b, k], expected)
            assert_close(context[b, k], torch.einsum("n,nd->d", expected, memory[b]))


@torch.no_grad()
def test_attention_captioner_hears_looks_and_speaks(make_model):
    model = make_model("attention")
    features, tokens = random_features(model), random_tokens(model)
    memory = model.grid(features)
    mean = memory.mean(dim=1)
    cell = torch.nn.GRUCell(model.gru.input_size, model.gru.hidden_size)
    cell.load_state_dict({name.removesuffix("_l0"): weight for name, weight in model.gru.state_dict().items()})
    hidden, logits, maps = torch.tanh(model.start(mean)), [], []
    for t in range(T):
        hidden = cell(torch.cat([model.embedding.weight[tokens[:, t]], mean], dim=1), hidden)
        context, weights = model.attention(hidden[:, None], model.attention.key(memory), memory)
        logits.append(model.head(torch.tanh(model.join(torch.cat([hidden, context[:, 0]], dim=1)))))
        maps.append(weights[:, 0])
    assert_close(model(features, tokens), torch.stack(logits, dim=1), atol=1e-5, rtol=1e-5)
    assert_close(model.attention_maps(features, tokens), torch.stack(maps, dim=1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("search", [Decoding(max_length=8), Decoding(beams=3, captions=2, max_length=8)])
def test_two_views_of_a_picture_are_one_mean_of_probabilities(make_model, kind, search):
    one, two = make_model(kind), make_model(kind, replace(TINY_ENCODER, mirrored=True))
    two.load_state_dict(one.state_dict())
    images, tokens = random_images(), random_tokens(one)
    mirrored = images.flip(-1)
    assert_close(two.features(images), torch.cat([one.features(images), one.features(mirrored)], dim=1))
    assert_close(two.first_view(images), one.features(images))
    mean = (one(images, tokens).softmax(-1) + one(mirrored, tokens).softmax(-1)) / 2
    assert_close(two(images, tokens).exp(), mean)
    found = two.generate(images, search)
    for picture, captions in enumerate(found.ids):
        for i, ids in enumerate(captions):
            given = torch.tensor([[two.tokenizer.bos_id, *ids[:-1]]])
            said = two(images[picture : picture + 1], given).gather(-1, torch.tensor(ids)[None, :, None]).sum()
            assert_close(found.log_probs[picture, i], said, atol=1e-4, rtol=1e-4)
    assert two.generate(mirrored, search).ids == found.ids  # a mirrored picture is the same two views
    if search.beams == 1:  # the likeliest next word of the mean, by hand
        assert found.ids[0][0][0] == int(without_never(two, mean_first_word(one, images, mirrored))[0].argmax())


def mean_first_word(model, images, mirrored):
    begin = torch.full((len(images), 1), model.tokenizer.bos_id)
    return (model(images, begin).softmax(-1) + model(mirrored, begin).softmax(-1))[:, 0] / 2


def without_never(model, probabilities):
    return probabilities.index_fill(-1, torch.tensor(list(model.tokenizer.never)), 0.0)
