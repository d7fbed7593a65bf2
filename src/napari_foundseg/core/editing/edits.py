"""Corrections of a label image.

Each function leaves the image unchanged and returns pieces: boxes of the array with their new values, to be written as
one step of a history. No other object loses or gains a pixel. `spacing` has one entry for each axis of the array: the
size of a pixel along it, or None if objects do not extend along it (time).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.editing.difference import SliceBox
from napari_foundseg.core.editing.object_boxes import box_around, box_of, wider
from napari_foundseg.core.errors import PromptError

__all__ = [
    "Labels", "Pieces", "Spacing", "box_with", "connected_parts", "delete", "delete_parts", "fill_holes", "grow",
    "keep_largest", "merge", "renumber", "smooth", "volume_indices",
]  # fmt: skip

#: Ids below this are renumbered with a lookup table of all ids.
_DENSE = 1 << 24

Labels = NDArray[Any]
Pieces = list[tuple[SliceBox, NDArray[Any]]]
Spacing = Sequence[float | None]


def merge(labels: Labels, ids: Sequence[int]) -> Pieces:
    """Merge several objects into one.

    Parameters
    ----------
    labels : ndarray of int
        The label image.
    ids : sequence of int
        The objects. The merged object gets the first id.
    """
    return _replaced(labels, ids[1:], ids[0])


def delete(labels: Labels, ids: Sequence[int]) -> Pieces:
    """Remove objects.

    Parameters
    ----------
    labels : ndarray of int
        The label image.
    """
    return _replaced(labels, ids, 0)


def delete_parts(labels: Labels, parts: Sequence[tuple[int, SliceBox]]) -> Pieces:
    """Remove the parts of objects that are inside boxes, such as at one point in time.

    Parameters
    ----------
    labels : ndarray of int
        The label image.

    Returns
    -------
    list of (tuple of slice, ndarray)
        One piece, since the boxes may overlap.
    """
    if not parts:
        return []
    ends = np.array([[(part.start, part.stop) for part in box] for _, box in parts])
    low = ends[..., 0].min(0)
    high = ends[..., 1].max(0)
    whole = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    values = labels[whole].copy()
    for label, box in parts:
        part = values[tuple(slice(p.start - a, p.stop - a) for p, a in zip(box, low.tolist(), strict=True))]
        part[part == label] = 0
    return [(whole, values)]


def fill_holes(labels: Labels, label: int, spacing: Spacing) -> Pieces:
    """Fill the background that an object encloses.

    Parameters
    ----------
    labels : ndarray of int
        The label image.
    spacing : sequence of float or None
        One for each axis.

    Returns
    -------
    list of (tuple of slice, ndarray)
        One piece. Other objects inside a hole are not changed.
    """
    from scipy import ndimage

    box = box_with(labels, [label])
    values = labels[box].copy()
    for part in _volumes(values, spacing):
        part[ndimage.binary_fill_holes(part == label) & (part == 0)] = label
    return [(box, values)]


def smooth(labels: Labels, label: int, radius: float, spacing: Spacing) -> Pieces:
    """Smooth an object's outline.

    Parameters
    ----------
    labels : ndarray of int
        The label image.
    radius : float
        Standard deviation of the Gaussian that smooths the object, in the unit of `spacing`.
    spacing : sequence of float or None
        One for each axis.

    Returns
    -------
    list of (tuple of slice, ndarray)
        One piece. An object too small for the radius is unchanged.
    """
    from scipy import ndimage

    box = box_with(labels, [label], [0 if s is None else int(np.ceil(2 * radius / s)) for s in spacing])
    values = labels[box].copy()
    sigma = [radius / s for s in spacing if s is not None]
    for part in _volumes(values, spacing):
        own = part == label
        # Extend the object beyond the array's edge: an image's border is not an outline.
        rounded = ndimage.gaussian_filter(own.astype(np.float32), sigma, mode="nearest", truncate=4) > 0.5
        if rounded.any():
            part[own & ~rounded] = 0
            part[rounded & (part == 0)] = label
    return [(box, values)]


def grow(labels: Labels, label: int, distance: float, spacing: Spacing) -> Pieces:
    """Move an object's outline outwards, or inwards.

    Parameters
    ----------
    labels : ndarray of int
        The label image.
    distance : float
        The distance, in the unit of `spacing`; negative shrinks.
    spacing : sequence of float or None
        One for each axis.

    Returns
    -------
    list of (tuple of slice, ndarray)
        One piece. The object grows into background only.

    Raises
    ------
    PromptError
        If nothing would be left.
    """
    from scipy import ndimage

    margin = [0 if s is None else int(np.ceil(max(distance, 0) / s)) + 1 for s in spacing]
    box = box_with(labels, [label], margin)
    values = labels[box].copy()
    sampling = [s for s in spacing if s is not None]
    for part in _volumes(values, spacing):
        own = part == label
        if distance >= 0:
            part[(ndimage.distance_transform_edt(~own, sampling=sampling) <= distance) & (part == 0)] = label
        else:
            part[own & (_depth(own, sampling) <= -distance)] = 0
    if not (values == label).any():
        raise PromptError(
            f"Nothing of object {label} would be left. Shrink it by less than {-distance:g}, or delete it."
        )
    return [(box, values)]


def keep_largest(labels: Labels, label: int) -> Pieces:
    """Remove all connected parts of an object except the largest.

    Parameters
    ----------
    labels : ndarray of int
        The label image.
    """
    box = box_with(labels, [label])
    values = labels[box].copy()
    own = values == label
    parts, count = connected_parts(own)
    if count > 1:
        largest = np.bincount(parts.ravel())[1:].argmax() + 1
        values[own & (parts != largest)] = 0
    return [(box, values)]


def renumber(labels: Labels, ids: Sequence[int]) -> Pieces:
    """Assign the ids 1 to n to the objects, in the order of their ids.

    Parameters
    ----------
    labels : ndarray of int
        The label image.
    """
    whole = tuple(slice(0, n) for n in labels.shape)
    if list(ids) == list(range(1, len(ids) + 1)):
        return []
    old_ids = np.array([0, *ids])
    if old_ids[-1] < _DENSE:
        numbers = np.zeros(old_ids[-1] + 1, labels.dtype)
        numbers[old_ids] = np.arange(len(old_ids))
        return [(whole, numbers[labels])]
    return [(whole, np.searchsorted(old_ids, labels).astype(labels.dtype))]


def _depth(mask: NDArray[np.bool_], sampling: Sequence[float]) -> NDArray[np.float64]:
    """Return each pixel's distance to the mask's border. The edge of the array does not count as border."""
    from scipy import ndimage

    padded = np.pad(mask, 1, mode="edge") if not mask.all() else np.pad(mask, 1)
    core = tuple(slice(1, -1) for _ in mask.shape)
    return np.asarray(ndimage.distance_transform_edt(padded, sampling=sampling)[core])


def connected_parts(mask: NDArray[np.bool_]) -> tuple[NDArray[Any], int]:
    """Return the connected parts of a mask, numbered from 1 (corners connect), and their count."""
    from scipy import ndimage

    parts, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    return parts, int(count)


def _replaced(labels: Labels, ids: Sequence[int], by: int) -> Pieces:
    """Return the edit that gives some objects another id. It is one piece, since the boxes of objects overlap."""
    if not ids:
        return []
    own = np.isin(labels, ids)
    box = box_around(own)
    if box is None:
        raise PromptError(f"There is no object {', '.join(map(str, ids))}. Click on an object.")
    return [(box, np.where(own[box], labels.dtype.type(by), labels[box]))]


def box_with(labels: Labels, ids: Sequence[int], margin: Sequence[int] | None = None) -> SliceBox:
    """Return the box of objects, enlarged by some pixels along each axis; `PromptError` if none has a pixel."""
    box = box_of(labels, ids)
    if box is None:
        raise PromptError(f"There is no object {', '.join(map(str, ids))}. Click on an object.")
    return box if margin is None else wider(box, margin, labels.shape)


def _volumes(values: NDArray[Any], spacing: Spacing) -> Iterator[NDArray[Any]]:
    """Iterate over views of the parts that are edited separately: the whole array, or each point in time."""
    for index in volume_indices(values.shape, spacing):
        yield values[index]


def volume_indices(shape: tuple[int, ...], spacing: Spacing) -> Iterator[tuple[Any, ...]]:
    """Iterate over the indices of the parts that are edited separately: the whole array, or each point in time."""
    yield from product(*(range(n) if s is None else [slice(None)] for n, s in zip(shape, spacing, strict=True)))
