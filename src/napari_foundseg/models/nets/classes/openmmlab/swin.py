"""Swin transformer as in mmsegmentation: attention in windows, which are shifted in every second block."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from napari_foundseg.models.nets.classes.openmmlab.facts import Facts
from napari_foundseg.models.nets.classes.openmmlab.parts import Shapes, count_of

__all__ = ["SwinTransformer"]


class SwinTransformer(nn.Module):
    """Swin transformer that returns the features of the stages that have a normalisation of their own."""

    def __init__(self, shapes: Shapes, _facts: Facts) -> None:
        super().__init__()
        width, channels, self.patch, _ = shapes["patch_embed.projection.weight"]
        self.patch_embed = nn.ModuleDict(
            {"projection": nn.Conv2d(channels, width, self.patch, self.patch), "norm": nn.LayerNorm(width)}
        )
        count = count_of(shapes, "stages.")
        self.stages = nn.ModuleList(_Stage(shapes.within(f"stages.{i}")) for i in range(count))
        self.taken = [i for i in range(count) if f"norm{i}.weight" in shapes]
        for i in self.taken:
            self.add_module(f"norm{i}", nn.LayerNorm(shapes[f"norm{i}.weight"][0]))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the features of these stages, finest first."""
        x = F.pad(x, (0, -x.shape[-1] % self.patch, 0, -x.shape[-2] % self.patch))
        # Channels last from here on.
        x = self.patch_embed["norm"](self.patch_embed["projection"](x).movedim(1, -1))
        found = []
        for i, stage in enumerate(self.stages):
            x = stage.through(x)  # type: ignore[operator]
            if i in self.taken:
                found.append(self.get_submodule(f"norm{i}")(x).movedim(-1, 1))
            x = stage.merged(x)  # type: ignore[operator]
        return found


class _Stage(nn.Module):
    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            _Block(shapes.within(f"blocks.{i}"), shifted=i % 2 == 1) for i in range(count_of(shapes, "blocks."))
        )
        self.merges = "downsample.reduction.weight" in shapes
        if self.merges:
            out, inside = shapes["downsample.reduction.weight"]
            parts = {"norm": nn.LayerNorm(inside), "reduction": nn.Linear(inside, out, bias=False)}
            self.downsample = nn.ModuleDict(parts)

    def through(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features of the blocks, (B, M, N, C)."""
        for block in self.blocks:
            x = block(x)
        return x

    def merged(self, x: torch.Tensor) -> torch.Tensor:
        """Return features of half the size, with four neighbours merged; unchanged if the stage does not merge."""
        if not self.merges:
            return x
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        size = (x.shape[1] // 2, x.shape[2] // 2)
        own = F.unfold(x.movedim(-1, 1), 2, stride=2).transpose(1, 2).unflatten(1, size)
        found: torch.Tensor = self.downsample["reduction"](self.downsample["norm"](own))
        return found


class _Block(nn.Module):
    def __init__(self, shapes: Shapes, *, shifted: bool) -> None:
        super().__init__()
        hidden, width = shapes["ffn.layers.0.0.weight"]
        self.norm1 = nn.LayerNorm(width)
        self.attn = nn.ModuleDict({"w_msa": _WindowAttention(shapes.within("attn.w_msa"), shifted=shifted)})
        self.norm2 = nn.LayerNorm(width)
        first = nn.Sequential(nn.Linear(width, hidden), nn.GELU())
        self.ffn = nn.ModuleDict({"layers": nn.Sequential(first, nn.Linear(hidden, width))})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn["w_msa"](self.norm1(x))
        found: torch.Tensor = x + self.ffn["layers"](self.norm2(x))
        return found


class _WindowAttention(nn.Module):
    relative_position_index: torch.Tensor

    def __init__(self, shapes: Shapes, *, shifted: bool) -> None:
        super().__init__()
        places, self.heads = shapes["relative_position_bias_table"]
        self.side = (math.isqrt(places) + 1) // 2
        self.shift = self.side // 2 if shifted else 0
        width = shapes["proj.weight"][0]
        self.relative_position_bias_table = nn.Parameter(torch.zeros(places, self.heads))
        y, x = torch.meshgrid(torch.arange(self.side), torch.arange(self.side), indexing="ij")
        place = (y * (2 * self.side - 1) + x).flatten()
        self.register_buffer("relative_position_index", place[:, None] + place.flip(0)[None])
        self.qkv = nn.Linear(width, 3 * width, bias="qkv.bias" in shapes)
        self.proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features, (B, M, N, C)."""
        rows, columns = x.shape[1:3]
        x = F.pad(x, (0, 0, 0, -columns % self.side, 0, -rows % self.side))
        size = x.shape[1:3]
        mask = None
        if self.shift:
            x = x.roll((-self.shift, -self.shift), (1, 2))
            mask = self._mask(size, x)
        own = self._windows(x)
        query, key, value = self.qkv(own).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[self.relative_position_index].movedim(-1, 0)[None]
        bias = bias if mask is None else bias + mask
        own = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        own = self.proj(own.transpose(1, 2).flatten(2))
        grid = (size[0] // self.side, size[1] // self.side)
        x = own.unflatten(0, (-1, *grid)).unflatten(3, (self.side, self.side)).permute(0, 1, 3, 2, 4, 5)
        x = x.flatten(3, 4).flatten(1, 2)
        x = x.roll((self.shift, self.shift), (1, 2)) if self.shift else x
        return x[:, :rows, :columns]

    def _windows(self, x: torch.Tensor) -> torch.Tensor:
        """Return the places of each window, (windows, places, C)."""
        own: torch.Tensor = x.unflatten(2, (-1, self.side)).unflatten(1, (-1, self.side)).transpose(2, 3)
        # (B, rows of windows, columns of windows, M, N, C)
        found: torch.Tensor = own.flatten(3, 4).flatten(0, 2)
        return found

    def _mask(self, size: torch.Size, x: torch.Tensor) -> torch.Tensor:
        """Return a bias that separates places that only the shift has made neighbours, (windows, 1, places, places)."""
        parts = (slice(0, -self.side), slice(-self.side, -self.shift), slice(-self.shift, None))
        regions = x.new_zeros((1, *size, 1))
        for i, rows in enumerate(parts):
            for j, columns in enumerate(parts):
                regions[:, rows, columns] = 3 * i + j
        own = self._windows(regions)[..., 0]
        apart: torch.Tensor = (own[:, None] != own[:, :, None])[:, None] * -100.0
        return apart
