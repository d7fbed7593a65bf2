"""MobileSAM's image encoder: TinyViT 5M (Wu et al., ECCV 2022) with SAM's neck, under the published names.

Zhang et al., Faster Segment Anything, arXiv 2306.14289: the last down-sampling keeps its resolution, so that 1024
pixels become 64 × 64 features as in SAM's own encoder.
"""

from __future__ import annotations

import torch
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["TinyViT"]

_WIDTHS = (64, 128, 160, 320)
_DEPTHS = (2, 2, 6, 2)
_HEADS = (2, 4, 5, 10)
_WINDOWS = (7, 7, 14, 7)


class _ConvNorm(nn.Sequential):
    def __init__(self, inside: int, outside: int, side: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.add_module("c", nn.Conv2d(inside, outside, side, stride, side // 2, groups=groups, bias=False))
        self.add_module("bn", nn.BatchNorm2d(outside))


class _PatchEmbed(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(_ConvNorm(3, width // 2, 3, 2), nn.GELU(), _ConvNorm(width // 2, width, 3, 2))

    def forward(self, x: Tensor) -> Tensor:
        embedded: Tensor = self.seq(x)
        return embedded


class _Inverted(nn.Module):
    """Inverted bottleneck with a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = _ConvNorm(width, 4 * width)
        self.conv2 = _ConvNorm(4 * width, 4 * width, 3, groups=4 * width)
        self.conv3 = _ConvNorm(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x + self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x))))))


class _Downsample(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _ConvNorm(inside, outside)
        self.conv2 = _ConvNorm(outside, outside, 3, stride, groups=outside)
        self.conv3 = _ConvNorm(outside, outside)

    def forward(self, x: Tensor) -> Tensor:
        down: Tensor = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))
        return down


class _Attention(nn.Module):
    """Attention within windows, with a learned bias for each distance."""

    distances: Tensor

    def __init__(self, width: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(heads, side * side))
        # Distances in rows and columns, numbered row by row as in the published code.
        row = torch.div(torch.arange(side * side), side, rounding_mode="floor")
        column = torch.arange(side * side) % side
        apart = (row[:, None] - row).abs() * side + (column[:, None] - column).abs()
        self.register_buffer("distances", apart, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        b, n, width = x.shape
        # Each head's query, key and value are next to one another.
        q, k, v = self.qkv(self.norm(x)).view(b, n, self.heads, -1).transpose(1, 2).chunk(3, dim=3)
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=self.attention_biases[:, self.distances])
        out: Tensor = self.proj(seen.transpose(1, 2).reshape(b, n, width))
        return out


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(self.norm(x))))
        return out


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.attn = _Attention(width, heads, side)
        self.mlp = _Mlp(width)
        self.local_conv = _ConvNorm(width, width, 3, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        """Take and return (B, H, W, C)."""
        b, height, width, channels = x.shape
        side = self.side
        padded = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
        rows = padded.shape[1] // side
        columns = padded.shape[2] // side
        tiles = padded.view(b, rows, side, columns, side, channels).transpose(2, 3)
        seen = self.attn(tiles.reshape(-1, side * side, channels)).view(b, rows, columns, side, side, channels)
        seen = seen.transpose(2, 3).reshape(padded.shape)[:, :height, :width]
        x = self.local_conv((x + seen).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        out: Tensor = x + self.mlp(x)
        return out


class _Layer(nn.Module):
    def __init__(self, number: int, stride: int | None) -> None:
        super().__init__()
        width = _WIDTHS[number]
        depth = _DEPTHS[number]
        blocks = (_Block(width, _HEADS[number], _WINDOWS[number]) if number else _Inverted(width) for _ in range(depth))
        self.blocks = nn.ModuleList(blocks)
        self.downsample = None if stride is None else _Downsample(width, _WIDTHS[number + 1], stride)

    def forward(self, x: Tensor) -> Tensor:
        """Take and return (B, C, H, W)."""
        for block in self.blocks:
            x = block(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) if isinstance(block, _Block) else block(x)
        return x if self.downsample is None else self.downsample(x)


class TinyViT(nn.Module):
    """The encoder, with a classifier that is not used but has published weights."""

    img_size = 1024

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = _PatchEmbed(_WIDTHS[0])
        self.layers = nn.ModuleList([_Layer(0, 2), _Layer(1, 2), _Layer(2, 1), _Layer(3, None)])
        self.norm_head = nn.LayerNorm(_WIDTHS[-1])
        self.head = nn.Linear(_WIDTHS[-1], 1000)
        self.neck = nn.Sequential(
            nn.Conv2d(_WIDTHS[-1], 256, 1, bias=False), LayerNorm2d(256),
            nn.Conv2d(256, 256, 3, padding=1, bias=False), LayerNorm2d(256),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Encode pictures.

        Parameters
        ----------
        x : Tensor, shape (B, 3, S, S)
            Normalised and padded.

        Returns
        -------
        Tensor, shape (B, 256, S / 16, S / 16)
        """
        return self.with_early(x)[0]

    def with_early(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encode pictures, and also return the output of the second stage, which Light HQ-SAM's decoder needs.

        Parameters
        ----------
        x : Tensor, shape (B, 3, S, S)
            As for `forward`.

        Returns
        -------
        tuple of Tensor, shapes (B, 256, S / 16, S / 16) and (B, S / 16, S / 16, 160)
            The features, and the early ones.
        """
        x = self.patch_embed(x)
        early = x
        for number, layer in enumerate(self.layers):
            x = layer(x)
            if number == 1:
                early = x
        features: Tensor = self.neck(x)
        return features, early.permute(0, 2, 3, 1)
