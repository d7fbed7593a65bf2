"""Maps and masks of random numbers, the same ones in every process; this module imports nothing of the package."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def random_maps(seed: int) -> NDArray[np.float32]:
    """Return foreground, centre distance and boundary distance, (3, 90, 120), 0 to 1, with many parts."""
    rng = np.random.default_rng(seed)
    maps = ndimage.gaussian_filter(rng.random((3, 90, 120)), (0, 4, 4))
    low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
    return ((maps - low) / (high - low)).astype(np.float32)


def random_discs(seed: int) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Return 60 discs that overlap, (60, 80, 80), and a score for each."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:80, :80]
    masks, scores = [], []
    for _ in range(60):
        row, column = rng.uniform(20, 60, 2)
        radius, score = rng.uniform(2, 16), rng.random()
        masks.append((y - row) ** 2 + (x - column) ** 2 <= radius**2)
        scores.append(score)
    return np.array(masks), np.array(scores)
