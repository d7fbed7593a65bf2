"""Parts of networks, built from the shapes of their tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["Convolution", "Separable", "Shapes", "count_of", "resized"]


class Shapes(dict[str, tuple[int, ...]]):
    """Shapes of tensors by name."""

    def within(self, prefix: str) -> Shapes:
        """Return the shapes under a prefix, with names without the prefix."""
        return Shapes({k[len(prefix) + 1 :]: v for k, v in self.items() if k.startswith(f"{prefix}.")})


class Convolution(nn.Module):
    """A convolution, its normalisation if there are tensors of one, and a ReLU if `active`."""

    def __init__(
        self, shapes: Shapes, *, stride: int = 1, dilation: int = 1, separate: bool = False, active: bool = True
    ) -> None:
        super().__init__()
        out, each, side, _ = shapes["conv.weight"]
        self.conv = nn.Conv2d(
            out if separate else each, out, side, stride, dilation * (side // 2), dilation,
            groups=out if separate else 1, bias="conv.bias" in shapes,
        )  # fmt: skip
        self.bn = nn.BatchNorm2d(out) if "bn.weight" in shapes else nn.Identity()
        self.active = active

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features, (B, C, M, N)."""
        x = self.bn(self.conv(x))
        return F.relu(x) if self.active else x


class Separable(nn.Module):
    """A depthwise convolution, then a pointwise one."""

    def __init__(self, shapes: Shapes, *, dilation: int = 1) -> None:
        super().__init__()
        self.depthwise_conv = Convolution(shapes.within("depthwise_conv"), dilation=dilation, separate=True)
        self.pointwise_conv = Convolution(shapes.within("pointwise_conv"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features, (B, C, M, N)."""
        found: torch.Tensor = self.pointwise_conv(self.depthwise_conv(x))
        return found


def count_of(shapes: Mapping[str, tuple[int, ...]], prefix: str) -> int:
    """Return how many numbered parts begin with a prefix, such as ``layers.``."""
    own = [name[len(prefix) :] for name in shapes if name.startswith(prefix)]
    return len({name.partition(".")[0] for name in own if name.partition(".")[0].isdigit()})


def resized(x: torch.Tensor, like: torch.Tensor | tuple[int, int], *, corners: bool = False) -> torch.Tensor:
    """Return features interpolated to the size of others, or to a given number of rows and columns."""
    size = like if isinstance(like, tuple) else tuple(like.shape[-2:])
    return F.interpolate(x, size, mode="bilinear", align_corners=corners)
