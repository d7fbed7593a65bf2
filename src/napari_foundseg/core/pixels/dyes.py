"""Choose the dye of a fluorescence image that shows nuclei or cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["blobness", "choose_dye"]

_BLUE = 2
#: Factor by which another dye must score better than blue, the usual dye of nuclei (DAPI, Hoechst).
_CONVENTION = 2.0
#: Largest share of a picture that one object covers.
_LARGEST = 0.1


def choose_dye(pictures: Sequence[NDArray[Any]], channels: Sequence[int]) -> int:
    """Return the channel of the dye that best shows separate objects.

    Parameters
    ----------
    pictures : sequence of (M, N, 3) ndarray
        The planes, with the background subtracted.
    channels : sequence of int
        The channel of each dye.
    """
    scores = {c: float(np.mean([blobness(picture[..., c]) for picture in pictures])) for c in channels}
    if _BLUE in scores:
        scores[_BLUE] *= _CONVENTION
    return max(channels, key=lambda c: scores[c])


def blobness(grey: NDArray[Any]) -> float:
    """Return the share of a picture's brightness in separate compact objects on a dark ground, 0 to 1."""
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    values = np.nan_to_num(np.asarray(grey, float))
    top = np.percentile(values, 99.5)
    if top <= 0:
        return 0.0
    values = np.clip(values / top, 0, 1)
    threshold = threshold_otsu(values)
    over = values > threshold
    share = float(over.mean())
    if not 0 < share < 1:
        return 0.0
    apart = share * (1 - share) * (values[over].mean() - values[~over].mean()) ** 2 / max(values.var(), 1e-12)
    pieces, count = ndimage.label(over)
    boxes = ndimage.find_objects(pieces)
    areas = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    filled = np.array([a / (over[box].size) for a, box in zip(areas, boxes, strict=True)])
    compact = (areas >= 2) & (areas <= _LARGEST * over.size)
    edge = over ^ ndimage.binary_erosion(over, border_value=1)
    slope = np.hypot(*np.gradient(values))[edge].mean() / (values[over].mean() - values[~over].mean())
    return float(apart * min(1.0, slope) * (areas * filled * compact).sum() / areas.sum())
