"""SAM's mask decoder, computed faster: the same network and weights, the same result up to float32 rounding.

The reference copies the picture's features for every prompt and projects each copy. Here

- the projections are moved from the 4096 places of the picture to the few tokens of the prompt (`two_way`);
- for many prompts, the first layer's projections of the features are computed once per picture instead (`Picture`);
- the predicted IoU is computed before the masks, so that unwanted masks are never enlarged;
- the enlarged features stay in the order that matrix products return; only the masks are rearranged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_foundseg.models.nets.sam.two_way import TwoWay, by_head, in_dtype, scale_of

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

__all__ = ["FastDecoder", "Picture", "Wanted", "doubled", "joined"]

#: Takes predicted IoU (B, K) and returns a boolean tensor of that shape: the masks to make. None makes all.
Wanted = Callable[[Tensor], Tensor] | None

#: Prompts to decode at once on a CPU, so that their features stay in the processor's cache.
_AT_ONCE = 4
#: From this number of prompts on, it is worth projecting the picture.
_MANY = 4


@dataclass(eq=False)
class Picture:
    """Data of a picture that the decoder needs for every prompt.

    Parameters
    ----------
    places : Tensor, shape (N, C)
        Features of each place, with the embedding of *no mask* added.
    size : tuple of int
        Rows and columns of the N places.
    first : tuple of Tensor, each (H, N, D), or None
        Keys and values of the first layer's tokens-to-picture attention, and queries of its picture-to-tokens one.
        Computed only for many prompts at once: for a click, they cost more than they save.
    """

    places: Tensor
    size: tuple[int, int]
    first: tuple[Tensor, Tensor, Tensor] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it holds."""
        return int(self.places.nbytes + sum(part.nbytes for part in self.first or ()))


class FastDecoder:
    """Decodes points and boxes without a mask prompt.

    Parameters
    ----------
    sam : Sam
        Network with `segment_anything`'s prompt encoder and mask decoder of two layers; used, not copied.
    dtype : torch.dtype
        Precision of the decoder. Logits and predicted IoU are returned as float32.
    """

    def __init__(self, sam: Sam, dtype: torch.dtype) -> None:
        self._prompts, self._decoder = sam.prompt_encoder, in_dtype(sam.mask_decoder, dtype)
        self.dtype = dtype
        self._where = self._prompts.get_dense_pe()[0].flatten(1).T.contiguous().to(dtype)
        self._two_way = TwoWay(self._decoder.transformer, self._where)

    @classmethod
    def of(cls, sam: Sam, dtype: torch.dtype = torch.float32) -> FastDecoder | None:
        """Return the fast decoder of a network; None if the network has another decoder than SAM's.

        Parameters
        ----------
        sam : Sam
            The network.
        dtype : torch.dtype
            Precision of the decoder.

        Returns
        -------
        FastDecoder or None
            None for subclasses of SAM's decoder, which may compute anything.
        """
        from segment_anything.modeling import MaskDecoder, PromptEncoder

        fits = type(sam.mask_decoder) is MaskDecoder and type(sam.prompt_encoder) is PromptEncoder
        if not fits or len(sam.mask_decoder.transformer.layers) != 2:
            return None
        with torch.inference_mode():
            return cls(sam, dtype)

    def picture(self, features: Tensor) -> Picture:
        """Compute the data of a picture that do not depend on the prompt.

        Parameters
        ----------
        features : Tensor, shape (1, C, H, W)
            Output of the image encoder.

        Returns
        -------
        Picture
            Argument of `decode`.
        """
        dense = self._prompts.no_mask_embed.weight.reshape(1, -1, 1, 1)
        places = (features + dense)[0].flatten(1).T.contiguous().to(self.dtype)
        return Picture(places, (features.shape[2], features.shape[3]))

    def _projected(self, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the first layer's keys, values and queries of a picture, (H, N, D) each."""
        layer = self._two_way.layers[0]
        into = layer.cross_attn_token_to_image
        back = layer.cross_attn_image_to_token
        located = places + self._where
        first = (into.k_proj(located), into.v_proj(places), back.q_proj(located))
        keys, values, asking = (by_head(part, self._two_way.heads) for part in first)
        return keys, values, asking

    def decode(
        self,
        picture: Picture,
        points: tuple[Tensor, Tensor] | None,
        boxes: Tensor | None,
        kinds: slice,
        wanted: Wanted = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decode prompts.

        Parameters
        ----------
        picture : Picture
            The picture.
        points : tuple of Tensor, shapes (B, N, 2) and (B, N), or None
            Coordinates (x, y) in the encoder's pixels, and labels.
        boxes : Tensor, shape (B, 4), or None
            (x0, y0, x1, y1) in the encoder's pixels.
        kinds : slice
            Masks of the decoder to use: ``slice(1, None)`` for three, ``slice(0, 1)`` for the single one.
        wanted : callable, optional
            Takes predicted IoU (B, K) and returns a boolean tensor of that shape: the masks to make. By default all.

        Returns
        -------
        logits : Tensor, shape (M, 4 H, 4 W)
            Logits of the wanted masks, prompt by prompt.
        predicted_iou : Tensor, shape (B, K)
            Predicted IoU of all masks.
        made : Tensor of bool, shape (B, K)
            Which masks were made.
        """
        sparse, _ = self._prompts(points=points, boxes=boxes, masks=None)
        if picture.first is None and len(sparse) >= _MANY:
            picture.first = self._projected(picture.places)
        step = len(sparse) if sparse.is_cuda else _AT_ONCE
        return joined(self._decode(picture, part, kinds, wanted) for part in sparse.split(step))

    def _decode(self, picture: Picture, sparse: Tensor, kinds: slice, wanted: Wanted) -> tuple[Tensor, Tensor, Tensor]:
        decoder = self._decoder
        tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        tokens = torch.cat([tokens.expand(len(sparse), -1, -1), sparse.to(tokens.dtype)], dim=1)
        if picture.first is None:
            queries, places = self._two_way.layer(0, tokens, tokens, picture.places.expand(len(tokens), -1, -1))
        else:
            queries, places = self._first_layer(picture.places, picture.first, tokens)
        queries, places = self._two_way.layer(1, queries, tokens, places)
        queries = self._two_way.last(queries, tokens, places)
        iou = decoder.iou_prediction_head(queries[:, 0])[:, kinds].float()
        made = torch.ones_like(iou, dtype=torch.bool) if wanted is None else wanted(iou)
        which = made.any(dim=1)
        numbers = range(decoder.num_mask_tokens)[kinds]
        mlps = decoder.output_hypernetworks_mlps
        filters = torch.stack([mlps[i](queries[which, 1 + i]) for i in numbers], dim=1)
        logits = self._enlarge(places[which], filters, picture.size).float()
        return logits[made[which]], iou, made

    def _first_layer(
        self, places: Tensor, first: tuple[Tensor, Tensor, Tensor], tokens: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Run the first layer with projections of the picture that were computed before."""
        layer, (keys, values, asking) = self._two_way.layers[0], first
        heads = self._two_way.heads
        queries = layer.norm1(layer.self_attn(tokens, tokens, tokens))
        into = layer.cross_attn_token_to_image
        b, t, _ = tokens.shape
        # All prompts attend to the same keys, so that their queries form one long row.
        q = by_head(into.q_proj(queries + tokens).flatten(0, 1), heads)
        seen = F.scaled_dot_product_attention(q[None], keys[None], values[None])[0]
        queries = layer.norm2(queries + into.out_proj(seen.transpose(0, 1).reshape(b, t, -1)))
        queries = layer.norm3(queries + layer.mlp(queries))
        back = layer.cross_attn_image_to_token
        k = by_head(back.k_proj(queries + tokens), heads) * scale_of(back)
        return queries, self._two_way.told(0, places.expand(b, -1, -1), k @ asking.transpose(1, 2), queries)

    def _enlarge(self, places: Tensor, filters: Tensor, size: tuple[int, int]) -> Tensor:
        """Return masks (B, K, 4 H, 4 W) from places (B, N, C) and filters (B, K, C / 8)."""
        wide, norm, _, wider, _ = self._decoder.output_upscaling
        (height, width), (b, k, _) = size, filters.shape
        x = doubled(places, wide)
        x = F.gelu(F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
        x = F.gelu(doubled(x.flatten(1, 2), wider))
        masks = filters @ x.flatten(1, 2).transpose(1, 2)
        # From rows and columns of places, of their quarters and of the quarters' quarters to rows and columns of masks.
        laid: Tensor = masks.view(b, k, height, width, 2, 2, 2, 2).permute(0, 1, 2, 4, 6, 3, 5, 7)
        masks_in_rows: Tensor = laid.reshape(b, k, 4 * height, 4 * width)
        return masks_in_rows


def joined(parts: Iterable[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """Join the results of prompts that were decoded in parts.

    Parameters
    ----------
    parts : iterable of tuple of Tensor
        Results of each part, as `FastDecoder.decode` returns them.

    Returns
    -------
    tuple of Tensor
        The results of all prompts.
    """
    logits, iou, made = zip(*parts, strict=True)
    return torch.cat(logits), torch.cat(iou), torch.cat(made)


def doubled(x: Tensor, convolution: Any) -> Tensor:
    """Compute a transposed convolution with kernel and stride 2 as one matrix product.

    Parameters
    ----------
    x : Tensor, shape (B, N, C)
        Features of places.
    convolution : ConvTranspose2d
        Convolution from C to C' channels.

    Returns
    -------
    Tensor, shape (B, N, 4, C')
        The four quarters of each place, row by row.
    """
    weight = convolution.weight.permute(0, 2, 3, 1).flatten(1)
    bias = convolution.bias.repeat(4)
    return torch.addmm(bias, x.flatten(0, 1), weight).view(*x.shape[:2], 4, convolution.out_channels)
