"""`Sections`: the objects of each slice of a stack, and the overlaps of those in near slices.

Slices are read one after the other, with three in memory at a time, so a stack may be larger than the memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Overlaps", "Sections", "look_at_sections", "numbered_planes"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Pairs of sections that overlap.

    Parameters
    ----------
    one, other : (p,) ndarray of int
        The sections; `other` is the later one.
    between : (p,) ndarray of int
        The section in the slice between the two, or -1 for background; -2 for sections in neighbouring slices.
    shared : (p,) ndarray of int
        Number of pixels that both sections, and the one between, share.
    """

    one: Ints
    other: Ints
    between: Ints
    shared: Ints

    def chosen(self, which: NDArray[np.bool_]) -> Overlaps:
        """Return the pairs selected by a mask."""
        return Overlaps(self.one[which], self.other[which], self.between[which], self.shared[which])


@dataclass(frozen=True, eq=False)
class Sections:
    """The objects of each slice, numbered from 0 across all slices.

    Parameters
    ----------
    plane : (n,) ndarray of int
        The slice of each section.
    area : (n,) ndarray of int
        Its number of pixels.
    overlaps : Overlaps
        The pairs of sections that overlap.
    """

    plane: Ints
    area: Ints
    overlaps: Overlaps

    def __len__(self) -> int:
        return len(self.plane)

    def iou(self, pairs: Overlaps) -> Floats:
        """Return the intersection over union of pairs."""
        return np.asarray(pairs.shared / (self.area[pairs.one] + self.area[pairs.other] - pairs.shared), float)

    def inside(self, pairs: Overlaps) -> Floats:
        """Return for each pair the share of the smaller section that is on the larger one."""
        return np.asarray(pairs.shared / np.minimum(self.area[pairs.one], self.area[pairs.other]), float)


def numbered_planes(planes: Iterable[NDArray[np.integer]]) -> Iterator[tuple[NDArray[np.int32], Ints]]:
    """Yield the sections of slices, numbered from 0 across all slices.

    Parameters
    ----------
    planes : iterable of ndarray of int
        The labels of each slice. Ids need not be consistent between slices; 0 and below are background.

    Yields
    ------
    sections : ndarray of int32
        The section of each pixel, -1 for background.
    areas : ndarray of int
        The areas of the slice's sections.
    """
    first = 0
    for labels in planes:
        ids, at, counts = np.unique(labels, return_inverse=True, return_counts=True)
        things = ids > 0
        number = np.where(things, np.cumsum(things) - 1 + first, -1).astype(np.int32)
        first += int(things.sum())
        yield number[at.reshape(labels.shape)], counts[things]


def look_at_sections(planes: Iterable[NDArray[np.integer]]) -> Sections:
    """Return the sections of all slices and their overlaps; `planes` as for `numbered_planes`."""
    plane: list[Ints] = [np.empty(0, np.int64)]
    area: list[Ints] = [np.empty(0, np.int64)]
    pairs: list[Ints] = [np.empty((4, 0), np.int64)]
    before: list[NDArray[np.int32]] = []
    for k, (own, areas) in enumerate(numbered_planes(planes)):
        plane.append(np.full(len(areas), k, np.int64))
        area.append(areas)
        if before:
            pairs.append(_overlaps(before[-1], own))
        if len(before) == 2:
            pairs.append(_overlaps(before[0], own, before[1]))
        before = [*before[-1:], own]
    one, other, between, shared = np.concatenate(pairs, axis=1)
    return Sections(np.concatenate(plane), np.concatenate(area), Overlaps(one, other, between, shared))


def _overlaps(one: NDArray[np.int32], other: NDArray[np.int32], between: NDArray[np.int32] | None = None) -> Ints:
    """Return one, other, between and shared pixels of all overlapping pairs of sections, (4, p)."""
    both = (one >= 0) & (other >= 0)
    if not both.any():
        return np.empty((4, 0), np.int64)
    found = [
        one[both],
        other[both],
        np.full(np.count_nonzero(both), -2, np.int32) if between is None else between[both],
    ]
    low = [int(part.min()) for part in found]
    wide = [int(part.max()) - least + 1 for part, least in zip(found, low, strict=True)]
    # The product of the three ranges fits into 64 bits for any picture that fits into memory.
    a, b, c = (part.astype(np.int64) - least for part, least in zip(found, low, strict=True))
    keys, counts = np.unique((a * wide[1] + b) * wide[2] + c, return_counts=True)
    rest, c = np.divmod(keys, wide[2])
    a, b = np.divmod(rest, wide[1])
    return np.stack([a + low[0], b + low[1], c + low[2], counts])
