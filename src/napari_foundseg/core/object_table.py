"""Tables of objects: one row per object, made from masks or a label image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.classes.class_table import ClassTable

if TYPE_CHECKING:
    import pandas as pd


__all__ = ["TABLE_COLUMNS", "named_classes", "object_table", "table_of"]


#: Columns of every object table. Where there are slices, their indices (``z``, ``t``) follow.
TABLE_COLUMNS = ("label", "class", "predicted_iou", "stability_score", "y0", "x0", "y1", "x1", "area")


def object_table(
    labels: NDArray[Any],
    axes: str,
    *,
    predicted_iou: Sequence[float] | NDArray[Any],
    stability_score: Sequence[float] | NDArray[Any],
    classes: Sequence[int] | NDArray[Any] | None = None,
) -> pd.DataFrame:
    """Measure every object of a label image. The row of an object in several slices has the first of them.

    Parameters
    ----------
    axes : str
        The axes of `labels`.
    predicted_iou, stability_score : (n,) sequence of float
        Scores of objects 1 to n. Their length is the number of rows, empty objects included.
    classes : (n,) sequence of int, optional
        The class of each object; 1 by default.

    Returns
    -------
    pandas.DataFrame
        One row per object, in order of the labels.
    """
    from scipy import ndimage

    n = len(predicted_iou)
    areas = np.bincount(labels.ravel(), minlength=n + 1)[1 : n + 1]
    found = ndimage.find_objects(labels.astype(np.int64, copy=False), max_label=n) if n else []
    y = axes.index("Y")
    x = axes.index("X")
    boxes = np.array([_corners(part, y, x) for part in found], np.int64).reshape(n, 4)
    slices = {a: [part[axes.index(a)].start if part else 0 for part in found] for a in axes if a not in "YX"}
    return table_of(areas, boxes, slices, predicted_iou=predicted_iou, stability_score=stability_score, classes=classes)


def table_of(
    areas: NDArray[Any],
    boxes: NDArray[Any],
    slices: Mapping[str, Sequence[int]],
    *,
    predicted_iou: Sequence[float] | NDArray[Any],
    stability_score: Sequence[float] | NDArray[Any],
    classes: Sequence[int] | NDArray[Any] | None = None,
) -> pd.DataFrame:
    """Make the table of objects 1 to n from their areas and boxes.

    Parameters
    ----------
    boxes : (n, 4) ndarray of int
        (y0, x0, y1, x1), both included.
    slices : mapping of str to (n,) sequence of int
        The objects' positions along each axis of slices.
    classes : (n,) sequence of int, optional
        The class of each object; 1 by default.

    Returns
    -------
    pandas.DataFrame
        The table with `TABLE_COLUMNS` and a column for each axis of slices.
    """
    import pandas as pd

    columns: dict[str, Any] = {
        "label": np.arange(1, len(areas) + 1),
        "class": np.ones(len(areas), np.int64) if classes is None else np.asarray(classes, np.int64),
        "predicted_iou": np.asarray(predicted_iou, float),
        "stability_score": np.asarray(stability_score, float),
        **{name: boxes[:, i] for i, name in enumerate(("y0", "x0", "y1", "x1"))},
        "area": areas,
        **{axis.lower(): np.asarray(at, np.int64) for axis, at in slices.items()},
    }
    return pd.DataFrame(columns)


def _corners(part: tuple[slice, ...] | None, y: int, x: int) -> tuple[int, int, int, int]:
    if part is None:
        return 0, 0, -1, -1
    return part[y].start, part[x].start, part[y].stop - 1, part[x].stop - 1


def named_classes(table: pd.DataFrame, classes: ClassTable) -> pd.DataFrame:
    """Add the names of the objects' classes to an object table.

    Parameters
    ----------
    table : pandas.DataFrame
        A table with the column ``class``.
    """
    return table.assign(class_name=[classes.name_of(int(number)) for number in table["class"]])
