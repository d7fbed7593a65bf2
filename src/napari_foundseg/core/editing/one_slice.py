"""Edits of one slice of a volume, and the number of slices that an edit changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod

import numpy as np

from napari_foundseg.core.editing.difference import SliceBox
from napari_foundseg.core.editing.edits import Labels, Pieces

__all__ = ["changed_slices", "in_box"]


def in_box(pieces: Iterable[tuple[SliceBox, Labels]], box: SliceBox) -> Pieces:
    """Convert pieces from coordinates of a box to coordinates of the whole label image."""
    return [
        (tuple(slice(part.start + b.start, part.stop + b.start) for part, b in zip(where, box, strict=True)), values)
        for where, values in pieces
    ]


def changed_slices(labels: Labels, pieces: Iterable[tuple[SliceBox, Labels]], plane: Sequence[int]) -> int:
    """Count the slices that an edit changes. `plane` has the two axes of a slice."""
    across = [axis for axis in range(labels.ndim) if axis not in plane]
    changed = np.zeros([labels.shape[axis] for axis in across], bool)
    if not across or not prod(changed.shape):
        return 0
    for where, values in pieces:
        different = (labels[where] != values).any(axis=tuple(plane))
        changed[tuple(where[axis] for axis in across)] |= different
    return int(np.count_nonzero(changed))
