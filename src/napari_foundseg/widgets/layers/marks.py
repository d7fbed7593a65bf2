"""The user's points, shapes and painted labels over an image, in data pixels of the image."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.arrays import in_memory
from napari_foundseg.widgets.layers.layer_axes import affine_between, transform_coordinates

if TYPE_CHECKING:
    from napari.layers import Labels, Points, Shapes

    from napari_foundseg.core.image import Image
    from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer

__all__ = ["POLARITY", "labels_on_slice", "outlines_on_slice", "point_at", "points_on_slice"]

#: The column of a Points layer that says whether a point is on the object or on background.
POLARITY = "polarity"


def point_at(position: Any, target: ImageOnLayer) -> tuple[float, ...] | None:
    """Return the image coordinates of a world position; None if it is outside the image."""
    place = np.array(target.layer.world_to_data(position), float)[_label_columns(target)]
    inside = (np.floor(place + 0.5) >= 0) & (np.floor(place + 0.5) < target.image.shape)
    return tuple(float(v) for v in place) if inside.all() else None


def points_on_slice(
    points: Points | None, target: ImageOnLayer, index: tuple[int, ...]
) -> tuple[NDArray[np.float64], list[int]]:
    """Return the points on one slice of an image.

    `index` is the slice; points on other slices are left out.

    Returns
    -------
    (N, D) ndarray of float
        Coordinates in data pixels of the image, one for each axis of its labels.
    list of int
        1 for a positive point, 0 for a negative one.
    """
    if points is None or not len(points.data):
        return np.empty((0, len(target.image.shape))), []
    where = transform_coordinates(points, target.layer, np.asarray(points.data, float))[:, _label_columns(target)]
    on = _on_slice(where, target.image, index)
    positive = points.features[POLARITY].to_numpy() != "negative"
    return where[on], [int(v) for v in positive[on]]


def outlines_on_slice(
    shapes: Shapes | None, target: ImageOnLayer, index: tuple[int, ...]
) -> list[tuple[str, NDArray[np.float64]]]:
    """Return the shapes on one slice of an image.

    Returns
    -------
    list of (str, (V, D) ndarray of float)
        The napari name of each shape's kind, and its vertices in data pixels of the image; an ellipse becomes a
        polygon.
    """
    image = target.image
    found = []
    for vertices, kind in [] if shapes is None else zip(shapes.data, shapes.shape_type, strict=True):
        drawn = np.asarray(vertices, float)
        corners = transform_coordinates(shapes, target.layer, _ellipse_points(drawn) if kind == "ellipse" else drawn)
        corners = corners[:, _label_columns(target)]
        if _on_slice(corners, image, index).all():
            # Place the vertices exactly on the slice, so that rounding cannot put them on different slices.
            corners[:, [image.label_axes.index(axis) for axis in image.slice_axes]] = index
            found.append((str(kind), corners))
    return found


def labels_on_slice(
    labels: Labels, target: ImageOnLayer, index: tuple[int, ...]
) -> tuple[tuple[int, int], NDArray[Any]] | None:
    """Return the labels under the pixels of one slice of an image.

    Returns
    -------
    tuple of int
        The first row and column of the painted part.
    (M, N) ndarray of int
        The ids of that part: for each pixel of the image, the id under its centre.
    None
        If nothing is painted on the slice.
    """
    layer = target.layer
    image = target.image
    letters = target.letters
    fixed = {"C": 0, **dict(zip(image.slice_axes, index, strict=True))}
    rows = letters.index("Y")
    columns = letters.index("X")
    at = np.array([float(fixed.get(letter, 0)) for letter in letters])
    far = at.copy()
    far[[rows, columns]] = np.array(image.plane_shape) - 1
    found = _painted_part(labels, _pixel_box(transform_coordinates(layer, labels, _box_corners(at, far))))
    if found is None:
        return None
    block, first = found
    low, high = _pixel_box(transform_coordinates(labels, layer, _box_corners(first, first + block.shape - 1)))
    last = np.array(image.plane_shape) - 1
    (y0, x0), (y1, x1) = np.clip(low[[rows, columns]], 0, last), np.clip(high[[rows, columns]], 0, last)
    matrix, origin = affine_between(layer, labels)
    start = matrix @ at + origin - first
    ys = np.arange(y0, y1 + 1)[:, None]
    xs = np.arange(x0, x1 + 1)[None]
    where = [_nearest_pixels(start[k], (matrix[k, rows], ys), (matrix[k, columns], xs)) for k in range(labels.ndim)]
    inside = [(i >= 0) & (i < n) for i, n in zip(where, block.shape, strict=True)]
    near = tuple(np.clip(i, 0, n - 1) for i, n in zip(where, block.shape, strict=True))
    ids = np.where(np.logical_and.reduce(np.broadcast_arrays(*inside)), block[near], 0)
    ids = np.broadcast_to(ids, (y1 - y0 + 1, x1 - x0 + 1))
    return ((int(y0), int(x0)), ids) if ids.any() else None


def _label_columns(target: ImageOnLayer) -> list[int]:
    return [i for i, letter in enumerate(target.letters) if letter != "C"]


def _on_slice(coordinates: NDArray[np.float64], image: Image, index: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which of (..., D) coordinates, one for each axis of the labels, are on a slice."""
    slices = [image.label_axes.index(axis) for axis in image.slice_axes]
    on = np.floor(coordinates[..., slices] + 0.5) == np.asarray(index, float)
    return np.asarray(on.reshape(len(coordinates), -1).all(axis=1))


def _ellipse_points(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 48 points on the ellipse inside a rectangle with four corners."""
    middle = corners.mean(0)
    across = (corners[1] - corners[0]) / 2
    along = (corners[2] - corners[1]) / 2
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)[:, None]
    return np.asarray(middle + np.cos(turn) * across + np.sin(turn) * along)


def _box_corners(low: NDArray[Any], high: NDArray[Any]) -> NDArray[np.float64]:
    """Return the corners, at the outer pixel edges, of the box from pixel `low` to pixel `high`."""
    return np.array(list(itertools.product(*zip(low - 0.5, high + 0.5, strict=True))), float)


def _pixel_box(corners: NDArray[np.float64]) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Return the first and last pixel that the bounding box of corners touches."""
    return np.floor(corners.min(0) + 0.5).astype(int), np.floor(corners.max(0) + 0.5).astype(int)


def _painted_part(
    labels: Labels, hull: tuple[NDArray[np.int_], NDArray[np.int_]]
) -> tuple[NDArray[Any], NDArray[np.int_]] | None:
    """Return the smallest block of a layer's array with all labels in a box, and its first pixel; else None."""
    data = labels.data[0] if labels.multiscale else labels.data
    low = np.maximum(hull[0], 0)
    high = np.minimum(hull[1], np.array(data.shape) - 1)
    if (low > high).any():
        return None
    block = in_memory(data[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))])
    first = []
    kept = []
    for axis in range(block.ndim):
        used = np.flatnonzero((block != 0).any(axis=tuple(i for i in range(block.ndim) if i != axis)))
        if not len(used):
            return None
        first.append(int(used[0]))
        kept.append(slice(int(used[0]), int(used[-1]) + 1))
    return block[tuple(kept)], low + np.array(first, int)


def _nearest_pixels(start: float, *along: tuple[float, NDArray[np.int_]]) -> NDArray[np.int_]:
    """Return the nearest pixel indices; an axis along which they do not change keeps length 1."""
    place = np.full((1, 1), start)
    for slope, steps in along:
        place = place + slope * steps if abs(slope) > 1e-9 else place
    return np.asarray(np.floor(place + 0.5 + 1e-9), int)
