"""OFA against the recorded outputs of the reference, its step against its forward, its published sizes."""

import zlib
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset

from captioning.decoding.config import Decoding
from captioning.decoding.search import generate
from captioning.models.encoder import cell_boxes
from captioning.models.ofa.captioner import OFACaptioner
from captioning.models.ofa.checkpoint import load_weights, read_weights
from captioning.models.ofa.config import BLOCKS, OFA_DECODING, SIZES, OFAConfig, ResNetConfig, Tasks
from captioning.models.ofa.model import OFA
from captioning.models.ofa.pictures import ResNetStem
from captioning.models.ofa.tasks import StyledRows
from captioning.models.ofa.tokenizer import BPETokenizer
from captioning.models.saved import load
from captioning.serving.quantized import faster

MICRO = OFAConfig(64, 128, 2, 2, 4)
RECORDED = Path(__file__).parents[1] / "golden" / "ofa_reference_micro.pt"


@pytest.fixture(scope="module")
def small() -> OFA:
    torch.manual_seed(0)
    model = OFA(OFAConfig(32, 64, 2, 2, 4, 200), vocabulary=50, cells=16).eval()
    model.initialise()
    return model


@pytest.fixture(scope="module")
def captioner() -> OFACaptioner:
    """With OFA's own ResNet, and two styles told by a token."""
    torch.manual_seed(0)
    config = OFAConfig(32, 64, 2, 2, 4, 200, styles=("Sweet", "Dull"), style_by="token")
    return OFACaptioner(config, ResNetConfig((1, 1, 1), 64), tokenizer()).eval()


def tokenizer(codes: int = 4) -> BPETokenizer:
    return BPETokenizer.train(["a red skirt", "a shirt and a skirt"], size=300, codes=codes)


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


@pytest.fixture(scope="module")
def recorded() -> tuple[OFACaptioner, dict]:
    """The model that was recorded, and what it said."""
    seen = torch.load(RECORDED, weights_only=True)
    bytes_alone = BPETokenizer.train([], codes=600 - 261)  # so many ids as were recorded
    bytes_alone.never = (1,)  # all that the reference forbids
    model = OFACaptioner(MICRO, ResNetConfig(BLOCKS["tiny"]), bytes_alone)
    return load_weights(model, recorded_weights(seen["keys"])), seen


@torch.inference_mode()
def test_outputs_equal_the_recorded_reference(recorded):
    model, seen = recorded
    close = partial(torch.testing.assert_close, atol=1e-5, rtol=1e-5)
    encoded = model.ofa.encoder(model.encoder.resnet(seen["img"]).permute(0, 2, 3, 1), seen["src"])
    real = ~encoded["padding"]
    close(encoded["memory"][real], seen["enc"][real])
    close(encoded["positions"].expand_as(seen["enc_pos"]), seen["enc_pos"])
    assert torch.equal(encoded["padding"], seen["enc_mask"])
    for found, expected in zip(encoded["hidden"], seen["enc_hid"], strict=True):
        close(found[real], expected[real])
    found = model.ofa.encoder.attention(encoded)[0]  # that of the first layer was recorded
    close(found.transpose(1, 2)[real], seen["enc_att"].transpose(1, 2)[real])
    words = seen["tgt"] != 1
    close(model.ofa.decoder(seen["tgt"], encoded)[words], seen["logits"][words])
    found = model.ofa.decoder.internals(seen["tgt"], encoded)["cross"][0]
    close(found.transpose(1, 2)[words], seen["cross"].transpose(1, 2)[words])


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("beam5", replace(OFA_DECODING, captions=5)),
        ("beam3_nl", Decoding(beams=3, captions=3, max_length=11, length_penalty=0.6, forced_end=True)),
        ("greedy", Decoding(max_length=17, forced_end=True)),
    ],
)
@torch.inference_mode()
def test_every_hypothesis_equals_the_recorded_one(recorded, name, config):
    model, seen = recorded
    grid = model.encoder.resnet(seen["img"])
    cells = torch.cat([grid.flatten(2).transpose(1, 2), cell_boxes(8, 8).expand(3, -1, -1)], dim=-1)
    found = generate(model, model.asked(cells, seen["src"]), config)
    assert found.ids == [[ids for ids, _ in picture] for picture in seen["gens"][name]]
    scores = torch.tensor([[score for _, score in picture] for picture in seen["gens"][name]])
    torch.testing.assert_close(found.scores, scores, atol=1e-5, rtol=1e-5)


def test_stepping_gives_the_logits_of_forward(small):
    grid, prompt = torch.randn(2, 4, 3, 16), torch.tensor([[0, 7, 8, 2], [0, 9, 2, 1]])
    tokens = torch.tensor([[[0, 5, 6, 7], [0, 9, 4, 11]], [[0, 12, 13, 5], [0, 20, 21, 22]]])  # (B, K, T)
    with torch.inference_mode():
        encoded = small.encoder(grid, prompt)
        state = small.init_state(encoded).reorder(torch.zeros(2, 2, dtype=torch.long))
        for t in range(4):
            logits, state = small.step(tokens[..., t], state)
            for k in range(2):
                whole = small(grid, prompt, tokens[:, k, : t + 1])[:, -1]
                torch.testing.assert_close(logits[:, k], whole, atol=1e-5, rtol=1e-5)


def test_padding_of_a_prompt_changes_nothing(small):
    grid, tokens = torch.randn(1, 4, 4, 16), torch.tensor([[0, 5, 6]])
    with torch.inference_mode():
        short = small(grid, torch.tensor([[0, 9, 2]]), tokens)
        padded = small(grid, torch.tensor([[0, 9, 2, 1, 1]]), tokens)
    torch.testing.assert_close(short, padded, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("size", "millions"), [("tiny", 33.5), ("medium", 92.9), ("base", 182.2), ("large", 473.0), ("huge", 929.5)]
)
def test_every_size_has_the_published_number_of_parameters(size, millions):
    with torch.device("meta"):
        parts = OFA(SIZES[size]), ResNetStem(BLOCKS[size])
    assert sum(p.numel() for part in parts for p in part.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)


def released(model: OFACaptioner) -> dict[str, torch.Tensor]:
    """Its weights under the names of a released checkpoint."""
    weights = model.state_dict().items()
    return {n.replace("encoder.resnet.", "encoder.embed_images.").removeprefix("ofa."): w for n, w in weights}


def test_missing_and_left_over_keys_are_listed(captioner):
    weights = released(captioner)
    weights["surplus"] = weights.pop("encoder.image_proj.bias")
    with pytest.raises(RuntimeError, match=r"(?s)encoder\.image_proj\.bias.*surplus"):
        load_weights(captioner, weights)


def test_a_folder_without_weights_and_a_picture_too_large_are_refused(small, tmp_path):
    with pytest.raises(FileNotFoundError, match="pytorch_model.bin"):
        read_weights(tmp_path)
    with pytest.raises(ValueError, match="43 x 1 cells"):
        small.encoder.numbers(43, 1)


def test_a_binary_checkpoint_is_read_and_gives_the_same_model(captioner, tmp_path):
    torch.save(released(captioner), tmp_path / "pytorch_model.bin")
    again = load_weights(OFACaptioner(captioner.config, captioner.encoder.config, tokenizer()), read_weights(tmp_path))
    assert again.state_dict().keys() == captioner.state_dict().keys()
    for name, weight in again.state_dict().items():
        assert torch.equal(weight, captioner.state_dict()[name]), name


def test_text_comes_back_and_a_code_eats_the_blanks_around_it():
    bpe = tokenizer()
    assert bpe.decode(bpe.encode("A red shirt, Ærø!")) == "A red shirt, Ærø!"
    ids = bpe.encode("personality <code_2> .")
    assert ids == bpe.encode("personality<code_2>.")[: len(ids)]
    assert ids.count(bpe.tokenizer.token_to_id("<code_2>")) == 1 and bpe.decode(ids) == "personality."
    assert bpe.eos_id not in bpe.never and {bpe.bos_id, bpe.pad_id, ids[-2]} <= set(bpe.never)


def test_generate_equals_searching_by_forward_and_the_style_reaches_the_encoder(captioner):
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    found = captioner.generate(images, Decoding(max_length=6), ["sweet", "Dull"])
    prompts = captioner.prompts([captioner.prompt("Sweet"), captioner.prompt("Dull")])
    features = captioner.asked(captioner.features(images), prompts)
    assert features.shape == (2, 16 + prompts.shape[1], 1028)
    tokens = torch.zeros(2, 1, dtype=torch.long)
    for _ in range(6):
        logits = captioner(features, tokens)[:, -1]
        logits[:, list(captioner.tokenizer.never)] = -torch.inf
        tokens = torch.cat([tokens, logits.argmax(-1, keepdim=True)], dim=1)
    for [ids], row in zip(found.ids, tokens.tolist(), strict=True):
        assert ids == row[1 : len(ids) + 1]
    same = captioner.asked(captioner.features(images[:1]).expand(2, -1, -1), prompts)
    a, b = captioner(same, torch.zeros(2, 1, dtype=torch.long))
    assert not torch.allclose(a, b)


def test_prompts_survive_half_precision_and_everything_that_is_trained_is_used(captioner):
    prompts = torch.tensor([[0, 99, 473, 5, 2274, 6190, 116, 58456, 2]])
    features = captioner.asked(captioner.features(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)).bfloat16(), prompts)
    assert torch.equal(features[:, 16:, 0].long(), prompts)
    model = deepcopy(captioner).train()
    with torch.autocast("cpu", torch.bfloat16):
        model(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), torch.tensor([[0, 5, 6]])).sum().backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize(("how", "apart"), [("packed", 1e-4), ("bf16", 0.05), ("int8", 0.1)])
def test_quicker_linear_layers_say_the_same_within_their_precision(captioner, how, apart):
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    tokens = torch.tensor([[0, 5, 6, 7], [0, 9, 10, 11]])
    quick = faster(captioner, how)
    assert quick.ofa.encoder.embed_tokens is quick.ofa.decoder.embed_tokens
    with torch.inference_mode():
        logits, expected = quick(images, tokens), captioner(images, tokens)
    assert 0 < (logits - expected).abs().max() < apart * expected.abs().max()


def test_an_unknown_style_names_the_nearest_and_a_model_without_styles_refuses_one(captioner):
    images = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    with pytest.raises(ValueError, match="'Swetter'.*Sweet"):
        captioner.generate(images, styles=["Swetter"])
    plain = OFACaptioner(OFAConfig(32, 64, 1, 1, 4, 200), ResNetConfig((1, 1, 1), 64), tokenizer())
    with pytest.raises(ValueError, match="has none"):
        plain.generate(images, styles=["Sweet"])


def test_saved_and_loaded_it_says_the_same(captioner, tmp_path):
    captioner.save_pretrained(tmp_path)
    again, images = load(tmp_path), torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    assert again.styles == ("Sweet", "Dull") and again.config == captioner.config
    args = images, Decoding(beams=2, max_length=5), ["Dull"]
    assert again.generate(*args).ids == captioner.generate(*args).ids


@pytest.fixture(scope="module")
def styled() -> Dataset:
    texts = [["a red skirt here"], ["a blue shirt there"], ["a green hat now"], ["a dark coat then"]]
    return Dataset.from_dict(
        {"image": ["x"] * 4, "image_id": list("abcd"), "captions": texts, "style": ["Sweet", "Dull"] * 2}
    )


def asked_for(rows: StyledRows, epochs: int) -> list[tuple[int, str, str]]:
    """(row, question, answer) of every item."""
    items = [rows[epoch, row] for epoch in range(epochs) for row in range(len(rows))]
    read = rows.model.tokenizer.tokenizer.decode
    return [
        (row, read(p.tolist(), skip_special_tokens=False), rows.model.tokenizer.decode(answer.tolist()))
        for (_, row), _, [answer], p in items
    ]


def test_captions_alone_are_asked_for_in_the_style_of_the_row(captioner, styled):
    rows = StyledRows(styled, captioner, Tasks(), features=(np.zeros((4, 2, 8)),))
    for row, question, answer in asked_for(rows, 2):
        assert answer == styled["captions"][row][0]
        assert f"reply in personality<code_{row % 2}>" in question


def test_matching_has_its_shares_and_every_answer_is_right(captioner, styled):
    rows = StyledRows(styled, captioner, Tasks(0, 1, 0), features=(np.zeros((4, 2, 8)),))
    answers = []
    for row, question, answer in asked_for(rows, 200):
        own, same = styled["captions"][row][0] in question, f"<code_{row % 2}>" in question
        assert answer == ("personality" if own and not same else "yes" if own else "no")
        assert own or same  # one thing is wrong at a time
        answers.append(answer)
    shares = [answers.count(answer) / len(answers) for answer in ("yes", "no", "personality")]
    assert shares == pytest.approx([0.5, 0.25, 0.25], abs=0.05)  # 800 draws: standard error 0.018


def test_a_style_with_one_item_is_never_matched_with_another_picture(captioner, styled):
    rows = StyledRows(styled.select([0, 1, 3]), captioner, Tasks(0, 1, 0), features=(np.zeros((3, 2, 8)),))
    answers = [answer for row, _, answer in asked_for(rows, 100) if row == 0]
    assert set(answers) == {"yes", "personality"}


def test_of_one_style_no_other_is_asked_for(captioner, styled):
    sweet = deepcopy(captioner).configure(styles=("Sweet",))
    rows = StyledRows(styled.select([0, 2]), sweet, Tasks(0, 1, 0), features=(np.zeros((2, 2, 8)),))
    assert {answer for _, _, answer in asked_for(rows, 100)} == {"yes", "no"}


def test_masked_words_are_whole_and_the_answer_is_the_caption(captioner, styled):
    rows = StyledRows(styled, captioner, Tasks(0, 0, 1), features=(np.zeros((4, 2, 8)),))
    for row, question, answer in asked_for(rows, 20):
        shown = question.split('"')[1].replace("<mask>", " <mask> ").split()
        assert answer == styled["captions"][row][0] and "<mask>" in shown and len(shown) == 4
        assert all(a in ("<mask>", b) for a, b in zip(shown, answer.split(), strict=True))


def test_items_repeat_and_tasks_mix_by_weight(captioner, styled):
    rows = StyledRows(styled, captioner, Tasks(2, 1, 1), features=(np.zeros((4, 2, 8)),))
    assert asked_for(rows, 3) == asked_for(rows, 3)
    assert 0.4 < sum("reply" in question for _, question, _ in asked_for(rows, 100)) / 400 < 0.6
