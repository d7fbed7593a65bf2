"""Means of features over a neighbourhood, with which clusters respond to textures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["local_mean"]


def local_mean(features: NDArray[Any], side: int) -> NDArray[np.float32]:
    """Average features over a square around each cell.

    Parameters
    ----------
    features : (D, M, N) ndarray of float
        The features.
    side : int
        Side of the square in cells; 1 or less does not change the features.

    Returns
    -------
    (D, M, N) ndarray of float32
        The means. Beyond the border, the nearest cell is used.
    """
    from scipy import ndimage

    own = np.asarray(features, np.float32)
    return own if side <= 1 else np.asarray(ndimage.uniform_filter(own, (0, side, side), mode="nearest"))
