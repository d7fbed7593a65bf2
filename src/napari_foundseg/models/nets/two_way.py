"""SAM's two-way transformer, computed faster: the same weights, the same result to float32's rounding.

The reference projects every place of the picture to keys, values and queries, for every prompt anew. Attention is
linear in its keys and values, so here the projections are moved from the many places to the few tokens of a prompt.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["TwoWay", "by_head", "scale_of"]


class TwoWay:
    """The layers of a two-way transformer on the features of one picture.

    Parameters
    ----------
    transformer : TwoWayTransformer
        `segment_anything`'s; used, not copied.
    where : Tensor, shape (N, C)
        The positional encoding of the picture's places.
    """

    def __init__(self, transformer: Any, where: Tensor) -> None:
        self.layers = transformer.layers
        self._where = where
        self._final, self._norm = transformer.final_attn_token_to_image, transformer.norm_final_attn
        self.heads = self._final.num_heads

    def layer(self, number: int, queries: Tensor, tokens: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Run one layer.

        Parameters
        ----------
        number : int
            Which; in the first the tokens attend to one another without their positions.
        queries : Tensor, shape (B, T, C)
            The tokens so far.
        tokens : Tensor, shape (B, T, C)
            The tokens as they were at first: their positions.
        places : Tensor, shape (B, N, C)
            The picture so far.

        Returns
        -------
        tuple of Tensor, shapes (B, T, C) and (B, N, C)
            Tokens and picture.
        """
        layer = self.layers[number]
        if number == 0:
            queries = layer.norm1(layer.self_attn(queries, queries, queries))
        else:
            again = queries + tokens
            queries = layer.norm1(queries + layer.self_attn(again, again, queries))
        queries = layer.norm2(queries + self._look(layer.cross_attn_token_to_image, queries + tokens, places))
        queries = layer.norm3(queries + layer.mlp(queries))
        back = layer.cross_attn_image_to_token
        k = by_head(back.k_proj(queries + tokens), self.heads) * scale_of(back)
        # The bias of what the places ask: the same for all places, but not for all tokens.
        same = k @ back.q_proj.bias.view(1, self.heads, -1, 1)
        scores = self._scores(_moved_to_tokens(k, back.q_proj.weight), places, same.view(-1, 1))
        return queries, self.told(number, places, scores.unflatten(1, k.shape[1:3]), queries)

    def told(self, number: int, places: Tensor, scores: Tensor, queries: Tensor) -> Tensor:
        """Let the picture look at the tokens.

        Parameters
        ----------
        number : int
            The layer.
        places : Tensor, shape (B, N, C)
            The picture so far.
        scores : Tensor, shape (B, H, T, N)
            How much each place looks at each token, before softmax; overwritten.
        queries : Tensor, shape (B, T, C)
            The tokens.

        Returns
        -------
        Tensor, shape (B, N, C)
            The picture.
        """
        layer = self.layers[number]
        back = layer.cross_attn_image_to_token
        values = by_head(back.v_proj(queries), self.heads)
        weight = back.out_proj.weight.unflatten(1, (self.heads, -1)).permute(1, 2, 0)
        # The shares of each head add to one, so that the bias may be added to what they weigh.
        moved = (values @ weight + back.out_proj.bias / self.heads).flatten(1, 2)
        told = torch.baddbmm(places, _softmax_over_tokens(scores).flatten(1, 2).transpose(1, 2), moved)
        norm = layer.norm4
        return F.layer_norm(told, norm.normalized_shape, norm.weight, norm.bias, norm.eps)

    def last(self, queries: Tensor, tokens: Tensor, places: Tensor) -> Tensor:
        """Let the tokens look at the picture a last time.

        Parameters
        ----------
        queries, tokens : Tensor, shape (B, T, C)
            The tokens so far, and as they were at first.
        places : Tensor, shape (B, N, C)
            The picture.

        Returns
        -------
        Tensor, shape (B, T, C)
            The tokens.
        """
        looked: Tensor = self._norm(queries + self._look(self._final, queries + tokens, places))
        return looked

    def _scores(self, moved: Tensor, places: Tensor, same: Tensor) -> Tensor:
        """Return moved tokens (B, K, C) times places and their positions, (B, K, N), and what all places have."""
        of_positions = torch.addmm(same, moved.flatten(0, 1), self._where.T).view(*moved.shape[:2], -1)
        return of_positions.baddbmm_(moved, places.transpose(1, 2))

    def _look(self, attention: Any, asked: Tensor, places: Tensor) -> Tensor:
        """Tokens look at the picture: the projections of keys and values are moved to the tokens.

        The bias of keys adds the same to all scores of a token, so that it changes nothing.
        """
        q = by_head(attention.q_proj(asked), self.heads) * scale_of(attention)
        moved = _moved_to_tokens(q, attention.k_proj.weight)
        shares = torch.softmax(self._scores(moved, places, moved.new_zeros(1)), dim=-1)
        seen = (shares @ places).unflatten(1, q.shape[1:3])
        weight = attention.v_proj.weight.unflatten(0, (self.heads, -1))
        values = (seen @ weight.transpose(1, 2)).transpose(1, 2).flatten(2) + attention.v_proj.bias
        looked: Tensor = attention.out_proj(values)
        return looked


def by_head(x: Tensor, heads: int) -> Tensor:
    """Return (..., T, C) as (..., H, T, C / H).

    Parameters
    ----------
    x : Tensor
        Projected tokens or places.
    heads : int
        How many heads.

    Returns
    -------
    Tensor
        A view.
    """
    parted: Tensor = x.unflatten(-1, (heads, -1)).transpose(-3, -2)
    return parted


def scale_of(attention: Any) -> float:
    """Return what an attention's scores are multiplied by.

    Parameters
    ----------
    attention : Attention
        `segment_anything`'s.

    Returns
    -------
    float
        One over the root of a head's width.
    """
    return float((attention.internal_dim // attention.num_heads) ** -0.5)


def _moved_to_tokens(tokens: Tensor, weight: Tensor) -> Tensor:
    """Return tokens (B, H, T, D) times a projection's rows of each head, (B, H T, C)."""
    moved: Tensor = (tokens @ weight.unflatten(0, (tokens.shape[1], -1))).flatten(1, 2)
    return moved


def _softmax_over_tokens(scores: Tensor) -> Tensor:
    """Softmax of (B, H, T, N) over the few tokens, written so that the many places are next to one another."""
    scores = scores.sub_(scores.amax(dim=2, keepdim=True)).exp_()
    return scores.div_(scores.sum(dim=2, keepdim=True))
