"""LoRA: what one layer computes, merging, and the models that the course adapts."""

import peft
import pytest
import torch
from torch import nn
from torch.testing import assert_close
from transformers import (
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipQFormerConfig,
    InstructBlipVisionConfig,
    LlamaConfig,
)

from captioning.course import mini_instructblip
from captioning.course.mini_instructblip import Pair
from captioning.models import lora
from captioning.models.config import LoraConfig
from captioning.rebuild.backends import VLMWriter


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.value = nn.Linear(6, 4), nn.Linear(6, 4)

    def forward(self, x):
        return self.query(x) * self.value(x)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Two()


@pytest.fixture
def x():
    return torch.randn(5, 6, generator=torch.Generator().manual_seed(1))


def learn(model, spread=0.3):
    """Give B some values, as if it had been trained."""
    for name, p in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(p, std=spread)


def test_nothing_changes_while_b_is_zero(model, x):
    before = model(x)
    assert_close(lora.add(model, LoraConfig(rank=2)).eval()(x), before, rtol=0, atol=0)


def test_a_layer_is_w_plus_alpha_over_rank_b_a(model, x):
    weight, bias = model.query.weight.clone(), model.query.bias.clone()
    adapted = lora.add(model, LoraConfig(rank=2, alpha=6, targets=("query",))).eval()
    learn(adapted)
    layer = model.query
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert_close(layer(x), x @ weight.T + bias + 6 / 2 * x @ a.T @ b.T)
    assert isinstance(model.value, nn.Linear) and not model.value.weight.requires_grad


def test_merging_changes_no_output_and_twice_is_once(model, x):
    adapted = lora.add(model, LoraConfig(rank=2)).eval()
    learn(adapted)
    before = adapted(x)
    once = lora.merged(adapted)
    assert_close(once(x), before, atol=1e-6, rtol=1e-5)
    assert type(once) is Two and lora.merged(once) is once
    assert_close(lora.merged(once)(x), before, atol=1e-6, rtol=1e-5)


def test_a_saved_adapter_is_safetensors_and_trains_on(model, x, tmp_path):
    adapted = lora.add(model, LoraConfig(rank=2)).eval()
    learn(adapted)
    adapted.save_pretrained(tmp_path)
    assert (tmp_path / "adapter_model.safetensors").is_file()
    torch.manual_seed(0)
    again = lora.load(Two(), tmp_path)
    assert_close(again.eval()(x), adapted(x), rtol=0, atol=0)
    again(x).sum().backward()
    assert all(("lora_" in name) == (p.grad is not None) for name, p in again.named_parameters())


def test_an_unknown_target_is_named_with_the_layers_there_are(model):
    with pytest.raises(ValueError, match="no layer is called 'q_proj'; this model's linear layers: query, value"):
        lora.add(model, LoraConfig(targets=("q_proj",)))


class Tied(Two):
    """With a word table that is the output layer, too, as in BLIP."""

    def __init__(self):
        super().__init__()
        self.words, self.out = nn.Embedding(9, 6), nn.Linear(6, 9, bias=False)
        self.out.weight = self.words.weight

    def forward(self, ids):
        x = self.words(ids)
        return self.out(x + super().forward(x).sum(dim=-1, keepdim=True))


@pytest.mark.parametrize("target", ["out", "words"])
def test_a_layer_that_shares_its_weights_gets_no_adapter(target):
    with pytest.raises(ValueError, match=f"target '{target}': {target} shares its weights .* not: query, value$"):
        lora.add(Tied(), LoraConfig(targets=("query", target)))
    with pytest.raises(ValueError, match="no layer is called 'all-linear'; this model's linear layers: query, value$"):
        lora.add(Tied(), LoraConfig(targets=("all-linear",)))
    model, ids = lora.add(Tied(), LoraConfig()).eval(), torch.arange(9)
    learn(model)
    before = model(ids)
    assert_close(lora.merged(model)(ids), before, atol=1e-6, rtol=1e-5)


def test_adapters_of_a_shared_layer_that_were_made_elsewhere_are_not_merged():
    model, ids = peft.get_peft_model(Tied(), peft.LoraConfig(target_modules=["out"])).eval(), torch.arange(9)
    learn(model)
    before = model(ids)
    with pytest.raises(ValueError, match="adapters of base_model.model.out cannot be merged: it shares its weights"):
        lora.merged(model)
    assert_close(model(ids), before, rtol=0, atol=0)


@pytest.fixture
def instructblip(tmp_path):
    """The folder of a tiny InstructBLIP, and a batch for it."""
    tiny = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = InstructBlipConfig(
        vision_config=InstructBlipVisionConfig(**tiny, image_size=16, patch_size=8).to_dict(),
        qformer_config=InstructBlipQFormerConfig(**tiny, vocab_size=20, encoder_hidden_size=16).to_dict(),
        text_config=LlamaConfig(**tiny, vocab_size=24).to_dict(),
        num_query_tokens=2,
        image_token_index=23,
    )
    torch.manual_seed(0)
    InstructBlipForConditionalGeneration(config).save_pretrained(tmp_path / "base")
    return tmp_path / "base", {
        "pixel_values": torch.randn(1, 3, 16, 16),
        "qformer_input_ids": torch.tensor([[1, 2]]),
        "qformer_attention_mask": torch.ones(1, 2, dtype=torch.long),
        "input_ids": torch.tensor([[23, 23, 5, 6]]),
        "attention_mask": torch.ones(1, 4, dtype=torch.long),
    }


def test_instructblip_takes_adapters_in_its_language_model(instructblip):
    folder, batch = instructblip
    model = InstructBlipForConditionalGeneration.from_pretrained(folder).eval()
    before = model(**batch).logits
    adapted = lora.add(model, LoraConfig(rank=2, targets=("q_proj", "v_proj"))).eval()
    assert_close(adapted(**batch).logits, before, rtol=0, atol=0)
    assert all("language_model" in name for name, p in adapted.named_parameters() if p.requires_grad)
    learn(adapted)
    learned = adapted(**batch).logits
    assert (learned - before).abs().max() > 1e-4
    assert_close(lora.merged(adapted)(**batch).logits, learned, atol=1e-5, rtol=1e-4)


def test_adapters_of_an_instructblip_train_on_and_are_read_where_its_name_is_asked_for(instructblip, tmp_path):
    folder, batch = instructblip
    adapted = lora.add(
        InstructBlipForConditionalGeneration.from_pretrained(folder), LoraConfig(rank=2, targets=("q_proj", "v_proj"))
    ).eval()
    learn(adapted)
    learned = adapted(**batch).logits
    adapted.save_pretrained(tmp_path / "adapter")
    again = lora.load(InstructBlipForConditionalGeneration.from_pretrained(folder), tmp_path / "adapter").eval()
    assert_close(again(**batch).logits, learned, rtol=0, atol=0)
    again(**batch).logits.sum().backward()
    assert all(("lora_" in name) == (p.grad is not None) for name, p in again.named_parameters())
    mini_instructblip.new_processor([Pair(0, "what ?", "a red car .")]).save_pretrained(folder)
    writer = VLMWriter(str(tmp_path / "adapter"), "float32")  # a writer of chapter 04, given adapters
    assert_close(writer.model.network(**batch).logits, learned, atol=1e-6, rtol=1e-5)
