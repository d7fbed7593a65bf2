"""The permutohedral lattice: a Gaussian filter in many dimensions.

Adams, Baek and Davis, Computer Graphics Forum 2010.

Values of points are spread onto the corners of the simplices that contain them (*splat*). The corners are blurred along
each of the lattice's directions. Then every point reads its corners again (*slice*).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Lattice"]

_Floats = NDArray[np.float32]
#: Number of corners that a thread blurs at once.
_BLOCK = 16_384


class Lattice:
    """The lattice around a set of points.

    Parameters
    ----------
    features : (n, d) ndarray of float
        The points, divided by the standard deviation of each dimension.
    """

    def __init__(self, features: NDArray[Any]) -> None:
        from scipy.sparse import csr_array

        count, d = features.shape
        rest, rank, weights = _simplices(_elevated(features))
        keys = _corner_keys(rest, rank)
        packed, unit = _packed(keys)
        corners, at = _unique(packed.reshape(-1))
        self.size = len(corners)
        starts = np.arange(0, count * (d + 1) + 1, d + 1)
        #: (n, size) sparse matrix that reads the corners' values at the points. Its transpose spreads points' values.
        self.slice_matrix = csr_array((weights.reshape(-1), at.astype(np.int32), starts), shape=(count, self.size))
        self._blurs = [_blur_matrices(pair) for pair in _neighbours(corners, unit, d)]

    def blur(self, values: _Floats, do_each: Callable[..., Iterable[_Floats]] = map) -> _Floats:
        """Blur the corners' values along each direction.

        Parameters
        ----------
        do_each : callable
            A function like the built-in `map`, such as the `map` of a thread pool.
        """
        for blocks in self._blurs:
            values = np.concatenate(list(do_each(partial(_times, values=values), blocks)))
        return values


def _times(matrix: Any, values: _Floats) -> _Floats:
    out: _Floats = matrix @ values
    return out


def _blur_matrices(neighbours: tuple[NDArray[np.intp], NDArray[np.intp]]) -> list[Any]:
    """Return the blur along one direction as matrices of some rows each: a corner plus half of its two neighbours."""
    from scipy.sparse import csr_array

    size = len(neighbours[0])
    own = np.arange(size)
    columns = [own]
    rows = [own]
    weights = [np.ones(size, np.float32)]
    for one in neighbours:
        there = one < size
        columns.append(one[there])
        rows.append(own[there])
        weights.append(np.full(len(columns[-1]), 0.5, np.float32))
    places = np.concatenate(rows).astype(np.int32), np.concatenate(columns).astype(np.int32)
    whole = csr_array((np.concatenate(weights), places), shape=(size, size))
    return [whole[start : start + _BLOCK] for start in range(0, size, _BLOCK)]


def _elevated(features: NDArray[Any]) -> _Floats:
    """Map points to the plane of d + 1 coordinates whose sum is 0, scaled so that one blur is the wanted Gaussian."""
    count, d = features.shape
    spread = np.sqrt(2 / 3) * (d + 1)
    scaled = features * (spread / np.sqrt(np.arange(1, d + 1) * np.arange(2, d + 2)))
    out = np.empty((count, d + 1), np.float32)
    total = np.zeros(count)
    for i in range(d, 0, -1):
        out[:, i] = total - i * scaled[:, i - 1]
        total = total + scaled[:, i - 1]
    out[:, 0] = total
    return out


def _simplices(elevated: _Floats) -> tuple[NDArray[np.int32], NDArray[np.int32], _Floats]:
    """Return for each point its nearest corner of remainder 0, the order of its differences, and its weights."""
    count, size = elevated.shape
    rest = (np.round(elevated / size) * size).astype(np.int32)
    surplus = (rest.sum(1) // size).astype(np.int32)
    rank = np.zeros((count, size), np.int32)
    difference = elevated - rest
    for i, j in combinations(range(size), 2):
        less = difference[:, i] < difference[:, j]
        rank[:, i] += less
        rank[:, j] += ~less
    rank += surplus[:, None]
    low = rank < 0
    high = rank >= size
    rest += size * (low.astype(np.int32) - high)
    rank += size * (low.astype(np.int32) - high)
    delta = (elevated - rest) / size
    weights = np.zeros((count, size + 1), np.float32)
    rows = np.arange(count)
    for i in range(size):
        weights[rows, size - 1 - rank[:, i]] += delta[:, i]
        weights[rows, size - rank[:, i]] -= delta[:, i]
    weights[:, 0] += 1 + weights[:, size]
    return rest, rank, np.ascontiguousarray(weights[:, :size])


def _corner_keys(rest: NDArray[np.int32], rank: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the first d coordinates of each point's d + 1 corners, (n, d + 1, d)."""
    count, size = rest.shape
    keys = np.empty((count, size, size - 1), np.int32)
    for r in range(size):
        steps = np.where(np.arange(size) <= size - 1 - r, r, r - size).astype(np.int32)
        keys[:, r] = (rest + steps[rank])[:, :-1]
    return keys


def _packed(keys: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return every key as one number, and the increment of that number for one step along each coordinate."""
    d = keys.shape[-1]
    low = keys.min((0, 1)) - (d + 1)
    extent = keys.max((0, 1)) + (d + 1) - low + 1
    unit = np.concatenate([[1], np.cumprod(extent[:-1].astype(np.int64))])
    return (keys - low).astype(np.int64) @ unit, unit


def _unique(packed: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    import pandas as pd

    at, corners = pd.factorize(packed)
    return np.asarray(corners), np.asarray(at)


def _neighbours(
    corners: NDArray[np.int64], unit: NDArray[np.int64], d: int
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Return the numbers of the corners before and after each corner, for each direction; ``len(corners)`` for none."""
    import pandas as pd

    index: Any = pd.Index(corners)
    found = []
    for direction in range(d + 1):
        step = -np.ones(d, np.int64)
        if direction < d:
            step[direction] = d
        by = int(step @ unit)
        pair = [index.get_indexer(corners + sign * by) for sign in (1, -1)]
        before, after = (np.where(p < 0, len(corners), p) for p in pair)
        found.append((before, after))
    return found
