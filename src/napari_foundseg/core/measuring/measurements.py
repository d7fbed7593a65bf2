"""Measurements of labelled objects, in the image's own unit if it has one.

Every object is measured in its own bounding box, so that after an edit only the objects that it touched are measured
again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.editing.difference import SliceBox
from napari_foundseg.core.editing.object_boxes import object_boxes

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GreyValues", "boxes_of", "feret_diameter", "measure", "remeasure"]


class GreyValues(Protocol):
    """Grey values of the shape of a label image: an array, or a reader of its parts."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the label image, with a last axis of channels where there are any."""

    def __getitem__(self, box: SliceBox, /) -> NDArray[Any]:
        """Return the values of a box of the label image."""


def measure(
    labels: NDArray[Any],
    axes: str,
    spacing: Sequence[float | None],
    unit: str,
    image: GreyValues | None = None,
    boxes: Mapping[int, SliceBox] | None = None,
) -> pd.DataFrame:
    """Measure objects.

    Parameters
    ----------
    labels : ndarray of int
        The label image.
    axes : str
        A letter for each of its axes.
    spacing : sequence of float or None
        Size of a pixel along each axis; None along an axis (time) on which objects do not go on: there each point has
        rows of its own. Two or three axes have a size.
    unit : str
        Of the spacing; it is part of the columns' names.
    image : GreyValues, optional
        Grey values of the shape of `labels`, or with a last axis of channels; an array or a lazy one.
    boxes : mapping of int to tuple of slice, optional
        Ids of objects and the boxes that contain all their pixels; all objects by default.

    Returns
    -------
    pandas.DataFrame
        A row per object, by ascending ``label``; the axes without spacing; ``pixels``; area or volume, equivalent
        diameter (of the disc or ball as large) and largest Feret diameter, in `unit`; the centroid in pixels; the
        first and last pixel of the bounding box, both included; the mean intensity of each channel.
    """
    import pandas as pd

    columns = _columns(axes, spacing, unit, None if image is None else image.shape[labels.ndim :])
    boxes = object_boxes(labels) if boxes is None else boxes
    # By place, since lazy pixels are kept in memory for a while only.
    by_place = sorted(boxes.items(), key=lambda item: [part.start for part in item[1]])
    rows = [row for label, box in by_place for row in _rows(labels, label, box, spacing, image)]
    rows.sort(key=lambda row: row[: 1 + len(_fixed(axes, spacing))])
    table = pd.DataFrame(np.array(rows, float).reshape(len(rows), len(columns)), columns=columns)
    whole = ["label", "pixels", *_fixed(axes, spacing), *_corner_names(axes, spacing)]
    return table.astype(dict.fromkeys(whole, np.int64))


def remeasure(
    table: pd.DataFrame,
    labels: NDArray[Any],
    axes: str,
    spacing: Sequence[float | None],
    unit: str,
    image: GreyValues | None,
    ids: Collection[int],
    edited: Iterable[SliceBox],
) -> pd.DataFrame:
    """Bring a table up to date after an edit, by measuring the touched objects only.

    A table in another unit, or of other channels, is measured as a whole: no table mixes units.

    Parameters
    ----------
    ids : collection of int
        Objects that lost or gained pixels.
    edited : iterable of tuple of slice
        Boxes of the array outside of which nothing changed.
    """
    import pandas as pd

    columns = _columns(axes, spacing, unit, None if image is None else image.shape[labels.ndim :])
    if list(table) != columns:
        return measure(labels, axes, spacing, unit, image)
    touched = table["label"].isin(ids)
    boxes: dict[int, SliceBox] = {}
    for label, box in boxes_of(table[touched], axes, spacing):
        _widen(boxes, label, box)
    for box in edited:
        for label, part in object_boxes(labels[box]).items():
            if label in ids:
                moved = tuple(slice(p.start + b.start, p.stop + b.start) for p, b in zip(part, box, strict=True))
                _widen(boxes, label, moved)
    new = measure(labels, axes, spacing, unit, image, boxes)
    kept = table[~touched]
    both = new if kept.empty else kept if new.empty else pd.concat([kept, new])
    return both.sort_values(["label", *_fixed(axes, spacing)], kind="stable", ignore_index=True)


def boxes_of(table: pd.DataFrame, axes: str, spacing: Sequence[float | None]) -> list[tuple[int, SliceBox]]:
    """Return label and bounding box of each row of a table.

    Parameters
    ----------
    axes : str
        A letter for each axis of the label image.

    Returns
    -------
    list of (int, tuple of slice)
        In the order of the rows.
    """
    rows = table[["label", *_extent(axes, spacing)]].to_numpy(np.int64).tolist()
    return [
        (label, tuple(slice(a, b + 1) for a, b in zip(ends[: len(axes)], ends[len(axes) :], strict=True)))
        for label, *ends in rows
    ]


def feret_diameter(mask: NDArray[np.bool_], spacing: Sequence[float]) -> float:
    """Return the largest distance between two corners of an object's pixels.

    A pixel is a square here, so that one of side 1 has 1.41. scikit-image's `feret_diameter_max` is that of the contour
    between pixels (0.5), which cuts the corners, and is smaller by up to half a pixel at each end.

    Parameters
    ----------
    mask : ndarray of bool
        The object, with a pixel or more; 2-D or 3-D.
    spacing : sequence of float
        Size of a pixel along each axis.
    """
    from scipy.spatial import ConvexHull
    from scipy.spatial.distance import pdist

    # The farthest pixel in any direction is the end of its line of pixels along every axis.
    ends = mask
    for axis in range(mask.ndim):
        first = np.cumsum(mask, axis) == 1
        last = np.flip(np.cumsum(np.flip(mask, axis), axis) == 1, axis)
        ends = ends & (first | last)
    pixels = np.argwhere(ends)
    corners = np.concatenate([pixels + shift for shift in product((0, 1), repeat=mask.ndim)]) * np.asarray(spacing)
    return float(pdist(corners[ConvexHull(corners).vertices]).max())


def _rows(
    labels: NDArray[Any], label: int, box: SliceBox, spacing: Sequence[float | None], image: GreyValues | None
) -> Iterator[list[float]]:
    """Yield the row of an object, or one for each point in time."""
    fixed = [i for i, size in enumerate(spacing) if size is None]
    rest = [i for i, size in enumerate(spacing) if size is not None]
    sizes = [size for size in spacing if size is not None]
    values = None if image is None else image[box]
    for at in product(*(range(box[i].start, box[i].stop) for i in fixed)):
        where: list[Any] = list(box)
        for i, k in zip(fixed, at, strict=True):
            where[i] = k
        own = labels[tuple(where)] == label
        places = np.argwhere(own)
        if not len(places):
            continue
        low = places.min(0)
        high = places.max(0)
        tight = tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))
        start = np.array([box[i].start for i in rest])
        here = tuple(0 if isinstance(k, slice) else k - part.start for k, part in zip(where, box, strict=True))
        grey = []
        if values is not None:
            of_all = values[tuple(slice(None) if i in rest else k for i, k in enumerate(here))]
            grey = np.atleast_1d(of_all[own].mean(0, dtype=float)).tolist()
        yield [
            label, *at, len(places), *_sizes(len(places), sizes), feret_diameter(own[tight], sizes),
            *(places.mean(0) + start), *(low + start), *(high + start), *grey,
        ]  # fmt: skip


def _sizes(pixels: int, spacing: Sequence[float]) -> tuple[float, float]:
    """Return area or volume, and the diameter of the disc or ball as large."""
    size = pixels * float(np.prod(spacing))
    return size, float(np.sqrt(4 * size / np.pi)) if len(spacing) == 2 else float(np.cbrt(6 * size / np.pi))


def _columns(axes: str, spacing: Sequence[float | None], unit: str, channels: tuple[int, ...] | None) -> list[str]:
    rest = [axis.lower() for axis, size in zip(axes, spacing, strict=True) if size is not None]
    size = f"area ({unit}²)" if len(rest) == 2 else f"volume ({unit}³)"
    grey = [] if channels is None else ["mean intensity"]
    if channels:
        grey = [f"mean intensity {i}" for i in range(channels[0])]
    sizes = ["pixels", size, f"equivalent diameter ({unit})", f"Feret diameter ({unit})"]
    return ["label", *_fixed(axes, spacing), *sizes, *rest, *_corner_names(axes, spacing), *grey]


def _fixed(axes: str, spacing: Sequence[float | None]) -> list[str]:
    return [axis.lower() for axis, size in zip(axes, spacing, strict=True) if size is None]


def _corner_names(axes: str, spacing: Sequence[float | None]) -> list[str]:
    rest = [axis.lower() for axis, size in zip(axes, spacing, strict=True) if size is not None]
    return [f"{axis}{end}" for end in (0, 1) for axis in rest]


def _extent(axes: str, spacing: Sequence[float | None]) -> list[str]:
    """Return the columns of a row's first and then of its last pixel along each axis."""
    return [
        axis.lower() if size is None else f"{axis.lower()}{end}"
        for end in (0, 1)
        for axis, size in zip(axes, spacing, strict=True)
    ]


def _widen(boxes: dict[int, SliceBox], label: int, box: SliceBox) -> None:
    old = boxes.get(label, box)
    boxes[label] = tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(old, box, strict=True))
