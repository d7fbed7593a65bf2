"""`Spots`: the objects of each frame of a film, and the overlaps of those in neighbouring frames.

Frames are read one after the other, with two in memory at a time, so a film may be larger than the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import AxesError, BadImageError

__all__ = ["Spots", "find_spots"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Spots:
    """The objects of all frames, numbered from 0 across all frames.

    Parameters
    ----------
    frame : (n,) ndarray of int
        The frame of each object.
    label : (n,) ndarray of int
        Its id in the labels of that frame.
    area : (n,) ndarray of int
        Its number of pixels.
    centre : (n, d) ndarray of float
        Its centroid in pixels, in the order of a frame's axes.
    at_edge : (n,) ndarray of bool
        Whether it touches the edge of the frame.
    shared : dict of (int, int) to int
        Number of pixels that an object of one frame shares with one of the next frame.
    frames : int
        Number of frames.
    """

    frame: Ints
    label: Ints
    area: Ints
    centre: Floats
    at_edge: NDArray[np.bool_]
    shared: dict[tuple[int, int], int]
    frames: int

    def __len__(self) -> int:
        return len(self.frame)

    def starts(self) -> Ints:
        """Return the number of the first object of each frame, and then the number of objects; (frames + 1,)."""
        return np.searchsorted(self.frame, np.arange(self.frames + 1))


def find_spots(frames: Iterable[NDArray[np.integer]], poll: Callable[[int], None] = lambda _frame: None) -> Spots:
    """Find the objects of all frames.

    Parameters
    ----------
    frames : iterable of ndarray of int
        Labels, all of the same shape. Any ids are allowed; 0 and below are background.
    poll : callable
        Called with the number of each frame before it is read.

    Raises
    ------
    AxesError
        If two frames differ in shape.
    BadImageError
        If the values are not whole numbers.
    """
    found: list[tuple[int, Ints, Ints, Floats, NDArray[np.bool_]]] = []
    shared: dict[tuple[int, int], int] = {}
    before: tuple[Ints, NDArray[np.int32]] | None = None
    shape: tuple[int, ...] | None = None
    count = 0
    number = -1
    for number, frame in enumerate(frames):
        poll(number)
        labels = np.asarray(frame)
        if labels.dtype.kind not in "bui":
            raise BadImageError(None, f"Labels are whole numbers, frame {number} is of {labels.dtype}.")
        shape = labels.shape if shape is None else shape
        if labels.shape != shape:
            raise AxesError(f"Frame {number} has the shape {labels.shape}, those before it {shape}.")
        places = np.flatnonzero(labels > 0)
        ids, index, areas = np.unique(labels.ravel()[places], return_inverse=True, return_counts=True)
        where = np.unravel_index(places, shape)
        centre, at_edge = _facts(index, where, areas, shape)
        if before is not None:
            shared |= _shared(before, places, index + count)
        before = (places, (index + count).astype(np.int32))
        found.append((number, ids.astype(np.int64), areas, centre, at_edge))
        count += len(ids)
    if shape is None:
        raise BadImageError(None, "The film has no frames.")
    return Spots(
        np.concatenate([np.full(len(part[1]), part[0], np.int64) for part in found]),
        np.concatenate([part[1] for part in found]),
        np.concatenate([part[2] for part in found]),
        np.concatenate([part[3] for part in found]),
        np.concatenate([part[4] for part in found]),
        shared,
        number + 1,
    )


def _facts(index: Ints, where: Sequence[Ints], areas: Ints, shape: tuple[int, ...]) -> tuple[Floats, NDArray[np.bool_]]:
    """Return centroids, and which objects touch the edge. A volume's first and last slices do not count as edge."""
    count = len(areas)
    centre = np.empty((count, len(shape)))
    at_edge = np.zeros(count, bool)
    for axis, at in enumerate(where):
        centre[:, axis] = np.bincount(index, at, minlength=count) / np.maximum(areas, 1)
        if axis >= len(shape) - 2:
            at_edge[index[(at == 0) | (at == shape[axis] - 1)]] = True
    return centre, at_edge


def _shared(before: tuple[Ints, NDArray[np.int32]], places: Ints, numbers: Ints) -> dict[tuple[int, int], int]:
    _, one, other = np.intersect1d(before[0], places, assume_unique=True, return_indices=True)
    if not len(one):
        return {}
    pairs, counts = np.unique(np.stack([before[1][one], numbers[other]]), axis=1, return_counts=True)
    return {(int(a), int(b)): int(n) for (a, b), n in zip(pairs.T, counts, strict=True)}
