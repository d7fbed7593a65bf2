"""`Painting`: numbered masks that are drawn as a label image when one is needed.

A mask takes a few kilobytes; the label image is as large as the whole stack.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.labels import label_dtype, plane_view
from napari_foundseg.core.masks import Mask, paint

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Painting"]


@dataclass(frozen=True, eq=False)
class Painting:
    """Masks with the ids of their objects. Where they overlap, the rule of `core.masks` decides.

    Parameters
    ----------
    shape : tuple of int
        The shape of the label image.
    axes : str
        A letter for each axis of it.
    masks : tuple of Mask
        Masks of any slices.
    ids : tuple of int, optional
        The object of each mask. An object may have several masks, each in another slice. By default mask i is object
        i + 1.
    """

    shape: tuple[int, ...]
    axes: str
    masks: tuple[Mask, ...]
    ids: tuple[int, ...] | None = None

    def draw(self) -> NDArray[np.unsignedinteger[Any]]:
        """Draw and return the label image."""
        labels = np.zeros(self.shape, label_dtype(max(self._ids, default=0)))
        for index, group in self._by_slice().items():
            paint(plane_view(labels, self.axes, index), group)
        return labels

    def table(self) -> pd.DataFrame:
        """Measure the objects as they would be drawn, without drawing the whole label image.

        Returns
        -------
        pandas.DataFrame
            The columns of `core.object_table.object_table`. A mask without any pixel left keeps its row. An object in
            several slices has one row: the first of them, its total area, and the mean of its scores.
        """
        from napari_foundseg.core.object_table import table_of

        count = len(self.masks)
        areas = np.zeros(count, np.int64)
        boxes = np.tile(np.array([0, 0, -1, -1]), (count, 1))
        for group in self._by_slice(range(1, count + 1)).values():
            _measure(group, areas, boxes)
        slices = [axis for axis in self.axes if axis not in "YX"]
        table = table_of(
            areas,
            boxes,
            {axis: [mask.index[k] for mask in self.masks] for k, axis in enumerate(slices)},
            predicted_iou=[mask.predicted_iou for mask in self.masks],
            stability_score=[mask.stability_score for mask in self.masks],
        )
        return table if self.ids is None else _by_object(table.assign(label=self.ids), [a.lower() for a in slices])

    @property
    def _ids(self) -> Sequence[int]:
        return range(1, len(self.masks) + 1) if self.ids is None else self.ids

    def _by_slice(self, ids: Sequence[int] | None = None) -> dict[tuple[int, ...], list[tuple[int, Mask]]]:
        groups: dict[tuple[int, ...], list[tuple[int, Mask]]] = defaultdict(list)
        for label, mask in zip(self._ids if ids is None else ids, self.masks, strict=True):
            groups[mask.index].append((label, mask))
        return groups


def _by_object(table: pd.DataFrame, slices: Sequence[str]) -> pd.DataFrame:
    """Merge a table with one row per mask into one row per object. Drop empty masks of objects that have others."""
    full = table["area"] > 0
    table = table[full | ~table["label"].isin(table.loc[full, "label"])]
    first = dict.fromkeys(("class", "y0", "x0", *slices), "min")
    rules = first | dict.fromkeys(("y1", "x1"), "max") | dict.fromkeys(("predicted_iou", "stability_score"), "mean")
    made = table.groupby("label", as_index=False).agg({**rules, "area": "sum"})
    return made[list(table.columns)]


def _measure(group: list[tuple[int, Mask]], areas: NDArray[np.int64], boxes: NDArray[np.int64]) -> None:
    """Fill in area and box of the masks of one slice, on a canvas as large as their common bounding box."""
    from scipy import ndimage

    full = [(label, mask) for label, mask in group if mask.crop.size]
    if not full:
        return
    y, x = np.min([mask.box[:2] for _, mask in full], axis=0)
    size = np.max([mask.box[2:] for _, mask in full], axis=0) - (y, x) + 1
    canvas = np.zeros(size, np.int64)
    paint(canvas, [(i, mask.moved(-y, -x)) for i, (_, mask) in enumerate(full, 1)])
    for i, part in enumerate(ndimage.find_objects(canvas, max_label=len(full))):
        if part is not None:
            rows, columns = part
            areas[full[i][0] - 1] = np.count_nonzero(canvas[part] == i + 1)
            boxes[full[i][0] - 1] = rows.start + y, columns.start + x, rows.stop - 1 + y, columns.stop - 1 + x
