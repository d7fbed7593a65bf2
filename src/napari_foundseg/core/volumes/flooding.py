"""Objects of a volume by a 3-D watershed, from the depth of each voxel in its object.

Seeds are the summits of the depth. Two basins are one object if the pass between them is hardly lower than the lower
summit. So a tube is one object, and touching balls are two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["depth_in_volume", "flood", "in_order"]

#: Least depth of the pass between two basins of one object, as a share of the lower summit's depth.
_JOIN = 0.75
_NEIGHBOURS = np.ones((3, 3, 3), bool)


def depth_in_volume(inside: NDArray[np.bool_], distance: float) -> NDArray[np.float32]:
    """Return the distance of each voxel to the background, in pixels of a slice.

    The edge of the volume does not count as background.

    Parameters
    ----------
    inside : (Z, Y, X) ndarray of bool
        The objects.
    distance : float
        Distance of neighbouring slices, in pixels.
    """
    from scipy import ndimage

    if inside.all():
        return np.full(inside.shape, max(inside.shape), np.float32)
    depth: NDArray[np.float32] = ndimage.distance_transform_edt(inside, sampling=(distance, 1, 1)).astype(np.float32)
    return depth


def flood(
    inside: NDArray[np.bool_],
    depth: NDArray[np.float32],
    distance: float,
    *,
    smoothing: float = 1.0,
    seeds: NDArray[np.bool_] | None = None,
) -> NDArray[np.int32]:
    """Separate a volume into objects.

    Parameters
    ----------
    inside : (Z, Y, X) ndarray of bool
        The objects.
    depth : (Z, Y, X) ndarray of float
        Distance of each voxel to the border of its object, in pixels of a slice.
    distance : float
        Distance of neighbouring slices, in pixels.
    smoothing : float
        Standard deviation, in pixels, of the smoothing of the depth.
    seeds : (Z, Y, X) ndarray of bool, optional
        Voxels where objects may start. Objects without such a voxel are left out.

    Returns
    -------
    (Z, Y, X) ndarray of int32
        Ids 1 to n, in the order in which the objects start along Z.
    """
    from scipy import ndimage
    from skimage.segmentation import watershed

    height = ndimage.gaussian_filter(depth, (smoothing / distance, smoothing, smoothing), output=np.float32)
    height *= inside
    # Connected voxels of a flat summit are one seed.
    summits = (height == ndimage.maximum_filter(height, footprint=_NEIGHBOURS)) & inside & (height > 0)
    markers, count = ndimage.label(summits, _NEIGHBOURS)
    if not count:
        return np.zeros(inside.shape, np.int32)
    basins = watershed(-height, markers, connectivity=_NEIGHBOURS, mask=inside).astype(np.int32, copy=False)
    top = np.asarray(ndimage.maximum(height, markers, np.arange(count + 1)), float)
    group = _joined(basins, height, top)
    if seeds is not None:
        started = np.zeros(count + 1, bool)
        started[group[np.unique(basins[seeds & (basins > 0)])]] = True
        group = np.where(started[group], group, 0)
    group[0] = 0
    return in_order(group[basins])


def in_order(labels: NDArray[Any]) -> NDArray[np.int32]:
    """Return objects numbered from 1 without a gap, in the order in which they start."""
    ids, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.zeros(len(ids), np.int32)
    things = np.flatnonzero(ids > 0)
    rank[things[np.argsort(first[things])]] = np.arange(1, len(things) + 1)
    ordered: NDArray[np.int32] = rank[inverse.reshape(labels.shape)]
    return ordered


def _joined(basins: NDArray[np.int32], height: NDArray[np.float32], top: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the group of each basin. The highest passes are joined first."""
    pairs, passes = _passes(basins, height)
    group = list(range(len(top)))

    def root(one: int) -> int:
        while group[one] != one:
            group[one] = group[group[one]]
            one = group[one]
        return one

    for k in np.argsort(-passes, kind="stable").tolist():
        a, b = sorted((root(int(pairs[k, 0])), root(int(pairs[k, 1]))), key=lambda one: -top[one])
        if a != b and passes[k] >= _JOIN * top[b]:
            group[b] = a
    return np.array([root(one) for one in range(len(top))])


def _passes(basins: NDArray[np.int32], height: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the pairs of touching basins, (p, 2), and the height of the pass of each pair."""
    keys = [np.empty(0, np.int64)]
    heights = [np.empty(0, np.float32)]
    wide = int(basins.max()) + 1
    for axis in range(3):
        one, other = (tuple(part if a == axis else slice(None) for a in range(3)) for part in _SIDES)
        low, high = basins[one], basins[other]
        where = np.nonzero((low != high) & (low > 0) & (high > 0))
        a, b = low[where].astype(np.int64), high[where].astype(np.int64)
        keys.append(np.minimum(a, b) * wide + np.maximum(a, b))
        heights.append(np.minimum(height[one][where], height[other][where]))
    key, inverse = np.unique(np.concatenate(keys), return_inverse=True)
    passes = np.zeros(len(key))
    np.maximum.at(passes, inverse, np.concatenate(heights))
    return np.stack(np.divmod(key, wide), axis=1), passes


_SIDES = (slice(None, -1), slice(1, None))
