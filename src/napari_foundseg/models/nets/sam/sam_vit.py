"""SAM's image encoder, computed faster: the same network and weights, the same result up to float32 rounding.

The reference writes the attention of a global block, 4096 × 4096 numbers for each head, to memory five times (800 MB
each time with ViT-B). Here attention is computed some rows at a time, which stay in the processor's cache. The MLP's
middle layer is computed in the same way. The padding of windows is never projected, because a linear layer turns zeros
into its bias.

On a GPU, the fused attention of torch replaces the loops.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from segment_anything.modeling import ImageEncoderViT

__all__ = ["FastViT", "accelerated"]

#: Numbers in one piece of attention: 4 MB, which fit into the cache of two processors.
_NEAR = 1 << 20
#: The same for an MLP's middle layer. Fewer places make its two products slower; more do not fit into the cache.
_NEAR_MLP = 3 << 20


def accelerated(encoder: nn.Module) -> nn.Module:
    """Return a faster image encoder with the same results.

    Parameters
    ----------
    encoder : nn.Module
        The image encoder of a `Sam`.

    Returns
    -------
    nn.Module
        The faster encoder; `encoder` itself if it is not an `ImageEncoderViT`.
    """
    from segment_anything.modeling import ImageEncoderViT

    return FastViT(encoder) if type(encoder) is ImageEncoderViT else encoder


class FastViT(nn.Module):
    """A `segment_anything` image encoder that computes in another order.

    Parameters
    ----------
    encoder : ImageEncoderViT
        The network; its parts and weights are used, not copied.
    """

    def __init__(self, encoder: ImageEncoderViT) -> None:
        super().__init__()
        self.img_size = encoder.img_size
        self.patch_embed = encoder.patch_embed
        self.blocks = encoder.blocks
        self.neck = encoder.neck
        self.pos_embed = encoder.pos_embed
        # Positional vectors of every block, rows before columns. They depend on the weights alone.
        for i, block in enumerate(encoder.blocks):
            side = block.window_size or encoder.img_size // encoder.patch_embed.proj.kernel_size[0]
            tables = [getattr(block.attn, name).detach() for name in ("rel_pos_h", "rel_pos_w")]
            both = torch.cat([_positions(side, table) for table in tables]) if block.attn.use_rel_pos else None
            self.register_buffer(f"positions_{i}", both, persistent=False)

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
        return self.with_early(x)[0]

    def with_early(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encode pictures, and also return the output of the first block that attends to the whole picture.

        Parameters
        ----------
        x : Tensor, shape (B, 3, S, S)
            As for `forward`.

        Returns
        -------
        tuple of Tensor, shapes (B, 256, S / 16, S / 16) and (B, S / 16, S / 16, C)
            The features, and the early ones (the last block's if every block attends within windows).
        """
        x = self.patch_embed(x)
        if self.pos_embed is not None:
            x = x + self.pos_embed
        early = None
        for i, block in enumerate(self.blocks):
            x = self._block(i, x)
            if early is None and not block.window_size:
                early = x
        features: Tensor = self.neck(x.permute(0, 3, 1, 2))
        return features, x if early is None else early

    def _block(self, i: int, x: Tensor) -> Tensor:
        block: Any = self.blocks[i]
        attended = self._windows(i, x) if block.window_size else self._attend(i, block.attn.qkv(block.norm1(x)))
        x = x + block.attn.proj(attended)
        return _with_mlp(block, x)

    def _windows(self, i: int, x: Tensor) -> Tensor:
        """Attend within windows, which begin at the first pixel and are padded at the end."""
        block: Any = self.blocks[i]
        b, height, width, _ = x.shape
        side = block.window_size
        rows = -(-height // side)
        columns = -(-width // side)
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
        heads = attn.num_heads
        n = height * width
        q, k, v = qkv.reshape(b, n, 3, heads, -1).permute(2, 0, 3, 1, 4).reshape(3, b * heads, n, -1).unbind()
        positions = getattr(self, f"positions_{i}")
        terms = None if positions is None else _terms(q, positions, height)
        attend = _fused if q.is_cuda else _in_pieces
        out = attend(q, k, v, terms, attn.scale, width)
        return out.view(b, heads, height, width, -1).permute(0, 2, 3, 1, 4).reshape(b, height, width, -1)


#: Terms that positions add to each place's attention to each row, and to each column: (B, S, S, S) both.
_Terms = tuple[Tensor, Tensor]


def _positions(side: int, table: Tensor) -> Tensor:
    """Return the positional vectors of all distances along an axis, `(2 side - 1, C)`; the farthest before is first."""
    from segment_anything.modeling.image_encoder import get_rel_pos

    of_pairs: Tensor = get_rel_pos(side, side, table)
    return torch.cat([of_pairs[:, 0].flip(0), of_pairs[0, 1:]])


def _terms(q: Tensor, positions: Tensor, side: int) -> _Terms:
    """Return the terms that positions add to the attention of queries (B, S², C).

    Each query is multiplied once with the vectors of all distances. The distances from a query's own row, or column, to
    all S of them are next to one another in the result, and move by one from row to row. The terms are therefore views.
    """
    many, n, _ = q.shape
    known = q @ positions.T
    length = known.shape[-1]
    whole = n * length
    line = side * length
    rows = known.as_strided((many, side, side, side), (whole, line - 1, length, 1), side - 1)
    columns = known.as_strided((many, side, side, side), (whole, line, length - 1, 1), 3 * side - 2)
    return rows, columns


def _in_pieces(q: Tensor, k: Tensor, v: Tensor, terms: _Terms | None, scale: float, width: int) -> Tensor:
    """Attend some lines of places at a time; each piece is small enough for the processor's cache."""
    many, n, _ = q.shape
    out = torch.empty_like(q)
    squares = max(1, _NEAR // (n * n))
    step = min(n // width, max(1, _NEAR // (n * width)))
    q = q * scale
    for first in range(0, many, squares):
        some = slice(first, first + squares)
        keys = k[some].transpose(1, 2)
        for start in range(0, n // width, step):
            lines = slice(start, start + step)
            part = slice(start * width, (start + step) * width)
            attention = q[some, part] @ keys
            if terms is not None:
                rows, columns = (term[some, lines] for term in terms)
                spread = attention.view(*rows.shape, columns.shape[-1])
                spread += rows[..., None]
                spread += columns[..., None, :]
            out[some, part] = torch.softmax(attention, dim=-1) @ v[some]
    return out


def _fused(q: Tensor, k: Tensor, v: Tensor, terms: _Terms | None, scale: float, _width: int) -> Tensor:
    bias = None if terms is None else (terms[0][..., None] + terms[1][..., None, :]).reshape(1, len(q), q.shape[1], -1)
    return F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=bias, scale=scale)[0]


def _with_mlp(block: Any, x: Tensor) -> Tensor:
    """Return places plus the MLP of their normalised values, computed some places at a time."""
    flat = x.flatten(0, -2)
    step = max(1, _NEAR_MLP // block.mlp.lin1.out_features) if not x.is_cuda else len(flat)
    out = torch.empty_like(flat)
    for start in range(0, len(flat), step):
        part = flat[start : start + step]
        torch.add(part, block.mlp(block.norm2(part)), out=out[start : start + step])
    return out.view(x.shape)
