"""Writing masks into a Labels layer as objects, each time as one undoable step."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import PromptError
from napari_foundseg.core.labels import Overlap, add_mask
from napari_foundseg.core.masks import Mask
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.widgets.layers.object_features import read_facts

if TYPE_CHECKING:
    from napari_foundseg.widgets.editing.labels_history import LabelsHistory
    from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer
    from napari_foundseg.widgets.layers.overlay import Overlay

__all__ = ["add_objects", "clicked_others", "object_at", "outline_prompt", "refine_object"]

#: Facts from a run that are no longer true after the outline changes.
_OF_A_MASK = ("area", "y0", "x0", "y1", "x1")


def add_objects(
    history: LabelsHistory,
    overlay: Overlay,
    masks: Sequence[Mask],
    overlap: Overlap,
    name: str = "accept",
    taken: Mapping[int, Collection[int]] | None = None,
) -> list[int]:
    """Write masks as new objects, with their scores, in one step; return the new ids.

    `taken` maps a mask's label to other objects. With *keep others*, the mask may still take pixels from these, but no
    more than half of each: a mask that covers more of an object is that same object again.
    """
    first = history.free_id()
    known: dict[int, dict[str, Any]] = {}
    if not masks:
        return []
    boxes = [overlay.box(mask) for mask in masks]
    low = [min(box[axis].start for box in boxes) for axis in range(history.layer.ndim)]
    high = [max(box[axis].stop for box in boxes) for axis in range(history.layer.ndim)]
    around = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    # A copy with a dtype that can hold any id.
    values = np.array(history.layer.data[around], np.uint64)
    for mask, box in zip(masks, boxes, strict=True):
        label = first + len(known)
        inside = values[tuple(slice(p.start - a, p.stop - a) for p, a in zip(box, low, strict=True))]
        part = overlay.plane(inside, (0,) * len(mask.index))
        if overlap == "keep others":
            whole = overlay.plane(np.asarray(history.layer.data), mask.index)
            for other in (taken or {}).get(mask.label, ()):
                shared = mask.crop & (part == other)
                if 2 * np.count_nonzero(shared) <= np.count_nonzero(whole == other):
                    part[shared] = 0
        if add_mask(part, mask.crop, label, overlap):
            known[label] = _score_facts(mask)
    history.write(name, [(around, values)], known)
    return list(known)


def _score_facts(mask: Mask) -> dict[str, Any]:
    """Return the scores of a mask as facts about its object."""
    return {"predicted_iou": float(mask.predicted_iou), "stability_score": float(mask.stability_score)}


def outline_prompt(
    history: LabelsHistory | None, target: ImageOnLayer, prompts: Sequence[Prompt], label: int | None
) -> tuple[int, Prompt]:
    """Return a prompt for a new outline of an accepted object: the clicks, and the object's pixels as a mask.

    If `label` is None, the object is the one under the first point. If the point is on background, it is the nearest
    object, provided that it is no farther away than its own radius: a click may be on a missing part of the object.

    Returns
    -------
    int
        The id of the object.
    Prompt
        The prompt with the object's mask.

    Raises
    ------
    PromptError
        If the object cannot be determined.
    """
    if history is None:
        raise PromptError("There are no accepted objects to refine yet. Choose 'one new object' first.")
    if len(prompts) != 1 or not prompts[0].points:
        raise PromptError("To refine, click on one accepted object; shapes are for new objects.")
    index, flat = prompts[0].in_plane(target.image.shape, target.image.label_axes)
    plane = target.overlay.plane(np.asarray(history.layer.data), index)
    if label is None:
        label = object_at(plane, flat.points[0])
    if not label:
        raise PromptError("There is no accepted object under the first point. Press Clear and click on one.")
    mask = plane == label
    if not mask.any():
        raise PromptError(f"Object {label} is not on this slice. Press Clear and click on one that is.")
    return label, Prompt(prompts[0].points, prompts[0].labels, mask=mask)


def object_at(plane: NDArray[Any], point: Sequence[float]) -> int:
    """Return the object that a click on it or near it refers to; 0 for none.

    A click on background refers to the nearest object if that is no farther away than its own radius.
    """
    at = tuple(int(np.floor(c + 0.5)) for c in point)
    if plane[at]:
        return int(plane[at])
    rows, columns = np.nonzero(plane)
    if not len(rows):
        return 0
    away = np.hypot(rows - point[0], columns - point[1])
    nearest = int(away.argmin())
    label = int(plane[rows[nearest], columns[nearest]])
    radius = np.sqrt(np.count_nonzero(plane == label) / np.pi)
    return label if away[nearest] <= radius else 0


def clicked_others(history: LabelsHistory, target: ImageOnLayer, prompt: Prompt, label: int) -> set[int]:
    """Return the objects other than `label` that have a positive click of a prompt on them."""
    index, flat = prompt.in_plane(target.image.shape, target.image.label_axes)
    plane = target.overlay.plane(np.asarray(history.layer.data), index)
    signs = flat.labels or ()
    under = (plane[tuple(int(np.floor(c + 0.5)) for c in p)] for p, s in zip(flat.points, signs, strict=True) if s)
    return {int(i) for i in under} - {0, label}


def refine_object(
    history: LabelsHistory,
    overlay: Overlay,
    mask: Mask,
    label: int,
    overlap: Overlap,
    taken: Collection[int] = (),
) -> bool:
    """Replace the outline of an object on one slice, in one step; return whether anything changed.

    `overlap` decides whether the object may take pixels of other objects. It may always take pixels of the objects in
    `taken`, even with *keep others*. Pixels that it loses become background; with *fill free only* it loses none.
    """
    plane = overlay.plane(history.layer.data, mask.index)
    rows, columns = np.nonzero(plane == label)
    y0, x0, y1, x1 = mask.box
    if len(rows):
        y0 = min(y0, int(rows.min()))
        x0 = min(x0, int(columns.min()))
        y1 = max(y1, int(rows.max()))
        x1 = max(x1, int(columns.max()))
    around = Mask((y0, x0, y1, x1), np.zeros((y1 - y0 + 1, x1 - x0 + 1), bool), index=mask.index)
    box = overlay.box(around)
    values = np.array(history.layer.data[box])
    region = overlay.plane(values, (0,) * len(mask.index))
    if overlap != "fill free only":
        region[region == label] = 0
    top = mask.box[0] - y0
    left = mask.box[1] - x0
    inside = region[top : top + mask.crop.shape[0], left : left + mask.crop.shape[1]]
    if overlap == "keep others" and taken:
        inside[mask.crop & np.isin(inside, list(taken))] = 0
    if not add_mask(inside, mask.crop, label, overlap):
        return False
    kept = {k: v for k, v in read_facts(history.layer, [label]).get(label, {}).items() if k not in _OF_A_MASK}
    return history.write("refine", [(box, values)], {label: kept | _score_facts(mask)})
