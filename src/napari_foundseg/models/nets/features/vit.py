"""The vision transformer of DINO (Caron et al., Emerging Properties in Self-Supervised Vision Transformers, ICCV 2021).

Modules are named like the released weights, so that these load strictly. For pictures of other sizes, positions are
interpolated as in DINO: bicubic by a factor a little above the wanted one, without antialiasing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["VisionTransformer", "empty_vit", "interpolated_positions", "vit_of"]

#: Added to the wanted size, so that rounding does not lose a row.
_EXTRA = 0.1


class _Attention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        count, length, dim = x.shape
        q, k, v = self.qkv(x).reshape(count, length, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(count, length, dim)
        mixed: Tensor = self.proj(out)
        return mixed


class _Mlp(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class _Block(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = _Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = _Mlp(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class _PatchEmbed(nn.Module):
    def __init__(self, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, patch)


class VisionTransformer(nn.Module):
    """DINO's network without its projection head.

    Parameters
    ----------
    dim, depth, heads, patch : int
        Width, blocks, attention heads and side of the patches.
    positions : int
        Number of learnt positions, including that of the class token.
    """

    def __init__(self, dim: int, depth: int, heads: int, patch: int, positions: int) -> None:
        super().__init__()
        self.patch = patch
        self.dim = dim
        self.patch_embed = _PatchEmbed(dim, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, positions, dim))
        self.blocks = nn.ModuleList(_Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of each patch.

        Parameters
        ----------
        x : Tensor, shape (B, 3, H, W)
            Normalised; both sides multiples of the patch.

        Returns
        -------
        Tensor, shape (B, dim, H / patch, W / patch)
            Features of the last block, normalised.
        """
        grid: Tensor = self.patch_embed.proj(x)
        rows, columns = grid.shape[-2:]
        tokens = grid.flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], dim=1)
        tokens = tokens + interpolated_positions(self.pos_embed, rows, columns)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)[:, 1:].transpose(1, 2).unflatten(2, (rows, columns))  # type: ignore[no-any-return]


def interpolated_positions(positions: Tensor, rows: int, columns: int) -> Tensor:
    """Return learnt positions for another size of picture, as DINO interpolates them.

    Parameters
    ----------
    positions : Tensor, shape (1, 1 + n * n, D)
        Learnt positions, that of the class token first.
    rows, columns : int
        Numbers of patches.

    Returns
    -------
    Tensor, shape (1, 1 + rows * columns, D)
    """
    side = math.isqrt(positions.shape[1] - 1)
    if (rows, columns) == (side, side):
        return positions
    grid = positions[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    factors = [(rows + _EXTRA) / side, (columns + _EXTRA) / side]
    grown = F.interpolate(grid, scale_factor=factors, mode="bicubic")
    return torch.cat([positions[:, :1], grown.flatten(2).transpose(1, 2)], dim=1)


def vit_of(tensors: dict[str, Tensor]) -> VisionTransformer:
    """Return the network of weights in DINO's layout.

    Parameters
    ----------
    tensors : dict of str to Tensor
        Named like DINO's release; a projection head is left out.

    Returns
    -------
    VisionTransformer
        In evaluation mode.

    Raises
    ------
    KeyError, RuntimeError
        If keys are missing, unexpected or of another shape.
    """
    own = {name: value for name, value in tensors.items() if not name.startswith(("head.", "fc."))}
    net = empty_vit({name: tuple(value.shape) for name, value in own.items()})
    net.load_state_dict(own)
    return net.eval()


def empty_vit(shapes: Mapping[str, tuple[int, ...]]) -> VisionTransformer:
    """Return an untrained network for weights of these shapes; raises KeyError or ValueError if there is none."""
    dim, _, patch, _ = shapes["patch_embed.proj.weight"]
    depth = 1 + max(int(name.split(".")[1]) for name in shapes if name.startswith("blocks."))
    # All released networks have heads of 64 channels.
    return VisionTransformer(dim, depth, max(1, dim // 64), patch, shapes["pos_embed"][1])
