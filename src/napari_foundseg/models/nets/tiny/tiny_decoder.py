"""foundseg-tiny's mask decoder, computed faster: the same network and weights, the same result up to float32 rounding.

- Everything that depends on the picture alone is computed once (`TinyPicture`). A click changes it only in the click's
  surroundings, because farther away its drawing is below float32 rounding. The convolutions before the transformer are
  computed again there.
- Normalisations are folded into the convolutions next to them.
- The two-way transformer never projects the places of the picture (`two_way`).
- Channels are last throughout: convolutions are faster so, and the transformer needs no other order.

Another dtype than float32 is used only after the prompt is drawn into the picture, because that drawing is a small
difference of large numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from napari_foundseg.models.nets.sam.sam_decoder import Wanted, joined
from napari_foundseg.models.nets.sam.two_way import TwoWay, in_dtype
from napari_foundseg.models.nets.tiny.tiny import TinyMaskDecoder, TinyPromptEncoder, split_features

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

__all__ = ["FastTinyDecoder", "TinyPicture"]

#: Prompts to decode at once, and to enlarge at once, on a CPU, so that their maps stay in the processor's cache.
_AT_ONCE = 16
_FINE_AT_ONCE = 2
#: Distance from a click, in places of 8 pixels, at which its widest drawing (deviation: 12 pixels) is below 1e-6.
_REACH = 8
#: Places by which the two convolutions before the transformer spread it further.
_FURTHER = 3
#: Probabilities at which the mask's certainty is measured, as in `TinyMaskDecoder`.
_SURE = 0.73
_PERHAPS = 0.27


@dataclass(frozen=True, eq=False)
class TinyPicture:
    """Data of a picture that the decoder needs for every prompt; channels last.

    Parameters
    ----------
    source : Tensor, shape (1, H, W, 128)
        Input of the transformer where no prompt is near.
    squeezed : Tensor, shape (1, H, W, 64)
        Output of the first convolution before the transformer where no prompt is near.
    fine4 : Tensor, shape (1, 2 H, 2 W, 32)
        The map at twice the resolution, plus the bias of the features that it is added to.
    fine2 : Tensor, shape (1, 4 H, 4 W, 16)
        The same at four times the resolution.
    """

    source: Tensor
    squeezed: Tensor
    fine4: Tensor
    fine2: Tensor

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it holds."""
        return int(sum(part.nbytes for part in (self.source, self.squeezed, self.fine4, self.fine2)))


class FastTinyDecoder:
    """Decodes points and boxes without a mask prompt.

    Parameters
    ----------
    sam : Sam
        foundseg-tiny. Its weights are folded, so that later changes to them have no effect.
    dtype : torch.dtype
        Precision of the transformer and of all later steps. Logits and predicted IoU are returned as float32.
    """

    def __init__(self, sam: Sam, dtype: torch.dtype) -> None:
        self._prompts = sam.prompt_encoder
        self._before = sam.mask_decoder.before
        self._decoder = decoder = in_dtype(sam.mask_decoder, dtype)
        self.dtype = dtype
        where = self._prompts.get_dense_pe()[0].flatten(1).T.contiguous()
        self._two_way = TwoWay(decoder.transformer, where.to(dtype))
        down = self._prompts.mask_downscaling
        self._drawn = [fuse_conv_bn_eval(down[i], down[i + 1]) for i in (0, 3)]
        to_dense = down[6].weight[:, :, 0, 0]
        self._dense = to_dense.T.contiguous()
        self._nothing = self._hidden(where.new_zeros(1, 4, 4, 4))[0, 0, 0]
        scale, _ = _affine(self._before.norm)
        squeeze = self._before.squeeze.weight * scale[:, None, None]
        self._prompted = _Convolution(self._before.squeeze, torch.einsum("ocyx,ci->oiyx", squeeze, to_dense))
        self._expanded = _Convolution(self._before.expand, self._before.expand.weight)
        scale, shift = _affine(decoder.after.norm)
        self._after = _Convolution(decoder.after.squeeze, decoder.after.squeeze.weight * scale[:, None, None])
        self._afterwards = _Convolution(decoder.after.expand)
        # The padding has no shift, so that after a convolution the shift depends on the place.
        plane = shift[None, :, None, None].expand(1, -1, *self._prompts.image_embedding_size)
        self._shifted = _last(decoder.after.squeeze(plane))
        wide4, mix4, wide2, mix2 = decoder.output_upscaling
        self._wide = [wide.weight.permute(0, 2, 3, 1).flatten(1).contiguous() for wide in (wide4, wide2)]
        self._mix = [_Convolution(fuse_conv_bn_eval(mix4[0], mix4[1])), _Convolution(mix2)]

    @classmethod
    def of(cls, sam: Sam, dtype: torch.dtype = torch.float32) -> FastTinyDecoder | None:
        """Return the fast decoder of a network; None if the network has another decoder than foundseg-tiny's.

        Parameters
        ----------
        sam : Sam
            The network.
        dtype : torch.dtype
            Precision of most steps.

        Returns
        -------
        FastTinyDecoder or None
            None for subclasses, which may compute anything.
        """
        if type(sam.mask_decoder) is not TinyMaskDecoder or type(sam.prompt_encoder) is not TinyPromptEncoder:
            return None
        with torch.inference_mode():
            return cls(sam, dtype)

    def picture(self, features: Tensor) -> TinyPicture:
        """Compute the data of a picture that do not depend on the prompt.

        Parameters
        ----------
        features : Tensor, shape (1, 512, H, W)
            Output of the image encoder.

        Returns
        -------
        TinyPicture
            Argument of `decode`.
        """
        coarse, *finer = split_features(features)
        before = self._before
        dense = self._nothing @ self._dense + self._prompts.mask_downscaling[6].bias
        places = coarse + dense[:, None, None]
        squeezed = before.squeeze(before.norm(places))
        source = places + before.expand(squeezed.relu())
        wide4, _, wide2, _ = self._decoder.output_upscaling
        fine4, fine2 = (
            _last(fine).to(self.dtype) + wide.bias for fine, wide in zip(finer, (wide4, wide2), strict=True)
        )
        return TinyPicture(_last(source), _last(squeezed), fine4, fine2)

    def decode(
        self,
        picture: TinyPicture,
        points: tuple[Tensor, Tensor] | None,
        boxes: Tensor | None,
        kinds: slice,
        wanted: Wanted = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decode prompts.

        Parameters
        ----------
        picture : TinyPicture
            The picture.
        points : tuple of Tensor, shapes (B, N, 2) and (B, N), or None
            Coordinates (x, y) in the encoder's pixels, and labels.
        boxes : Tensor, shape (B, 4), or None
            (x0, y0, x1, y1) in the encoder's pixels.
        kinds : slice
            Masks of the decoder to use: ``slice(1, None)`` for three, ``slice(0, 1)`` for the single one.
        wanted : callable, optional
            Takes predicted IoU (B, K) and returns a boolean tensor of that shape: the masks to return. By default all.

        Returns
        -------
        logits : Tensor, shape (M, 4 H, 4 W)
            Logits of the wanted masks, prompt by prompt.
        predicted_iou : Tensor, shape (B, K)
            Predicted IoU of all masks.
        made : Tensor of bool, shape (B, K)
            Which masks are returned.
        """
        placed = self._prompts.placed(points, boxes)
        step = len(placed[0]) if picture.source.is_cuda else _AT_ONCE
        several = zip(*(part.split(step) for part in placed), strict=True)
        return joined(self._decode(picture, some, boxes is not None, kinds, wanted) for some in several)

    def _decode(
        self, picture: TinyPicture, placed: tuple[Tensor, ...], boxed: bool, kinds: slice, wanted: Wanted
    ) -> tuple[Tensor, Tensor, Tensor]:
        decoder = self._decoder
        tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        tokens = torch.cat([tokens.expand(len(placed[0]), -1, -1), self._prompts.tokens(*placed)], dim=1)
        tokens = tokens.to(self.dtype)
        source = self._source(picture, placed, boxed).to(self.dtype)
        queries = tokens
        places = source.flatten(1, 2)
        for number in range(len(self._two_way.layers)):
            queries, places = self._two_way.layer(number, queries, tokens, places)
        queries = self._two_way.last(queries, tokens, places)
        asked = range(decoder.num_mask_tokens)[kinds]
        of_masks = queries[:, 1 + asked.start : 1 + asked.stop]
        mlps = decoder.output_hypernetworks_mlps
        filters = torch.stack([mlps[i](of_masks[:, j]) for j, i in enumerate(asked)], dim=1) / 4
        source = self._refined(picture, places.view_as(source) + source)
        step = len(source) if source.is_cuda else _FINE_AT_ONCE
        fine = zip(source.split(step), filters.split(step), strict=True)
        parts = [self._masks(picture, *some, decoder.mask_bias[kinds, None]) for some in fine]
        masks, facts = (torch.cat(of_all) for of_all in zip(*parts, strict=True))
        known = torch.cat([queries[:, :1].expand_as(of_masks), of_masks, facts.to(self.dtype)], dim=2)
        iou = torch.sigmoid(decoder.iou_prediction_head(known).squeeze(2).float())
        made = torch.ones_like(iou, dtype=torch.bool) if wanted is None else wanted(iou)
        return masks[made].unflatten(1, (2 * source.shape[1], -1)), iou, made

    def _source(self, picture: TinyPicture, placed: tuple[Tensor, ...], boxed: bool) -> Tensor:
        """Return the transformer's input, (B, H, W, 128): the picture with each prompt drawn into it."""
        coords, labels, corners, boxes = placed
        side = picture.source.shape[1]
        near = min(side, 2 * (_REACH + _FURTHER) + 2) if coords.shape[1] == 1 and not boxed else side
        scale = self._prompts.input_image_size[0] / side
        first = (coords[:, 0] / scale).floor() - _REACH - _FURTHER
        first = first.clamp(0, side - near)
        shown = coords - scale * first[:, None]
        size = near * self._prompts.mask_input_size[0] // side
        added = self._hidden(self._prompts.drawn(shown, labels, corners, boxes, boxes=boxed, size=size)) - self._nothing
        windows = [(slice(y, y + near), slice(x, x + near)) for x, y in first.int().tolist()]
        alone = torch.cat([picture.squeezed[:, rows, columns] for rows, columns in windows])
        squeezed = F.relu_(self._prompted(added).add_(alone)).sub_(F.relu_(alone))
        more = self._expanded(squeezed).add_(added @ self._dense)
        source = picture.source.repeat(len(coords), 1, 1, 1)
        for one, part, (rows, columns) in zip(source, more, windows, strict=True):
            one[rows, columns] += part
        return source

    def _hidden(self, maps: Tensor) -> Tensor:
        """Return the hidden layer (B, H, W, 64) of maps (B, K, 4 H, 4 W), in which the dense embedding is linear.

        For missing parts of a prompt, the prompt encoder has empty maps. They are the last ones, and are left out here.
        """
        first, second = self._drawn
        maps = F.relu_(F.conv2d(maps, first.weight[:, : maps.shape[1]], first.bias, stride=2))
        return _last(F.relu_(F.conv2d(maps, second.weight, second.bias, stride=2)))

    def _refined(self, picture: TinyPicture, source: Tensor) -> Tensor:
        """Return the features after the transformer at twice the resolution, (B, 2 H, 2 W, 32)."""
        squeezed = F.relu_(self._after(source).add_(self._shifted))
        source = self._afterwards(squeezed).add_(source)
        return self._doubled(0, source, picture.fine4)

    def _doubled(self, number: int, source: Tensor, fine: Tensor) -> Tensor:
        """Return features enlarged 2×, with the finer map added."""
        # The rows and columns of each place's quarters, which are then arranged in rows of the picture.
        quarters = (source @ self._wide[number]).unflatten(3, (2, 2, -1)).transpose(2, 3)
        laid = quarters.new_empty(quarters.shape)
        torch.add(quarters, fine.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)), out=laid)
        return F.relu_(self._mix[number](F.relu_(laid.flatten(3, 4).flatten(1, 2))))

    def _masks(self, picture: TinyPicture, source: Tensor, filters: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, K, N) and statistics that show how certain they are, (B, K, 21)."""
        up = self._doubled(1, source, picture.fine2).flatten(1, 2)
        masks = torch.baddbmm(bias, filters, up.transpose(1, 2)).float()
        sure = masks.sigmoid()
        hard = (sure > 0.5).to(sure.dtype)
        area = hard.sum(2)
        total = sure.sum(2)
        both = torch.linalg.vecdot(sure, hard)
        union = area + total - both + 1e-3
        stable = ((sure > _SURE).sum(2) + 1e-3) / ((sure > _PERHAPS).sum(2) + 1e-3)
        doubt = (total - torch.linalg.vecdot(sure, sure)) / union
        facts = torch.stack([both / union, stable, sure.amax(2), torch.log1p(area) / 5, doubt], dim=2)
        return masks, torch.cat([facts, (hard.to(up.dtype) @ up).float() / (area + 1e-3)[..., None]], dim=2)


class _Convolution:
    """A convolution of maps with channels last; if other weights replace its own, it has no bias."""

    def __init__(self, convolution: Any, weight: Tensor | None = None) -> None:
        self._weight = (convolution.weight if weight is None else weight).to(memory_format=torch.channels_last)
        self._bias = convolution.bias if weight is None else None
        self._how = (convolution.stride, convolution.padding, convolution.dilation)

    def __call__(self, x: Tensor) -> Tensor:
        return F.conv2d(x.permute(0, 3, 1, 2), self._weight, self._bias, *self._how).permute(0, 2, 3, 1)


def _affine(norm: Any) -> tuple[Tensor, Tensor]:
    """Return the factors and the summands that a batch normalisation applies to the channels."""
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def _last(maps: Tensor) -> Tensor:
    """Return maps (B, C, H, W) with their channels last, contiguous in memory."""
    return maps.permute(0, 2, 3, 1).contiguous()
