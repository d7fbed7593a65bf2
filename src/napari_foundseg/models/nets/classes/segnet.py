"""SegNet: VGG16's convolutions, and a decoder that puts values back where the encoder's maxima were."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["SegNet"]

#: Convolutions of the stages of VGG16.
_STAGES = (2, 2, 3, 3, 3)


class SegNet(nn.Module):
    """SegNet in the layout of say4n/pytorch-segnet."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()
        for stage, count in enumerate(_STAGES):
            for i in range(count):
                down, up = f"encoder_conv_{stage}{i}", f"decoder_convtr_{stage}{i}"
                out, inside = shapes[f"{down}.0.weight"][:2]
                setattr(self, down, nn.Sequential(nn.Conv2d(inside, out, 3, padding=1), nn.BatchNorm2d(out)))
                inside, out = shapes[f"{up}.0.weight"][:2]
                last = [] if (stage, i) == (0, 0) else [nn.BatchNorm2d(out)]
                setattr(self, up, nn.Sequential(nn.ConvTranspose2d(inside, out, 3, padding=1), *last))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return scores at the size of the picture."""
        places = []
        for stage, count in enumerate(_STAGES):
            for i in range(count):
                x = F.relu(self.get_submodule(f"encoder_conv_{stage}{i}")(x))
            size = x.shape
            x, where = F.max_pool2d(x, 2, 2, return_indices=True)
            places.append((where, size))
        for stage in range(len(_STAGES) - 1, -1, -1):
            where, size = places[stage]
            x = F.max_unpool2d(x, where, [2, 2], [2, 2], output_size=list(size))
            for i in range(_STAGES[stage] - 1, -1, -1):
                x = self.get_submodule(f"decoder_convtr_{stage}{i}")(x)
                x = F.relu(x) if (stage, i) != (0, 0) else x
        return x
