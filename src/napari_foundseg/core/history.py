"""Undo and redo of every write into a label image, kept as bounding boxes and compressed differences.

A `Step` is one thing that a person did. It remembers, of the pixels that it changed, what was there before and after. A
pixel that something else has changed meanwhile is not the step's any more: undo and redo leave it alone and say so.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["Atom", "Box", "Difference", "History", "Step"]

#: What napari tells of a stroke: index arrays, old values, new values; or box, mask, old values, new value.
Atom = tuple[Any, ...]
Box = tuple[slice, ...]


@dataclass(frozen=True, eq=False)
class Difference:
    """What changed in one box of an array; packed.

    Parameters
    ----------
    start, shape : tuple of int
        First pixel and size of the box.
    mask : bytes
        Which pixels changed, as compressed bits.
    before, after : bytes or int
        Their values in the array's order, compressed; a number where they are all equal.
    dtype : str
        Of the values.
    """

    start: tuple[int, ...]
    shape: tuple[int, ...]
    mask: bytes
    before: bytes | int
    after: bytes | int
    dtype: str

    @classmethod
    def between(cls, start: Sequence[int], before: NDArray[Any], after: NDArray[Any]) -> Self | None:
        """Compare two states of a box.

        Parameters
        ----------
        start : sequence of int
            The box's first pixel in the array.
        before, after : ndarray of int
            Of equal shape.

        Returns
        -------
        Difference or None
            Shrunk to what changed; None where nothing did.
        """
        changed = before != after
        if not changed.any():
            return None
        axes = range(changed.ndim)
        ends = [np.flatnonzero(changed.any(axis=tuple(a for a in axes if a != axis)))[[0, -1]] for axis in axes]
        box = tuple(slice(int(low), int(high) + 1) for low, high in ends)
        changed, dtype = changed[box], np.result_type(before, after)
        return cls(
            tuple(int(s) + part.start for s, part in zip(start, box, strict=True)),
            changed.shape,
            zlib.compress(np.packbits(changed).tobytes(), 1),
            _pack(before[box][changed].astype(dtype, copy=False)),
            _pack(after[box][changed].astype(dtype, copy=False)),
            dtype.str,
        )

    @property
    def box(self) -> Box:
        """Where it lies in the array."""
        return tuple(slice(s, s + n) for s, n in zip(self.start, self.shape, strict=True))

    @property
    def nbytes(self) -> int:
        """Memory of it."""
        return sum(len(part) if isinstance(part, bytes) else 8 for part in (self.mask, self.before, self.after))

    @property
    def ids(self) -> set[int]:
        """The objects that lost or gained pixels; 0 is background."""
        values = (self.before, self.after)
        return {
            int(i)
            for v in values
            for i in ([v] if isinstance(v, int) else np.unique(np.frombuffer(zlib.decompress(v), self.dtype)))
        }

    def reversed(self) -> Difference:
        """Return the way back.

        Returns
        -------
        Difference
            With before and after exchanged.
        """
        return Difference(self.start, self.shape, self.mask, self.after, self.before, self.dtype)

    def onto(self, region: NDArray[Any]) -> tuple[NDArray[Any], int]:
        """Return what the box holds after the change.

        Parameters
        ----------
        region : ndarray of int
            What the box holds now; not altered.

        Returns
        -------
        ndarray of int
            With `after` wherever the region holds `before`.
        int
            Pixels that held something else and were left alone.
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


@dataclass(frozen=True, eq=False)
class Step:
    """One thing that a person did, however many boxes it changed.

    Parameters
    ----------
    name : str
        What was done, as a menu would say it.
    parts : tuple of Difference
        In the order they were written.
    """

    name: str
    parts: tuple[Difference, ...]

    @classmethod
    def from_paint(cls, name: str, array: NDArray[Any], atoms: Iterable[Atom]) -> Self | None:
        """Make a step of what napari tells after a stroke.

        Parameters
        ----------
        name : str
            What was done.
        array : ndarray of int
            The label image, before or after the stroke: napari tells of some strokes before it writes them.
        atoms : iterable of tuple
            The value of the event ``Labels.events.paint``, in the order of painting.

        Returns
        -------
        Step or None
            None where the stroke changed nothing.
        """
        atoms = list(atoms)
        boxes = [_box_of(atom) for atom in atoms]
        if not boxes:
            return None
        low = np.min([[part.start for part in box] for box in boxes], axis=0)
        high = np.max([[part.stop for part in box] for box in boxes], axis=0)
        before = np.array(array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))])
        for atom, box in zip(reversed(atoms), reversed(boxes), strict=True):
            _put(before, atom, box, low, old=True)
        after = before.copy()
        for atom, box in zip(atoms, boxes, strict=True):
            _put(after, atom, box, low, old=False)
        part = Difference.between(low, before, after)
        return None if part is None else cls(name, (part,))

    @property
    def nbytes(self) -> int:
        """Memory of it."""
        return sum(part.nbytes for part in self.parts)

    def reversed(self) -> Step:
        """Return the way back.

        Returns
        -------
        Step
            Of the same name.
        """
        return Step(self.name, tuple(part.reversed() for part in reversed(self.parts)))

    def apply(self, array: NDArray[Any]) -> int:
        """Do the step.

        Parameters
        ----------
        array : ndarray of int
            Written in place.

        Returns
        -------
        int
            Pixels that something else had changed meanwhile and that were left alone.
        """
        skipped = 0
        for part in self.parts:
            array[part.box], left = part.onto(array[part.box])
            skipped += left
        return skipped

    def to_bytes(self) -> bytes:
        """Return the step as bytes, for the journal.

        Returns
        -------
        bytes
            What `from_bytes` reads.
        """
        blobs: list[bytes] = []

        def reference(value: bytes | int) -> Any:
            if isinstance(value, int):
                return value
            blobs.append(value)
            return [len(value)]

        parts = [
            [part.start, part.shape, part.dtype, *map(reference, (part.mask, part.before, part.after))]
            for part in self.parts
        ]
        head = json.dumps([self.name, parts]).encode()
        return b"".join([struct.pack("<I", len(head)), head, *blobs])

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a step.

        Parameters
        ----------
        data : bytes
            What `to_bytes` returned.

        Returns
        -------
        Step
            The step.
        """
        (size,) = struct.unpack_from("<I", data)
        name, listed = json.loads(data[4 : 4 + size])
        at = 4 + size

        def value(reference: Any) -> Any:
            nonlocal at
            if isinstance(reference, int):
                return reference
            at += reference[0]
            return data[at - reference[0] : at]

        parts = []
        for start, shape, dtype, *references in listed:
            mask, before, after = (value(reference) for reference in references)
            parts.append(Difference(tuple(start), tuple(shape), mask, before, after, dtype))
        return cls(name, tuple(parts))


class History:
    """The steps that can be undone and redone.

    Parameters
    ----------
    limit : int
        Bytes; the oldest steps are forgotten beyond it.
    """

    def __init__(self, limit: int = 512 << 20) -> None:
        self._limit = limit
        self._done: list[Step] = []
        self._undone: list[Step] = []

    @property
    def undo_name(self) -> str | None:
        """What undo would take back; None if there is nothing."""
        return self._done[-1].name if self._done else None

    @property
    def redo_name(self) -> str | None:
        """What redo would do again; None if there is nothing."""
        return self._undone[-1].name if self._undone else None

    @property
    def nbytes(self) -> int:
        """Memory of all steps."""
        return sum(step.nbytes for step in (*self._done, *self._undone))

    def add(self, step: Step) -> None:
        """Remember a step that was done; what was undone before cannot be redone any more.

        Parameters
        ----------
        step : Step
            The step.
        """
        self._undone.clear()
        self._done.append(step)
        while len(self._done) > 1 and self.nbytes > self._limit:
            del self._done[0]

    def undo(self) -> Step | None:
        """Return the step that takes the last one back, and count it as taken back.

        Returns
        -------
        Step or None
            To be applied; None where there is nothing to undo.
        """
        if not self._done:
            return None
        self._undone.append(self._done.pop())
        return self._undone[-1].reversed()

    def redo(self) -> Step | None:
        """Return the step that was undone last, and count it as done.

        Returns
        -------
        Step or None
            To be applied; None where there is nothing to redo.
        """
        if not self._undone:
            return None
        self._done.append(self._undone.pop())
        return self._done[-1]


def _pack(values: NDArray[Any]) -> bytes | int:
    if (values == values[0]).all():
        return int(values[0])
    return zlib.compress(np.ascontiguousarray(values).tobytes(), 1)


def _box_of(atom: Atom) -> Box:
    where = atom[0]
    if isinstance(where[0], slice):
        return tuple(where)
    return tuple(slice(int(np.min(axis)), int(np.max(axis)) + 1) for axis in where)


def _put(region: NDArray[Any], atom: Atom, box: Box, origin: NDArray[np.intp], *, old: bool) -> None:
    """Write the old or the new values of one atom into an array whose first pixel lies at `origin`."""
    values = atom[-2] if old else atom[-1]
    if not isinstance(atom[0][0], slice):
        region[tuple(np.asarray(axis) - o for axis, o in zip(atom[0], origin, strict=True))] = values
        return
    part = region[tuple(slice(p.start - o, p.stop - o) for p, o in zip(box, origin, strict=True))]
    part[... if atom[1] is None else atom[1]] = values
