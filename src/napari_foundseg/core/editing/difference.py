"""The compressed difference between two states of a box of an array."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.labels import common_dtype, label_sizes

__all__ = ["Difference", "SliceBox"]

#: A box of an array, one slice for each axis. In contrast, `core.masks.Box` has corners.
SliceBox = tuple[slice, ...]


@dataclass(frozen=True, eq=False)
class Difference:
    """The compressed difference between two states of a box of an array.

    Parameters
    ----------
    start, shape : tuple of int
        First pixel and size of the box.
    mask : bytes
        The changed pixels, as compressed bits.
    before, after : bytes or int
        Their values in the array's order, compressed; a number if all are equal.
    dtype : str
        The dtype of the values.
    """

    start: tuple[int, ...]
    shape: tuple[int, ...]
    mask: bytes
    before: bytes | int
    after: bytes | int
    dtype: str

    @classmethod
    def between(cls, start: Sequence[int], before: NDArray[Any], after: NDArray[Any]) -> Self | None:
        """Return the difference between two states of a box.

        Parameters
        ----------
        start : sequence of int
            The box's first pixel in the array.

        Returns
        -------
        Difference or None
            The difference in the smallest box of changed pixels; None if there are none.
        """
        changed = before != after
        if not changed.any():
            return None
        axes = range(changed.ndim)
        ends = [np.flatnonzero(changed.any(axis=tuple(a for a in axes if a != axis)))[[0, -1]] for axis in axes]
        box = tuple(slice(int(low), int(high) + 1) for low, high in ends)
        changed = changed[box]
        dtype = common_dtype(before, after)
        return cls(
            tuple(int(s) + part.start for s, part in zip(start, box, strict=True)),
            changed.shape,
            zlib.compress(np.packbits(changed).tobytes(), 1),
            _pack(before[box][changed].astype(dtype, copy=False)),
            _pack(after[box][changed].astype(dtype, copy=False)),
            dtype.str,
        )

    @property
    def box(self) -> SliceBox:
        """The box in the array."""
        return tuple(slice(s, s + n) for s, n in zip(self.start, self.shape, strict=True))

    @property
    def nbytes(self) -> int:
        """Memory of the difference in bytes."""
        return sum(len(part) if isinstance(part, bytes) else 8 for part in (self.mask, self.before, self.after))

    @cached_property
    def gains(self) -> dict[int, int]:
        """Pixels that each object gained (negative: lost), by id; 0 is background."""
        count = int.from_bytes(zlib.decompress(self.mask), "little").bit_count()
        out: dict[int, int] = {}
        for values, sign in ((self.before, -1), (self.after, 1)):
            if isinstance(values, int):
                sizes = {values: count}
            else:
                sizes = label_sizes(np.frombuffer(zlib.decompress(values), self.dtype))
            for label, n in sizes.items():
                out[label] = out.get(label, 0) + sign * n
        return out

    @property
    def ids(self) -> set[int]:
        """The objects that lost or gained pixels; 0 is background."""
        return set(self.gains)

    def reversed(self) -> Difference:
        """Return the difference that takes this one back."""
        return Difference(self.start, self.shape, self.mask, self.after, self.before, self.dtype)

    def onto(self, region: NDArray[Any]) -> tuple[NDArray[Any], int]:
        """Return the values of the box after the change.

        Parameters
        ----------
        region : ndarray of int
            The current values of the box; not modified.

        Returns
        -------
        ndarray of int
            A copy that has `after` where the region has `before`.
        int
            Number of pixels that had another value and were not changed.
        """
        count = prod(self.shape)
        bits = np.frombuffer(zlib.decompress(self.mask), np.uint8)
        changed = np.unpackbits(bits, count=count).view(bool).reshape(self.shape)
        own = changed & (region == self._unpacked(self.before, changed))
        out = region.copy()
        np.copyto(out, self._unpacked(self.after, changed), where=own, casting="unsafe")
        return out, int(np.count_nonzero(changed) - np.count_nonzero(own))

    def _unpacked(self, values: bytes | int, changed: NDArray[np.bool_]) -> Any:
        if isinstance(values, int):
            return np.dtype(self.dtype).type(values)
        whole = np.zeros(self.shape, self.dtype)
        whole[changed] = np.frombuffer(zlib.decompress(values), self.dtype)
        return whole


def _pack(values: NDArray[Any]) -> bytes | int:
    if (values == values[0]).all():
        return int(values[0])
    return zlib.compress(np.ascontiguousarray(values).tobytes(), 1)
