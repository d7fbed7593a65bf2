"""Means of features over a neighbourhood, which make clusters respond to textures."""

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
        Of the square, in cells; 1 or less leaves the features as they are.

    Returns
    -------
    (D, M, N) ndarray of float32
        Beyond the border the nearest cell counts.
    """
    from scipy import ndimage

    own = np.asarray(features, np.float32)
    return own if side <= 1 else np.asarray(ndimage.uniform_filter(own, (0, side, side), mode="nearest"))
