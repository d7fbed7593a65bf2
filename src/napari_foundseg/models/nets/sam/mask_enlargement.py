"""Masks of a picture from a mask decoder's small logits, computed only where there is something.

The reference enlarges every mask to the whole picture. Bilinear resizing is linear along each axis, so that all steps
from small logits to the picture are one matrix per axis. A pixel's value lies between the small values that it is made
of. Outside the box of the small values above a threshold, no pixel is therefore above it. Each mask is enlarged inside
that box only, together with others of similar size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Enlarged", "Enlarger"]

#: Largest sides, in small logits, of the boxes that are enlarged together.
_SIDES = (8, 16, 32, 64, 128, 256, 512, 1024)
#: Pixels enlarged at once.
_AT_ONCE = 1 << 23


@dataclass(frozen=True, eq=False)
class Enlarged:
    """Enlarged masks of similar size.

    Parameters
    ----------
    which : Tensor, shape (M,)
        Numbers of the masks among the logits.
    origin : Tensor, shape (M, 2)
        Row and column in the picture of each crop's first pixel.
    crops : Tensor of bool, shape (M, R, C)
        Where the logits are above the threshold.
    stability : Tensor, shape (M,)
        Pixels above threshold + offset over pixels above threshold - offset; NaN where there are none.
    """

    which: Tensor
    origin: Tensor
    crops: Tensor
    stability: Tensor


class Enlarger:
    """Enlarges the logits of one picture.

    Parameters
    ----------
    small : tuple of int
        Rows and columns of the logits.
    window : tuple of int
        Rows and columns of the encoder's input.
    used : tuple of int
        Rows and columns of the window that the picture fills, beginning with the first.
    picture : tuple of int
        Rows and columns of the picture.
    device : torch.device
        Device of the logits.
    """

    def __init__(
        self,
        small: tuple[int, int],
        window: tuple[int, int],
        used: tuple[int, int],
        picture: tuple[int, int],
        device: torch.device | str,
    ) -> None:
        self._small = small
        axes = zip(small, window, used, picture, strict=True)
        self._axes = [_Axis(*sizes, torch.device(device)) for sizes in axes]

    def masks(self, logits: Tensor, threshold: float, offset: float) -> list[Enlarged]:
        """Enlarge logits, threshold them and measure their stability.

        Parameters
        ----------
        logits : Tensor, shape (M, h, w)
            Small logits.
        threshold : float
            Logit above which a pixel belongs to the mask.
        offset : float
            Distance by which the threshold is moved up and down to measure stability.

        Returns
        -------
        list of Enlarged
            All masks, in groups; those without a pixel above threshold - offset are left out.
        """
        above = logits > threshold - offset
        there = torch.nonzero(above.flatten(1).any(dim=1)).squeeze(1)
        above = above[there]
        spans = [axis.span(above.any(dim=2 - i)) for i, axis in enumerate(self._axes)]
        side = torch.stack([self._side(last - first + 1) for first, last, _, _ in spans]).amax(dim=0)
        out = []
        for number in torch.unique(side).tolist():
            group = torch.nonzero(side == number).squeeze(1)
            high = [int((last_out - first_out)[group].max()) + 1 for _, _, first_out, last_out in spans]
            step = max(1, _AT_ONCE // (high[0] * high[1]))
            parts = ((there[some], [tuple(p[some] for p in span) for span in spans]) for some in group.split(step))
            out += [self._group(logits, *part, _SIDES[number], (threshold, offset)) for part in parts]
        return out

    def _side(self, lengths: Tensor) -> Tensor:
        return torch.bucketize(lengths, torch.tensor(_SIDES, device=lengths.device))

    def _group(
        self, logits: Tensor, which: Tensor, spans: list[tuple[Tensor, ...]], side: int, at: tuple[float, float]
    ) -> Enlarged:
        crop = logits[which]
        origin = []
        valid = []
        for i, (axis, span) in enumerate(zip(self._axes, spans, strict=True)):
            matrix, start, inside, low = axis.pieces(span, min(side, self._small[i]))
            origin.append(start)
            valid.append(inside)
            index = low[:, None] + torch.arange(matrix.shape[2], device=low.device)
            if i == 0:
                crop = torch.bmm(matrix, crop.gather(1, index[:, :, None].expand(-1, -1, crop.shape[2])))
            else:
                crop = torch.bmm(
                    crop.gather(2, index[:, None, :].expand(-1, crop.shape[1], -1)), matrix.transpose(1, 2)
                )
        threshold, offset = at
        inside = valid[0][:, :, None] & valid[1][:, None, :]
        counts = [((crop > t) & inside).sum(dim=(1, 2), dtype=torch.float32)
                  for t in (threshold + offset, threshold - offset)]  # fmt: skip
        mask = (crop > threshold).logical_and_(inside)
        return Enlarged(which, torch.stack(origin, dim=1), mask, counts[0] / counts[1])


class _Axis:
    """Resizing from small logits to the picture along one axis, as a banded matrix."""

    def __init__(self, small: int, window: int, used: int, picture: int, device: torch.device) -> None:
        eye = torch.eye(small, device=device)[None]
        wide = F.interpolate(eye, window, mode="linear", align_corners=False)[..., :used]
        self._matrix = F.interpolate(wide, picture, mode="linear", align_corners=False)[0].T.contiguous()
        touched = self._matrix > 0
        self._picture = picture
        self._small = small
        # First and last pixel that each small value reaches; first and last small value that each pixel needs.
        numbers = torch.arange(picture, device=device)[:, None].expand_as(touched)
        self._first = torch.where(touched, numbers, picture).amin(dim=0)
        self._last = torch.where(touched, numbers, -1).amax(dim=0)
        small_numbers = torch.arange(small, device=device).expand_as(touched)
        self._from = torch.where(touched, small_numbers, small).amin(dim=1)
        self._to = torch.where(touched, small_numbers, -1).amax(dim=1)

    def span(self, above: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return, for each mask, the first and last small value that its pixels need, and its first and last pixel."""
        numbers = torch.arange(self._small, device=above.device).expand_as(above)
        low = torch.where(above, numbers, self._small).amin(dim=1)
        high = torch.where(above, numbers, -1).amax(dim=1)
        # Values in the padding reach no pixel.
        first = self._first.flip(0).cummin(dim=0).values.flip(0)[low].clamp(max=self._picture - 1)
        last = self._last.cummax(dim=0).values[high].clamp(min=0)
        last = torch.maximum(first, last)
        return self._from[first], self._to[last], first, last

    def pieces(self, span: tuple[Tensor, ...], side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return, for each mask, its part of the matrix, its first pixel, its own pixels and its first small value.

        All crops of a group are as long as the longest. The third result tells which pixels are a mask's own.
        """
        low, _, first, last = span
        low = low.clamp(max=self._small - side)
        length = int((last - first).max()) + 1
        rows = first[:, None] + torch.arange(length, device=first.device)
        inside = rows <= last[:, None]
        rows = rows.clamp(max=self._picture - 1)
        columns = low[:, None] + torch.arange(side, device=low.device)
        return self._matrix[rows[:, :, None], columns[:, None, :]], first, inside, low
