"""Linear layers by oneDNN: torch's numbers, forward and backward."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from captioning.learning import products
from captioning.learning.products import QuickLinear


@pytest.fixture
def counted(monkeypatch):
    """The products that were made by oneDNN."""
    made, product = [], products.product
    monkeypatch.setattr(products, "measured", lambda: True)
    monkeypatch.setattr(products, "product", lambda *inputs: made.append(inputs) or product(*inputs))
    return made


@pytest.mark.parametrize("shape", [(6, 14), (2, 3, 14), (2, 3, 4, 14)])
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_torchs_layer(counted, shape, bias):
    torch.manual_seed(0)
    x, weight = torch.randn(shape, requires_grad=True), torch.randn(7, 5, requires_grad=True)
    bias = torch.randn(5, requires_grad=True) if bias else None
    leaves = [each for each in (x, weight, bias) if each is not None]

    def all_of_it():
        y = F.linear(x[..., ::2], weight.t(), bias=bias)  # neither lies in one piece
        return y, *torch.autograd.grad((y**2).sum(), leaves)

    wanted = all_of_it()
    assert not counted
    with QuickLinear():
        found = all_of_it()
    assert len(counted) == 3 and len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert_close(one, other)


def test_what_is_frozen_costs_nothing(counted):
    layer, first = nn.Linear(5, 4), nn.Linear(5, 5)
    layer.weight.requires_grad_(False)
    with QuickLinear():
        layer(first(torch.randn(3, 5))).sum().backward()
    assert len(counted) == 2 + 1 + 1  # two forward; back to `first`, and its weight
    assert layer.weight.grad is None and layer.bias.grad.eq(3).all()


@pytest.mark.parametrize("x", [torch.ones(3, 5, dtype=torch.double), torch.ones(0, 5), torch.ones(5)])
def test_all_else_is_left_to_torch(counted, x):
    layer = nn.Linear(5, 4).to(x.dtype)
    with QuickLinear():
        assert_close(layer(x), x @ layer.weight.t() + layer.bias)
    assert not counted


def test_autocast_chooses_the_arithmetic_as_ever(counted):
    with QuickLinear(), torch.autocast("cpu", torch.bfloat16):
        assert nn.Linear(5, 4)(torch.ones(3, 5)).dtype == torch.bfloat16
    assert not counted
