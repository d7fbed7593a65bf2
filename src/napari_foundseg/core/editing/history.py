"""Undo and redo of every change of a label image, stored as bounding boxes and compressed differences.

An `EditStep` is one edit by the user. It has the values before and after of the pixels that it changed, and the
features of objects (scores, review notes) before and after. Undo and redo skip pixels that something else has changed
since, and report their number.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.editing.difference import Difference, SliceBox
from napari_foundseg.core.editing.object_facts import Facts
from napari_foundseg.core.labels import common_dtype

__all__ = ["Atom", "EditStep", "History", "composed", "painted"]

#: Part of a stroke in napari's paint event: (index arrays, old values, new values) or (box, mask, old values, new
#: value).
Atom = tuple[Any, ...]


def composed(
    array: NDArray[Any], pieces: Iterable[tuple[SliceBox, NDArray[Any]]]
) -> tuple[NDArray[Any], Difference] | None:
    """Combine pieces into one piece and its difference from an array.

    Parameters
    ----------
    array : ndarray of int
        The label image; not modified.
    pieces : iterable of (tuple of slice, ndarray of int)
        Boxes and their new values. Where boxes overlap, the later one counts.

    Returns
    -------
    tuple of (ndarray, Difference) or None
        The new values in the difference's box, and the difference; None if nothing changes.
    """
    pieces = list(pieces)
    if not pieces:
        return None
    box, values = pieces[0]
    if len(pieces) > 1:
        ends = np.array([[(part.start, part.stop) for part in each] for each, _ in pieces])
        low = ends[..., 0].min(0).tolist()
        high = ends[..., 1].max(0).tolist()
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        values = array[box].astype(common_dtype(array, *(new for _, new in pieces)))
        for each, new in pieces:
            values[tuple(slice(p.start - a, p.stop - a) for p, a in zip(each, low, strict=True))] = new
    difference = Difference.between([part.start for part in box], array[box], values)
    if difference is None:
        return None
    inside = tuple(slice(p.start - b.start, p.stop - b.start) for p, b in zip(difference.box, box, strict=True))
    return values[inside], difference


def painted(array: NDArray[Any], atoms: Iterable[Atom]) -> Difference | None:
    """Return the change that a stroke of napari's brush makes.

    Parameters
    ----------
    array : ndarray of int
        The label image, before or after the stroke: for some strokes napari emits the event before it writes them.
    atoms : iterable of tuple
        The value of the event ``Labels.events.paint``, in the order of painting.

    Returns
    -------
    Difference or None
        None if the stroke changed nothing.
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
    return Difference.between(low, before, after)


@dataclass(frozen=True, eq=False)
class EditStep:
    """One edit by the user, of any number of boxes.

    Parameters
    ----------
    name : str
        Its name in menus, such as ``merge``.
    parts : tuple of Difference
        The changes, in the order in which they were written.
    known_before, known_after : mapping of int to mapping of str
        All features, before and after, of those objects whose features changed.
    """

    name: str
    parts: tuple[Difference, ...]
    known_before: Facts = field(default_factory=dict)
    known_after: Facts = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Memory of the step in bytes, without the features."""
        return sum(part.nbytes for part in self.parts)

    def reversed(self) -> EditStep:
        """Return the step that takes this one back."""
        parts = tuple(part.reversed() for part in reversed(self.parts))
        return EditStep(self.name, parts, self.known_after, self.known_before)

    def apply(self, array: NDArray[Any]) -> int:
        """Write the step into a label image.

        Parameters
        ----------
        array : ndarray of int
            The label image, written in place.

        Returns
        -------
        int
            Number of pixels that were skipped because something else had changed them since.
        """
        skipped = 0
        for part in self.parts:
            array[part.box], left = part.onto(array[part.box])
            skipped += left
        return skipped

    def to_bytes(self) -> bytes:
        """Return the step as bytes, for the journal."""
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
        features = [list(map(list, facts.items())) for facts in (self.known_before, self.known_after)]
        head = json.dumps([self.name, parts, *features]).encode()
        return b"".join([struct.pack("<I", len(head)), head, *blobs])

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the step that a result of `to_bytes` describes.

        Parameters
        ----------
        data : bytes
            A result of `to_bytes`.
        """
        (size,) = struct.unpack_from("<I", data)
        name, listed, *features = json.loads(data[4 : 4 + size])
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
        return cls(name, tuple(parts), *map(dict, features))


class History:
    """The steps that can be undone and redone.

    Parameters
    ----------
    limit : int
        Most bytes to keep; the oldest steps are dropped beyond it.
    """

    def __init__(self, limit: int = 512 << 20) -> None:
        self._limit = limit
        self._done: list[EditStep] = []
        self._undone: list[EditStep] = []

    @property
    def last(self) -> EditStep | None:
        """The step that undo would take back; None if there is none."""
        return self._done[-1] if self._done else None

    @property
    def last_reversed(self) -> EditStep | None:
        """The step that undo would apply; None if there is none."""
        return self._done[-1].reversed() if self._done else None

    @property
    def next(self) -> EditStep | None:
        """The step that redo would apply; None if there is none."""
        return self._undone[-1] if self._undone else None

    @property
    def undo_name(self) -> str | None:
        """Name of the step that undo would take back; None if there is none."""
        return self._done[-1].name if self._done else None

    @property
    def redo_name(self) -> str | None:
        """Name of the step that redo would apply; None if there is none."""
        return self._undone[-1].name if self._undone else None

    @property
    def nbytes(self) -> int:
        """Memory of all steps in bytes."""
        return sum(step.nbytes for step in (*self._done, *self._undone))

    def add(self, step: EditStep) -> None:
        """Add a step that was done. Steps that were undone before it can no longer be redone."""
        self._undone.clear()
        self._done.append(step)
        self.shrink(self._limit)

    def join_last(self) -> EditStep | None:
        """Join the last two steps into one and return it, or None if there are fewer than two."""
        if len(self._done) < 2:
            return None
        second = self._done.pop()
        first = self._done.pop()
        joined = EditStep(
            first.name,
            (*first.parts, *second.parts),
            {**second.known_before, **first.known_before},
            {**first.known_after, **second.known_after},
        )
        self._done.append(joined)
        return joined

    def shrink(self, limit: int) -> None:
        """Drop the oldest steps until the rest needs at most `limit` bytes. The last step is always kept."""
        size = self.nbytes
        while len(self._done) > 1 and size > limit:
            size -= self._done.pop(0).nbytes

    def undo(self) -> EditStep | None:
        """Return the step that takes the last one back, and move that one to the undone steps.

        Returns
        -------
        EditStep or None
            The step to apply; None if there is nothing to undo.
        """
        if not self._done:
            return None
        self._undone.append(self._done.pop())
        return self._undone[-1].reversed()

    def redo(self) -> EditStep | None:
        """Return the step that was undone last, and move it to the done steps.

        Returns
        -------
        EditStep or None
            The step to apply; None if there is nothing to redo.
        """
        if not self._undone:
            return None
        self._done.append(self._undone.pop())
        return self._done[-1]


def _box_of(atom: Atom) -> SliceBox:
    where = atom[0]
    if isinstance(where[0], slice):
        return tuple(where)
    return tuple(slice(int(np.min(axis)), int(np.max(axis)) + 1) for axis in where)


def _put(region: NDArray[Any], atom: Atom, box: SliceBox, origin: NDArray[np.intp], *, old: bool) -> None:
    """Write the old or the new values of an atom into an array whose first pixel is at `origin`."""
    values = atom[-2] if old else atom[-1]
    if not isinstance(atom[0][0], slice):
        region[tuple(np.asarray(axis) - o for axis, o in zip(atom[0], origin, strict=True))] = values
        return
    part = region[tuple(slice(p.start - o, p.stop - o) for p, o in zip(box, origin, strict=True))]
    part[... if atom[1] is None else atom[1]] = values
