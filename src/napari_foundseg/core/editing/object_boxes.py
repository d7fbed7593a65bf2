"""Bounding boxes of the objects of a label image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.editing.difference import SliceBox

__all__ = ["box_around", "box_of", "object_boxes", "wider"]

#: Largest id that a list of all ids is made for; beyond, the ids in use are counted first.
_DENSE = 4_000_000


def object_boxes(labels: NDArray[Any]) -> dict[int, SliceBox]:
    """Return the bounding box of every object.

    Parameters
    ----------
    labels : ndarray of int
        The label image, ids of any size.
    """
    from scipy import ndimage

    if not labels.size:
        return {}
    if int(labels.max()) <= _DENSE:
        found = ndimage.find_objects(labels.astype(np.int32, copy=False))
        return {i: box for i, box in enumerate(found, 1) if box is not None}
    ids, numbers = np.unique(labels, return_inverse=True)
    found = ndimage.find_objects(numbers.reshape(labels.shape).astype(np.int32) + 1)
    return {int(i): box for i, box in zip(ids, found, strict=True) if i > 0}


def box_of(labels: NDArray[Any], ids: Sequence[int]) -> SliceBox | None:
    """Return the bounding box of objects.

    Parameters
    ----------
    labels : ndarray of int
        The label image.

    Returns
    -------
    tuple of slice or None
        None where none of them has a pixel.
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
        None where nothing is set.
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
    """Return a box with some pixels more on both sides of each axis, inside an array of a shape."""
    return tuple(
        slice(max(0, part.start - m), min(n, part.stop + m)) for part, m, n in zip(box, margin, shape, strict=True)
    )
