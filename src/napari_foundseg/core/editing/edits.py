"""Corrections of a label image.

Each function leaves the image unchanged and returns pieces, boxes of the array with their new values, to be written as
one step of a history. No other object loses or gains a pixel. `spacing` has a number for each axis of the array, the
size of a pixel along it, and None for an axis along which objects do not go on (time).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.editing.difference import SliceBox
from napari_foundseg.core.editing.object_boxes import box_around, box_of, wider
from napari_foundseg.core.editing.splitting import divide
from napari_foundseg.core.errors import PromptError

__all__ = [
    "delete", "delete_parts", "fill_holes", "grow", "keep_largest", "merge", "renumber", "smooth", "split",
    "split_by_line",
]  # fmt: skip

#: Largest id that a table of all ids is made for.
_DENSE = 1 << 24

Labels = NDArray[Any]
Pieces = list[tuple[SliceBox, NDArray[Any]]]
Spacing = Sequence[float | None]


def merge(labels: Labels, ids: Sequence[int]) -> Pieces:
    """Make one object of several.

    Parameters
    ----------
    labels : ndarray of int
        The label image.
    ids : sequence of int
        The objects; the first gives the id.
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
    """Remove objects inside boxes, such as at one point in time.

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
    """Fill background that an object encloses.

    Parameters
    ----------
    labels : ndarray of int
        The label image.
    spacing : sequence of float or None
        One for each axis.

    Returns
    -------
    list of (tuple of slice, ndarray)
        Holes that contain other objects keep them.
    """
    from scipy import ndimage

    box = _box(labels, [label])
    values = labels[box].copy()
    for part in _volumes(values, spacing):
        part[ndimage.binary_fill_holes(part == label) & (part == 0)] = label
    return [(box, values)]


def smooth(labels: Labels, label: int, radius: float, spacing: Spacing) -> Pieces:
    """Round off an object's outline.

    Parameters
    ----------
    labels : ndarray of int
        The label image.
    radius : float
        Standard deviation of the Gaussian that the object is smoothed with, in the unit of `spacing`.
    spacing : sequence of float or None
        One for each axis.

    Returns
    -------
    list of (tuple of slice, ndarray)
        An object too small for the radius stays unchanged.
    """
    from scipy import ndimage

    box = _box(labels, [label], [0 if s is None else int(np.ceil(2 * radius / s)) for s in spacing])
    values = labels[box].copy()
    sigma = [radius / s for s in spacing if s is not None]
    for part in _volumes(values, spacing):
        own = part == label
        # Beyond the array's edge the object goes on as at the edge: an image's border is no outline.
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
        How far, in the unit of `spacing`; negative shrinks.
    spacing : sequence of float or None
        One for each axis.

    Returns
    -------
    list of (tuple of slice, ndarray)
        It grows into background only.

    Raises
    ------
    PromptError
        If nothing would be left.
    """
    from scipy import ndimage

    margin = [0 if s is None else int(np.ceil(max(distance, 0) / s)) + 1 for s in spacing]
    box = _box(labels, [label], margin)
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
    """Remove all of an object but its largest connected part.

    Parameters
    ----------
    labels : ndarray of int
        The label image.
    """
    box = _box(labels, [label])
    values = labels[box].copy()
    own = values == label
    parts, count = _connected(own)
    if count > 1:
        largest = np.bincount(parts.ravel())[1:].argmax() + 1
        values[own & (parts != largest)] = 0
    return [(box, values)]


def renumber(labels: Labels, ids: Sequence[int]) -> Pieces:
    """Give the objects the ids 1 to n, in the order of their ids.

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


def split(
    labels: Labels,
    label: int,
    points: Sequence[Sequence[float]],
    spacing: Spacing,
    free: int,
    picture: Callable[[SliceBox], NDArray[Any]] | None = None,
) -> Pieces:
    """Divide an object between points, at its waist and where the picture has an edge (`splitting.divide`).

    Parameters
    ----------
    labels : ndarray of int
        The label image.
    points : sequence of sequence of float
        Two or more positions in the array, one anywhere in each part; those on one pixel count once.
    spacing : sequence of float or None
        One for each axis. At other times than those of the points the object stays whole and keeps its id.
    free : int
        The id from which on none is in use.
    picture : callable, optional
        Takes a box of the array and returns the brightness there; without it the outline alone decides.

    Returns
    -------
    list of (tuple of slice, ndarray)
        The part of the first point keeps the id, the others get free ones.

    Raises
    ------
    PromptError
        If there are fewer than two points, or one is outside the object.
    """
    ordered = list(dict.fromkeys(tuple(int(np.floor(c + 0.5)) for c in point) for point in points))
    if len(ordered) < 2:
        raise PromptError(f"To split object {label}, click once in each of its parts; got {len(ordered)} point.")
    for seed in ordered:
        inside = all(0 <= c < n for c, n in zip(seed, labels.shape, strict=True))
        if not inside or labels[seed] != label:
            raise PromptError(f"The point {seed} is not in object {label}. Click inside the object.")
    box = _box(labels, [label], [0 if s is None else 1 for s in spacing])
    values = labels[box].copy()
    own = values == label
    clicks = [tuple(c - part.start for c, part in zip(seed, box, strict=True)) for seed in ordered]
    brightness = None if picture is None else picture(box)
    parts = np.where(own, 1, 0)
    for index in _volume_indices(values.shape, spacing):
        here = [
            i
            for i, at in enumerate(clicks)
            if all(isinstance(k, slice) or k == c for k, c in zip(index, at, strict=True))
        ]
        if not here:
            continue
        seeds = [tuple(c for k, c in zip(index, clicks[i], strict=True) if isinstance(k, slice)) for i in here]
        sizes = [s for s in spacing if s is not None]
        found = divide(own[index], seeds, sizes, None if brightness is None else brightness[index])
        parts[index] = np.array([0, *(i + 1 for i in here)])[found]
    return [(box, _numbered(values, own, parts, 1, free))]


def split_by_line(
    labels: Labels, label: int, start: Sequence[float], end: Sequence[float], plane: tuple[int, int], free: int
) -> Pieces:
    """Cut an object along a line.

    Parameters
    ----------
    labels : ndarray of int
        The label image.
    plane : tuple of int
        The axes that the line was drawn in; it cuts through all of the others.
    free : int
        The id from which on none is in use.

    Returns
    -------
    list of (tuple of slice, ndarray)
        The largest part keeps the id.

    Raises
    ------
    PromptError
        If the line does not cut the object in two.
    """
    from scipy import ndimage

    box = _box(labels, [label])
    values = labels[box].copy()
    own = values == label
    ends = [np.array([at[axis] - box[axis].start for axis in plane], float) for at in (start, end)]
    away = _from_segment(values.shape, plane, *ends)
    whole, _ = _connected(own)
    touched = np.isin(whole, np.unique(whole[own & (away <= 0.75)]))
    rest, count = ndimage.label(own & touched & (away > 0.75))
    if count < 2 or not touched[own].any():
        raise PromptError(f"The line does not cut object {label} in two. Draw it right across the object.")
    nearest = ndimage.distance_transform_edt(rest == 0, return_distances=False, return_indices=True)
    parts = np.where(own & touched, rest[tuple(nearest)], 0)
    largest = int(np.bincount(parts.ravel())[1:].argmax()) + 1
    return [(box, _numbered(values, own, parts, largest, free))]


def _numbered(values: Labels, own: NDArray[np.bool_], parts: NDArray[Any], keeps: int, free: int) -> NDArray[Any]:
    """Give the parts but one ids from `free` on."""
    others = [int(i) for i in np.unique(parts[own]) if i not in (0, keeps)]
    out = values.astype(np.uint64)
    for i, part in enumerate(others):
        out[own & (parts == part)] = free + i
    return out


def _from_segment(
    shape: tuple[int, ...], plane: tuple[int, int], start: NDArray[np.float64], end: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the distance of each pixel to a line's segment, counted in the plane's two axes."""
    axes = [np.arange(shape[axis], dtype=float).reshape([-1 if a == axis else 1 for a in range(len(shape))])
            for axis in plane]  # fmt: skip
    along = end - start
    at = ((axes[0] - start[0]) * along[0] + (axes[1] - start[1]) * along[1]) / max(float(along @ along), 1e-9)
    at = np.clip(at, 0, 1)
    away = np.hypot(axes[0] - start[0] - at * along[0], axes[1] - start[1] - at * along[1])
    return np.broadcast_to(away, shape)


def _depth(mask: NDArray[np.bool_], sampling: Sequence[float]) -> NDArray[np.float64]:
    """Return each pixel's distance to the mask's border; the edge of the array does not count as border."""
    from scipy import ndimage

    padded = np.pad(mask, 1, mode="edge") if not mask.all() else np.pad(mask, 1)
    core = tuple(slice(1, -1) for _ in mask.shape)
    return np.asarray(ndimage.distance_transform_edt(padded, sampling=sampling)[core])


def _connected(mask: NDArray[np.bool_]) -> tuple[NDArray[Any], int]:
    from scipy import ndimage

    parts, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    return parts, int(count)


def _replaced(labels: Labels, ids: Sequence[int], by: int) -> Pieces:
    """Give the pixels of some objects another id; one piece, since the boxes of objects overlap."""
    if not ids:
        return []
    own = np.isin(labels, ids)
    box = box_around(own)
    if box is None:
        raise PromptError(f"There is no object {', '.join(map(str, ids))}. Click on an object.")
    return [(box, np.where(own[box], labels.dtype.type(by), labels[box]))]


def _box(labels: Labels, ids: Sequence[int], margin: Sequence[int] | None = None) -> SliceBox:
    """Return the box of objects, wider by some pixels along each axis."""
    box = box_of(labels, ids)
    if box is None:
        raise PromptError(f"There is no object {', '.join(map(str, ids))}. Click on an object.")
    return box if margin is None else wider(box, margin, labels.shape)


def _volumes(values: NDArray[Any], spacing: Spacing) -> Iterator[NDArray[Any]]:
    """Iterate over views of the parts that are edited separately: the whole array, or each point in time."""
    for index in _volume_indices(values.shape, spacing):
        yield values[index]


def _volume_indices(shape: tuple[int, ...], spacing: Spacing) -> Iterator[tuple[Any, ...]]:
    """Iterate over the indices of those parts."""
    yield from product(*(range(n) if s is None else [slice(None)] for n, s in zip(shape, spacing, strict=True)))
