"""EfficientNet-Lite written out is timm's, to the last bit."""

import pytest
import timm
import torch
from torch import nn

from captioning.models import lite, timm_models
from captioning.models.config import EncoderConfig
from captioning.models.encoder import Encoder


def shaken(model: nn.Module) -> nn.Module:
    """Norms as a training leaves them."""
    torch.manual_seed(0)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    return model


def pair(number: int) -> tuple[lite.EfficientNetLite, nn.Module]:
    theirs = shaken(timm.create_model(f"tf_efficientnet_lite{number}", num_classes=0)).eval()
    ours = lite.EfficientNetLite(number).eval()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize("number", range(5))
def test_weights_and_features_are_those_of_timm(number):
    ours, theirs = pair(number)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert ours.num_features == theirs.num_features
    assert ours.pretrained_cfg == {name: theirs.pretrained_cfg[name] for name in ("mean", "std")}
    for size in (64, 75):  # where zeros are uneven, and where they are even
        x = torch.randn(1, 3, size, size)
        with torch.no_grad():
            assert torch.equal(ours.forward_features(x), theirs.forward_features(x))


def test_it_learns_as_timms_does():
    x, gradients = torch.randn(4, 3, 64, 64), []
    for model in pair(0):
        model.train().forward_features(x).square().mean().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()} | dict(model.named_buffers()))
    torch.testing.assert_close(*gradients)


def test_its_stages_are_those_of_timm():
    ours, theirs = pair(1)
    for mine, others in zip(ours.stages(), timm_models.stages(theirs), strict=True):
        assert sorted(p.sum().item() for p in mine) == sorted(p.sum().item() for p in others)


def test_it_stands_for_the_model_as_it_is_and_for_no_other():
    def backbone(name: str, **more) -> type[nn.Module]:
        return type(Encoder(EncoderConfig(name, **{"weights": None, "image_size": 64} | more)).backbone)

    assert backbone("tf_efficientnet_lite0") == backbone("tf_efficientnet_lite0.in1k") == lite.EfficientNetLite
    assert backbone("tf_efficientnet_lite0", trained_stages=2) == lite.EfficientNetLite
    assert backbone("efficientnet_lite0") != lite.EfficientNetLite
    assert backbone("tf_efficientnet_lite0", args={"output_stride": 16}) != lite.EfficientNetLite


def test_every_norm_follows_its_convolution():
    model = lite.EfficientNetLite(2)
    assert len(model.norms()) == sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    for norm, convolution in model.norms().items():
        assert norm.rpartition(".")[0] == convolution.rpartition(".")[0]
        assert model.get_submodule(norm).num_features == model.get_submodule(convolution).out_channels
