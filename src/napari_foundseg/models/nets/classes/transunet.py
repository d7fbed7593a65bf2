"""TransUNet (Chen et al. 2021): a ResNet with standardised weights, a ViT on its features, and a decoder."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional as F

from napari_foundseg.models.nets.classes.openmmlab.parts import Shapes, count_of

__all__ = ["TransUNet"]

_EPS = 1e-6


class TransUNet(nn.Module):
    """TransUNet in the authors' layout, with a ResNet before the ViT (``R50-ViT-B_16``) or without (``ViT-B_16``)."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()
        own = Shapes(shapes)
        self.transformer = _Transformer(own.within("transformer"))
        self.decoder = _Decoder(own.within("decoder"))
        classes, width, side, _ = own["segmentation_head.0.weight"]
        self.segmentation_head = nn.Sequential(nn.Conv2d(width, classes, side, padding=side // 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return scores of square pictures, which must have the size of training."""
        found: torch.Tensor = self.segmentation_head(self.decoder(*self.transformer(x)))
        return found


class _Transformer(nn.Module):
    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.embeddings = _Embeddings(shapes.within("embeddings"))
        width = shapes["encoder.encoder_norm.weight"][0]
        layers = (_Layer(shapes.within(f"encoder.layer.{i}")) for i in range(count_of(shapes, "encoder.layer.")))
        self.encoder = nn.ModuleDict({"layer": nn.Sequential(*layers), "encoder_norm": nn.LayerNorm(width, _EPS)})

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        x, skipped = self.embeddings(x)
        return self.encoder["encoder_norm"](self.encoder["layer"](x)), skipped


class _Embeddings(nn.Module):
    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        resnet = shapes.within("hybrid_model")
        self.hybrid_model = _ResNet(resnet) if resnet else None
        width, inside, side, _ = shapes["patch_embeddings.weight"]
        self.patch_embeddings = nn.Conv2d(inside, width, side, side)
        self.position_embeddings = nn.Parameter(torch.zeros(shapes["position_embeddings"]))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        skipped: list[torch.Tensor] = []
        if self.hybrid_model is not None:
            x, skipped = self.hybrid_model(x)
        return self.patch_embeddings(x).flatten(2).transpose(1, 2) + self.position_embeddings, skipped


class _Layer(nn.Module):
    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        hidden, width = shapes["ffn.fc1.weight"]
        self.heads = max(1, width // 64)
        self.attention_norm = nn.LayerNorm(width, _EPS)
        self.ffn_norm = nn.LayerNorm(width, _EPS)
        self.attn = nn.ModuleDict({name: nn.Linear(width, width) for name in ("query", "key", "value", "out")})
        self.ffn = nn.ModuleDict({"fc1": nn.Linear(width, hidden), "fc2": nn.Linear(hidden, width)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        own = self.attention_norm(x)
        parts = (
            self.attn[name](own).unflatten(2, (self.heads, -1)).transpose(1, 2) for name in ("query", "key", "value")
        )
        x = x + self.attn["out"](F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2))
        found: torch.Tensor = x + self.ffn["fc2"](F.gelu(self.ffn["fc1"](self.ffn_norm(x))))
        return found


class _StandardisedConv2d(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, correction=0)
        weight = (self.weight - mean) / torch.sqrt(variance + 1e-5)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class _Unit(nn.Module):
    def __init__(self, shapes: Shapes, stride: int) -> None:
        super().__init__()
        for i in (1, 2, 3):
            out, inside, side, _ = shapes[f"conv{i}.weight"]
            conv = _StandardisedConv2d(inside, out, side, stride if i == 2 else 1, side // 2, bias=False)
            self.add_module(f"conv{i}", conv)
            self.add_module(f"gn{i}", nn.GroupNorm(32, out, _EPS))
        self.projected = "downsample.weight" in shapes
        if self.projected:
            out, inside = shapes["downsample.weight"][:2]
            self.downsample = _StandardisedConv2d(inside, out, 1, stride, bias=False)
            # One group for each channel.
            self.gn_proj = nn.GroupNorm(out, out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        by = self.gn_proj(self.downsample(x)) if self.projected else x
        for i in (1, 2, 3):
            x = self.get_submodule(f"gn{i}")(self.get_submodule(f"conv{i}")(x))
            x = F.relu(x + by if i == 3 else x)
        return x


class _ResNet(nn.Module):
    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        out, inside = shapes["root.conv.weight"][:2]
        root = {"conv": _StandardisedConv2d(inside, out, 7, 2, 3, bias=False), "gn": nn.GroupNorm(32, out, _EPS)}
        self.root = nn.Sequential(OrderedDict(root))
        self.body = nn.Sequential(OrderedDict(
            (f"block{i}", _units(shapes.within(f"body.block{i}"), 1 if i == 1 else 2))
            for i in range(1, count_of(shapes, "body.block") + 1)
        ))  # fmt: skip

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return features, and skipped features for the decoder, coarsest first."""
        side = x.shape[-1]
        x = F.relu(self.root(x))
        skipped = [x]
        x = F.max_pool2d(x, 3, 2)
        for i, block in enumerate(self.body):
            x = block(x)
            if i + 1 < len(self.body):
                # The pooling has no padding. Zeros replace the missing last rows and columns.
                missing = side // 4 // (i + 1) - x.shape[-1]
                skipped.append(F.pad(x, (0, missing, 0, missing)))
        return x, skipped[::-1]


def _units(shapes: Shapes, stride: int) -> nn.Sequential:
    count = count_of(shapes, "unit")
    return nn.Sequential(OrderedDict(
        (f"unit{i}", _Unit(shapes.within(f"unit{i}"), stride if i == 1 else 1)) for i in range(1, count + 1)
    ))  # fmt: skip


class _Decoder(nn.Module):
    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.conv_more = _convolution(shapes.within("conv_more"))
        self.blocks = nn.ModuleList(
            nn.ModuleDict({name: _convolution(shapes.within(f"blocks.{i}.{name}")) for name in ("conv1", "conv2")})
            for i in range(count_of(shapes, "blocks."))
        )
        before = [shapes["conv_more.0.weight"][0]]
        before += [shapes[f"blocks.{i}.conv2.0.weight"][0] for i in range(len(self.blocks))]
        #: Number of channels of skipped features that each block takes.
        self.joined = [shapes[f"blocks.{i}.conv1.0.weight"][1] - before[i] for i in range(len(self.blocks))]

    def forward(self, tokens: torch.Tensor, skipped: list[torch.Tensor]) -> torch.Tensor:
        side = math.isqrt(tokens.shape[1])
        x = self.conv_more(tokens.transpose(1, 2).unflatten(2, (side, side)))
        for i, block in enumerate(self.blocks):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            x = torch.cat([x, skipped[i]], 1) if self.joined[i] else x
            for name in ("conv1", "conv2"):
                x = block[name](x)  # type: ignore[index]
        found: torch.Tensor = x
        return found


def _convolution(shapes: Shapes) -> nn.Sequential:
    out, inside = shapes["0.weight"][:2]
    return nn.Sequential(nn.Conv2d(inside, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU())
