"""The encoder of EfficientPS: EfficientNet without squeeze-and-excitation, with leaky ReLU, and the two-way pyramid."""

from __future__ import annotations

from math import ceil

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Encoder", "SeparableConv", "TwoWayPyramid", "conv_norm"]

#: Expansion, channels, repeats, stride and kernel of each stage of EfficientNet-B0.
_STAGES = ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5),
           (6, 192, 4, 2, 5), (6, 320, 1, 1, 3))  # fmt: skip
#: Stages whose outputs the pyramid takes, besides the last convolution: 1/4, 1/8 and 1/16 of the picture.
_TAKEN = (1, 2, 4)
_SLOPE = 0.01


def conv_norm(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1, *, act: bool = True) -> nn.Module:
    """Return a convolution that keeps the size or divides it by the stride, batch norm, and leaky ReLU if `act`."""
    conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), *([nn.LeakyReLU(_SLOPE)] if act else []))


class SeparableConv(nn.Sequential):
    """A depthwise 3 x 3 convolution, a pointwise one, batch norm, and leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, dilation: int | tuple[int, int] = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, inputs, 3, padding=dilation, dilation=dilation, groups=inputs, bias=False),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(_SLOPE),
        )


class _Block(nn.Module):
    """An inverted bottleneck."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int, size: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = conv_norm(inputs, inner, 1) if expansion > 1 else nn.Identity()
        self.depthwise = conv_norm(inner, inner, size, stride, inner)
        self.project = conv_norm(inner, outputs, 1, act=False)
        self._adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + found if self._adds else found


class Encoder(nn.Module):
    """EfficientNet scaled by `width` and `depth`; B5 has 1.6 and 2.2.

    Returns features at 1/4, 1/8, 1/16 and 1/32 of the picture, with numbers of channels as in `channels`.
    """

    def __init__(self, width: float, depth: float) -> None:
        super().__init__()
        self.stem = conv_norm(3, last := _rounded(32, width), 3, 2)
        self.stages = nn.ModuleList()
        taken = []
        for number, (expansion, base, repeats, stride, size) in enumerate(_STAGES):
            outputs = _rounded(base, width)
            blocks = []
            for i in range(ceil(repeats * depth)):
                blocks.append(_Block(last, outputs, expansion, stride if i == 0 else 1, size))
                last = outputs
            self.stages.append(nn.Sequential(*blocks))
            if number in _TAKEN:
                taken.append(outputs)
        self.head = conv_norm(last, _rounded(1280, width), 1)
        self.channels = (*taken, _rounded(1280, width))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return features of four scales, the finest first."""
        x = self.stem(x)
        found = []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number in _TAKEN:
                found.append(x)
        return [*found, self.head(x)]


class TwoWayPyramid(nn.Module):
    """Pyramid that passes features from coarse to fine and from fine to coarse in parallel, and adds both."""

    def __init__(self, channels: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.down = nn.ModuleList(conv_norm(n, outputs, 1) for n in channels)
        self.up = nn.ModuleList(conv_norm(n, outputs, 1) for n in channels)
        self.out = nn.ModuleList(SeparableConv(outputs, outputs) for _ in channels)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Return features of the same scales, each combined with the others."""
        coarse_to_fine = [conv(x) for conv, x in zip(self.down, features, strict=True)]
        for i in range(len(features) - 2, -1, -1):
            coarse_to_fine[i] = coarse_to_fine[i] + F.interpolate(coarse_to_fine[i + 1], scale_factor=2.0)
        fine_to_coarse = [conv(x) for conv, x in zip(self.up, features, strict=True)]
        for i in range(1, len(features)):
            fine_to_coarse[i] = fine_to_coarse[i] + F.max_pool2d(fine_to_coarse[i - 1], 2)
        return [out(a + b) for out, a, b in zip(self.out, coarse_to_fine, fine_to_coarse, strict=True)]


def _rounded(channels: int, width: float) -> int:
    """Return channels times width as a multiple of 8, which is at most a tenth smaller."""
    wanted = channels * width
    found = max(8, int(wanted + 4) // 8 * 8)
    return found + 8 if found < 0.9 * wanted else found
