"""Parts of MaskFormer's own networks that transformers lacks: a stem of three convolutions, and an encoder.

Written after the description (Cheng, Schwing, Kirillov, NeurIPS 2021) and the names and shapes of the published files.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import MaskFormerConfig, MaskFormerForInstanceSegmentation
from transformers.modeling_outputs import BackboneOutput
from transformers.models.maskformer.modeling_maskformer import MaskFormerPixelDecoder, MaskFormerTransformerModule
from transformers.models.resnet.modeling_resnet import ResNetConvLayer

__all__ = ["ENCODING", "STEM", "MaskFormerWithParts"]

#: Attributes of a configuration: channels of the stem's convolutions, and inner widths of the encoder's layers.
STEM, ENCODING = "stem_channels", "encoding_widths"
_HEADS = 8
#: Dilations of the last stage's blocks in networks with such a stem.
_DILATIONS = (1, 2, 4)


class MaskFormerWithParts(MaskFormerForInstanceSegmentation):
    """MaskFormer with the additional parts that its configuration describes in `STEM` and `ENCODING`."""

    def __init__(self, config: MaskFormerConfig) -> None:
        super().__init__(config)
        pixels = self.model.pixel_level_module
        if stem := getattr(config, STEM, None):
            _deepen(pixels.encoder, stem)
        if widths := getattr(config, ENCODING, None):
            channels, width = list(pixels.encoder.channels), config.fpn_feature_size
            pixels.encoder = Encoded(pixels.encoder, channels[-1], width, widths)
            pixels.decoder = MaskFormerPixelDecoder(
                in_features=width, feature_size=width, mask_feature_size=config.mask_feature_size,
                lateral_widths=channels[:-1],
            )  # fmt: skip
            self.model.transformer_module = MaskFormerTransformerModule(in_features=width, config=config)


class Encoded(nn.Module):
    """A backbone whose coarsest map passes through layers of attention."""

    def __init__(self, backbone: nn.Module, channels: int, width: int, inner: list[int]) -> None:
        super().__init__()
        self.backbone = backbone
        self.projection = nn.Conv2d(channels, width, 1)
        self.blocks = nn.ModuleList(_Block(width, one) for one in inner)

    def forward(self, pictures: Tensor) -> BackboneOutput:
        """Return the maps of pictures, finest first."""
        *maps, coarsest = self.backbone(pictures).feature_maps
        x = self.projection(coarsest)
        batch, width, rows, columns = x.shape
        places = _places(rows, columns, width).to(x)
        x = x.flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x, places)
        return BackboneOutput(feature_maps=(*maps, x.transpose(1, 2).reshape(batch, width, rows, columns)))


class _Block(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({name: nn.Linear(width, width) for name in ("q", "k", "v", "result")})
        self.inner, self.outer = nn.Linear(width, inner), nn.Linear(inner, width)
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        placed = x + places
        queries, keys, values = (
            self.attention[name](part).unflatten(-1, (_HEADS, -1)).transpose(1, 2)
            for name, part in (("q", placed), ("k", placed), ("v", x))
        )
        seen = functional.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)
        x = self.first_norm(x + self.attention["result"](seen))
        y: Tensor = self.second_norm(x + self.outer(functional.relu(self.inner(x))))
        return y


def _places(rows: int, columns: int, width: int) -> Tensor:
    """Return the encoding of places, (rows · columns, width): sines and cosines of rows, then of columns."""
    half = width // 2
    powers = 10_000 ** (2 * torch.div(torch.arange(half), 2, rounding_mode="floor") / half)
    found = []
    for count, shape in ((rows, (rows, 1, half)), (columns, (1, columns, half))):
        angles = (torch.arange(1, count + 1) / (count + 1e-6) * (2 * math.pi))[:, None] / powers
        waves = torch.stack([angles[:, 0::2].sin(), angles[:, 1::2].cos()], 2).flatten(1)
        found.append(waves.view(shape).expand(rows, columns, half))
    return torch.cat(found, 2).flatten(0, 1)


def _deepen(backbone: Any, channels: list[int]) -> None:
    """Replace the first convolution of a ResNet of transformers by three, and set the dilations that go with them."""
    inputs = [3, *channels[:-1]]
    backbone.embedder.embedder = nn.Sequential(
        *(
            ResNetConvLayer(before, after, kernel_size=3, stride=2 if i == 0 else 1)
            for i, (before, after) in enumerate(zip(inputs, channels, strict=True))
        )
    )
    for dilation, block in zip(_DILATIONS, backbone.encoder.stages[-1].layers, strict=False):
        convolution = block.layer[1].convolution
        convolution.dilation = convolution.padding = (dilation, dilation)
