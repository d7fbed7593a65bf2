"""Classes and objects from heat maps, one map per concept: thresholds, smoothing, least size and an overlap rule.

The maps come from a model. Each of these settings can be changed afterwards without the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.classes.components import Components, components

__all__ = ["ConceptOverlap", "concept_components", "concept_pixels", "smoothed"]

#: Which concept gets a pixel where several are above their thresholds.
ConceptOverlap = Literal["highest score", "first in the list"]
#: Rows to process at once: few enough to stay in the processor's cache.
_ROWS = 32
#: The sign bit of a float16.
_SIGN = 1 << 15


def smoothed(maps: NDArray[np.float16], sigma: float) -> NDArray[np.float16]:
    """Smooth heat maps.

    Parameters
    ----------
    maps : (K, M, N) ndarray of float16
        The maps.
    sigma : float
        Standard deviation of the Gaussian in pixels; 0 returns the maps unchanged.

    Returns
    -------
    (K, M, N) ndarray of float16
        The maps.
    """
    if not sigma:
        return maps
    from scipy import ndimage

    out = np.empty_like(maps)
    for i, part in enumerate(maps):
        out[i] = ndimage.gaussian_filter(part.astype(np.float32), sigma, mode="nearest")
    return out


def concept_pixels(
    maps: NDArray[np.float16],
    thresholds: Sequence[float],
    *,
    negatives: Sequence[int | None] = (),
    overlap: ConceptOverlap = "highest score",
) -> NDArray[np.uint8]:
    """Return the concept of each pixel.

    Parameters
    ----------
    maps : (K, M, N) ndarray of float16
        Scores from 0 to 1: first of the concepts, then of the negatives.
    thresholds : (n,) sequence of float
        The threshold of each concept, which a pixel's score must exceed. There are at most 255 concepts.
    negatives : (n,) sequence of int or None
        For each concept, the map of a negative, which the concept's score must also exceed.
    overlap : {'highest score', 'first in the list'}
        Which concept gets a pixel that several claim. Of equal scores the first in the list wins.

    Returns
    -------
    (M, N) ndarray of uint8
        1 to n, 0 for none.
    """
    if not 1 <= len(thresholds) <= 255:
        raise ValueError(f"1 to 255 concepts can be distinguished, got {len(thresholds)}")
    # The bits of non-negative floats, read as integers, have the same order and compare faster.
    bits = np.ascontiguousarray(maps).view(np.uint16)
    if bits.max(initial=0) >= _SIGN:
        bits = np.ascontiguousarray(np.maximum(maps, np.float16(0))).view(np.uint16)
    limits = [_bits_below(value) for value in thresholds]
    others = list(negatives) or [None] * len(thresholds)
    out = np.empty(maps.shape[1:], np.uint8)
    for top in range(0, maps.shape[1], _ROWS):
        block = bits[:, top : top + _ROWS]
        best = np.zeros(block.shape[1:], np.uint32)
        for i, (limit, other) in enumerate(zip(limits, others, strict=True)):
            claimed = block[i] > limit
            if other is not None:
                claimed &= block[i] > block[other]
            if overlap == "highest score":
                key = block[i].astype(np.uint32) << np.uint32(8)
                key |= np.uint32(255 - i)
                key *= claimed
            else:
                key = claimed * np.uint32(1 << 8 | 255 - i)
            np.maximum(best, key, out=best)
        number = np.uint8(255) - best.astype(np.uint8) + np.uint8(1)
        out[top : top + _ROWS] = number * (best > 0)
    return out


def concept_components(
    maps: NDArray[np.float16],
    thresholds: Sequence[float],
    *,
    negatives: Sequence[int | None] = (),
    overlap: ConceptOverlap = "highest score",
    min_area: int = 0,
    stuff: tuple[int, ...] = (),
) -> Components:
    """Make classes and objects from heat maps that are already smoothed.

    Parameters
    ----------
    maps, thresholds, negatives, overlap
        As for `concept_pixels`.
    min_area : int
        Connected components with fewer pixels are dropped.
    stuff : tuple of int
        Concepts, numbered from 1, that do not come in objects.

    Returns
    -------
    Components
        Labels, classes and the class of each object.
    """
    pixels = concept_pixels(maps, thresholds, negatives=negatives, overlap=overlap)
    return components(pixels, min_area=min_area, without=stuff)


def _bits_below(threshold: float) -> Any:
    """Return the bits of the largest float16 that is not above a threshold."""
    value = np.float16(max(threshold, 0.0))
    if float(value) > threshold and value > 0:
        value = np.nextafter(value, np.float16(0))
    return value.view(np.uint16)
