"""micro-sam's instance decoder: torch-em's UNETR without skips (Archit et al., Nature Methods 2025), in its layout."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Unetr", "build_unetr"]

_WIDTHS = (512, 256, 128, 64)


class _Interpolated(nn.Module):
    """A 1 × 1 convolution, then interpolation to twice the size; torch-em swaps the two, with the same result."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.conv(x), scale_factor=2, mode="bilinear", align_corners=False)


class _Transposed(nn.Module):
    """A transposed convolution to twice the size."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.block = nn.ConvTranspose2d(inside, outside, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(x)
        return out


class _Conv(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.block = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(x)
        return out


class _Up(nn.Module):
    def __init__(self, inside: int, outside: int, sampler: type[nn.Module]) -> None:
        super().__init__()
        self.block = nn.Sequential(sampler(inside, outside), _Conv(outside), nn.BatchNorm2d(outside), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(x)
        return out


class _Twice(nn.Module):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.InstanceNorm2d(inside), nn.Conv2d(inside, outside, 3, padding=1), nn.ReLU(),
            nn.InstanceNorm2d(outside), nn.Conv2d(outside, outside, 3, padding=1), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(x)
        return out


class _Decoder(nn.Module):
    def __init__(self, sampler: type[nn.Module]) -> None:
        super().__init__()
        steps = list(itertools.pairwise(_WIDTHS))
        self.blocks = nn.ModuleList(_Twice(*step) for step in steps)
        self.samplers = nn.ModuleList(sampler(*step) for step in steps)

    def forward(self, x: Tensor, others: list[Tensor]) -> Tensor:
        for block, sampler, other in zip(self.blocks, self.samplers, others, strict=True):
            x = sampler(x)
            # torch-em crops the other features to this shape along every axis: the middle half of the channels remains.
            spare = (other.shape[1] - x.shape[1]) // 2
            x = block(torch.cat([x, other[:, spare : other.shape[1] - spare]], dim=1))
        return x


class Unetr(nn.Module):
    """Decoder from SAM's features to three maps, which are sixteen times as large.

    Parameters
    ----------
    transposed : bool
        Whether it doubles sizes by transposed convolutions instead of interpolation.
    width : int
        Channels of the features.
    """

    def __init__(self, *, transposed: bool, width: int = 256) -> None:
        super().__init__()
        sampler = _Transposed if transposed else _Interpolated
        self.decoder = _Decoder(sampler)
        self.deconv1, self.deconv2 = _Up(width, _WIDTHS[0], sampler), _Up(_WIDTHS[0], _WIDTHS[1], sampler)
        self.deconv3, self.deconv4 = _Up(_WIDTHS[1], _WIDTHS[2], sampler), _Up(_WIDTHS[2], _WIDTHS[3], sampler)
        self.base = _Twice(width, _WIDTHS[0])
        self.out_conv = nn.Conv2d(_WIDTHS[3], 3, 1)
        self.deconv_out = sampler(_WIDTHS[3], _WIDTHS[3])
        self.decoder_head = _Twice(2 * _WIDTHS[3], _WIDTHS[3])

    def forward(self, features: Tensor) -> Tensor:
        """Decode maps.

        Parameters
        ----------
        features : Tensor, shape (B, C, H, W)

        Returns
        -------
        Tensor, shape (B, 3, 16 H, 16 W)
            Foreground, centre distance and boundary distance, 0 to 1.
        """
        others = [self.deconv1(features)]
        for deconv in (self.deconv2, self.deconv3, self.deconv4):
            others.append(deconv(others[-1]))
        x = self.deconv_out(self.decoder(self.base(features), others[:3]))
        return torch.sigmoid(self.out_conv(self.decoder_head(torch.cat([x, others[3]], dim=1))))


def build_unetr(shapes: Mapping[str, tuple[int, ...]]) -> Unetr:
    """Build the decoder that fits a checkpoint's ``decoder_state``.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Shapes of its tensors.

    Returns
    -------
    Unetr
        In evaluation mode, with random weights.
    """
    width = shapes.get("base.block.1.weight", (512, 256, 3, 3))[1]
    return Unetr(transposed="deconv_out.block.weight" in shapes, width=width).eval()
