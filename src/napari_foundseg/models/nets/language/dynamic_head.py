"""Dynamic head (Dai et al., CVPR 2021): blocks that join each level of a feature pyramid with its neighbours.

In each block, a level is joined with the finer and the coarser one. Offsets shift the places that the convolutions
read. They are computed from the level itself, and are used for its neighbours as well.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import deform_conv2d

__all__ = ["DynamicBlock"]

#: Groups of the normalisation.
_GROUPS = 16
#: Channels of the offsets of a 3 × 3 convolution: two for each place. Nine further channels are weights.
_OFFSETS = 18


class DynamicBlock(nn.Module):
    """Block that joins each level with its neighbours; `squeezed` is the number of channels inside the activation."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        # For the coarser level, the level itself, and the finer one.
        self.dyconvs = nn.ModuleList(_DeformableConvolution(channels, stride) for stride in (1, 1, 2))
        self.attnconv = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, 1, 1), nn.ReLU())
        self.relu = _DynamicActivation(channels, squeezed)
        self.offset = nn.Conv2d(channels, _OFFSETS + 9, 3, padding=1)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Return features of the same sizes, finest first, each (1, C, M, N)."""
        return [self.relu(self._joined(levels, i)) for i in range(len(levels))]

    def _joined(self, levels: Sequence[Tensor], place: int) -> Tensor:
        """Return the weighted mean of a level and its neighbours."""
        own = levels[place]
        shifts = self.offset(own)
        offsets, weights = shifts[:, :_OFFSETS], shifts[:, _OFFSETS:].sigmoid()
        coarser, same, finer = self.dyconvs
        found = [same(own, offsets, weights)]
        if place > 0:
            found.append(finer(levels[place - 1], offsets, weights))
        if place + 1 < len(levels):
            small = coarser(levels[place + 1], offsets, weights)
            found.append(F.interpolate(small, own.shape[-2:], mode="bilinear", align_corners=True))
        shares = [F.hardsigmoid(self.attnconv(one)) for one in found]
        return torch.stack([one * share for one, share in zip(found, shares, strict=True)]).mean(0)


class _DeformableConvolution(nn.Module):
    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        # Only holds the weights; it is never called.
        self.conv = nn.Conv2d(channels, channels, 3, stride, padding=1)
        self.bn = nn.GroupNorm(_GROUPS, channels)

    def forward(self, x: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
        size = tuple((n - 1) // self.conv.stride[0] + 1 for n in x.shape[-2:])
        found = deform_conv2d(
            x,
            _reread(offsets, size),
            self.conv.weight,
            self.conv.bias,
            stride=self.conv.stride,
            padding=self.conv.padding,
            mask=_reread(weights, size),
        )
        normalised: Tensor = self.bn(found)
        return normalised


def _reread(values: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return the first numbers of (1, C, M, N) as (1, C, *size).

    The authors' operator reads offsets in memory as if they had the size of its result, which may be that of a coarser
    level. The networks were trained that way.
    """
    if tuple(values.shape[-2:]) == size:
        return values
    channels = values.shape[1]
    return values.flatten()[: channels * size[0] * size[1]].view(1, channels, *size)


class _DynamicActivation(nn.Module):
    """The larger of two linear functions, whose slopes and constants depend on the mean of the features."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(channels, squeezed), nn.ReLU(), nn.Linear(squeezed, 4 * channels))

    def forward(self, x: Tensor) -> Tensor:
        parts = F.hardsigmoid(self.fc(x.mean((2, 3))))[..., None, None] - 0.5
        slope, constant, other_slope, other_constant = parts.chunk(4, dim=1)
        return torch.maximum(x * (2 * slope + 1) + constant, x * 2 * other_slope + other_constant)
