"""How many pixels each object of a label image has, kept up to date step by step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.difference import Difference

__all__ = ["Census"]

#: Pixels that are counted at once, so that other threads have their turn between.
_CHUNK = 1 << 20
#: Largest id that a list of all ids is made for.
_DENSE = 1 << 20


class Census:
    """The objects of a label image and their sizes.

    Parameters
    ----------
    sizes : dict of int to int
        Number of pixels of each id; 0 is background and left out.
    """

    def __init__(self, sizes: dict[int, int]) -> None:
        self._sizes = {label: n for label, n in sizes.items() if label > 0 and n > 0}

    @classmethod
    def of(cls, labels: NDArray[Any]) -> Census:
        """Count the pixels of a label image.

        Parameters
        ----------
        labels : ndarray of int
            The label image.

        Returns
        -------
        Census
            Of every object.
        """
        sizes: dict[int, int] = {}
        flat = labels.reshape(-1)
        for start in range(0, flat.size, _CHUNK):
            part = flat[start : start + _CHUNK]
            if not part.any():
                continue
            if part.min() >= 0 and part.max() <= _DENSE:
                counted = np.bincount(part)
                ids = np.flatnonzero(counted)
                counts = counted[ids]
            else:
                ids, counts = np.unique(part, return_counts=True)
            for label, n in zip(ids.tolist(), counts.tolist(), strict=True):
                sizes[label] = sizes.get(label, 0) + n
        return cls(sizes)

    @property
    def largest(self) -> int:
        """The largest id in use; 0 where there is no object."""
        return max(self._sizes, default=0)

    @property
    def ids(self) -> list[int]:
        """The ids in use, ascending."""
        return sorted(self._sizes)

    def size(self, label: int) -> int:
        """Return an object's number of pixels.

        Parameters
        ----------
        label : int
            Its id.

        Returns
        -------
        int
            0 where there is no such object.
        """
        return self._sizes.get(label, 0)

    def take(self, parts: Iterable[Difference]) -> set[int]:
        """Take note of what a step has written.

        Parameters
        ----------
        parts : iterable of Difference
            Of the step.

        Returns
        -------
        set of int
            The ids that came or went by it.
        """
        gains: dict[int, int] = {}
        for part in parts:
            for label, n in part.gains.items():
                gains[label] = gains.get(label, 0) + n
        turned = set()
        for label, n in gains.items():
            before = self._sizes.get(label, 0)
            after = max(0, before + n)
            if label > 0 and (before > 0) != (after > 0):
                turned.add(label)
            if label > 0 and after:
                self._sizes[label] = after
            else:
                self._sizes.pop(label, None)
        return turned
