"""Measurements of labelled objects, in the image's own unit if it has one.

Every object is measured in its own bounding box. So after an edit, only the touched objects are measured again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.editing.difference import SliceBox
from napari_foundseg.core.editing.object_boxes import object_boxes
from napari_foundseg.core.measuring.columns import corner_names, fixed_axes, measured_columns
from napari_foundseg.core.measuring.shapes import (
    axis_lengths,
    circularity,
    hull_measures,
    perimeter,
    sphericity,
    surface,
)

if TYPE_CHECKING:
    import pandas as pd

    from napari_foundseg.core.measuring.grey_values import GreyValues

__all__ = ["boxes_of", "measure", "remeasure"]


def measure(
    labels: NDArray[Any],
    axes: str,
    spacing: Sequence[float | None],
    unit: str,
    image: GreyValues | None = None,
    boxes: Mapping[int, SliceBox] | None = None,
    channels: Sequence[str] = (),
) -> pd.DataFrame:
    """Measure objects.

    Parameters
    ----------
    labels : ndarray of int
        The label image.
    axes : str
        A letter for each of its axes.
    spacing : sequence of float or None
        Size of a pixel along each axis; None along an axis on which objects do not extend (time), where each point has
        its own rows. Two or three axes have a size.
    unit : str
        The unit of the spacing, which is part of the columns' names.
    image : GreyValues, optional
        Grey values in the shape of `labels`, perhaps with a last axis of channels; an array or a lazy reader.
    boxes : mapping of int to tuple of slice, optional
        Ids of objects and the boxes that contain all their pixels; all objects by default.
    channels : sequence of str
        Names of the image's channels. If their number is wrong, the channels are numbered.

    Returns
    -------
    pandas.DataFrame
        One row per object, by ascending ``label``, with the columns of `columns.measured_columns`, which
        `columns.column_help` explains. Sizes are in `unit`, positions in pixels, intensities as in the image. Objects
        in a plane have perimeter and circularity; those in a volume have surface and sphericity.
    """
    import pandas as pd

    columns = measured_columns(axes, spacing, unit, _channel_names(labels, image, channels))
    boxes = object_boxes(labels) if boxes is None else boxes
    # Measure in the order of positions, since lazy pixels are cached for a while only.
    by_place = sorted(boxes.items(), key=lambda item: [part.start for part in item[1]])
    rows = [row for label, box in by_place for row in _rows(labels, label, box, spacing, image)]
    rows.sort(key=lambda row: row[: 1 + len(fixed_axes(axes, spacing))])
    table = pd.DataFrame(np.array(rows, float).reshape(len(rows), len(columns)), columns=columns)
    whole = ["label", "pixels", *fixed_axes(axes, spacing), *corner_names(axes, spacing)]
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
    channels: Sequence[str] = (),
) -> pd.DataFrame:
    """Update a table after an edit, by measuring the touched objects only.

    A table in another unit, or with other channels, is measured as a whole, since no table mixes units.

    Parameters
    ----------
    ids : collection of int
        Objects that lost or gained pixels.
    edited : iterable of tuple of slice
        Boxes of the array that contain all changes.
    channels : sequence of str
        As for `measure`.
    """
    import pandas as pd

    columns = measured_columns(axes, spacing, unit, _channel_names(labels, image, channels))
    if list(table) != columns:
        return measure(labels, axes, spacing, unit, image, channels=channels)
    touched = table["label"].isin(ids)
    boxes: dict[int, SliceBox] = {}
    for label, box in boxes_of(table[touched], axes, spacing):
        _widen(boxes, label, box)
    for box in edited:
        for label, part in object_boxes(labels[box]).items():
            if label in ids:
                moved = tuple(slice(p.start + b.start, p.stop + b.start) for p, b in zip(part, box, strict=True))
                _widen(boxes, label, moved)
    new = measure(labels, axes, spacing, unit, image, boxes, channels)
    kept = table[~touched]
    both = new if kept.empty else kept if new.empty else pd.concat([kept, new])
    return both.sort_values(["label", *fixed_axes(axes, spacing)], kind="stable", ignore_index=True)


def boxes_of(table: pd.DataFrame, axes: str, spacing: Sequence[float | None]) -> list[tuple[int, SliceBox]]:
    """Return label and bounding box of each row of a table.

    Parameters
    ----------
    axes : str
        A letter for each axis of the label image.

    Returns
    -------
    list of (int, tuple of slice)
        Labels and boxes in the order of the rows.
    """
    rows = table[["label", *_extent(axes, spacing)]].to_numpy(np.int64).tolist()
    return [
        (label, tuple(slice(a, b + 1) for a, b in zip(ends[: len(axes)], ends[len(axes) :], strict=True)))
        for label, *ends in rows
    ]


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
        tight = own[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))]
        start = np.array([box[i].start for i in rest])
        centre = places.mean(0)
        size = len(places) * float(np.prod(sizes))
        solidity, feret = hull_measures(tight, sizes)
        outline = []
        if len(sizes) == 2:
            length = perimeter(tight, sizes)
            outline = [length, circularity(size, length)]
        else:
            area = surface(tight, sizes)
            outline = [area, sphericity(size, area)]
        grey = []
        if values is not None:
            here = tuple(0 if isinstance(k, slice) else k - part.start for k, part in zip(where, box, strict=True))
            of_all = values[tuple(slice(None) if i in rest else k for i, k in enumerate(here))]
            grey = _intensities(of_all[own])
        lengths = [*axis_lengths((places - centre) * sizes), _equivalent_diameter(size, len(sizes)), feret]
        yield [
            label, *at, size, len(places), *(centre + start), *outline, solidity, *lengths, *grey,
            *(low + start), *(high + start),
        ]  # fmt: skip


def _intensities(values: NDArray[Any]) -> list[float]:
    """Return mean, lowest, highest, sum and standard deviation of each channel of (N,) or (N, C) grey values."""
    exact = values.astype(float, copy=False)
    # The same results as NumPy's mean and std, with one sum instead of three.
    total = exact.sum(0)
    mean = total / len(exact)
    apart = exact - mean
    rows = [mean, exact.min(0), exact.max(0), total, np.sqrt((apart * apart).sum(0) / len(exact))]
    return np.array(rows).T.ravel().tolist()


def _equivalent_diameter(size: float, dimensions: int) -> float:
    """Return the diameter of the disc or ball of the same size."""
    return float(np.sqrt(4 * size / np.pi)) if dimensions == 2 else float(np.cbrt(6 * size / np.pi))


def _channel_names(labels: NDArray[Any], image: GreyValues | None, names: Sequence[str]) -> Sequence[str] | None:
    """Return the names of an image's channels for columns, or numbers if no names fit; None without an image."""
    if image is None:
        return None
    count = image.shape[labels.ndim :]
    return [str(i) for i in range(count[0])] if count and len(names) != count[0] else names if count else ()


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
