"""ResNet as in mmsegmentation: a stem of one or three convolutions, stages with strides or dilations."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from napari_foundseg.models.nets.classes.openmmlab.facts import Facts
from napari_foundseg.models.nets.classes.openmmlab.parts import Shapes, count_of

__all__ = ["ResNet"]


class ResNet(nn.Module):
    """ResNet that returns the features of all its stages."""

    def __init__(self, shapes: Shapes, facts: Facts) -> None:
        super().__init__()
        self.deep = "stem.0.weight" in shapes
        if self.deep:
            parts: list[nn.Module] = []
            for i, stride in ((0, 2), (3, 1), (6, 1)):
                out, inside = shapes[f"stem.{i}.weight"][:2]
                parts += [nn.Conv2d(inside, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
            self.stem = nn.Sequential(*parts)
        else:
            out, inside = shapes["conv1.weight"][:2]
            self.conv1 = nn.Conv2d(inside, out, 7, 2, 3, bias=False)
            self.bn1 = nn.BatchNorm2d(out)
        self.stages = count_of(shapes, "layer")
        for number in range(1, self.stages + 1):
            self.add_module(f"layer{number}", _stage(shapes.within(f"layer{number}"), number - 1, facts, self.stages))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the features of the stages, finest first."""
        x = self.stem(x) if self.deep else F.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(x, 3, 2, 1)
        found = []
        for number in range(1, self.stages + 1):
            x = self.get_submodule(f"layer{number}")(x)
            found.append(x)
        return found


def _stage(shapes: Shapes, number: int, facts: Facts, stages: int) -> nn.Sequential:
    dilation = facts.dilations[number]
    count = count_of(shapes, "")
    dilations = [dilation] * count
    if facts.multi_grid and number == stages - 1:
        dilations = list(facts.multi_grid[:count])
    elif dilation > 1 and facts.contract_dilation:
        dilations[0] = dilation // 2
    strides = [facts.strides[number]] + [1] * (count - 1)
    blocks = enumerate(zip(strides, dilations, strict=True))
    return nn.Sequential(*(_Block(shapes.within(str(i)), stride, own) for i, (stride, own) in blocks))


class _Block(nn.Module):
    """Two 3 × 3 convolutions, or one between two 1 × 1 convolutions, with a shortcut."""

    def __init__(self, shapes: Shapes, stride: int, dilation: int) -> None:
        super().__init__()
        self.convs = count_of(shapes, "conv")
        for i in range(1, self.convs + 1):
            out, each, side, _ = shapes[f"conv{i}.weight"]
            # Stride and dilation are in the first 3 × 3 convolution.
            first = side == 3 and (i == 2 or (self.convs == 2 and i == 1))
            inside = shapes[f"conv{i - 1}.weight"][0] if i > 1 else each
            conv = nn.Conv2d(
                inside, out, side, stride if first else 1, (dilation if first else 1) * (side // 2),
                dilation if first else 1, groups=inside // each, bias=False,
            )  # fmt: skip
            if self.convs == 2 and i == 2:
                conv = nn.Conv2d(inside, out, side, 1, side // 2, bias=False)
            self.add_module(f"conv{i}", conv)
            self.add_module(f"bn{i}", nn.BatchNorm2d(out))
        self.downsample: nn.Module = nn.Identity()
        averaged = "downsample.1.weight" in shapes and len(shapes["downsample.1.weight"]) == 4
        if averaged or "downsample.0.weight" in shapes:
            out, inside = shapes["downsample.1.weight" if averaged else "downsample.0.weight"][:2]
            pool = [nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)] if averaged else []
            conv = nn.Conv2d(inside, out, 1, 1 if averaged else stride, bias=False)
            self.downsample = nn.Sequential(*pool, conv, nn.BatchNorm2d(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features, (B, C, M, N)."""
        by = self.downsample(x)
        for i in range(1, self.convs + 1):
            x = self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(x))
            x = F.relu(x + by if i == self.convs else x)
        return x
