"""Shape of one object: perimeter, solidity, axes, Feret diameter.

Perimeter, solidity and axes are those of scikit-image's `regionprops` (`perimeter_crofton`, `solidity`,
`axis_major_length`). They are computed here because scikit-image does not support a perimeter for pixels of unequal
sides, and draws the convex hull of each object.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scipy.spatial import ConvexHull

__all__ = ["axis_lengths", "circularity", "feret_diameter", "hull_measures", "perimeter", "sphericity", "surface"]

#: Most numbers in a temporary array.
_MOST = 4_000_000
_NEAR = 1e-9


def perimeter(mask: NDArray[np.bool_], spacing: Sequence[float]) -> float:
    """Return the length of an object's outline, holes included.

    It uses the Cauchy-Crofton formula: count how often lines in four directions (rows, columns and both diagonals)
    cross the outline, and weight each direction by its share of the angles. For square pixels it equals scikit-image's
    `perimeter_crofton`.

    Parameters
    ----------
    mask : (M, N) ndarray of bool
        The object in its bounding box.
    spacing : sequence of float
        Height and width of a pixel.
    """
    # This is ten times faster than np.pad for masks of this size.
    padded = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), np.bool_)
    padded[1:-1, 1:-1] = mask
    crossings = [
        np.count_nonzero(padded[:, 1:] != padded[:, :-1]),
        np.count_nonzero(padded[1:] != padded[:-1]),
        np.count_nonzero(padded[1:, 1:] != padded[:-1, :-1]) + np.count_nonzero(padded[1:, :-1] != padded[:-1, 1:]),
    ]
    return float(np.dot(crossings, _crossing_lengths(float(spacing[0]), float(spacing[1]))))


@lru_cache(16)
def _crossing_lengths(height: float, width: float) -> NDArray[np.float64]:
    """Return the length of outline per crossing: along a row, a column, and a diagonal."""
    diagonal = float(np.hypot(height, width))
    slope = float(np.arctan2(height, width))
    # The angle of each direction reaches halfway to the neighbouring directions on both sides.
    angles = np.array([slope, np.pi / 2 - slope, np.pi / 4])
    apart = np.array([height, width, height * width / diagonal])
    return np.asarray(angles * apart / 2)


def circularity(area: float, length: float) -> float:
    """Return 4 π area / perimeter², at most 1, since the perimeter of a few pixels is underestimated."""
    return min(1.0, 4 * float(np.pi) * area / length**2)


def surface(mask: NDArray[np.bool_], spacing: Sequence[float]) -> float:
    """Return the surface of a body, hollows included.

    It uses Crofton's formula, as `perimeter`: count how often lines in thirteen directions (along the axes, and the
    diagonals of faces and of the voxel) cross the surface, and weight each direction by its share of the sphere.

    Parameters
    ----------
    mask : (L, M, N) ndarray of bool
        The object in its bounding box.
    spacing : sequence of float
        Size of a voxel along each axis.
    """
    padded = np.pad(mask, 1)
    total = 0.0
    for step, area in zip(_DIRECTIONS, _crossing_areas(*map(float, spacing)), strict=True):
        here = tuple(slice(max(0, -k), n - max(0, k)) for k, n in zip(step, padded.shape, strict=True))
        there = tuple(slice(max(0, k), n - max(0, -k)) for k, n in zip(step, padded.shape, strict=True))
        total += area * np.count_nonzero(padded[here] != padded[there])
    return total


#: Steps along the axes and the diagonals of a voxel, one of each pair of opposite steps.
_DIRECTIONS = tuple(step for step in product((-1, 0, 1), repeat=3) if step > (0, 0, 0))
#: Number of points that are spread over the sphere to measure the share of each direction.
_SPREAD = 20_000


@lru_cache(16)
def _crossing_areas(depth: float, height: float, width: float) -> tuple[float, ...]:
    """Return the surface per crossing, for each of the directions."""
    steps = np.array(_DIRECTIONS) * (depth, height, width)
    lengths = np.linalg.norm(steps, axis=1)
    number = np.arange(_SPREAD) + 0.5
    z = 1 - 2 * number / _SPREAD
    turn = np.pi * (1 + np.sqrt(5)) * number
    around = np.sqrt(1 - z**2)
    everywhere = np.stack([z, around * np.cos(turn), around * np.sin(turn)], 1)
    nearest = np.abs(everywhere @ (steps / lengths[:, None]).T).argmax(1)
    shares = np.bincount(nearest, minlength=len(steps)) / _SPREAD
    return tuple((2 * shares * depth * height * width / lengths).tolist())


def sphericity(volume: float, area: float) -> float:
    """Return the surface of the ball of equal volume divided by that of a body, at most 1."""
    return min(1.0, float(np.cbrt(np.pi) * np.cbrt(6 * volume) ** 2 / area))


def axis_lengths(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the axes of the ellipse or ellipsoid with the object's second moments, longest first.

    Parameters
    ----------
    centred : (N, D) ndarray of float
        Coordinates of the object's pixels relative to their centroid, in the unit.
    """
    variances = np.linalg.eigvalsh(centred.T @ centred / len(centred))[::-1]
    return np.asarray(2 * np.sqrt((centred.shape[1] + 2) * np.maximum(variances, 0)))


def hull_measures(mask: NDArray[np.bool_], spacing: Sequence[float]) -> tuple[float, float]:
    """Return solidity and largest Feret diameter.

    Solidity is the number of the object's pixels divided by that of its convex hull, as in scikit-image.

    Parameters
    ----------
    mask : ndarray of bool
        The object in its bounding box; 2-D or 3-D.
    spacing : sequence of float
        Size of a pixel along each axis.
    """
    if mask.ndim == 2:
        inside, corners = _plane_hull(mask)
        return float(np.count_nonzero(mask) / inside), _widest(corners, spacing)
    hull, pixels = _hull(mask)
    return float(np.count_nonzero(mask) / _count_inside(hull, mask.shape)), _widest(pixels, spacing)


def feret_diameter(mask: NDArray[np.bool_], spacing: Sequence[float]) -> float:
    """Return the largest distance between two corners of an object's pixels.

    A pixel is a square here, so a pixel of side 1 has a diameter of 1.41. scikit-image's `feret_diameter_max` uses the
    contour between pixels (at 0.5), which cuts the corners. It is smaller by up to half a pixel at each end.

    Parameters
    ----------
    mask : ndarray of bool
        The object, with at least one pixel; 2-D or 3-D.
    spacing : sequence of float
        Size of a pixel along each axis.
    """
    return _widest(_plane_hull(mask)[1] if mask.ndim == 2 else _hull(mask)[1], spacing)


def _plane_hull(mask: NDArray[np.bool_]) -> tuple[int, NDArray[np.intp]]:
    """Return the number of pixels whose centre is in the convex hull of a plane object, and the pixels at its corners.

    The hull is that of `_hull`: of the pixels' centres, half a pixel wider along the axes. It is found row by row,
    since Qhull takes longer to start than a small object takes to measure.
    """
    rows = np.flatnonzero(mask.any(1))
    filled = mask[rows]
    first = filled.argmax(1)
    last = mask.shape[1] - 1 - filled[:, ::-1].argmax(1)
    right = _outermost(rows.tolist(), last.tolist())
    left = _outermost(rows.tolist(), (-first).tolist())
    between = np.arange(rows[0], rows[-1] + 1)
    inside = 0
    for corners in (right, left):
        at, end = zip(*corners, strict=True)
        # Corners are at centres of pixels, so the border between rows is straight.
        here, before, after = (np.interp(between + step, at, end) for step in (0, -0.5, 0.5))
        widest = np.maximum(here + 0.5, np.maximum(before, after))
        inside += int(np.floor(widest + _NEAR).sum())
    pixels = {*right, *((row, -column) for row, column in left)}
    return inside + len(between), np.array(sorted(pixels), np.intp)


def _outermost(rows: list[int], ends: list[int]) -> list[tuple[int, int]]:
    """Return the corners of the convex hull on one side, from the last pixel of each row."""
    corners: list[tuple[int, int]] = []
    for row, end in zip(rows, ends, strict=True):
        while len(corners) > 1:
            (row_1, end_1), (row_2, end_2) = corners[-2:]
            if (end_2 - end_1) * (row - row_1) > (end - end_1) * (row_2 - row_1):
                break
            corners.pop()
        corners.append((row, end))
    return corners


def _hull(mask: NDArray[np.bool_]) -> tuple[ConvexHull, NDArray[np.intp]]:
    """Return the convex hull of the middles of the pixels' sides, and the pixels at its corners."""
    from scipy.spatial import ConvexHull

    # The farthest pixel in any direction is at an end of its line of pixels along every axis.
    ends = mask
    for axis in range(mask.ndim):
        first = np.cumsum(mask, axis) == 1
        last = np.flip(np.cumsum(np.flip(mask, axis), axis) == 1, axis)
        ends = ends & (first | last)
    pixels = np.argwhere(ends)
    sides = np.concatenate([np.eye(mask.ndim), -np.eye(mask.ndim)]) / 2
    hull = ConvexHull((pixels[:, None] + sides).reshape(-1, mask.ndim))
    return hull, pixels[np.unique(hull.vertices // len(sides))]


def _widest(pixels: NDArray[np.intp], spacing: Sequence[float]) -> float:
    """Return the largest distance between corners of pixels."""
    size = np.asarray(spacing, float)
    rows = max(1, _MOST // (len(pixels) * len(size)))
    parts = (pixels[i : i + rows, None] - pixels[None] for i in range(0, len(pixels), rows))
    # The farthest corners of two pixels are one pixel farther apart along each axis than the centres.
    return float(np.sqrt(max((((np.abs(part) + 1) * size) ** 2).sum(-1).max() for part in parts)))


def _count_inside(hull: ConvexHull, shape: tuple[int, ...]) -> int:
    """Return the number of pixels of a box with their centre in a convex hull, line by line, without drawing it."""
    normals = hull.equations[:, :-1]
    slope = normals[:, -1]
    right = slope > _NEAR
    left = slope < -_NEAR
    along = ~(right | left)
    lines = np.indices(shape[:-1]).reshape(len(shape) - 1, -1).T
    count = 0
    step = max(1, _MOST // len(slope))
    for i in range(0, len(lines), step):
        rest = lines[i : i + step] @ normals[:, :-1].T + hull.equations[:, -1]
        end = (-rest[:, right] / slope[right]).min(1)
        start = (-rest[:, left] / slope[left]).max(1)
        inside = (rest[:, along] <= _NEAR).all(1)
        pixels = np.floor(end + _NEAR) - np.ceil(start - _NEAR) + 1
        count += int(np.clip(pixels[inside], 0, None).sum())
    return count
