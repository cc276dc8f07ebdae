"""Image patches as Gato embeds them (Reed et al. 2022, arXiv:2205.06175, section 2.1, appendices C.2 and C.3).

The frames of a stack are channels of one image, so a stack costs as many tokens as a single frame. Heights and widths
are padded to whole patches with black at the bottom and on the right: 84 pixels become 96, six patches.
"""

import math

import numpy as np
import torch
from torch import nn

_POSITIONS = 128  # intervals that the height and the width of an image are divided into
_CHANNELS = 64
_GROUPS = 32


class PatchEmbedding(nn.Module):
    """A convolution, one residual block (He et al. 2016, arXiv:1603.05027, with group norm and GELU), and a projection.

    The paper gives neither channels nor strides; both are chosen for CPUs here.
    """

    def __init__(self, frames: int, patch: int, width: int) -> None:
        super().__init__()
        self.patch = patch
        side = math.ceil(patch / 4)
        self.stem = nn.Conv2d(frames, _CHANNELS, 3, stride=2, padding=1)
        self.block = nn.Sequential(
            nn.GroupNorm(_GROUPS, _CHANNELS),
            nn.GELU(),
            nn.Conv2d(_CHANNELS, _CHANNELS, 3, stride=2, padding=1),
            nn.GroupNorm(_GROUPS, _CHANNELS),
            nn.GELU(),
            nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1),
        )
        self.shortcut = nn.Conv2d(_CHANNELS, _CHANNELS, 1, stride=2)
        self.join = nn.Linear(_CHANNELS * side * side, width)
        self.rows = nn.Embedding(_POSITIONS, width)
        self.columns = nn.Embedding(_POSITIONS, width)
        nn.init.normal_(self.rows.weight, std=0.3)
        nn.init.normal_(self.columns.weight, std=0.3)

    def forward(self, images: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """``(n, frames, height, width)``, uint8, and ``(n, patches, 2)`` → ``(n * patches, width)``."""
        patches = self.cut(images)
        hidden = self.stem(patches)
        vectors = self.join((self.shortcut(hidden) + self.block(hidden)).flatten(1))
        rows, columns = positions.flatten(0, 1).unbind(-1)
        return vectors + self.rows(rows) + self.columns(columns)

    def cut(self, images: torch.Tensor) -> torch.Tensor:
        """The patches in raster order, ``(n * patches, frames, patch, patch)``, scaled to [-1, 1] / sqrt(patch)."""
        size, (height, width) = self.patch, images.shape[-2:]
        whole = nn.functional.pad(images, (0, -width % size, 0, -height % size))
        pixels = (whole.float() * (2 / 255) - 1) / math.sqrt(size)
        blocks = pixels.unflatten(3, (-1, size)).unflatten(2, (-1, size))  # n, frames, rows, size, columns, size
        return blocks.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def patch_positions(images: int, rows: int, columns: int, rng: np.random.Generator | None) -> np.ndarray:
    """The position of each patch within its image, ``(images, rows * columns, 2)``, quantised to 128 positions.

    Args:
        images: number of images.
        rows: rows of patches.
        columns: columns of patches.
        rng: samples uniformly from each patch's interval, as in training; None for its middle, as in evaluation.
    """
    grid = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), axis=-1).reshape(-1, 2)
    counts = np.array([rows, columns])
    low, high = grid * _POSITIONS // counts, (grid + 1) * _POSITIONS // counts
    share = 0.5 if rng is None else rng.random((images, *grid.shape))
    return np.broadcast_to(low + (share * (high - low)).astype(np.int64), (images, *grid.shape))
