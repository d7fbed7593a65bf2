"""U-Net for slices of the brain in the layout of mateuszbuda/brain-segmentation-pytorch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["BrainUNet"]


class BrainUNet(nn.Module):
    """U-Net of four stages in its authors' layout, without their final sigmoid: scores are logits."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()
        for i in range(1, 5):
            setattr(self, f"encoder{i}", _block(shapes, f"encoder{i}", f"enc{i}"))
            setattr(self, f"decoder{i}", _block(shapes, f"decoder{i}", f"dec{i}"))
            inside, out = shapes[f"upconv{i}.weight"][:2]
            setattr(self, f"upconv{i}", nn.ConvTranspose2d(inside, out, 2, 2))
        self.bottleneck = _block(shapes, "bottleneck", "bottleneck")
        classes, width = shapes["conv.weight"][:2]
        self.conv = nn.Conv2d(width, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return scores; sides of the picture must be multiples of 16."""
        kept = []
        for i in range(1, 5):
            kept.append(self.get_submodule(f"encoder{i}")(x))
            x = F.max_pool2d(kept[-1], 2)
        x = self.bottleneck(x)
        for i in range(4, 0, -1):
            up = self.get_submodule(f"upconv{i}")(x)
            x = self.get_submodule(f"decoder{i}")(torch.cat([up, kept[i - 1]], 1))
        found: torch.Tensor = self.conv(x)
        return found


def _block(shapes: Mapping[str, tuple[int, ...]], place: str, name: str) -> nn.Sequential:
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for i in (1, 2):
        out, inside = shapes[f"{place}.{name}conv{i}.weight"][:2]
        parts[f"{name}conv{i}"] = nn.Conv2d(inside, out, 3, padding=1, bias=False)
        parts[f"{name}norm{i}"] = nn.BatchNorm2d(out)
        parts[f"{name}relu{i}"] = nn.ReLU()
    return nn.Sequential(parts)
