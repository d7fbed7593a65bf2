"""Painted marks as prompts. Thin marks are strokes and become points along their middle; others are areas."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["is_stroke", "medial_points"]

#: Longest side that is processed at full resolution. Larger masks are reduced to blocks of pixels first.
_LONGEST = 512


def is_stroke(mask: NDArray[np.bool_], brush: float) -> bool:
    """Tell whether a mark is a stroke of the brush, and not a filled area.

    Parameters
    ----------
    mask : (M, N) ndarray of bool
        One connected part with at least one pixel.
    brush : float
        The brush's diameter in pixels.

    Returns
    -------
    bool
        True if no disc 1.5 times as wide as the brush fits into it. Even where two strokes cross, no such disc fits.
    """
    from scipy import ndimage

    small, step = _reduced(mask)
    width = step * (2 * float(ndimage.distance_transform_edt(np.pad(small, 1)).max()) - 1)
    return width <= 1.5 * (brush + 1) + step


def medial_points(mask: NDArray[np.bool_], apart: float, most: int) -> NDArray[np.float64]:
    """Return evenly spread points along the middle of a stroke.

    Parameters
    ----------
    mask : (M, N) ndarray of bool
        One connected part with at least one pixel.
    apart : float
        Least distance in pixels between two points.

    Returns
    -------
    (K, 2) ndarray of float
        Rows and columns of pixels of the mask. A stroke shorter than `apart` gets one point.
    """
    from skimage.morphology import skeletonize

    small, step = _reduced(mask)
    middle = np.argwhere(skeletonize(np.pad(small, 1))) - 1
    if not len(middle):
        middle = np.argwhere(small)
    # Sample the farthest points, starting at one end.
    centre = middle.mean(0)
    reach = np.linalg.norm(middle - centre, axis=1)
    if step * 2 * reach.max() < apart:
        chosen = [int(reach.argmin())]
    else:
        chosen = [int(reach.argmax())]
        nearest = np.linalg.norm(middle - middle[chosen[0]], axis=1)
        while len(chosen) < most and step * nearest.max() >= apart:
            chosen.append(int(nearest.argmax()))
            nearest = np.minimum(nearest, np.linalg.norm(middle - middle[chosen[-1]], axis=1))
    return np.array([_inside(mask, point * step, step) for point in middle[chosen]], float)


def _reduced(mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], int]:
    """Return the mask at a lower resolution (any pixel of a block sets it), and the side of a block."""
    step = math.ceil(max(mask.shape) / _LONGEST)
    if step == 1:
        return mask, 1
    padded = np.pad(mask, [(0, -n % step) for n in mask.shape])
    rows, columns = (n // step for n in padded.shape)
    return np.asarray(padded.reshape(rows, step, columns, step).any(axis=(1, 3))), step


def _inside(mask: NDArray[np.bool_], corner: NDArray[np.int_], step: int) -> NDArray[np.int_]:
    """Return the most central pixel of the mask in a block."""
    y, x = corner
    pixels = np.argwhere(mask[y : y + step, x : x + step])
    nearest = np.linalg.norm(pixels - pixels.mean(0), axis=1).argmin()
    return np.asarray(pixels[nearest] + corner)
