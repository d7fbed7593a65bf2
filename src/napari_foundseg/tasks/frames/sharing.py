"""Pixels between objects that touch: nothing separates them in the picture, so their shapes in nearby slices decide.

A model is careful where nothing separates two objects: it leaves a gap between them, or takes a piece of the neighbour.
Such errors add up from slice to slice. A pixel that is near both objects and as bright as they are belongs to the
object in which it was deeper, or to which it was nearer, in the slice before. The model and the grey values move the
border by some pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_foundseg.core.masks import Box, Mask
from napari_foundseg.tasks.windows import tiling

__all__ = ["in_window", "looks_like", "share_pixels"]

#: Standard deviations by which an object must differ from the background for its grey values to count.
_CLEARLY = 2.0
#: Share of an object's radius within which a pixel is near it, and the least number of pixels.
_REACH = 0.5
_LEAST_REACH = 4.0
#: Largest effect of the model's logit, and of grey values, in pixels by which they move a border.
_MODEL = 1.0
_GREY = 1.5
#: Share of the smaller of two masks in the other above which they are not neighbours.
_SAME_PLACE = 0.5
#: Least percentage of the pixels of a window that are background.
_GROUND = 2
#: Width, in pixels, of the square in which grey values are averaged.
_SMOOTH = 5


def in_window(mask: Mask, window: Box) -> NDArray[np.bool_]:
    """Return a mask as an array of a window's shape, without its pixels outside the window."""
    out = np.zeros((window[2] - window[0] + 1, window[3] - window[1] + 1), bool)
    y0, x0 = max(mask.box[0], window[0]), max(mask.box[1], window[1])
    y1, x1 = min(mask.box[2], window[2]), min(mask.box[3], window[3])
    if y0 <= y1 and x0 <= x1:
        part = tiling.part(mask.crop, (y0, x0, y1, x1), mask.box[:2])
        out[y0 - window[0] : y1 - window[0] + 1, x0 - window[1] : x1 - window[1] + 1] = part
    return out


def looks_like(level: float, grey: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the pixels whose grey values are nearer to those of an object than to those of the background, (M, N)."""
    smooth = ndimage.uniform_filter(grey, 3)
    dark, bright = np.percentile(smooth[::2, ::2], (_GROUND, 100 - _GROUND))
    # The background is at the end of the grey values that is farther from the object; a clump shows little of it.
    end = float(dark if level - dark >= bright - level else bright)
    is_ground: NDArray[np.bool_] = np.abs(smooth - end) < np.abs(smooth - level)
    if not is_ground.any():
        return np.ones_like(is_ground)
    ground = smooth[is_ground]
    if abs(level - float(ground.mean())) < _CLEARLY * float(ground.std()):
        return np.zeros_like(is_ground)
    return np.asarray(np.abs(smooth - level) < np.abs(smooth - float(ground.mean())))


def share_pixels(
    logits: NDArray[np.float32],
    own: NDArray[np.bool_],
    rivals: Sequence[NDArray[np.bool_]],
    grey: NDArray[np.float32],
    bright: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Return logits in which the pixels between an object and others are decided by their earlier places.

    Parameters
    ----------
    logits : (M, N) ndarray
        Logits of the object, positive inside.
    own : (M, N) ndarray of bool
        Earlier place of the object.
    rivals : sequence of (M, N) ndarray of bool
        Earlier places of the others.
    grey : (M, N) ndarray
        Grey values of the picture.
    bright : (M, N) ndarray of bool
        Pixels that look like the object rather than like the background.
    """
    reach = max(_LEAST_REACH, _REACH * float(np.sqrt(np.count_nonzero(own) / np.pi)))
    rows, columns = _part(own, round(reach) + 2)
    near = [rival[rows, columns] for rival in rivals]
    near = [rival for rival in near if rival.any() and not _is_same_place(rival, own[rows, columns])]
    if not near:
        return logits
    mine = _depth(own[rows, columns])
    depths = np.stack([_depth(rival) for rival in near])
    theirs = depths.max(0)
    between = bright[rows, columns] & (mine > -reach) & (theirs > -reach)
    if not between.any():
        return logits
    smooth = ndimage.uniform_filter(grey, _SMOOTH)[rows, columns]
    levels = np.array([_level(smooth, rival, smooth.mean()) for rival in near])
    level = _level(smooth, own[rows, columns], smooth.mean())
    rival_level = levels[depths.argmax(0)]
    noise = max(1.0, float(grey[own].std()) / 2 if own.any() else 1.0)
    evidence = (np.abs(smooth - rival_level) - np.abs(smooth - level)) / noise
    part = logits[rows, columns]
    shared = (mine - theirs) / 2 + np.clip(part, -_MODEL, _MODEL) + np.clip(evidence, -_GREY, _GREY)
    out = logits.copy()
    out[rows, columns] = np.where(between, shared, part)
    return out


def _is_same_place(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> bool:
    """Tell whether two masks of different slices are above each other rather than side by side."""
    smaller = min(np.count_nonzero(a), np.count_nonzero(b))
    return bool(np.count_nonzero(a & b) > _SAME_PLACE * smaller)


def _part(mask: NDArray[np.bool_], by: int) -> tuple[slice, slice]:
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    return (
        slice(max(0, int(rows[0]) - by), int(rows[-1]) + by + 1),
        slice(max(0, int(columns[0]) - by), int(columns[-1]) + by + 1),
    )


def _depth(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the depth of each pixel in a mask, negative outside the mask."""
    return np.asarray(ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask))


def _level(smooth: NDArray[np.float32], mask: NDArray[np.bool_], otherwise: float) -> float:
    inner = ndimage.binary_erosion(mask, iterations=2)
    inner = inner if inner.any() else mask
    return float(np.median(smooth[inner])) if inner.any() else float(otherwise)
