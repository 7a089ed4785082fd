"""Released OFA checkpoints, as tiny random ones in the layouts of Hugging Face and of ModelScope."""

import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torchvision.transforms import v2
from torchvision.transforms.functional import InterpolationMode
from transformers import BartTokenizer, BertTokenizer

import captioning
from captioning.data.batches import picture_tensor
from captioning.models import folders, saved
from captioning.models.ofa import checkpoint
from captioning.models.ofa.captioner import OFACaptioner
from captioning.models.ofa.config import OFA_DECODING
from captioning.models.ofa.tokenizer import BPETokenizer
from conftest import same_in_every_type
from ofa_release import CONFIG, write_bpe, write_release

CONFIGURATION = {  # ModelScope's
    "framework": "pytorch",
    "task": "image-captioning",
    "model": {
        "type": "ofa",
        "beam_search": {"beam_size": 3, "max_len_b": 6, "min_len": 1, "no_repeat_ngram_size": 2},
        "patch_image_size": 64,
        "prompt": " what is it?",
        "language": "en",
    },
}
CHINESE = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *"图片描述了什么红色的裙子？", "nik", "##e", "-"]


@pytest.fixture(scope="module")
def releases(tmp_path_factory) -> dict[str, Path]:
    hugging_face, modelscope, chinese = (tmp_path_factory.mktemp(name) for name in ("hf", "modelscope", "muge"))
    write_release(hugging_face, write_bpe(hugging_face))
    write_release(modelscope, write_bpe(modelscope), CONFIGURATION)
    (chinese / "vocab.txt").write_text("\n".join(CHINESE) + "\n")
    write_release(
        chinese, len(CHINESE), {"model": {"language": "zh", "prompt": "图片描述了什么？", "patch_image_size": 64}}
    )
    return {"hugging face": hugging_face, "modelscope": modelscope, "chinese": chinese}


@pytest.fixture
def release(releases, tmp_path) -> Path:
    """A copy to spoil, in Hugging Face's layout."""
    folder = tmp_path / "release"
    shutil.copytree(releases["hugging face"], folder, ignore=shutil.ignore_patterns("*.safetensors"))
    return folder


def photo(folder: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "photo.png")
    return folder / "photo.png"


@pytest.mark.parametrize("layout", ["hugging face", "modelscope", "chinese"])
def test_a_release_captions_a_picture_as_it_was_meant_to(releases, layout, tmp_path):
    model, picture = saved.load(releases[layout]), photo(tmp_path)
    assert isinstance(model, OFACaptioner) and not model.training
    text = captioning.caption(picture, model=releases[layout])
    image = picture_tensor(str(picture), model.encoder.config.image_size)[None]
    found = model.generate(image, model.usual)
    assert found.best == [text]
    ids = found.ids[0][0]
    if layout == "modelscope":  # its configuration.json says so
        assert (model.usual.beams, model.usual.max_length, model.usual.no_repeat_ngram) == (3, 7, 2)
        assert model.encoder.config.image_size == 64 and model.prompt() == " what is it?" and len(ids) <= 7
    else:
        assert model.usual == OFA_DECODING
        assert model.encoder.config.image_size == {"hugging face": 480, "chinese": 64}[layout]
    assert ids[-1] == model.tokenizer.eos_id and len(ids) <= model.usual.max_length
    if layout == "chinese":
        assert model.tokenizer.decode(model.tokenizer.encode(model.prompt())) == "图片描述了什么？"


def test_it_is_converted_once_and_by_one_rename(release, monkeypatch):
    first = saved.load(release).state_dict()
    kept = load_file(release / "model.safetensors")
    assert "encoder.token_rp_bucket" not in kept and "decoder.output_projection.weight" not in kept
    assert [file.name for file in release.iterdir() if "partial" in file.name] == []
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("read again"))
    again = saved.load(release).state_dict()
    (release / "pytorch_model.bin").unlink()
    alone = saved.load(release).state_dict()
    for name, weight in first.items():
        assert torch.equal(again[name], weight) and torch.equal(alone[name], weight), name


def test_a_newer_download_is_converted_again_and_a_failed_conversion_leaves_nothing(release, monkeypatch):
    def full(weights, path):
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
        patch.setattr(checkpoint, "save_file", full)
        saved.load(release)
    assert not (release / "model.safetensors").exists()
    saved.load(release)
    weights = torch.load(release / "pytorch_model.bin", weights_only=True)
    weights["encoder.image_proj.bias"] += 1
    torch.save(weights, release / "pytorch_model.bin")
    assert torch.equal(saved.load(release).ofa.encoder.image_proj.bias, weights["encoder.image_proj.bias"])


def test_a_saved_release_is_one_of_our_folders(releases, tmp_path):
    model = saved.load(releases["modelscope"])
    model.save_pretrained(tmp_path / "ours")
    again = saved.load(tmp_path / "ours")
    assert again.config == model.config and again.usual == model.usual and again.prompt() == model.prompt()
    images = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    assert again.generate(images, again.usual).ids == model.generate(images, model.usual).ids


def test_stored_in_half_precision_it_captions_as_in_single(release):
    weights, said = torch.load(release / "pytorch_model.bin", weights_only=True), []
    weights = {name: same_in_every_type(weight) for name, weight in weights.items()}
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for kind in (torch.float32, torch.float16, torch.bfloat16):
        stored = {name: weight.to(kind) if weight.is_floating_point() else weight for name, weight in weights.items()}
        torch.save(stored, release / "pytorch_model.bin")
        for _ in range(2):  # as it was released, and as it was converted
            model = saved.load(release)
            assert {p.dtype for p in model.parameters()} == {torch.float32}
            assert model.ofa.encoder.embed_tokens.weight is model.ofa.decoder.embed_tokens.weight
            said.append(model.generate(images, model.usual))
    for other in said[1:]:
        assert other.texts == said[0].texts and torch.equal(other.log_probs, said[0].log_probs)


def test_missing_left_over_and_misshapen_weights_are_listed(release):
    weights = torch.load(release / "pytorch_model.bin", weights_only=True)
    weights["surplus"] = weights.pop("encoder.image_proj.bias")
    weights["decoder.layers.0.fc1.bias"] = torch.zeros(63)
    torch.save(weights, release / "pytorch_model.bin")
    with pytest.raises(RuntimeError, match=r"(?s)image_proj\.bias.*surplus.*fc1\.bias.*63.*64"):
        saved.load(release)


def test_tables_that_should_be_tied_are_compared(release):
    weights = torch.load(release / "pytorch_model.bin", weights_only=True)
    weights["decoder.output_projection.weight"] = weights["decoder.output_projection.weight"] + 1
    torch.save(weights, release / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"decoder\.output_projection\.weight differs .* OFA ties the two"):
        saved.load(release)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normformer": False}, "normformer=False, expected True"),
        ({"resnet_type": "resnet18"}, "resnet_type='resnet18', expected one of resnet50"),
        ({"decoder_ffn_dim": 65}, "decoder_ffn_dim=65, expected 64"),
        ({"vocab_size": 59457}, r"59457 tokens in config\.json, \d+ in the vocabulary"),
        ({"d_model": None}, "d_model is missing"),
    ],
)
def test_a_configuration_of_another_kind_is_refused(release, change, message):
    config = {key: value for key, value in (CONFIG | {"vocab_size": 1} | change).items() if value is not None}
    (release / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        saved.load(release)


def test_a_missing_vocabulary_is_named(release):
    (release / "merges.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"merges\.txt missing"):
        saved.load(release)
    (release / "vocab.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json missing"):
        saved.load(release)


def test_code_in_a_checkpoint_does_not_run(release, tmp_path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"weight": Trap()}, release / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin: holds more than tensors"):
        saved.load(release)
    assert not (tmp_path / "sprung").exists()


def test_the_bpe_is_barts_and_codes_eat_blanks(releases):
    folder = releases["hugging face"]
    ours = checkpoint.read_tokenizer(folder)
    theirs = BartTokenizer(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"))
    for text in (" what does the image describe?", " A red T-shirt, and a skirt!", " naïve 红"):
        assert ours.encode(text) == theirs(text, add_special_tokens=False)["input_ids"]
    size = len(theirs)
    ids = ours.encode(" reply in personality <code_7> .")
    assert ids[-2] == size + 7 and len(ours) == size + 9192
    assert ids[:-2] == theirs(" reply in personality", add_special_tokens=False)["input_ids"]
    assert ids[-1] == theirs(".", add_special_tokens=False)["input_ids"][0]  # no blank before it is left


def test_the_chinese_pieces_are_berts(releases, tmp_path):
    ours = checkpoint.read_tokenizer(releases["chinese"])
    special = {"unk_token": "<unk>", "pad_token": "<pad>", "cls_token": "<s>", "sep_token": "</s>"}
    theirs = BertTokenizer(vocab={word: i for i, word in enumerate(CHINESE)}, mask_token="<mask>", **special)
    for text in ("图片描述了什么？", "Nike 红色的 裙子", "狗"):
        assert ours.encode(text) == theirs(text, add_special_tokens=False)["input_ids"]
    assert ours.decode(ours.encode("Nike 红色的 裙子")) == "nike 红色的裙子"
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n")
    with pytest.raises(ValueError, match="ids of the special tokens are {'<s>': None"):
        BPETokenizer.from_bert(tmp_path / "vocab.txt")


def test_pictures_are_prepared_as_by_the_reference(releases, tmp_path):
    model, picture = saved.load(releases["hugging face"]), photo(tmp_path)
    resized = v2.functional.resize(Image.open(picture), [480, 480], interpolation=InterpolationMode.BICUBIC)
    expected = (torch.from_numpy(np.array(resized)).permute(2, 0, 1) / 255 - 0.5) / 0.5
    seen = []
    model.encoder.resnet.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model.features(picture_tensor(str(picture), 480)[None])
    torch.testing.assert_close(seen[0][0], expected, atol=1e-6, rtol=0)


def test_a_hub_repository_without_safetensors_is_fetched_whole(release, monkeypatch):
    asked = []

    def download(name, allow_patterns):
        asked.append(allow_patterns)
        return str(release)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda name, file: str(release / file))
    assert saved.load("OFA-Sys/ofa-tiny").kind == "ofa"
    assert "pytorch_model.bin" not in asked[0] and "pytorch_model.bin" in asked[1] and "merges.txt" in asked[1]
    saved.load("OFA-Sys/ofa-tiny")
    assert len(asked) == 3  # converted: the weights as they were published are not needed any more


def test_modelscope_is_asked_where_it_is_installed_and_else_named(release, monkeypatch):
    with pytest.raises(ValueError, match=r"pip install modelscope, then modelscope download --model damo/x"):
        saved.load("modelscope:damo/x")
    asked, module = [], ModuleType("modelscope")
    module.snapshot_download = lambda name, revision: asked.append((name, revision)) or str(release)
    monkeypatch.setitem(sys.modules, "modelscope", module)
    monkeypatch.setattr(folders, "find_spec", lambda name: name)
    assert saved.load("modelscope:damo/ofa_image-caption_coco_distilled_en@v1.0.1").kind == "ofa"
    saved.load("modelscope:damo/x")
    assert asked == [("damo/ofa_image-caption_coco_distilled_en", "v1.0.1"), ("damo/x", None)]
