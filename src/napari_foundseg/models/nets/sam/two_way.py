"""SAM's two-way transformer, computed faster: the same weights, the same result up to float32 rounding.

The reference projects every place of the picture to keys, values and queries, again for every prompt. Attention is
linear in its keys and values. Here the projections are therefore moved from the many places to the few tokens of a
prompt. The projections of the positional encoding, which no prompt changes, are computed once.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["TwoWay", "by_head", "in_dtype", "scale_of"]


class TwoWay:
    """The layers of a two-way transformer on the features of one picture.

    Parameters
    ----------
    transformer : TwoWayTransformer
        Transformer of `segment_anything`; used, not copied.
    where : Tensor, shape (N, C)
        The positional encoding of the picture's places.
    """

    def __init__(self, transformer: Any, where: Tensor) -> None:
        self.layers = transformer.layers
        self._final = transformer.final_attn_token_to_image
        self._norm = transformer.norm_final_attn
        self.heads = self._final.num_heads
        # The positional encoding as keys and as queries of each layer, and as keys of the last attention: (H, D, N).
        self._as_keys = [self._laid(where @ layer.cross_attn_token_to_image.k_proj.weight.T) for layer in self.layers]
        self._as_queries = [self._laid(layer.cross_attn_image_to_token.q_proj(where)) for layer in self.layers]
        self._as_last_keys = self._laid(where @ self._final.k_proj.weight.T)

    def layer(self, number: int, queries: Tensor, tokens: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Run one layer.

        Parameters
        ----------
        number : int
            Number of the layer. In the first, the tokens attend to one another without their positions.
        queries : Tensor, shape (B, T, C)
            The tokens so far.
        tokens : Tensor, shape (B, T, C)
            The original tokens, which serve as their positions.
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
        looked = self._look(layer.cross_attn_token_to_image, queries + tokens, places, self._as_keys[number])
        queries = layer.norm2(queries + looked)
        queries = layer.norm3(queries + layer.mlp(queries))
        back = layer.cross_attn_image_to_token
        k = by_head(back.k_proj(queries + tokens), self.heads) * scale_of(back)
        scores = _scores(k, back.q_proj.weight, places, self._as_queries[number])
        return queries, self.told(number, places, scores, queries)

    def told(self, number: int, places: Tensor, scores: Tensor, queries: Tensor) -> Tensor:
        """Return the picture after it has attended to the tokens.

        Parameters
        ----------
        number : int
            The layer.
        places : Tensor, shape (B, N, C)
            The picture so far.
        scores : Tensor, shape (B, H, T, N)
            Attention of each place to each token before softmax; overwritten.
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
        # The weights of each head add up to one, so that the bias can be added to the values.
        moved = (values @ weight + back.out_proj.bias / self.heads).flatten(1, 2)
        told = torch.baddbmm(places, _softmax_over_tokens(scores).flatten(1, 2).transpose(1, 2), moved)
        norm = layer.norm4
        return F.layer_norm(told, norm.normalized_shape, norm.weight, norm.bias, norm.eps)

    def last(self, queries: Tensor, tokens: Tensor, places: Tensor) -> Tensor:
        """Return the tokens after their last attention to the picture.

        Parameters
        ----------
        queries, tokens : Tensor, shape (B, T, C)
            The tokens so far, and the original ones.
        places : Tensor, shape (B, N, C)
            The picture.

        Returns
        -------
        Tensor, shape (B, T, C)
            The tokens.
        """
        looked: Tensor = self._norm(queries + self._look(self._final, queries + tokens, places, self._as_last_keys))
        return looked

    def _laid(self, projected: Tensor) -> Tensor:
        """Return projected places (N, C) as a matrix for each head, (H, D, N)."""
        return by_head(projected, self.heads).transpose(1, 2).contiguous()

    def _look(self, attention: Any, asked: Tensor, places: Tensor, positions: Tensor) -> Tensor:
        """Return the attention of tokens to the picture; the projections of keys and values are moved to the tokens.

        The bias of keys is left out. It adds the same to all scores of a token, which changes nothing.
        """
        q = by_head(attention.q_proj(asked), self.heads) * scale_of(attention)
        shares = torch.softmax(_scores(q, attention.k_proj.weight, places, positions).flatten(1, 2), dim=-1)
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
        Number of heads.

    Returns
    -------
    Tensor
        A view.
    """
    parted: Tensor = x.unflatten(-1, (heads, -1)).transpose(-3, -2)
    return parted


def scale_of(attention: Any) -> float:
    """Return the factor of an attention's scores.

    Parameters
    ----------
    attention : Attention
        Attention of `segment_anything`.

    Returns
    -------
    float
        One over the square root of a head's width.
    """
    return float((attention.internal_dim // attention.num_heads) ** -0.5)


def in_dtype(module: nn.Module, dtype: torch.dtype) -> Any:
    """Return a module with its weights in a dtype.

    Parameters
    ----------
    module : Module
        Module in float32.
    dtype : torch.dtype
        The dtype.

    Returns
    -------
    Module
        The same module for float32, else a copy.
    """
    return module if dtype == torch.float32 else copy.deepcopy(module).to(dtype)


def _scores(tokens: Tensor, weight: Tensor, places: Tensor, positions: Tensor) -> Tensor:
    """Return tokens (B, H, T, D) times projected places and positions, (B, H, T, N).

    The projection's rows of each head are moved to the tokens. All prompts are multiplied with the positions of a head
    in one product; a product for each prompt would copy the positions each time.
    """
    b, h, t, d = tokens.shape
    moved = (tokens @ weight.unflatten(0, (h, -1))).flatten(1, 2)
    scores: Tensor = (moved @ places.transpose(1, 2)).view(b, h, t, -1)
    of_positions = tokens.transpose(0, 1).reshape(h, b * t, d) @ positions
    return scores.add_(of_positions.view(h, b, t, -1).transpose(0, 1))


def _softmax_over_tokens(scores: Tensor) -> Tensor:
    """Return the softmax of (B, H, T, N) over the few tokens, computed in place along the many places."""
    scores = scores.sub_(scores.amax(dim=2, keepdim=True)).exp_()
    return scores.div_(scores.sum(dim=2, keepdim=True))
