"""Principal components of features as colours, for a view of a network's features."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["as_rgb", "principal_axes"]

#: Percentage of pixels that is clipped at each end.
_CLIPPED = 1.0


def principal_axes(sample: NDArray[Any], count: int = 3) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the directions in which features vary most.

    Returns
    -------
    mean : (D,) ndarray of float32
        Mean of the features.
    axes : (count, D) ndarray of float32
        Unit vectors, most variance first, each with its largest entry positive; zeros if there are too few.
    """
    own = np.asarray(sample, np.float64)
    mean = own.mean(0)
    values, vectors = np.linalg.eigh((own - mean).T @ (own - mean))
    chosen = vectors[:, np.argsort(-values)[:count]].T
    signs = np.sign(np.take_along_axis(chosen, np.abs(chosen).argmax(1)[:, None], 1))
    axes = np.zeros((count, own.shape[1]), np.float32)
    axes[: len(chosen)] = chosen * np.where(signs == 0, 1, signs)
    return mean.astype(np.float32), axes


def as_rgb(features: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the first three principal components of a feature map as red, green and blue.

    Parameters
    ----------
    features : (D, M, N) ndarray of float
        The map.

    Returns
    -------
    (M, N, 3) ndarray of uint8
        Each component is stretched from its 1st to its 99th percentile. It is grey where all features are equal.
    """
    depth, height, width = features.shape
    flat = np.asarray(features, np.float32).reshape(depth, -1).T
    mean, axes = principal_axes(flat[:: max(1, len(flat) // 20_000)])
    parts = (flat - mean) @ axes.T
    low, high = np.percentile(parts, (_CLIPPED, 100 - _CLIPPED), axis=0)
    extent = high - low
    shares = np.where(extent > 1e-6, (parts - low) / np.where(extent > 1e-6, extent, 1), 0.5)
    return np.asarray(np.clip(shares, 0, 1).reshape(height, width, 3) * 255, np.uint8)
