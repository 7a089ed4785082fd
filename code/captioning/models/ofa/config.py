"""The sizes of OFA that were published (Wang et al. 2022, table 1), and what all of them share."""

from __future__ import annotations

from dataclasses import dataclass

IMAGE_BUCKETS = 42  # picture positions: a grid of at most 42 x 42 cells, which is 672 px
TOKEN_BUCKETS = 256
IMAGE_DISTANCES = (2 * IMAGE_BUCKETS - 1) ** 2 + 3  # 6,892 rows a relative table
TOKEN_DISTANCES = 2 * TOKEN_BUCKETS - 1  # 511
CELL_CHANNELS = 1024  # what the third stage of the ResNet puts out


@dataclass(frozen=True)
class OFAConfig:
    width: int = 256
    feed_forward: int = 1024
    encoder_layers: int = 4
    decoder_layers: int = 4
    heads: int = 4
    blocks: tuple[int, int, int] = (3, 4, 6)  # of the ResNet's first three stages
    vocabulary: int = 59_457  # 50,265 BPE + 8,192 <code_i> + 1,000 <bin_i>
    positions: int = 1024  # tokens of a text


SIZES = {
    "tiny": OFAConfig(),
    "medium": OFAConfig(512, 2048, 4, 4, 8, (3, 4, 23)),
    "base": OFAConfig(768, 3072, 6, 6, 12, (3, 4, 23)),
    "large": OFAConfig(1024, 4096, 12, 12, 16, (3, 8, 36)),
    "huge": OFAConfig(1280, 5120, 24, 12, 16, (3, 8, 36)),
}
