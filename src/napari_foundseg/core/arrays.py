"""Read arrays that need not be in memory, as a whole or in parts."""

from __future__ import annotations

from collections import OrderedDict
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Blocks", "in_memory", "is_next_level"]

#: Side of a block in rows and columns, and bytes of blocks to keep.
_SIDE = 2048
_KEPT = 256 << 20


def in_memory(array: Any) -> NDArray[Any]:
    """Return an array's pixels.

    Parameters
    ----------
    array : array-like
        NumPy, dask, zarr or anything that NumPy can read. Threads of this process compute a dask array, even if another
        scheduler or cluster is dask's default.

    Returns
    -------
    ndarray
        The pixels; the array itself if it is already an ndarray.
    """
    if hasattr(array, "__dask_graph__"):
        return np.asarray(array.compute(scheduler="threads"))
    return np.asarray(array)


class Blocks:
    """A lazy array, read in blocks that are cached, for readers that want many small parts of it.

    Parameters
    ----------
    array : array-like
        Any object with `shape` and slicing.
    axes : sequence of int
        Its axes of rows and columns, along which blocks are cut. Along every other axis except `whole`, a block is one
        pixel long.
    whole : int, optional
        An axis along which a block is as long as the array, such as channels.
    """

    def __init__(self, array: Any, axes: tuple[int, int], whole: int | None = None) -> None:
        self._array = array
        self.shape: tuple[int, ...] = tuple(array.shape)
        self.ndim = len(self.shape)
        self._sides = [n if i == whole else min(n, _SIDE) if i in axes else 1 for i, n in enumerate(self.shape)]
        self._kept: OrderedDict[tuple[int, ...], NDArray[Any]] = OrderedDict()

    def __getitem__(self, box: tuple[slice, ...]) -> NDArray[Any]:
        out: NDArray[Any] | None = None
        ranges = [range(p.start // side, (p.stop - 1) // side + 1) for p, side in zip(box, self._sides, strict=True)]
        for number in product(*ranges):
            block = self._block(number)
            origin = [k * side for k, side in zip(number, self._sides, strict=True)]
            low = [max(p.start, o) for p, o in zip(box, origin, strict=True)]
            high = [min(p.stop, o + n) for p, o, n in zip(box, origin, block.shape, strict=True)]
            if out is None:
                out = np.empty([p.stop - p.start for p in box], block.dtype)
            there = tuple(slice(a - p.start, b - p.start) for a, b, p in zip(low, high, box, strict=True))
            here = tuple(slice(a - o, b - o) for a, b, o in zip(low, high, origin, strict=True))
            out[there] = block[here]
        return np.empty([0] * self.ndim) if out is None else out

    def _block(self, number: tuple[int, ...]) -> NDArray[Any]:
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        parts = (
            slice(k * side, min((k + 1) * side, n)) for k, side, n in zip(number, self._sides, self.shape, strict=True)
        )
        block = self._kept[number] = in_memory(self._array[tuple(parts)])
        while len(self._kept) > 1 and sum(kept.nbytes for kept in self._kept.values()) > _KEPT:
            self._kept.popitem(last=False)
        return block


def is_next_level(before: tuple[int, int], after: tuple[int, int]) -> bool:
    """Tell whether one image may follow another as the next level of a pyramid.

    `before` and `after` are (rows, columns). Both must shrink by the same whole factor, up to one pixel more or less,
    because programs round differently.
    """
    if after[0] > before[0] or after[1] > before[1] or after == before:
        return False
    factor = round(max(before) / after[before.index(max(before))])
    return factor > 1 and all(abs(old / factor - new) <= 1 for old, new in zip(before, after, strict=True))
