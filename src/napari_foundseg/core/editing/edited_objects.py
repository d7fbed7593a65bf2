"""Facts about edited objects: geometry is measured again, and a model's scores are dropped."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.editing.difference import SliceBox
from napari_foundseg.core.editing.object_boxes import box_of, object_boxes
from napari_foundseg.core.editing.object_facts import Facts
from napari_foundseg.core.measuring.columns import is_measured

__all__ = ["SCORES", "edited_facts"]

#: Scores of a model, which are not valid for an object that was edited since.
SCORES = frozenset(
    {"predicted_iou", "stability_score", "certainty", "class_score", "score", "best_score", "confidence", "probability"}
)
_CORNERS = ("y0", "x0", "y1", "x1")
#: With more objects than this, all boxes are found in one pass over the label image.
_MANY = 32


def edited_facts(
    labels: NDArray[Any],
    axes: str,
    columns: Collection[str],
    before: Facts,
    given: Facts,
    edited: Collection[int],
    boxes: Iterable[SliceBox],
    size: Callable[[int], int],
) -> dict[int, dict[str, Any]]:
    """Return the facts about edited objects.

    Parameters
    ----------
    labels : ndarray of int
        The label image after the edit.
    axes : str
        A letter for each of its axes.
    columns : collection of str
        The columns of the table of facts; only these are measured.
    before : mapping of int to mapping of str
        The former facts. They are kept, except measurements and scores of a model.
    given : mapping of int to mapping of str
        Facts that the edit itself sets for some of the objects. They replace the former facts and are all kept.
    edited : collection of int
        Ids of the edited objects that have pixels.
    boxes : iterable of tuple of slice
        Boxes that contain all edited pixels.
    size : callable
        Returns the number of pixels of an object.
    """
    kept = {
        i: dict(given[i]) if i in given else {k: v for k, v in before.get(i, {}).items() if _stays(k, columns)}
        for i in edited
    }
    measured = [name for name in columns if name in ("area", "pixels", *_CORNERS, *_slice_columns(axes, columns))]
    if not measured:
        return kept
    found = object_boxes(labels) if len(edited) > _MANY else {}
    boxes = list(boxes)
    for label in edited:
        if label not in found:
            found[label] = _find_box(labels, axes, label, before.get(label, {}), boxes, size(label))
        geometry = _geometry(found[label], axes, size(label))
        kept[label] |= {name: geometry[name] for name in measured}
    return kept


def _stays(name: str, columns: Collection[str]) -> bool:
    """Tell whether a fact is still true.

    Other measurements, such as ``volume (µm³)``, are dropped, since this module does not repeat them.
    """
    centroid = "y" in columns and name in ("z", "y", "x")
    return name not in SCORES and not centroid and not is_measured(name)


def _slice_columns(axes: str, columns: Collection[str]) -> list[str]:
    """Return the columns of an object's first slice. In a table with a column ``y``, they are a centroid: none."""
    return [] if "y" in columns else [axis.lower() for axis in axes if axis not in "YXC"]


def _geometry(box: SliceBox, axes: str, pixels: int) -> dict[str, int]:
    first = {axis.lower(): part.start for axis, part in zip(axes, box, strict=True)}
    last = {axis.lower(): part.stop - 1 for axis, part in zip(axes, box, strict=True)}
    corners = {f"{axis}{end}": at[axis] for end, at in enumerate((first, last)) for axis in "yx"}
    return {"area": pixels, "pixels": pixels, **first, **corners}


def _find_box(
    labels: NDArray[Any], axes: str, label: int, known: Mapping[str, Any], boxes: list[SliceBox], pixels: int
) -> SliceBox:
    """Return the bounding box of an object. It is searched first where the object was and where pixels were edited."""
    likely = _likely_region(labels.shape, axes, known, boxes)
    part = labels[likely]
    if np.count_nonzero(part == label) == pixels and (box := box_of(part, [label])) is not None:
        return tuple(slice(b.start + r.start, b.stop + r.start) for b, r in zip(box, likely, strict=True))
    return object_boxes(labels).get(label, likely)


def _likely_region(shape: tuple[int, ...], axes: str, known: Mapping[str, Any], boxes: list[SliceBox]) -> SliceBox:
    region = []
    for i, (axis, size) in enumerate(zip(axes.lower(), shape, strict=True)):
        starts = [box[i].start for box in boxes]
        stops = [box[i].stop for box in boxes]
        if f"{axis}0" in known and f"{axis}1" in known:
            starts.append(int(known[f"{axis}0"]))
            stops.append(int(known[f"{axis}1"]) + 1)
        elif known and axis not in "yx":
            # The facts have only the first slice of an object.
            starts, stops = [0], [size]
        region.append(slice(max(0, min(starts, default=0)), min(size, max(stops, default=size))))
    return tuple(region)
