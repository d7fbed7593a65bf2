"""SAM's image encoder, computed faster: the same network and weights, the same result to float32's rounding.

The reference writes the attention of a global block, 4096 × 4096 numbers for each head, to memory five times over
(800 MB each time with ViT-B). Here it is made some rows at a time, which stay in the processor's cache, and so is the
MLP's middle layer. The windows' padding is never projected: behind a linear layer zeros are its bias.

On a GPU the fused attention of torch takes the place of the loops.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from segment_anything.modeling import ImageEncoderViT

__all__ = ["FastViT", "accelerated"]

#: Numbers of one piece of attention: 4 MB, what two processors keep near them.
_NEAR = 1 << 20
#: The same of an MLP's middle: with fewer places at once its two products are slower, with more its middle is far away.
_NEAR_MLP = 3 << 20


def accelerated(encoder: nn.Module) -> nn.Module:
    """Return an image encoder that is faster than the one given.

    Parameters
    ----------
    encoder : nn.Module
        The image encoder of a `Sam`.

    Returns
    -------
    nn.Module
        Equal to it; itself where it is no `ImageEncoderViT`.
    """
    from segment_anything.modeling import ImageEncoderViT

    return FastViT(encoder) if type(encoder) is ImageEncoderViT else encoder


class FastViT(nn.Module):
    """A `segment_anything` image encoder with its work in another order.

    Parameters
    ----------
    encoder : ImageEncoderViT
        The network; its parts and weights are used, not copied.
    """

    def __init__(self, encoder: ImageEncoderViT) -> None:
        super().__init__()
        self.img_size = encoder.img_size
        self.patch_embed, self.blocks, self.neck = encoder.patch_embed, encoder.blocks, encoder.neck
        self.pos_embed = encoder.pos_embed
        # What depends on the weights alone: the positional terms of every block.
        for i, block in enumerate(encoder.blocks):
            side = block.window_size or encoder.img_size // encoder.patch_embed.proj.kernel_size[0]
            for name in ("rel_pos_h", "rel_pos_w"):
                table = _positions(side, getattr(block.attn, name).detach()) if block.attn.use_rel_pos else None
                self.register_buffer(f"{name}_{i}", table, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Encode pictures.

        Parameters
        ----------
        x : Tensor, shape (B, 3, S, S)
            Normalised and padded, S being `img_size`.

        Returns
        -------
        Tensor, shape (B, 256, S / 16, S / 16)
        """
        x = self.patch_embed(x)
        if self.pos_embed is not None:
            x = x + self.pos_embed
        for i in range(len(self.blocks)):
            x = self._block(i, x)
        features: Tensor = self.neck(x.permute(0, 3, 1, 2))
        return features

    def _block(self, i: int, x: Tensor) -> Tensor:
        block: Any = self.blocks[i]
        attended = self._windows(i, x) if block.window_size else self._attend(i, block.attn.qkv(block.norm1(x)))
        x = x + block.attn.proj(attended)
        return _with_mlp(block, x)

    def _windows(self, i: int, x: Tensor) -> Tensor:
        """Attend within windows, laid from the first pixel on and padded at the end."""
        block: Any = self.blocks[i]
        b, height, width, _ = x.shape
        side = block.window_size
        rows, columns = -(-height // side), -(-width // side)
        qkv = block.attn.qkv(block.norm1(x))
        bias = block.attn.qkv.bias if block.attn.qkv.bias is not None else qkv.new_zeros(qkv.shape[-1])
        padded = bias.expand(b, rows * side, columns * side, -1).clone()
        padded[:, :height, :width] = qkv
        tiles = padded.view(b, rows, side, columns, side, -1).transpose(2, 3).reshape(-1, side, side, qkv.shape[-1])
        out = self._attend(i, tiles).view(b, rows, columns, side, side, -1).transpose(2, 3)
        return out.reshape(b, rows * side, columns * side, -1)[:, :height, :width]

    def _attend(self, i: int, qkv: Tensor) -> Tensor:
        """Attend among all places of each of B squares; (B, S, S, 3 C) becomes (B, S, S, C)."""
        attn: Any = self.blocks[i].attn
        b, height, width, _ = qkv.shape
        heads, n = attn.num_heads, height * width
        q, k, v = qkv.reshape(b, n, 3, heads, -1).permute(2, 0, 3, 1, 4).reshape(3, b * heads, n, -1).unbind()
        of_rows, of_columns = getattr(self, f"rel_pos_h_{i}"), getattr(self, f"rel_pos_w_{i}")
        rows = columns = None
        if of_rows is not None:
            square = q.view(b * heads, height, width, -1)
            rows = torch.einsum("bhwc,hkc->bhwk", square, of_rows).reshape(-1, n, height, 1)
            columns = torch.einsum("bhwc,wkc->bhwk", square, of_columns).reshape(-1, n, 1, width)
        out = (
            _fused(q, k, v, rows, columns, attn.scale) if q.is_cuda else _in_pieces(q, k, v, rows, columns, attn.scale)
        )
        return out.view(b, heads, height, width, -1).permute(0, 2, 3, 1, 4).reshape(b, height, width, -1)


def _positions(side: int, table: Tensor) -> Tensor:
    """Return the positional vector of every pair of places along an axis, `(side, side, C)`."""
    from segment_anything.modeling.image_encoder import get_rel_pos

    positions: Tensor = get_rel_pos(side, side, table).contiguous()
    return positions


def _in_pieces(q: Tensor, k: Tensor, v: Tensor, rows: Tensor | None, columns: Tensor | None, scale: float) -> Tensor:
    """Attend some rows at a time, each piece small enough to stay near the processor."""
    many, n, _ = q.shape
    out = torch.empty_like(q)
    squares, step = max(1, _NEAR // (n * n)), min(n, max(1, _NEAR // n))
    q = q * scale
    for first in range(0, many, squares):
        some = slice(first, first + squares)
        keys = k[some].transpose(1, 2)
        for start in range(0, n, step):
            part = slice(start, start + step)
            attention = q[some, part] @ keys
            if rows is not None and columns is not None:
                spread = attention.view(*attention.shape[:2], rows.shape[2], columns.shape[3])
                spread += rows[some, part]
                spread += columns[some, part]
            out[some, part] = torch.softmax(attention, dim=-1) @ v[some]
    return out


def _fused(q: Tensor, k: Tensor, v: Tensor, rows: Tensor | None, columns: Tensor | None, scale: float) -> Tensor:
    bias = None if rows is None or columns is None else (rows + columns).flatten(2)[None]
    out = F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=bias, scale=scale)
    return out[0]


def _with_mlp(block: Any, x: Tensor) -> Tensor:
    """Add the MLP of the normalised input, some places at a time."""
    flat = x.flatten(0, -2)
    step = max(1, _NEAR_MLP // block.mlp.lin1.out_features) if not x.is_cuda else len(flat)
    out = torch.empty_like(flat)
    for start in range(0, len(flat), step):
        part = flat[start : start + step]
        torch.add(part, block.mlp(block.norm2(part)), out=out[start : start + step])
    return out.view(x.shape)
