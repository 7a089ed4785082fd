"""OFA against the recorded outputs of the reference, its step against its forward, its published sizes."""

import zlib
from pathlib import Path

import pytest
import torch

from captioning.models.ofa.checkpoint import load_weights, read_weights
from captioning.models.ofa.config import SIZES, OFAConfig
from captioning.models.ofa.model import OFA

MICRO = OFAConfig(64, 128, 2, 2, 4, (3, 4, 6), 600)
RECORDED = Path(__file__).parent / "golden" / "ofa_reference_micro.pt"


@pytest.fixture(scope="module")
def small() -> OFA:
    torch.manual_seed(0)
    return OFA(OFAConfig(32, 64, 2, 2, 4, (1, 1, 1), 50, 200)).eval()


def drawn(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The weight of this name as it was drawn for the recording."""
    r = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    if name.endswith("running_var"):
        return 1 + 0.2 * r.abs()
    if name.endswith("running_mean"):
        return 0.1 * r
    if len(shape) == 1:
        return 1 + 0.2 * r if name.endswith(("weight", "c_attn")) else 0.1 * r
    if len(shape) == 4:
        return r * (2 / r[0].numel()) ** 0.5
    return 0.3 * r if "rel_pos_table" in name else r * shape[-1] ** -0.5


def recorded_weights(keys) -> dict[str, torch.Tensor]:
    weights = {}
    for name, shape, dtype in keys:
        tied = name.endswith(("embed_tokens.weight", "output_projection.weight"))
        if dtype == "torch.float32":
            weights[name] = drawn("decoder.output_projection.weight" if tied else name, shape)
        else:
            weights[name] = torch.zeros(shape, dtype=torch.int64)
        if tied:
            weights[name][1] = 0
    return weights


def test_outputs_equal_the_recorded_reference():
    seen = torch.load(RECORDED, weights_only=True)
    model = load_weights(MICRO, recorded_weights(seen["keys"]))
    with torch.inference_mode():
        encoded = model.encoder(seen["img"], seen["src"])
        logits = model.decoder(seen["tgt"], encoded)
    real = ~encoded["padding"]
    torch.testing.assert_close(encoded["memory"][real], seen["enc"][real], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(encoded["positions"].expand_as(seen["enc_pos"]), seen["enc_pos"], atol=1e-5, rtol=1e-5)
    words = seen["tgt"] != 1
    torch.testing.assert_close(logits[words], seen["logits"][words], atol=1e-5, rtol=1e-5)


def test_stepping_gives_the_logits_of_forward(small):
    images, prompt = torch.randn(2, 3, 64, 48), torch.tensor([[0, 7, 8, 2], [0, 9, 2, 1]])
    tokens = torch.tensor([[[0, 5, 6, 7], [0, 9, 4, 11]], [[0, 12, 13, 5], [0, 20, 21, 22]]])  # (B, K, T)
    with torch.inference_mode():
        encoded = small.encoder(images, prompt)
        state = small.init_state(encoded).reorder(torch.zeros(2, 2, dtype=torch.long))
        for t in range(4):
            logits, state = small.step(tokens[..., t], state)
            for k in range(2):
                whole = small(images, prompt, tokens[:, k, : t + 1])[:, -1]
                torch.testing.assert_close(logits[:, k], whole, atol=1e-5, rtol=1e-5)


def test_padding_of_a_prompt_changes_nothing(small):
    images, tokens = torch.randn(1, 3, 64, 64), torch.tensor([[0, 5, 6]])
    with torch.inference_mode():
        short = small(images, torch.tensor([[0, 9, 2]]), tokens)
        padded = small(images, torch.tensor([[0, 9, 2, 1, 1]]), tokens)
    torch.testing.assert_close(short, padded, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("size", "millions"), [("tiny", 33.5), ("medium", 92.9), ("base", 182.2), ("large", 473.0), ("huge", 929.5)]
)
def test_every_size_has_the_published_number_of_parameters(size, millions):
    with torch.device("meta"):
        model = OFA(SIZES[size])
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)


def test_missing_and_left_over_keys_are_listed(small):
    weights = small.state_dict()
    weights["surplus"] = weights.pop("encoder.image_proj.bias")
    with pytest.raises(RuntimeError, match=r"(?s)encoder\.image_proj\.bias.*surplus"):
        load_weights(small.config, weights)


def test_a_folder_without_weights_and_a_picture_too_large_are_refused(small, tmp_path):
    with pytest.raises(FileNotFoundError, match="pytorch_model.bin"):
        read_weights(tmp_path)
    with pytest.raises(ValueError, match="43 x 1 cells"):
        small.encoder.cells(43, 1)


def test_a_binary_checkpoint_is_read_and_gives_the_same_model(small, tmp_path):
    torch.save(small.state_dict(), tmp_path / "pytorch_model.bin")
    again = load_weights(small.config, read_weights(tmp_path))
    args = torch.ones(1, 3, 32, 32), torch.tensor([[0, 2]]), torch.tensor([[0, 4]])
    torch.testing.assert_close(again(*args), small(*args), rtol=0, atol=0)
