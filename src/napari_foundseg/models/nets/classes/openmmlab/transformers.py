"""ViT (of SETR) and MiT (of SegFormer) as in mmsegmentation."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from napari_foundseg.models.nets.classes.openmmlab.facts import Facts
from napari_foundseg.models.nets.classes.openmmlab.parts import Shapes, count_of

__all__ = ["MixTransformer", "VisionTransformer"]

_EPS = 1e-6


class VisionTransformer(nn.Module):
    """ViT that returns the features of some of its layers."""

    def __init__(self, shapes: Shapes, facts: Facts) -> None:
        super().__init__()
        width, channels, self.patch, _ = shapes["patch_embed.projection.weight"]
        self.patch_embed = nn.ModuleDict(
            {
                "projection": nn.Conv2d(
                    channels, width, self.patch, self.patch, bias="patch_embed.projection.bias" in shapes
                )
            }
        )
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(shapes["pos_embed"]))
        count = count_of(shapes, "layers.")
        heads = facts.heads or max(1, width // 64)
        self.layers = nn.ModuleList(_Layer(shapes.within(f"layers.{i}"), heads) for i in range(count))
        self.ln1 = nn.LayerNorm(width, _EPS) if "ln1.weight" in shapes else nn.Identity()
        self.taken = facts.taken or (count - 1,)
        self.class_token = facts.class_token is not False

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the features of the layers in `taken`."""
        x = F.pad(x, (0, -x.shape[-1] % self.patch, 0, -x.shape[-2] % self.patch))
        x = self.patch_embed["projection"](x)
        size = x.shape[-2:]
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], 1) + self._places(size)
        x = x if self.class_token else x[:, 1:]
        found = []
        for i, layer in enumerate(self.layers):
            x = layer(x)
            x = self.ln1(x) if i == len(self.layers) - 1 else x
            if i in self.taken:
                tokens = x[:, 1:] if self.class_token else x
                found.append(tokens.transpose(1, 2).unflatten(2, size))
        return found

    def _places(self, size: torch.Size) -> torch.Tensor:
        """Return the embedding of places, interpolated if the picture has another size than in training."""
        side = math.isqrt(self.pos_embed.shape[1] - 1)
        own = self.pos_embed[:, -side * side :].transpose(1, 2).unflatten(2, (side, side))
        if size != (side, side):
            own = F.interpolate(own, size, mode="bilinear", align_corners=False)
        return torch.cat([self.pos_embed[:, :1], own.flatten(2).transpose(1, 2)], 1)


class _Layer(nn.Module):
    def __init__(self, shapes: Shapes, heads: int) -> None:
        super().__init__()
        hidden, width = shapes["ffn.layers.0.0.weight"]
        self.ln1 = nn.LayerNorm(width, _EPS)
        self.attn = nn.ModuleDict({"attn": nn.MultiheadAttention(width, heads, batch_first=True)})
        self.ln2 = nn.LayerNorm(width, _EPS)
        first = nn.Sequential(nn.Linear(width, hidden), nn.GELU())
        self.ffn = nn.ModuleDict({"layers": nn.Sequential(first, nn.Linear(hidden, width))})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        own = self.ln1(x)
        x = x + self.attn["attn"](own, own, own, need_weights=False)[0]
        found: torch.Tensor = x + self.ffn["layers"](self.ln2(x))
        return found


class MixTransformer(nn.Module):
    """MiT that returns the features of its stages."""

    def __init__(self, shapes: Shapes, _facts: Facts) -> None:
        super().__init__()
        narrowest = shapes["layers.0.0.projection.weight"][0]
        self.layers = nn.ModuleList()
        for i in range(count_of(shapes, "layers.")):
            own = shapes.within(f"layers.{i}")
            width, channels, side, _ = own["0.projection.weight"]
            start = nn.ModuleDict({
                "projection": nn.Conv2d(channels, width, side, 2 if i else 4, side // 2),
                "norm": nn.LayerNorm(width, _EPS),
            })  # fmt: skip
            blocks = nn.ModuleList(
                _MixBlock(own.within(f"1.{j}"), width // narrowest) for j in range(count_of(own, "1."))
            )
            self.layers.append(_MixStage([start, blocks, nn.LayerNorm(width, _EPS)]))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the features of the stages, finest first."""
        found = []
        for stage in self.layers:
            x = stage(x)
            found.append(x)
        return found


class _MixStage(nn.ModuleList):
    """Patches, blocks and a norm."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts: list[Any] = list(self)
        start, blocks, norm = parts
        x = start["projection"](x)
        size = x.shape[-2:]
        tokens = start["norm"](x.flatten(2).transpose(1, 2))
        for block in blocks:
            tokens = block(tokens, size)
        found: torch.Tensor = norm(tokens).transpose(1, 2).unflatten(2, size)
        return found


class _MixAttention(nn.Module):
    def __init__(self, shapes: Shapes, width: int, heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.reduced = "sr.weight" in shapes
        if self.reduced:
            side = shapes["sr.weight"][-1]
            self.sr = nn.Conv2d(width, width, side, side)
            self.norm = nn.LayerNorm(width, _EPS)

    def forward(self, x: torch.Tensor, size: torch.Size) -> torch.Tensor:
        other = x
        if self.reduced:
            other = self.norm(self.sr(x.transpose(1, 2).unflatten(2, size)).flatten(2).transpose(1, 2))
        found: torch.Tensor = self.attn(x, other, other, need_weights=False)[0]
        return found


class _MixBlock(nn.Module):
    def __init__(self, shapes: Shapes, heads: int) -> None:
        super().__init__()
        hidden, width = shapes["ffn.layers.0.weight"][:2]
        self.norm1 = nn.LayerNorm(width, _EPS)
        self.attn = _MixAttention(shapes.within("attn"), width, heads)
        self.norm2 = nn.LayerNorm(width, _EPS)
        layers = nn.Sequential(
            nn.Conv2d(width, hidden, 1),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden),
            nn.GELU(),
            nn.Identity(),
            nn.Conv2d(hidden, width, 1),
        )
        self.ffn = nn.ModuleDict({"layers": layers})

    def forward(self, x: torch.Tensor, size: torch.Size) -> torch.Tensor:
        x = x + self.attn(self.norm1(x), size)
        own = self.ffn["layers"](self.norm2(x).transpose(1, 2).unflatten(2, size))
        found: torch.Tensor = x + own.flatten(2).transpose(1, 2)
        return found
