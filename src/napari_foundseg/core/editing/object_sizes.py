"""The number of pixels of each object of a label image, updated with each step."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat
from typing import Any

from numpy.typing import NDArray

from napari_foundseg.core.editing.difference import Difference
from napari_foundseg.core.labels import label_sizes

__all__ = ["Census"]


class Census:
    """The objects of a label image and their sizes.

    Parameters
    ----------
    sizes : dict of int to int
        Number of pixels by id; 0 is background and left out.
    """

    def __init__(self, sizes: dict[int, int]) -> None:
        self._sizes = {label: n for label, n in sizes.items() if label > 0 and n > 0}

    @classmethod
    def of(cls, labels: NDArray[Any]) -> Census:
        """Return the census of a label image.

        Parameters
        ----------
        labels : ndarray of int
            The label image.
        """
        return cls(label_sizes(labels))

    def copy(self) -> Census:
        """Return a copy, for another thread."""
        copied = Census({})
        copied._sizes = dict(self._sizes)
        return copied

    @property
    def largest(self) -> int:
        """The largest id in use; 0 if there is no object."""
        return max(self._sizes, default=0)

    @property
    def ids(self) -> list[int]:
        """The ids in use, ascending."""
        return sorted(self._sizes)

    def size(self, label: int) -> int:
        """Return an object's number of pixels.

        Returns
        -------
        int
            0 if there is no such object.
        """
        return self._sizes.get(label, 0)

    def total(self, labels: Iterable[int]) -> int:
        """Return the total number of pixels of several objects."""
        return sum(map(self._sizes.get, labels, repeat(0)))

    def take(self, parts: Iterable[Difference]) -> set[int]:
        """Update the sizes after a step has been written.

        Returns
        -------
        set of int
            The objects that appeared or disappeared.
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
