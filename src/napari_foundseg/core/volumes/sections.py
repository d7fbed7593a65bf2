"""`Sections`: the objects of each slice of a stack, and how those of near slices overlap.

One slice after the other is read, and three at a time are held, so that a stack may be larger than the memory.
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
    """Pairs of sections that lie over one another.

    Parameters
    ----------
    one, other : (p,) ndarray of int
        The sections; `other` is the later one.
    between : (p,) ndarray of int
        Where a slice lies between the two: the section there, or -1 for background; -2 in neighbouring slices.
    shared : (p,) ndarray of int
        Pixels that both, and the one between, have.
    """

    one: Ints
    other: Ints
    between: Ints
    shared: Ints

    def chosen(self, which: NDArray[np.bool_]) -> Overlaps:
        """Return some of the pairs."""
        return Overlaps(self.one[which], self.other[which], self.between[which], self.shared[which])


@dataclass(frozen=True, eq=False)
class Sections:
    """The objects of each slice, numbered from 0 through all slices.

    Parameters
    ----------
    plane : (n,) ndarray of int
        The slice of each section.
    area : (n,) ndarray of int
        Its pixels.
    overlaps : Overlaps
        Which lie over one another.
    """

    plane: Ints
    area: Ints
    overlaps: Overlaps

    def __len__(self) -> int:
        return len(self.plane)

    def iou(self, pairs: Overlaps) -> Floats:
        """Return intersection over union of pairs."""
        return np.asarray(pairs.shared / (self.area[pairs.one] + self.area[pairs.other] - pairs.shared), float)

    def inside(self, pairs: Overlaps) -> Floats:
        """Return the share of the smaller section of pairs that lies on the larger one."""
        return np.asarray(pairs.shared / np.minimum(self.area[pairs.one], self.area[pairs.other]), float)


def numbered_planes(planes: Iterable[NDArray[np.integer]]) -> Iterator[tuple[NDArray[np.int32], Ints]]:
    """Yield the sections of slices, numbered from 0 through all of them.

    Parameters
    ----------
    planes : iterable of ndarray of int
        The labels of each slice: any numbers, which need not go on from slice to slice; 0 and below are background.

    Yields
    ------
    sections : ndarray of int32
        The section of each pixel, -1 for background.
    areas : ndarray of int
        Of the slice's sections.
    """
    first = 0
    for labels in planes:
        ids, at, counts = np.unique(labels, return_inverse=True, return_counts=True)
        things = ids > 0
        number = np.where(things, np.cumsum(things) - 1 + first, -1).astype(np.int32)
        first += int(things.sum())
        yield number[at.reshape(labels.shape)], counts[things]


def look_at_sections(planes: Iterable[NDArray[np.integer]]) -> Sections:
    """Find the sections of all slices and how they overlap; `planes` as in `numbered_planes`."""
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
    """Return one, other, between and pixels of all pairs of sections that share pixels, (4, p)."""
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
    # Numbers of three slices: their product fits into 64 bits for any picture that fits into memory.
    a, b, c = (part.astype(np.int64) - least for part, least in zip(found, low, strict=True))
    keys, counts = np.unique((a * wide[1] + b) * wide[2] + c, return_counts=True)
    rest, c = np.divmod(keys, wide[2])
    a, b = np.divmod(rest, wide[1])
    return np.stack([a + low[0], b + low[1], c + low[2], counts])
