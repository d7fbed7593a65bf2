"""`Found`: an object in a slice, with the evidence for whether it is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_foundseg.core.masks import EMPTY_BOX, Box, Mask

__all__ = ["Expected", "Found"]

#: Width, in pixels, of the ring around a mask in which its surroundings are measured.
_RING = 3
#: Percentile of the grey values of a window that counts as its background.
_GROUND = 10


class Expected(NamedTuple):
    """An object as it is expected in the next slice."""

    mask: Mask
    """Its mask in the previous slice, moved on at the speed so far."""
    grey: float
    """Its mean grey value in that slice."""


@dataclass(frozen=True, eq=False)
class Found:
    """An object in one slice.

    Parameters
    ----------
    mask : Mask
        Mask with the model's predicted IoU.
    logits : (M, N) ndarray of float16
        Logits in the mask's box; where two objects overlap, the one with the higher logit gets the pixel.
    contrast : float
        Mean grey value inside minus the mean of the ring around the mask.
    level : float
        Mean grey value inside minus the background of the window.
    grey : float
        Mean grey value inside.
    noise : float
        Standard deviation of grey values inside and around the mask.
    shared : float
        Share of the smaller of this mask and the one before that is in the other.
    kept : bool
        Whether the user has drawn the mask; other objects take no pixels of it.
    """

    mask: Mask
    logits: NDArray[np.float16]
    contrast: float = 0.0
    level: float = 0.0
    grey: float = 0.0
    noise: float = 1.0
    shared: float = 1.0
    kept: bool = False

    @classmethod
    def nothing(cls, index: tuple[int, ...]) -> Self:
        """Return an empty object, for a slice that the object is not in."""
        return cls(Mask(EMPTY_BOX, np.zeros((0, 0), bool), 0.0, 0.0, index), np.zeros((0, 0), np.float16), shared=0.0)

    @classmethod
    def measured(
        cls,
        index: tuple[int, ...],
        mask: NDArray[np.bool_],
        logits: NDArray[np.float32],
        window: Box,
        score: float,
        grey: NDArray[np.float32],
        before: NDArray[np.bool_],
    ) -> Self:
        """Return an object of a window with its measured evidence."""
        if not mask.any():
            return cls.nothing(index)
        found = Mask.from_array(
            mask, window[:2], predicted_iou=score, stability_score=_stability(logits, mask), index=index
        )
        y0, x0, y1, x1 = (v - o for v, o in zip(found.box, (*window[:2], *window[:2]), strict=True))
        crop = np.clip(logits[y0 : y1 + 1, x0 : x1 + 1], -60, 60).astype(np.float16)
        contrast, level, own, noise = _evidence(mask, grey)
        smaller = max(1, min(int(np.count_nonzero(mask)), int(np.count_nonzero(before))))
        shared = np.count_nonzero(mask & before) / smaller
        return cls(found, crop, contrast, level, own, noise, shared)


def _evidence(mask: NDArray[np.bool_], grey: NDArray[np.float32]) -> tuple[float, float, float, float]:
    """Return contrast, level, mean grey value and noise of a mask in a picture of grey values, (M, N)."""
    rows, columns = np.nonzero(mask)
    around = 2 * _RING
    part = (
        slice(max(0, int(rows.min()) - around), int(rows.max()) + around + 1),
        slice(max(0, int(columns.min()) - around), int(columns.max()) + around + 1),
    )
    inside = mask[part]
    near = ndimage.binary_dilation(inside, iterations=1)
    ring = ndimage.binary_dilation(near, iterations=_RING) & ~near
    values = grey[part]
    core = ndimage.binary_erosion(inside)
    core = core if core.sum() >= 9 else inside
    own = float(values[core].mean())
    outside = values[ring] if ring.any() else values[~inside]
    if not outside.size:
        return 0.0, 0.0, own, 1.0
    ground = float(np.percentile(ndimage.uniform_filter(grey, 5)[::2, ::2], _GROUND))
    noise = float(np.sqrt((values[core].var() + outside.var()) / 2)) + 1e-3
    return own - float(outside.mean()), own - ground, own, noise


def _stability(logits: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    """Return the IoU of the masks at thresholds of 1 and -1, near the mask."""
    wide = np.count_nonzero(ndimage.binary_dilation(mask, iterations=2) & (logits > -1))
    return float(np.count_nonzero(mask & (logits > 1)) / max(1, int(wide)))
