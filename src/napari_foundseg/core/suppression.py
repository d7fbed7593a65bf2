"""Select masks by thresholds and suppression of boxes, as SAM's automatic mask generator does.

It needs no model and no torch, so a moved threshold takes effect at once. Kirillov et al., Segment Anything, ICCV 2023,
appendix B; `segment_anything.SamAutomaticMaskGenerator`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.masks import Mask, iou

__all__ = ["boxes_of", "select", "suppress", "suppress_masks"]


def select(
    masks: Sequence[Mask], *, pred_iou_thresh: float, stability_score_thresh: float, box_nms_thresh: float
) -> list[Mask]:
    """Return the masks that SAM's automatic mask generator keeps.

    Parameters
    ----------
    masks : sequence of Mask
        Masks of any number of slices. Suppression acts within each slice.
    pred_iou_thresh : float
        Predicted IoU that a mask must exceed; 0 keeps all.
    stability_score_thresh : float
        Stability that a mask must reach; 0 keeps all.
    box_nms_thresh : float
        Largest IoU that the boxes of two kept masks may have.

    Returns
    -------
    list of Mask
        Slice by slice, the highest predicted IoU first.
    """
    iou = np.array([m.predicted_iou for m in masks], np.float32)
    stable = np.array([m.stability_score for m in masks], np.float32)
    passing = (iou > np.float32(pred_iou_thresh)) if pred_iou_thresh > 0 else np.ones(len(masks), bool)
    if stability_score_thresh > 0:
        passing &= stable >= np.float32(stability_score_thresh)
    of_slice: dict[tuple[int, ...], list[int]] = {}
    for i in np.flatnonzero(passing).tolist():
        of_slice.setdefault(masks[i].index, []).append(i)
    kept: list[Mask] = []
    for numbers in of_slice.values():
        chosen = [masks[i] for i in numbers]
        kept += [chosen[i] for i in suppress(boxes_of(chosen), iou[numbers], box_nms_thresh)]
    return kept


def boxes_of(masks: Sequence[Mask]) -> NDArray[np.float32]:
    """Return the boxes of masks.

    Returns
    -------
    (K, 4) ndarray of float32
        (x0, y0, x1, y1): first and last column and row, in the order of the reference.
    """
    return np.array([m.box for m in masks], np.float32).reshape(-1, 4)[:, [1, 0, 3, 2]]


def suppress(boxes: NDArray[np.float32], scores: NDArray[Any], threshold: float) -> list[int]:
    """Drop each box whose IoU with a better kept box exceeds a threshold, as ``torchvision.ops.nms`` does.

    Parameters
    ----------
    boxes : (K, 4) ndarray of float32
        (x0, y0, x1, y1).
    scores : (K,) ndarray of float
        The box of higher score is kept; of equal ones the earlier.
    threshold : float
        Largest IoU that two kept boxes may have. An IoU equal to it counts as its float32 rounding: 9/30 exceeds 0.3.

    Returns
    -------
    list of int
        Numbers of the kept ones, best first.
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    x0, y0, x1, y1 = boxes[order].T
    areas = (x1 - x0) * (y1 - y0)
    left = np.ones(len(order), bool)
    kept = []
    for i in range(len(order)):
        if not left[i]:
            continue
        kept.append(int(order[i]))
        rest = i + 1 + np.flatnonzero(left[i + 1 :])
        width = np.minimum(x1[i], x1[rest]) - np.maximum(x0[i], x0[rest])
        height = np.minimum(y1[i], y1[rest]) - np.maximum(y0[i], y0[rest])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        with np.errstate(invalid="ignore"):
            # Two boxes without an area give NaN, which suppresses nothing.
            # Compare as float64, as torchvision does: an IoU equal to the threshold is rounded, and may exceed it.
            overlap = (shared / (areas[i] + areas[rest] - shared)).astype(np.float64)
            left[rest] = ~(overlap > threshold)
    return kept


def suppress_masks(masks: Sequence[Mask], scores: Sequence[float], threshold: float) -> list[int]:
    """Drop each mask whose IoU with a better kept mask exceeds a threshold.

    Parameters
    ----------
    masks : sequence of Mask
        Masks of one slice.
    scores : sequence of float
        The higher is kept; of equal ones the earlier.
    threshold : float
        Largest IoU that two kept masks may have.

    Returns
    -------
    list of int
        Numbers of the kept ones, best first.
    """
    boxes = np.array([mask.box for mask in masks], int).reshape(-1, 4)
    kept: list[int] = []
    for i in np.argsort(-np.asarray(scores, float), kind="stable").tolist():
        y0, x0, y1, x1 = boxes[kept].T
        near = (y0 <= boxes[i, 2]) & (y1 >= boxes[i, 0]) & (x0 <= boxes[i, 3]) & (x1 >= boxes[i, 1])
        if all(iou(masks[kept[j]], masks[i]) <= threshold for j in np.flatnonzero(near)):
            kept.append(i)
    return kept
