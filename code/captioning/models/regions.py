"""Pictures to regions: the strongest boxes of a `torchvision` detector, behind the interface of `encoder.Encoder`.

"Bottom-Up and Top-Down Attention" (Anderson et al. 2018, section 3.1): a detector says where to look, and its box head
what is there. Shapes: B pictures, N regions, P proposals, H x W pixels, C channels, the last four of them the box.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights
from torchvision.ops import clip_boxes_to_image, nms, remove_small_boxes

from captioning.models.config import RegionConfig


class RegionEncoder(nn.Module):
    """Region features (B, N, C) of uint8 pictures (B, 3, H, W), strongest first. Always frozen."""

    frozen = True

    def __init__(self, config: RegionConfig):
        super().__init__()
        self.config = config
        self.detector = detector(config)
        self.channels = self.detector.roi_heads.box_predictor.cls_score.in_features + 4
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> RegionEncoder:
        """Stays in evaluation mode: in the other a detector wants targets, and its batch norms move."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        images = self.detector.transform(list(images / 255))[0]  # normalised, resized and padded as the detector likes
        maps = self.detector.backbone(images.tensors)
        proposals = self.detector.rpn(images, maps)[0]  # a list of (P, 4) in pixels
        boxes = self.strongest(self.box_features(maps, proposals, images.image_sizes), proposals, images.image_sizes)
        features = self.box_features(maps, list(boxes), images.image_sizes).unflatten(0, boxes.shape[:2])
        rows, columns = images.image_sizes[0]  # all pictures have one size
        return torch.cat([features, boxes / boxes.new_tensor([columns, rows, columns, rows])], dim=-1)

    def box_features(self, maps: dict[str, Tensor], boxes: list[Tensor], sizes: list[tuple[int, int]]) -> Tensor:
        """What the detector's box head says of all boxes, one picture after the other: (sum of P, C-4)."""
        heads = self.detector.roi_heads
        return heads.box_head(heads.box_roi_pool(maps, boxes, sizes))

    def strongest(self, features: Tensor, proposals: list[Tensor], sizes: list[tuple[int, int]]) -> Tensor:
        """Boxes (B, N, 4) in pixels: each proposal refined for its likeliest class, ranked by that probability."""
        heads = self.detector.roi_heads
        logits, offsets = heads.box_predictor(features)
        scores, classes = logits.softmax(dim=-1)[:, 1:].max(dim=-1)  # class 0 is the background
        refined = heads.box_coder.decode(offsets, proposals)  # (sum of P, classes, 4)
        refined = refined[torch.arange(len(refined), device=refined.device), classes + 1]
        pictures = [len(boxes) for boxes in proposals]
        rows = zip(refined.split(pictures), scores.split(pictures), sizes, strict=True)
        return torch.stack([self.first(clip_boxes_to_image(b, size), s, size) for b, s, size in rows])

    def first(self, boxes: Tensor, scores: Tensor, size: tuple[int, int]) -> Tensor:
        """The N best boxes (N, 4) of (P, 4): those that survive non-maximum suppression before those that do not, and
        the whole picture where there are too few."""
        real = remove_small_boxes(boxes, min_size=1.0)
        boxes, scores = boxes[real], scores[real]
        rank = scores.double()  # so that adding 1 makes no ties
        rank[nms(boxes, scores, self.detector.roi_heads.nms_thresh)] += 1
        best = boxes[rank.argsort(descending=True)[: self.config.regions]]
        whole = boxes.new_tensor([0, 0, size[1], size[0]])
        return torch.cat([best, whole.expand(self.config.regions - len(best), 4)])


def detector(config: RegionConfig) -> nn.Module:
    """The torchvision detector with the weights that `config` names.

    Raises FileNotFoundError for a weight file that is not there, ValueError (from torchvision) for a name that it does
    not know, RuntimeError (from torch) for keys that do not fit.
    """
    model = get_model(config.detector, weights=None, weights_backbone=None, **config.args)
    if config.weights == "hub":
        model.load_state_dict(get_model_weights(config.detector).DEFAULT.get_state_dict(check_hash=True))
    elif config.weights is not None:
        model.load_state_dict(read_weights(Path(config.weights)))
    return model


def read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(
            f"detector weights '{path}': no such file. Give a .safetensors or .pth file for a torchvision detector, "
            "'hub' to download them, or null to start from random weights."
        )
    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)
