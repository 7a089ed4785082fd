#!/usr/bin/env bash
# transformers 5.23.0, torch 2.15.0: the loss of SmolVLM counts labels at places of the picture, which its documentation
# says are ignored.
#
# "Tokens with indices set to `model.image_token_id` are ignored (masked), the loss is only computed for the tokens with
# labels in `[0, ..., config.vocab_size]`", says `SmolVLMForConditionalGeneration.forward` of `labels` (Idefics2 and
# Idefics3 have the same words). So one would expect labels = input_ids, with padding at -100, to train on words alone.
# Only -100 is ignored: the model is taught to write placeholders. Put -100 there yourself. Seen: 3.9864 with the
# placeholders in the labels, the mean over all tokens, and 4.0200 with -100 in their place, the mean over the words.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet torch==2.15.0 torchvision==0.29.2 transformers==5.23.0
"$place/venv/bin/python" - <<'PYTHON'
import torch
from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
text = {"model_type": "llama", "vocab_size": 50, "pad_token_id": 0} | sizes
eyes = sizes | {"image_size": 32, "patch_size": 8}
config = SmolVLMConfig(text_config=text, vision_config=eyes, image_token_id=7, scale_factor=2)
torch.manual_seed(0)
model = SmolVLMForConditionalGeneration(config).eval()
ids = torch.tensor([[1, 7, 7, 7, 7, 11, 12, 13]])  # four places of the picture, then three words
pictures = torch.randn(1, 1, 3, 32, 32)


def loss(labels):
    with torch.no_grad():
        return model(input_ids=ids, pixel_values=pictures, labels=labels).loss.item()


said = " ".join(SmolVLMForConditionalGeneration.forward.__doc__.split())
assert "set to `model.image_token_id` are ignored (masked)" in said
with_them, without = loss(ids), loss(ids.masked_fill(ids == 7, -100))
print(f"labels with image_token_id: {with_them:.4f}; with -100 in their place: {without:.4f}")
with torch.no_grad():
    logits = model(input_ids=ids, pixel_values=pictures).logits[0]
each = torch.nn.functional.cross_entropy(logits[:-1], ids[0, 1:], reduction="none")
assert abs(with_them - each.mean().item()) < 1e-5 and abs(without - each[4:].mean().item()) < 1e-5
assert with_them != without
PYTHON
