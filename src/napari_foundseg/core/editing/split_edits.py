"""Edits that divide an object: between clicks, into given parts, or along a line.

As in `edits`, each function returns pieces to be written as one step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.editing.difference import SliceBox
from napari_foundseg.core.editing.edits import Labels, Pieces, Spacing, box_with, connected_parts, volume_indices
from napari_foundseg.core.editing.object_boxes import box_of
from napari_foundseg.core.editing.splitting import Evidence, divide
from napari_foundseg.core.errors import PromptError

__all__ = ["check_unchanged", "clicked_pixels", "object_box", "split", "split_as", "split_by_line"]


def split(
    labels: Labels,
    label: int,
    points: Sequence[Sequence[float]],
    spacing: Spacing,
    free: int,
    picture: Callable[[SliceBox], NDArray[Any]] | None = None,
    evidence: Callable[[SliceBox], Evidence | None] | None = None,
) -> Pieces:
    """Divide an object between points: at its waist, at edges of the picture and at borders that a model detects.

    Parameters
    ----------
    labels : ndarray of int
        The label image.
    points : sequence of sequence of float
        Two or more positions in the array, one anywhere in each part. Positions on the same pixel count once.
    spacing : sequence of float or None
        One for each axis. At times without a point the object stays whole and keeps its id.
    free : int
        The first id after all ids in use.
    picture : callable, optional
        Takes a box of the array and returns the brightness there. Without it, only the outline is used.
    evidence : callable, optional
        Takes a box of the array and returns a model's evidence there, for the points in the order of `clicked_pixels`.

    Returns
    -------
    list of (tuple of slice, ndarray)
        One piece. The part of the first point keeps the id; the others get free ones.

    Raises
    ------
    PromptError
        If there are fewer than two points, or one is outside the object.
    """
    pixels = clicked_pixels(labels, label, points)
    box = object_box(labels, label, spacing)
    values = labels[box].copy()
    own = values == label
    clicks = [tuple(c - part.start for c, part in zip(pixel, box, strict=True)) for pixel in pixels]
    brightness = None if picture is None else picture(box)
    seen = None if evidence is None else evidence(box)
    parts = np.where(own, 1, 0)
    for index in volume_indices(values.shape, spacing):
        here = [
            i
            for i, at in enumerate(clicks)
            if all(isinstance(k, slice) or k == c for k, c in zip(index, at, strict=True))
        ]
        if not here:
            continue
        seeds = [tuple(c for k, c in zip(index, clicks[i], strict=True) if isinstance(k, slice)) for i in here]
        sizes = [s for s in spacing if s is not None]
        found = divide(
            own[index],
            seeds,
            sizes,
            None if brightness is None else brightness[index],
            None if seen is None else seen.of_clicks(index, here),
        )
        parts[index] = np.array([0, *(i + 1 for i in here)])[found]
    return [(box, _numbered(values, own, parts, 1, free))]


def split_as(labels: Labels, label: int, box: SliceBox, parts: NDArray[Any], free: int) -> Pieces:
    """Divide an object into given parts.

    Parameters
    ----------
    labels : ndarray of int
        The label image.
    box : tuple of slice
        The box of the parts.
    parts : ndarray of int
        The part of each pixel of the box. Part 1 keeps the id; the others get free ones; 0 is outside the object.
    free : int
        The first id after all ids in use.

    Raises
    ------
    PromptError
        If the object no longer has exactly the pixels of the parts.
    """
    check_unchanged(labels, label, box, parts)
    return [(box, _numbered(labels[box], parts > 0, parts, 1, free))]


def check_unchanged(labels: Labels, label: int, box: SliceBox, mask: NDArray[Any]) -> None:
    """Raise `PromptError` unless an object has exactly the pixels of a mask in a box."""
    now = box_of(labels, [label])
    inside = now is not None and len(now) == len(box)
    inside = inside and all(
        part.start <= n.start and n.stop <= part.stop for n, part in zip(now or (), box, strict=True)
    )
    if not inside or not np.array_equal(labels[box] == label, mask > 0):
        raise PromptError(
            f"Object {label} was changed while it was being split, so it is left as it is. Split it again."
        )


def clicked_pixels(labels: Labels, label: int, points: Sequence[Sequence[float]]) -> list[tuple[int, ...]]:
    """Return the clicked pixels of an object to split, each once.

    Parameters
    ----------
    labels : ndarray of int
        The label image.
    points : sequence of sequence of float
        Positions in the array.

    Raises
    ------
    PromptError
        If there are fewer than two pixels, or one is outside the object.
    """
    pixels = list(dict.fromkeys(tuple(int(np.floor(c + 0.5)) for c in point) for point in points))
    if len(pixels) < 2:
        raise PromptError(f"To split object {label}, click once in each of its parts; got {len(pixels)} point.")
    for pixel in pixels:
        if len(pixel) != labels.ndim:
            raise PromptError(f"The point {pixel} has {len(pixel)} coordinates, the labels have {labels.ndim} axes.")
        inside = all(0 <= c < n for c, n in zip(pixel, labels.shape, strict=True))
        if not inside or labels[pixel] != label:
            raise PromptError(f"The point {pixel} is not in object {label}. Click inside the object.")
    return pixels


def object_box(labels: Labels, label: int, spacing: Spacing) -> SliceBox:
    """Return the box of an object to split, with a margin of one pixel along each axis except time."""
    return box_with(labels, [label], [0 if s is None else 1 for s in spacing])


def split_by_line(
    labels: Labels, label: int, start: Sequence[float], end: Sequence[float], plane: tuple[int, int], free: int
) -> Pieces:
    """Cut an object along a line.

    Parameters
    ----------
    labels : ndarray of int
        The label image.
    plane : tuple of int
        The axes in which the line was drawn. It cuts through all other axes.
    free : int
        The first id after all ids in use.

    Returns
    -------
    list of (tuple of slice, ndarray)
        One piece. The largest part keeps the id.

    Raises
    ------
    PromptError
        If the line does not cut the object in two.
    """
    from scipy import ndimage

    box = box_with(labels, [label])
    values = labels[box].copy()
    own = values == label
    ends = [np.array([at[axis] - box[axis].start for axis in plane], float) for at in (start, end)]
    away = _from_segment(values.shape, plane, *ends)
    whole, _ = connected_parts(own)
    touched = np.isin(whole, np.unique(whole[own & (away <= 0.75)]))
    rest, count = ndimage.label(own & touched & (away > 0.75))
    if count < 2 or not touched[own].any():
        raise PromptError(f"The line does not cut object {label} in two. Draw it right across the object.")
    nearest = ndimage.distance_transform_edt(rest == 0, return_distances=False, return_indices=True)
    parts = np.where(own & touched, rest[tuple(nearest)], 0)
    largest = int(np.bincount(parts.ravel())[1:].argmax()) + 1
    return [(box, _numbered(values, own, parts, largest, free))]


def _numbered(values: Labels, own: NDArray[np.bool_], parts: NDArray[Any], keeps: int, free: int) -> NDArray[Any]:
    """Return labels in which all parts except `keeps` have ids from `free` on."""
    others = [int(i) for i in np.unique(parts[own]) if i not in (0, keeps)]
    out = values.astype(np.uint64)
    for i, part in enumerate(others):
        out[own & (parts == part)] = free + i
    return out


def _from_segment(
    shape: tuple[int, ...], plane: tuple[int, int], start: NDArray[np.float64], end: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the distance of each pixel to a line segment, measured in the plane's two axes."""
    axes = [np.arange(shape[axis], dtype=float).reshape([-1 if a == axis else 1 for a in range(len(shape))])
            for axis in plane]  # fmt: skip
    along = end - start
    at = ((axes[0] - start[0]) * along[0] + (axes[1] - start[1]) * along[1]) / max(float(along @ along), 1e-9)
    at = np.clip(at, 0, 1)
    away = np.hypot(axes[0] - start[0] - at * along[0], axes[1] - start[1] - at * along[1])
    return np.broadcast_to(away, shape)
