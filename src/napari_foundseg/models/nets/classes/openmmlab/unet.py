"""U-Net as in mmsegmentation: pooling on the way down, interpolation on the way up."""

from __future__ import annotations

import torch
from torch import nn

from napari_foundseg.models.nets.classes.openmmlab.facts import Facts
from napari_foundseg.models.nets.classes.openmmlab.parts import Convolution, Shapes, count_of

__all__ = ["UNet"]


class UNet(nn.Module):
    """U-Net that returns the features of the way up, the finest last."""

    def __init__(self, shapes: Shapes, _facts: Facts) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(
            nn.Sequential(*([nn.MaxPool2d(2)] if i else []), _Convolutions(shapes.within(f"encoder.{i}.{int(i > 0)}")))
            for i in range(count_of(shapes, "encoder."))
        )
        self.decoder = nn.ModuleList(_Up(shapes.within(f"decoder.{i}")) for i in range(count_of(shapes, "decoder.")))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return features, the coarsest first."""
        down = []
        for part in self.encoder:
            x = part(x)
            down.append(x)
        found = [x]
        for i in reversed(range(len(self.decoder))):
            x = self.decoder[i](down[i], x)
            found.append(x)
        return found


class _Convolutions(nn.Module):
    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.convs = nn.Sequential(*(
            Convolution(shapes.within(f"convs.{i}")) for i in range(count_of(shapes, "convs."))
        ))  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.convs(x)
        return found


class _Interpolated(nn.Module):
    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.interp_upsample = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            Convolution(shapes.within("interp_upsample.1")),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.interp_upsample(x)
        return found


class _Up(nn.Module):
    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.upsample = _Interpolated(shapes.within("upsample"))
        self.conv_block = _Convolutions(shapes.within("conv_block"))

    def forward(self, skipped: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.conv_block(torch.cat([skipped, self.upsample(x)], 1))
        return found
