"""Boxes of objects like the examples, from a model that compares places with them itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.models.protocols.words import ExampleBoxes
from napari_foundseg.tasks.classes.box_search import without_repeats
from napari_foundseg.tasks.classes.searched_windows import SearchedWindows
from napari_foundseg.tasks.settings import Poll

__all__ = ["boxes_like_examples"]

#: IoU above which two boxes are of one object, as chosen by the authors.
_SAME = 0.3
#: Distance in pixels from the border of a tile within which a box counts as cut; other tiles show more of it.
_MARGIN = 2


def boxes_like_examples(
    windows: SearchedWindows,
    model: ExampleBoxes,
    vectors: NDArray[np.float32],
    wanted: int,
    floor: float,
    poll: Poll,
    share: Callable[[float], None],
) -> tuple[NDArray[np.float64], NDArray[np.float32], bool]:
    """Return the boxes of objects like the examples, one per object, best first.

    Parameters
    ----------
    windows : SearchedWindows
        Windows to search.
    model : ExampleBoxes
        The model.
    vectors : (K, D) ndarray of float32
        Vectors of the examples, then of the negatives.
    wanted : int
        Number of vectors that are examples.
    floor : float
        Least score.
    poll : callable
        Called before each window; may raise to stop.
    share : callable
        Called with the share done.

    Returns
    -------
    boxes : (N, 4) ndarray of float
        (y0, x0, y1, x1), both ends included, in pixels of the slice.
    scores : (N,) ndarray of float32
        Score of each box.
    full : bool
        Whether a window held as many boxes as the model can return.
    """
    parts = [(np.empty((0, 4)), np.empty(0, np.float32), np.empty(0, np.int64))]
    full = False
    for window, rgb in windows.pictures(poll, share):
        boxes, scores, owners = model.boxes_like(rgb, vectors, floor)
        full |= len(boxes) >= model.most_boxes
        boxes = boxes + np.tile(window[:2], 2)
        kept = np.array([not windows.is_cut(box, window, _MARGIN) for box in boxes.tolist()], bool)
        parts.append((boxes[kept], scores[kept], owners[kept]))
    boxes, scores, owners = (np.concatenate(column) for column in zip(*parts, strict=True))
    kept_ones = [i for i in without_repeats(boxes, scores, _SAME) if owners[i] < wanted]
    return boxes[kept_ones], scores[kept_ones], full
