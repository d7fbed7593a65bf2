"""SAM's mask decoder, computed faster: the same network and weights, the same result to float32's rounding.

The reference copies the picture's features for every prompt and projects each copy. Here

- what does not depend on the prompt is computed once a picture (`Picture`): the first layer's projections of the
  features, and every projection of the positional encoding;
- in the later layers the projections are moved from the 4096 places of the picture to the few tokens of the prompt,
  which attention allows, being linear in its keys and values;
- the predicted IoU comes before the masks, so that masks which nobody wants are never enlarged;
- the enlarged features stay in the order in which matrix products make them, until the masks themselves are laid out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from segment_anything.modeling import MaskDecoder, Sam

__all__ = ["FastDecoder", "Picture"]

#: Prompts decoded at once on a CPU: their features stay near the processor.
_AT_ONCE = 4


@dataclass(frozen=True, eq=False)
class Picture:
    """What the decoder needs of a picture, whatever the prompt.

    Parameters
    ----------
    places : Tensor, shape (N, C)
        Features of each place, with the embedding of *no mask* added.
    size : tuple of int
        Rows and columns of the N places.
    first : tuple of Tensor, each (H, N, D)
        Keys and values of the first layer's tokens-to-picture attention, and queries of its picture-to-tokens one.
    """

    places: Tensor
    size: tuple[int, int]
    first: tuple[Tensor, Tensor, Tensor]

    @property
    def nbytes(self) -> int:
        """Memory it holds."""
        return int(self.places.nbytes + sum(part.nbytes for part in self.first))


class FastDecoder:
    """Decodes points and boxes without a mask prompt.

    Parameters
    ----------
    decoder : MaskDecoder
        `segment_anything`'s mask decoder with its two-way transformer of two layers; used, not copied.
    positions : Tensor, shape (1, C, H, W)
        The positional encoding of the picture's places.
    """

    def __init__(self, decoder: MaskDecoder, positions: Tensor) -> None:
        self._decoder = decoder
        self._where = positions[0].flatten(1).T.contiguous()
        self._final = decoder.transformer.final_attn_token_to_image
        self._first, self._second = decoder.transformer.layers
        self._heads = self._final.num_heads
        # The positional encoding as keys of the second layer, as its queries, and as keys of the last attention.
        self._as_keys = self._by_head(self._where @ self._second.cross_attn_token_to_image.k_proj.weight.T)
        self._as_queries = self._by_head(self._second.cross_attn_image_to_token.q_proj(self._where))
        self._as_last_keys = self._by_head(self._where @ self._final.k_proj.weight.T)

    @classmethod
    def of(cls, sam: Sam) -> FastDecoder | None:
        """Return the fast decoder of a network, None where its decoder is another.

        Parameters
        ----------
        sam : Sam
            The network.

        Returns
        -------
        FastDecoder or None
            None for subclasses of SAM's decoder, which may do anything.
        """
        from segment_anything.modeling import MaskDecoder, PromptEncoder

        decoder = sam.mask_decoder
        fits = type(decoder) is MaskDecoder and type(sam.prompt_encoder) is PromptEncoder
        if not fits or len(decoder.transformer.layers) != 2:
            return None
        with torch.inference_mode():
            return cls(decoder, sam.prompt_encoder.get_dense_pe())

    def picture(self, features: Tensor, dense: Tensor) -> Picture:
        """Compute what does not depend on the prompt.

        Parameters
        ----------
        features : Tensor, shape (1, C, H, W)
            What the image encoder returned.
        dense : Tensor, shape (1, C, H, W) or (1, C, 1, 1)
            The dense embedding of *no mask*.

        Returns
        -------
        Picture
            For `decode`.
        """
        places = (features + dense)[0].flatten(1).T.contiguous()
        into, back = self._first.cross_attn_token_to_image, self._first.cross_attn_image_to_token
        located = places + self._where
        first = (into.k_proj(located), into.v_proj(places), back.q_proj(located))
        return Picture(
            places,
            (features.shape[2], features.shape[3]),
            (self._by_head(first[0]), self._by_head(first[1]), self._by_head(first[2])),
        )

    def decode(
        self, picture: Picture, sparse: Tensor, kinds: slice, wanted: Callable[[Tensor], Tensor] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decode prompts.

        Parameters
        ----------
        picture : Picture
            The picture.
        sparse : Tensor, shape (B, T, C)
            Embedded points and boxes.
        kinds : slice
            Which of the decoder's masks: ``slice(1, None)`` for three, ``slice(0, 1)`` for the single one.
        wanted : callable, optional
            From predicted IoU (B, K) to a boolean of that shape: which masks are to be made; by default all.

        Returns
        -------
        logits : Tensor, shape (M, 4 H, 4 W)
            Of the wanted masks, prompt by prompt.
        predicted_iou : Tensor, shape (B, K)
            Of all.
        made : Tensor of bool, shape (B, K)
            Which were wanted.
        """
        step = len(sparse) if sparse.is_cuda else _AT_ONCE
        parts = [self._decode(picture, part, kinds, wanted) for part in sparse.split(step)]
        return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts]), torch.cat([p[2] for p in parts])

    def _decode(
        self, picture: Picture, sparse: Tensor, kinds: slice, wanted: Callable[[Tensor], Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        decoder = self._decoder
        tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        tokens = torch.cat([tokens.expand(len(sparse), -1, -1), sparse.to(tokens.dtype)], dim=1)
        queries, places = self._first_layer(picture, tokens)
        queries, places = self._second_layer(queries, tokens, places)
        queries = queries + self._look(self._final, queries + tokens, places, self._as_last_keys)
        queries = decoder.transformer.norm_final_attn(queries)
        iou = decoder.iou_prediction_head(queries[:, 0])[:, kinds]
        made = torch.ones_like(iou, dtype=torch.bool) if wanted is None else wanted(iou)
        which = made.any(dim=1)
        numbers = range(decoder.num_mask_tokens)[kinds]
        mlps = decoder.output_hypernetworks_mlps
        filters = torch.stack([mlps[i](queries[which, 1 + i]) for i in numbers], dim=1)
        logits = self._enlarge(places[which], filters, picture.size)
        return logits[made[which]], iou, made

    def _first_layer(self, picture: Picture, tokens: Tensor) -> tuple[Tensor, Tensor]:
        layer, (keys, values, asking) = self._first, picture.first
        queries = layer.norm1(layer.self_attn(tokens, tokens, tokens))
        into = layer.cross_attn_token_to_image
        b, t, _ = tokens.shape
        # All prompts look at the same keys: one long row of queries.
        q = self._by_head(into.q_proj(queries + tokens).flatten(0, 1))
        seen = F.scaled_dot_product_attention(q[None], keys[None], values[None])[0]
        queries = layer.norm2(queries + into.out_proj(seen.transpose(0, 1).reshape(b, t, -1)))
        queries = layer.norm3(queries + layer.mlp(queries))
        back = layer.cross_attn_image_to_token
        k = self._by_head(back.k_proj(queries + tokens))
        shares = _softmax_over_tokens(k @ asking.transpose(1, 2) * _scale(back))
        return queries, self._told(layer, picture.places.expand(b, -1, -1), shares, queries)

    def _second_layer(self, queries: Tensor, tokens: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        layer = self._second
        again = queries + tokens
        queries = layer.norm1(queries + layer.self_attn(again, again, queries))
        into = layer.cross_attn_token_to_image
        queries = layer.norm2(queries + self._look(into, queries + tokens, places, self._as_keys))
        queries = layer.norm3(queries + layer.mlp(queries))
        back = layer.cross_attn_image_to_token
        k = self._by_head(back.k_proj(queries + tokens)) * _scale(back)
        # (place + position) · Wq · k: the first part by moving Wq to the tokens, the second is known.
        moved = _moved_to_tokens(k, back.q_proj.weight)
        scores = torch.baddbmm((k @ self._as_queries.transpose(1, 2)).flatten(1, 2), moved, places.transpose(1, 2))
        return queries, self._told(layer, places, _softmax_over_tokens(scores.unflatten(1, k.shape[1:3])), queries)

    def _look(self, attention: Any, asked: Tensor, places: Tensor, positions: Tensor) -> Tensor:
        """Tokens look at the picture: the projections of keys and values are moved to the tokens.

        The bias of the keys adds the same to all scores of a token, so that it changes nothing.
        """
        q = self._by_head(attention.q_proj(asked)) * _scale(attention)
        moved = _moved_to_tokens(q, attention.k_proj.weight)
        known = (q @ positions.transpose(1, 2)).flatten(1, 2)
        shares = torch.softmax(torch.baddbmm(known, moved, places.transpose(1, 2)), dim=-1)
        seen = (shares @ places).unflatten(1, q.shape[1:3])
        weight = attention.v_proj.weight.unflatten(0, (self._heads, -1))
        values = (seen @ weight.transpose(1, 2)).transpose(1, 2).flatten(2) + attention.v_proj.bias
        looked: Tensor = attention.out_proj(values)
        return looked

    def _told(self, layer: Any, places: Tensor, shares: Tensor, queries: Tensor) -> Tensor:
        """Let the picture look at the tokens: by shares (B, H, T, N), places become (B, N, C)."""
        back = layer.cross_attn_image_to_token
        values = self._by_head(back.v_proj(queries))
        weight = back.out_proj.weight.unflatten(1, (self._heads, -1)).permute(1, 2, 0)
        moved = (values @ weight).flatten(1, 2)
        told = torch.baddbmm(places, shares.flatten(1, 2).transpose(1, 2), moved)
        norm = layer.norm4
        told += back.out_proj.bias
        return F.layer_norm(told, norm.normalized_shape, norm.weight, norm.bias, norm.eps)

    def _enlarge(self, places: Tensor, filters: Tensor, size: tuple[int, int]) -> Tensor:
        """Make masks of places (B, N, C) and filters (B, K, C / 8): (B, K, 4 H, 4 W)."""
        wide, norm, _, wider, _ = self._decoder.output_upscaling
        (height, width), (b, k, _) = size, filters.shape
        x = _doubled(places, wide)
        x = F.gelu(F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
        x = F.gelu(_doubled(x.flatten(1, 2), wider))
        masks = filters @ x.flatten(1, 2).transpose(1, 2)
        # Row and column of the place, of its quarter, and of the quarter's quarter.
        laid: Tensor = masks.view(b, k, height, width, 2, 2, 2, 2).permute(0, 1, 2, 4, 6, 3, 5, 7)
        masks_in_rows: Tensor = laid.reshape(b, k, 4 * height, 4 * width)
        return masks_in_rows

    def _by_head(self, x: Tensor) -> Tensor:
        """Return (..., T, C) as (..., H, T, C / H)."""
        parted: Tensor = x.unflatten(-1, (self._heads, -1)).transpose(-3, -2)
        return parted


def _scale(attention: Any) -> float:
    return float((attention.internal_dim // attention.num_heads) ** -0.5)


def _moved_to_tokens(tokens: Tensor, weight: Tensor) -> Tensor:
    """Return tokens (B, H, T, D) times a projection's rows of each head, (B, H T, C)."""
    moved: Tensor = (tokens @ weight.unflatten(0, (tokens.shape[1], -1))).flatten(1, 2)
    return moved


def _softmax_over_tokens(scores: Tensor) -> Tensor:
    """Softmax of (B, H, T, N) over the few tokens, written so that the many places are next to one another."""
    scores = torch.exp_(scores - scores.amax(dim=2, keepdim=True))
    return scores.div_(scores.sum(dim=2, keepdim=True))


def _doubled(x: Tensor, convolution: Any) -> Tensor:
    """Transposed convolution of kernel and stride 2 as one product: (B, N, C) becomes (B, N, 4, C')."""
    weight = convolution.weight.permute(0, 2, 3, 1).flatten(1)
    bias = convolution.bias.repeat(4)
    return torch.addmm(bias, x.flatten(0, 1), weight).view(*x.shape[:2], 4, -1)
