"""`Segmentation`: what every task returns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.classes import OBJECT, ClassTable
from napari_foundseg.core.painting import Painting

if TYPE_CHECKING:
    import pandas as pd

    from napari_foundseg.core.masks import Mask

__all__ = ["TABLE_COLUMNS", "Segmentation", "named_classes", "object_table", "table_of"]

#: Columns of every object table; the slice's indices (``z``, ``t``) follow where there are slices.
TABLE_COLUMNS = ("label", "class", "predicted_iou", "stability_score", "y0", "x0", "y1", "x1", "area")


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Labels and what is known of each object.

    Parameters
    ----------
    pixels : ndarray of unsigned int, or Painting
        The labels, or the masks that they are drawn of when they are first asked for.
    table : pandas.DataFrame
        A row per object with `TABLE_COLUMNS`: boxes are inclusive, the area is in pixels of `labels`.
    classes : ClassTable
        What the numbers in the table's column ``class`` and in `semantic` mean.
    provenance : dict
        JSON-able; enough to run the task again.
    masks : tuple of Mask, optional
        Candidates before the overlap rule, with their scores.
    maps : dict of tuple to ndarray, optional
        Float maps of each slice from which the labels derive: ``{index: (C, M, N) array}``, such as one map a concept.
    semantic : ndarray of unsigned int, optional
        Class of each pixel, the shape of `labels`.
    """

    pixels: NDArray[Any] | Painting
    table: pd.DataFrame
    classes: ClassTable = OBJECT
    provenance: dict[str, Any] = field(default_factory=dict)
    masks: tuple[Mask, ...] | None = None
    maps: dict[tuple[int, ...], NDArray[Any]] | None = None
    semantic: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        if missing := [c for c in TABLE_COLUMNS if c not in self.table]:
            raise ValueError(f"the table lacks the columns {missing}")
        if not self.table["label"].is_unique:
            raise ValueError("the table has two rows for one label")
        if not isinstance(self.pixels, Painting):
            _check_labels(self.pixels, self.table)
        if self.semantic is not None and self.semantic.shape != self.pixels.shape:
            raise ValueError(f"semantic has shape {self.semantic.shape}, labels {self.pixels.shape}")
        if unknown := set(self.table["class"]) - {0, *self.classes.ids}:
            raise ValueError(f"the table has objects of classes {sorted(unknown)}, which the class table lacks")
        json.dumps(self.provenance)

    @cached_property
    def labels(self) -> NDArray[Any]:
        """The image's shape without channels, uint16 or wider; 0 is background."""
        return self.pixels.draw() if isinstance(self.pixels, Painting) else self.pixels

    def __len__(self) -> int:
        return int((self.table["area"] > 0).sum())


def _check_labels(labels: NDArray[Any], table: pd.DataFrame) -> None:
    if labels.dtype.kind != "u" or labels.dtype.itemsize < 2 or labels.ndim < 2:
        raise ValueError(f"labels must be uint16 or wider with 2 or more axes, got {labels.dtype} "
                         f"of shape {labels.shape}")  # fmt: skip
    largest = int(labels.max(initial=0))
    if largest and largest > int(table["label"].max() if len(table) else 0):
        raise ValueError(f"label {largest} has no row in the table")


def object_table(
    labels: NDArray[Any],
    axes: str,
    *,
    predicted_iou: Sequence[float] | NDArray[Any],
    stability_score: Sequence[float] | NDArray[Any],
    classes: Sequence[int] | NDArray[Any] | None = None,
) -> pd.DataFrame:
    """Measure every object of a label image; one that lies in several slices has the first of them in its row.

    Parameters
    ----------
    labels : ndarray of unsigned int
        Ids 1 to n.
    axes : str
        The axes of `labels`.
    predicted_iou, stability_score : (n,) sequence of float
        Scores of objects 1 to n; their length says how many rows there are, empty objects included.
    classes : (n,) sequence of int, optional
        The class of each object; 1 by default.

    Returns
    -------
    pandas.DataFrame
        One row an object, in order of its label.
    """
    from scipy import ndimage

    n = len(predicted_iou)
    areas = np.bincount(labels.ravel(), minlength=n + 1)[1 : n + 1]
    found = ndimage.find_objects(labels.astype(np.int64, copy=False), max_label=n) if n else []
    y, x = axes.index("Y"), axes.index("X")
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
    """Lay out the table of objects 1 to n.

    Parameters
    ----------
    areas : (n,) ndarray of int
        Pixels.
    boxes : (n, 4) ndarray of int
        (y0, x0, y1, x1), both included.
    slices : mapping of str to (n,) sequence of int
        For each axis of slices where the objects lie.
    predicted_iou, stability_score : (n,) sequence of float
        Scores.
    classes : (n,) sequence of int, optional
        The class of each object; 1 by default.

    Returns
    -------
    pandas.DataFrame
        With `TABLE_COLUMNS` and a column for each axis of slices.
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
        With the column ``class``.
    classes : ClassTable
        The classes.

    Returns
    -------
    pandas.DataFrame
        With the column ``class_name``.
    """
    return table.assign(class_name=[classes.name_of(int(number)) for number in table["class"]])
