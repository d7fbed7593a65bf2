"""Masks of clicks that are placed by an instance decoder's maps: micro-sam's automatic prompt generation (APG).

See Archit et al., arXiv 2603.17845. Each connected part that is deep enough in the maps gets one click, at the pixel
farthest from its border. Each click is decoded to one mask, in the window that suits the object; if the mask reaches a
side of the window, in a coarser one. `kept_masks` chooses the masks without a model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Box, Mask
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.core.suppression import suppress_masks
from napari_foundseg.models.protocols.objects import Promptable
from napari_foundseg.tasks.windows import tiling
from napari_foundseg.tasks.windows.embeddings import embedding

if TYPE_CHECKING:
    from napari_foundseg.tasks.automatic_settings import PromptsSettings

__all__ = ["kept_masks", "prompt_points", "prompted_masks"]

#: Number of clicks that are decoded at once.
_BATCH = 32


def prompt_points(
    maps: NDArray[Any],
    *,
    foreground_threshold: float,
    centre_threshold: float,
    boundary_threshold: float,
    centre_smoothing: float = 0.0,
) -> tuple[NDArray[np.int64], list[Box]]:
    """Return a click for each connected part of the maps that is deep enough, and the part's box.

    Parameters
    ----------
    maps : (3, M, N) ndarray of float
        Foreground, centre distance and boundary distance, 0 to 1.
    foreground_threshold : float
        Least foreground of a part's pixels.
    centre_threshold, boundary_threshold : float
        Upper limits of both distances of a part's pixels.
    centre_smoothing : float
        Standard deviation, in pixels, of the smoothing of both distances before.

    Returns
    -------
    points : (K, 2) ndarray of int
        Row and column of a pixel for each part, the farthest from the borders of the part and of the picture.
    boxes : list of tuple of int
        First and last row and column of each part.
    """
    from scipy import ndimage

    foreground = maps[0].astype(np.float32, copy=False)
    sigma = (0, centre_smoothing, centre_smoothing)
    centre, boundary = ndimage.gaussian_filter(maps[1:].astype(np.float32, copy=False), sigma)
    deep = (foreground >= foreground_threshold) & (centre < centre_threshold) & (boundary < boundary_threshold)
    parts, _ = ndimage.label(deep)
    points, boxes = [], []
    for number, part in enumerate(ndimage.find_objects(parts), 1):
        own = np.pad(parts[part] == number, 1)
        depth = ndimage.distance_transform_edt(own)[1:-1, 1:-1]
        start = [s.start for s in part]
        _avoid_edges(depth, start, parts.shape)
        row, column = np.unravel_index(int(depth.argmax()), depth.shape)
        points.append((row + start[0], column + start[1]))
        boxes.append((start[0], start[1], part[0].stop - 1, part[1].stop - 1))
    return np.array(points, np.int64).reshape(-1, 2), boxes


def _avoid_edges(depth: NDArray[Any], start: Sequence[int], shape: tuple[int, ...]) -> None:
    """Limit the depth of pixels near the picture's edge to their distance from it; inside the part it stays above 0."""
    for axis in (0, 1):
        at = np.arange(depth.shape[axis]) + start[axis]
        to_edge = np.minimum(at, shape[axis] - 1 - at) + 1e-3
        np.minimum(depth, to_edge[:, None] if axis == 0 else to_edge[None], out=depth)


def prompted_masks(
    image: Image,
    index: tuple[int, ...],
    region: Box,
    points: NDArray[np.int64],
    boxes: Sequence[Box],
    model: Promptable,
    poll: Callable[[], None],
    progress: Callable[[float], None],
    *,
    tile: bool = True,
) -> list[Mask]:
    """Decode one mask for each click, at a coarser scale if the mask reaches a side of its window.

    Parameters
    ----------
    image : Image
        The image.
    index : tuple of int
        The slice.
    region : tuple of int
        First and last row and column, (y0, x0, y1, x1), both included.
    points : (K, 2) ndarray of int
        Clicks, in pixels of the region.
    boxes : sequence of tuple of int
        Box of the part of each click, in pixels of the region.
    model : Promptable
        The model.
    poll : callable
        Called before each batch of clicks; may raise to stop.
    progress : callable
        Called with the share done, 0 to 1.
    tile : bool
        False to show the model the whole region at once.

    Returns
    -------
    list of Mask
        Masks in pixels of the slice, without empty ones.
    """
    shape = (region[2] - region[0] + 1, region[3] - region[1] + 1)
    last = tiling.coarsest(shape, model.window)
    finest = last if not tile else tiling.FINEST if model.window <= tiling.QUICK else min(0, last)
    levels = [min(max(tiling.box_level(box, shape, model.window), finest), last) for box in boxes]
    found: dict[int, Mask] = {}
    waiting = list(range(len(points)))
    done = 0
    while waiting:
        again: list[int] = []
        for window, numbers in _by_window(waiting, points, levels, shape, model.window).items():
            rgb = image.rgb(index, tiling.shifted(window, region[:2]))
            for at in range(0, len(numbers), _BATCH):
                poll()
                batch = numbers[at : at + _BATCH]
                prompts = [Prompt(points=[tuple(map(float, points[i] - window[:2]))]) for i in batch]
                candidates = model.decode(embedding(model, rgb), prompts, multimask=False)
                for i, candidate in zip(batch, candidates, strict=True):
                    best = int(candidate.predicted_iou.argmax())
                    mask = Mask.from_array(
                        candidate.logits[best] > 0, window[:2],
                        predicted_iou=float(np.clip(candidate.predicted_iou[best], 0, 1)),
                        stability_score=float(np.nan_to_num(candidate.stability_score[best])),
                    )  # fmt: skip
                    if mask.crop.size and levels[i] < last and tiling.touches(mask.box, window, shape):
                        levels[i] += 1
                        again.append(i)
                    else:
                        found[i] = mask
                        done += 1
                progress(done / len(points))
        waiting = again
    whole = [found[i] for i in range(len(points)) if found[i].crop.size]
    return [replace(mask.moved(*region[:2]), index=index) for mask in whole]


def _by_window(
    numbers: Iterable[int],
    points: NDArray[np.int64],
    levels: Sequence[int],
    shape: tuple[int, int],
    window: int,
) -> dict[Box, list[int]]:
    """Return the clicks of each window; every click is in the window in which it is most central."""
    found: dict[Box, list[int]] = {}
    for i in numbers:
        y, x = (float(n) for n in points[i])
        box = tiling.surrounding((y, x, y, x), shape, tiling.side(window, levels[i]))
        found.setdefault(box or (0, 0, shape[0] - 1, shape[1] - 1), []).append(i)
    return found


def kept_masks(masks: Sequence[Mask], settings: PromptsSettings) -> list[Mask]:
    """Return the masks of a slice that are large and certain enough; of masks that overlap too much, only the best.

    Parameters
    ----------
    masks : sequence of Mask
        The masks of a slice.
    settings : PromptsSettings
        The thresholds.

    Returns
    -------
    list of Mask
        The masks to keep, best first.
    """
    enough = [m for m in masks if m.area > settings.min_area and m.predicted_iou >= settings.pred_iou_thresh]
    scores = [m.predicted_iou * m.stability_score for m in enough]
    return [enough[i] for i in suppress_masks(enough, scores, settings.mask_nms_thresh)]
