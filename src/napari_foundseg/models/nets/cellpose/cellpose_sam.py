"""Cellpose-SAM's network (Pachitariu et al., bioRxiv 2025.04.28.651001), in its published layout.

SAM's image encoder with patches of 8 pixels in windows of 256, attention over the whole window in every block, and
three maps by a 1 × 1 convolution whose channels are the pixels of a patch. Reimplemented after the code of cellpose 4
(BSD-3-Clause).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor, nn
from torch.nn import functional

from napari_foundseg.models.nets.sam.sam_build import build_encoder

__all__ = ["CellposeSam", "build_cellpose_sam", "padding", "tapered", "tile_starts"]

#: Share of a tile that overlaps the next one. Padded sides are multiples of 16 pixels, with a margin of 16 in all.
_OVERLAP = 0.1
_MULTIPLE = 16
_PREFIX = "encoder."


class CellposeSam(nn.Module):
    """Network from tiles of normalised pictures to flows along rows and columns and the logit of cell probability."""

    def __init__(self, encoder: ImageEncoderViT, width: int, patch: int, maps: int) -> None:
        super().__init__()
        self._grid = int(encoder.pos_embed.shape[1])
        self.encoder = encoder
        self.out = nn.Conv2d(width, maps * patch**2, 1)
        pixels = torch.eye(maps * patch**2).reshape(maps * patch**2, maps, patch, patch)
        self.W2 = nn.Parameter(pixels, requires_grad=False)
        self.diam_labels = nn.Parameter(torch.tensor([30.0]), requires_grad=False)
        self.diam_mean = nn.Parameter(torch.tensor([30.0]), requires_grad=False)

    @property
    def tile(self) -> int:
        """Side of a tile in pixels."""
        return self._grid * int(self.W2.shape[-1])

    def forward(self, tiles: Tensor) -> Tensor:
        """Return flows along rows and columns, and logits of the cell probability.

        Parameters
        ----------
        tiles : Tensor, shape (B, 3, side, side)
            Each channel normalised, absent ones 0.

        Returns
        -------
        Tensor, shape (B, 3, side, side)
        """
        maps = self.out(self.encoder(tiles))
        return functional.conv_transpose2d(maps, self.W2, stride=self.W2.shape[-1])


def build_cellpose_sam(shapes: Mapping[str, tuple[int, ...]]) -> CellposeSam:
    """Build the network that fits a checkpoint; raises KeyError or ValueError if its size is unclear.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Shapes of its tensors by cellpose's names.
    """
    encoder = build_encoder({f"image_{name}": shape for name, shape in shapes.items() if name.startswith(_PREFIX)})
    for i, block in enumerate(encoder.blocks):
        # As published: the tables of SAM's windows and those of its whole picture are all used for a whole tile.
        block.window_size = 0
        for axis in "hw":
            name = f"rel_pos_{axis}"
            setattr(block.attn, name, nn.Parameter(torch.zeros(shapes[f"{_PREFIX}blocks.{i}.attn.{name}"])))
    rows, maps, patch, _ = shapes["W2"]
    if rows != maps * patch**2:
        raise ValueError(f"W2 has the shape {shapes['W2']}")
    return CellposeSam(encoder, shapes["out.weight"][1], patch, maps).eval()


def padding(length: int, side: int) -> tuple[int, int]:
    """Return how many pixels are added before and after a side of a picture."""
    more = -length % _MULTIPLE if length >= side else max(0, side - length - _MULTIPLE)
    return _MULTIPLE // 2 + more // 2, _MULTIPLE // 2 + more - more // 2


def tile_starts(length: int, side: int) -> list[int]:
    """Return where tiles begin along a side of a padded picture."""
    if length <= side:
        return [0]
    count = int(-(-((1 + 2 * _OVERLAP) * length) // side))
    return [int(at) for at in torch.linspace(0, length - side, count, dtype=torch.float64)]


def tapered(side: int) -> Tensor:
    """Return the weights (side, side) with which overlapping tiles are averaged: less towards their borders."""
    full = max(224, side)
    at = torch.arange(full, dtype=torch.float64)
    weight = 1 / (1 + torch.exp(((at - at.mean()).abs() - (full / 2 - 20)) / 7.5))
    first = full // 2 - side // 2
    weight = weight[first : first + side]
    return weight[:, None] * weight
