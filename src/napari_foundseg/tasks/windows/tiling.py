"""Windows: how a picture larger than the model's window is divided, and at which scale.

A *level* k is the scale at which a window of the model covers ``window * 2**k`` pixels of the image. Level 0 is native
resolution; the picture is shrunk at higher levels and enlarged at lower ones. At the `coarsest` level one window holds
the whole image, as in the reference predictors. Beyond it, up to the `furthest` level, the picture is smaller than the
window (`shrunk.Shrunk`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.masks import Box

__all__ = [
    "QUICK",
    "box_level",
    "coarsest",
    "cover",
    "covered",
    "fitted",
    "furthest",
    "part",
    "shifted",
    "side",
    "surrounding",
    "touches",
]

#: The finest level: enlarging more than four times gains nothing.
FINEST = -2
#: Side, in pixels, of the largest window that is encoded only to improve a mask; larger windows take seconds.
QUICK = 512
#: Levels beyond the coarsest, each with the picture half as large, so that objects that fill it are seen whole.
BEYOND = 2


def coarsest(shape: tuple[int, int], window: int) -> int:
    """Return the level at which one window holds the whole picture.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the picture.
    window : int
        Side of the model's window.

    Returns
    -------
    int
        The level, `FINEST` or above.
    """
    return max(FINEST, math.ceil(math.log2(max(shape) / window)))


def side(window: int, level: int) -> int:
    """Return how many pixels of the picture a window covers along each side.

    Parameters
    ----------
    window : int
        Side of the model's window.
    level : int
        The level.

    Returns
    -------
    int
        Pixels.
    """
    return int(window * 2.0**level)


def furthest(shape: tuple[int, int], window: int) -> int:
    """Return the last level for clicks: `coarsest`, or beyond it, where the picture is smaller than the window.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the picture.
    window : int
        Side of the model's window.

    Returns
    -------
    int
        The level.
    """
    return coarsest(shape, window) + BEYOND * (window <= QUICK)


def box_level(
    box: tuple[float, float, float, float], shape: tuple[int, int], window: int, *, beyond: bool = False
) -> int:
    """Return the level at which a box is nearest to filling a third of the window.

    Parameters
    ----------
    box : tuple of float
        (y0, x0, y1, x1), both included.
    shape : tuple of int
        Rows and columns of the picture.
    window : int
        Side of the model's window.
    beyond : bool
        Whether to include the levels beyond `coarsest`.

    Returns
    -------
    int
        Level from `FINEST` to `coarsest`, or to `furthest` with `beyond`.
    """
    longest = max(box[2] - box[0], box[3] - box[1]) + 1
    last = coarsest(shape, window)
    if not beyond:
        return min(max(round(math.log2(3 * longest / window)), FINEST), last)
    levels = range(FINEST, furthest(shape, window) + 1)
    return min(levels, key=lambda level: abs(math.log2(3 * longest / covered(shape, window, level))))


def covered(shape: tuple[int, int], window: int, level: int) -> float:
    """Return how many pixels a window covers along its longer side, in the picture and beyond its edge.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the picture.
    window : int
        Side of the model's window.
    level : int
        The level, up to `furthest`.

    Returns
    -------
    float
        Less than `side` if the picture is smaller, because its longer side is then resized to the window's.
    """
    return min(side(window, level), max(shape)) * 2.0 ** max(0, level - coarsest(shape, window))


def surrounding(extent: tuple[float, float, float, float], shape: tuple[int, int], side: int) -> Box | None:
    """Return the window in which an extent is most central.

    Windows of one level overlap by half and end at the picture's edge, so that nearby prompts share a window.

    Parameters
    ----------
    extent : tuple of float
        Least and largest row and column, (y0, x0, y1, x1), that the window must hold.
    shape : tuple of int
        Rows and columns of the picture.
    side : int
        Pixels of the picture that a window covers.

    Returns
    -------
    tuple of int or None
        The window as a box, both ends included; None if no window holds the whole extent.
    """
    rows = _most_central(extent[0], extent[2], shape[0], side)
    columns = _most_central(extent[1], extent[3], shape[1], side)
    if rows is None or columns is None:
        return None
    return rows[0], columns[0], rows[1], columns[1]


def touches(box: Box, window: Box, shape: tuple[int, int]) -> bool:
    """Tell whether a mask reaches a side of its window that is not an edge of the picture.

    Parameters
    ----------
    box : tuple of int
        The mask's bounding box.
    window : tuple of int
        The window's box.
    shape : tuple of int
        Rows and columns of the picture.

    Returns
    -------
    bool
        True if the object may continue outside the window.
    """
    y0, x0, y1, x1 = window
    inner = (y0 > 0, x0 > 0, y1 < shape[0] - 1, x1 < shape[1] - 1)
    reached = (box[0] <= y0, box[1] <= x0, box[2] >= y1, box[3] >= x1)
    return any(a and b for a, b in zip(inner, reached, strict=True))


def fitted(shape: tuple[int, int], most: int, overlap: int, multiple: int = 32) -> tuple[int, int]:
    """Return the sides of the windows that cover a picture with the fewest pixels in overlaps.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the picture.
    most : int
        Largest side of a window.
    overlap : int
        Least overlap of neighbouring windows, in pixels.
    multiple : int
        Number of which the sides are multiples; `most` must be a multiple too.

    Returns
    -------
    tuple of int
        Rows and columns of each window.
    """
    counts = [max(1, math.ceil((n - overlap) / (most - overlap))) for n in shape]
    rows, columns = (math.ceil((n + (k - 1) * overlap) / k / multiple) * multiple
                     for n, k in zip(shape, counts, strict=True))  # fmt: skip
    return min(rows, most), min(columns, most)


def cover(shape: tuple[int, int], sides: tuple[int, int], overlap: int) -> Iterator[tuple[Box, Box]]:
    """Cut a picture into overlapping windows and disjoint cores.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the picture.
    sides : tuple of int
        Rows and columns of a window.
    overlap : int
        Least overlap of neighbouring windows, in pixels.

    Yields
    ------
    window, core : tuple of int
        Boxes, both ends included. The cores, one in each window, tile the picture: each pixel belongs to
        the window in which it is most central.
    """
    for y0, y1, top, bottom in _cover_axis(shape[0], sides[0], overlap):
        for x0, x1, left, right in _cover_axis(shape[1], sides[1], overlap):
            yield (y0, x0, y1, x1), (top, left, bottom, right)


def part(array: NDArray[Any], box: Box, origin: tuple[int, int] = (0, 0)) -> NDArray[Any]:
    """Return the view of a box in the last two axes of an array.

    Parameters
    ----------
    array : (..., M, N) ndarray
        An array whose first pixel is at `origin`.
    box : tuple of int
        (y0, x0, y1, x1), both included, in the coordinates of `origin`.
    origin : tuple of int
        Row and column of the first pixel.

    Returns
    -------
    ndarray
        View of the box.
    """
    y, x = origin
    return array[..., box[0] - y : box[2] - y + 1, box[1] - x : box[3] - x + 1]


def shifted(box: Box, by: tuple[int, int]) -> Box:
    """Return a box moved by rows and columns.

    Parameters
    ----------
    box : tuple of int
        (y0, x0, y1, x1).
    by : tuple of int
        Rows and columns.

    Returns
    -------
    tuple of int
        The moved box.
    """
    return box[0] + by[0], box[1] + by[1], box[2] + by[0], box[3] + by[1]


def _cover_axis(n: int, side: int, overlap: int) -> list[tuple[int, int, int, int]]:
    """Return first and last pixel of each window and of its core along one axis."""
    if n <= side:
        return [(0, n - 1, 0, n - 1)]
    count = math.ceil((n - side) / (side - overlap)) + 1
    starts = np.linspace(0, n - side, count).round().astype(int).tolist()
    cuts = [0, *((a + side + b) // 2 for a, b in pairwise(starts)), n]
    return [(s, s + side - 1, cuts[i], cuts[i + 1] - 1) for i, s in enumerate(starts)]


def _most_central(low: float, high: float, n: int, side: int) -> tuple[int, int] | None:
    if n <= side:
        return 0, n - 1
    starts = np.unique([*range(0, n - side, max(1, side // 2)), n - side])
    # There is nothing beyond the picture's own edge, so no margin is needed there.
    before = np.where(starts == 0, np.inf, low - starts)
    after = np.where(starts == n - side, np.inf, starts + side - 1 - high)
    margins = np.minimum(before, after)
    best = int(np.argmax(margins))
    if margins[best] < 0:
        return None
    return int(starts[best]), int(starts[best]) + side - 1
