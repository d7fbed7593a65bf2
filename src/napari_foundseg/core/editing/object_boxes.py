"""Bounding boxes of the objects of a label image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.editing.difference import SliceBox

__all__ = ["box_around", "box_of", "object_boxes", "wider"]

#: Largest id for which boxes are stored in a list of all ids. Beyond it, the ids in use are found first.
_DENSE = 4_000_000
#: Pixels that are searched for boxes at once.
_PART = 1 << 19
#: Largest id for which such a list is made for each part of the array.
_LISTED = 1 << 16


def object_boxes(labels: NDArray[Any]) -> dict[int, SliceBox]:
    """Return the bounding box of every object.

    Parameters
    ----------
    labels : ndarray of int
        The label image, with ids of any size.
    """
    from scipy import ndimage

    if not labels.size:
        return {}
    largest = int(labels.max())
    if largest <= _DENSE:
        return _dense_boxes(labels, _PART if largest <= _LISTED else labels.size)
    ids, numbers = np.unique(labels, return_inverse=True)
    found = ndimage.find_objects(numbers.reshape(labels.shape).astype(np.int32) + 1)
    return {int(i): box for i, box in zip(ids, found, strict=True) if i > 0}


def _dense_boxes(labels: NDArray[Any], pixels: int) -> dict[int, SliceBox]:
    """Find the boxes in parts along the first axis, so that other threads can run in between."""
    from scipy import ndimage

    boxes: dict[int, SliceBox] = {}
    rows = max(1, pixels // max(1, labels[0].size))
    for start in range(0, len(labels), rows):
        found = ndimage.find_objects(labels[start : start + rows].astype(np.int32, copy=False))
        for label, box in enumerate(found, 1):
            if box is not None:
                first, *others = box
                here = (slice(first.start + start, first.stop + start), *others)
                boxes[label] = _around_both(boxes[label], here) if label in boxes else here
    return dict(sorted(boxes.items()))


def _around_both(one: SliceBox, other: SliceBox) -> SliceBox:
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True))


def box_of(labels: NDArray[Any], ids: Sequence[int]) -> SliceBox | None:
    """Return the bounding box of all given objects together.

    Parameters
    ----------
    labels : ndarray of int
        The label image.

    Returns
    -------
    tuple of slice or None
        None if none of them has a pixel.
    """
    return box_around(labels == ids[0] if len(ids) == 1 else np.isin(labels, ids))


def box_around(own: NDArray[np.bool_]) -> SliceBox | None:
    """Return the bounding box of the pixels that are set.

    Parameters
    ----------
    own : ndarray of bool
        The pixels.

    Returns
    -------
    tuple of slice or None
        None if nothing is set.
    """
    box: list[slice] = []
    for axis in range(own.ndim):
        at = np.flatnonzero(own.any(axis=tuple(a for a in range(own.ndim) if a != axis)))
        if not len(at):
            return None
        box.append(slice(int(at[0]), int(at[-1]) + 1))
        own = own[(slice(None),) * axis + (box[-1],)]
    return tuple(box)


def wider(box: SliceBox, margin: Sequence[int], shape: Sequence[int]) -> SliceBox:
    """Return a box enlarged by `margin` pixels on both sides of each axis, clipped to an array of a shape."""
    return tuple(
        slice(max(0, part.start - m), min(n, part.stop + m)) for part, m, n in zip(box, margin, shape, strict=True)
    )
