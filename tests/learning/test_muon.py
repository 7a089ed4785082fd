"""Muon: where torch's goes, in float32."""

import torch
from torch import nn
from torch.testing import assert_close

from captioning.learning.muon import Muon, orthogonal


def test_a_matrix_becomes_nearly_orthogonal():
    torch.manual_seed(0)
    for shape in ((8, 20), (20, 8)):
        for dtype in (torch.float32, torch.bfloat16):
            found = orthogonal(torch.randn(shape), dtype)
            values = torch.linalg.svdvals(found.float())
            assert found.dtype == dtype and values.min() > 0.7 and values.max() < 1.3


def test_in_bfloat16_a_step_is_nearly_the_same():
    torch.manual_seed(0)
    full, half = nn.Linear(48, 32), nn.Linear(48, 32)
    half.load_state_dict(full.state_dict())
    start, x = full.weight.detach().clone(), torch.randn(64, 48)
    for layer, dtype in ((full, torch.float32), (half, torch.bfloat16)):
        step = Muon(layer.parameters(), lr=0.01)
        step.dtype = dtype
        layer(x).square().sum().backward()
        step.step()
    moved, same = full.weight.detach() - start, half.weight.detach() - start
    assert half.weight.dtype == torch.float32 and not torch.equal(moved, same)
    assert torch.cosine_similarity(moved.flatten(), same.flatten(), dim=0) > 0.99


def test_a_gradient_that_overflowed_moves_nothing():
    torch.manual_seed(0)
    layer, scaler = nn.Linear(48, 32), torch.amp.GradScaler("cpu")
    start, step = {name: value.clone() for name, value in layer.state_dict().items()}, Muon(layer.parameters(), lr=0.01)
    scaler.scale(layer(torch.randn(4, 48)).square().sum() * 1e38).backward()
    scaler.unscale_(step)
    scaler.step(step)
    assert all(torch.equal(value, start[name]) for name, value in layer.state_dict().items())


def test_matrices_move_where_torchs_muon_moves_them_and_vectors_as_with_adamw():
    torch.manual_seed(0)
    ours, theirs = nn.Linear(48, 32), nn.Linear(48, 32)
    theirs.load_state_dict(ours.state_dict())
    start = ours.weight.detach().clone()
    settings = {"lr": 0.01, "weight_decay": 0.1}
    steps = [Muon(ours.parameters(), **settings)]
    steps += [torch.optim.Muon([theirs.weight], adjust_lr_fn="match_rms_adamw", **settings)]
    steps += [torch.optim.AdamW([theirs.bias], **settings)]
    for _ in range(5):
        x, wanted = torch.randn(64, 48), torch.randn(64, 32)
        for layer in (ours, theirs):
            (layer(x) * wanted).sum().backward()  # a gradient that does not depend on the weights
        for step in steps:
            step.step()
            step.zero_grad()
    assert_close(ours.bias, theirs.bias)
    moved, same = ours.weight.detach() - start, theirs.weight.detach() - start  # by other polynomials, in bfloat16
    assert torch.cosine_similarity(moved.flatten(), same.flatten(), dim=0) > 0.98
    assert 1 < moved.norm() / same.norm() < 1.25  # its singular values are about 0.9


def test_a_convolution_is_a_matrix_of_its_filters():
    torch.manual_seed(0)
    ours, same = nn.Conv2d(8, 48, 3), nn.Linear(72, 48)
    same.load_state_dict({"weight": ours.weight.flatten(1), "bias": ours.bias})
    x = torch.randn(16, 8, 3, 3)
    for layer, seen in ((ours, x), (same, x.flatten(1))):
        step = Muon(layer.parameters(), lr=0.01, weight_decay=0.1)
        layer(seen).flatten(1).square().sum().backward()
        step.step()
    assert_close(ours.weight.flatten(1), same.weight, atol=1e-5, rtol=0)


def test_a_small_head_is_left_to_adamw():
    torch.manual_seed(0)
    ours, theirs = nn.Linear(48, 5), nn.Linear(48, 5)
    theirs.load_state_dict(ours.state_dict())
    for layer, kind in ((ours, Muon), (theirs, torch.optim.AdamW)):
        step = kind(layer.parameters(), lr=0.01)
        layer(torch.ones(2, 48)).sum().backward()
        step.step()
    assert_close(ours.weight, theirs.weight)


def test_its_state_is_saved_and_loaded():
    torch.manual_seed(0)
    layer = nn.Linear(32, 32)
    first = Muon(layer.parameters(), lr=0.01)
    layer(torch.ones(2, 32)).sum().backward()
    first.step()
    second = Muon(layer.parameters(), lr=0.01)
    second.load_state_dict(first.state_dict())
    assert_close(second.state[layer.weight]["momentum"], first.state[layer.weight]["momentum"])
