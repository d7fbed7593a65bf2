"""The same edit of many objects, as one piece."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from napari_foundseg.core.editing.edit_progress import EditProgress
from napari_foundseg.core.editing.edits import Pieces
from napari_foundseg.core.editing.object_boxes import box_of, object_boxes, wider
from napari_foundseg.core.errors import PromptError

__all__ = ["edit_each"]

#: With more objects than this, all boxes are found in one pass over the label image.
_FEW = 8
#: Most objects that an error names.
_NAMED = 5


def edit_each(
    labels: NDArray[Any],
    ids: Sequence[int],
    edit: Callable[[NDArray[Any], int], Pieces],
    reach: Sequence[int],
    progress: EditProgress | None = None,
) -> Pieces:
    """Edit objects one after the other, so that each edit sees the results of those before.

    Parameters
    ----------
    labels : ndarray of int
        The label image.
    ids : sequence of int
        The objects.
    edit : callable
        Takes a label image and an object, and returns pieces. The label image is only a part around the object.
    reach : sequence of int
        Largest distance in pixels, along each axis, at which `edit` reads or writes outside the object's bounding box.
    progress : EditProgress, optional
        Gets the share of objects that are done.

    Returns
    -------
    list of (tuple of slice, ndarray)
        One piece for all objects.

    Raises
    ------
    PromptError
        If there is no such object, or `edit` raises it.
    """
    found = (
        object_boxes(labels) if len(ids) > _FEW else {i: box for i in ids if (box := box_of(labels, [i])) is not None}
    )
    if missing := [i for i in ids if i not in found]:
        raise PromptError(f"There is no object {', '.join(map(str, missing[:_NAMED]))}. Click on an object.")
    boxes = [wider(found[i], reach, labels.shape) for i in ids]
    if not boxes:
        return []
    low = [min(box[axis].start for box in boxes) for axis in range(labels.ndim)]
    high = [max(box[axis].stop for box in boxes) for axis in range(labels.ndim)]
    whole = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    values = labels[whole].copy()
    for number, (label, box) in enumerate(zip(ids, boxes, strict=True)):
        if progress is not None:
            progress.report(number / len(ids))
        part = values[tuple(slice(p.start - a, p.stop - a) for p, a in zip(box, low, strict=True))]
        for where, changed in edit(part, label):
            part[where] = changed
    return [(whole, values)]
