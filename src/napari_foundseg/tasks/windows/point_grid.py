"""SAM's automatic mask generator in windows of several levels.

A mask that touches a side of its window is dropped, because the next coarser level holds it whole. Suppression removes
objects that are found twice. `grid_masks` returns raw masks: thresholds and suppression act on them without a model
(`core.suppression`). In `fast` mode a coarse grid comes first. Further points are tried only where no mask passes and,
if the model has an instance decoder, only where it sees an object; points are decoded in half precision where that is
faster.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Box, Mask
from napari_foundseg.core.suppression import select
from napari_foundseg.models.catalog import row
from napari_foundseg.models.protocols.objects import GridOptions, PointGrid
from napari_foundseg.tasks.windows import tiling
from napari_foundseg.tasks.windows.embeddings import embedding
from napari_foundseg.tasks.windows.instance_maps import decode_maps

if TYPE_CHECKING:
    from napari_foundseg.tasks.automatic_settings import GridSettings

__all__ = ["LIVE", "floors", "grid_masks", "grid_passes", "passing"]

#: How far the two thresholds can be lowered after a run.
LIVE = 0.2
#: Foreground above which fast mode tries points; far below that of an object, so that doubtful places are tried.
_LIKELY = 0.2


def grid_masks(
    image: Image,
    index: tuple[int, ...],
    region: Box,
    settings: GridSettings,
    model: PointGrid,
    poll: Callable[[], None],
    progress: Callable[[float], None],
) -> list[Mask]:
    """Prompt at every point of a grid, at each level from the finest to the one that shows the whole region.

    Parameters
    ----------
    image : Image
        The image.
    index : tuple of int
        The slice.
    region : tuple of int
        First and last row and column, (y0, x0, y1, x1), both included.
    settings : GridSettings
        Grid and thresholds.
    model : PointGrid
        The model.
    poll : callable
        Called before each batch of points; may raise to stop.
    progress : callable
        Called with the share done.

    Returns
    -------
    list of Mask
        Raw masks, in pixels of the slice.
    """
    shape = (region[2] - region[0] + 1, region[3] - region[1] + 1)
    last = tiling.coarsest(shape, model.window)
    levels = range(min(0, last), last + 1) if settings.tile else [last]
    fast = settings.mode == "fast"
    likely = _likely(image, index, region, settings, model, poll) if fast else np.ones(shape, bool)
    passes = [p * np.array(shape)[::-1] for p in grid_passes(settings.points_per_side, fast=fast)]
    steps = len(levels) * len(passes)
    kept: list[Mask] = []
    raw: list[Mask] = []
    for step, (level, points) in enumerate(itertools.product(levels, passes)):
        side = tiling.side(model.window, level)
        windows = list(tiling.cover(shape, (side, side), side // 2))
        left = _wanted(points, kept, likely)
        for i, (window, core) in enumerate(windows):
            if len(inside := _inside(left, core)):
                rgb = image.rgb(index, tiling.shifted(window, region[:2]))
                shares = (inside - window[1::-1]) / (rgb.shape[1], rgb.shape[0])
                masks = model.grid_masks(embedding(model, rgb), shares, floors(settings), poll)
                masks = [m.moved(*window[:2]) for m in masks]
                raw += [m for m in masks if level == last or not tiling.touches(m.box, window, shape)]
            progress((step + (i + 1) / len(windows)) / steps)
        kept = passing(raw, settings) if step + 1 < steps else []
    return [replace(mask.moved(*region[:2]), index=index) for mask in raw]


def floors(settings: GridSettings) -> GridOptions:
    """Return model options with thresholds `LIVE` below those of the settings, so that the settings can act live.

    Parameters
    ----------
    settings : GridSettings
        Settings with the thresholds of the user.

    Returns
    -------
    GridOptions
        Options for the model.
    """
    return GridOptions(
        points_per_batch=settings.points_per_batch,
        pred_iou_thresh=max(0.0, settings.pred_iou_thresh - LIVE),
        stability_score_thresh=max(0.0, settings.stability_score_thresh - LIVE),
        stability_score_offset=settings.stability_score_offset,
        exact=settings.mode == "exact",
    )


def passing(masks: list[Mask], settings: GridSettings) -> list[Mask]:
    """Return the masks that pass the thresholds and the suppression.

    Parameters
    ----------
    masks : list of Mask
        Raw masks.
    settings : GridSettings
        The thresholds.

    Returns
    -------
    list of Mask
        The masks to keep, best first.
    """
    return select(
        masks,
        pred_iou_thresh=settings.pred_iou_thresh,
        stability_score_thresh=settings.stability_score_thresh,
        box_nms_thresh=settings.box_nms_thresh,
    )


def grid_passes(per_side: int, *, fast: bool) -> list[NDArray[np.float64]]:
    """Return the points of a grid in one or more passes, in the order in which they are tried.

    Parameters
    ----------
    per_side : int
        Points along each side.
    fast : bool
        True for a coarse grid first: every fourth point, then every second, then the others.

    Returns
    -------
    list of (K, 2) ndarray of float
        (x, y) as shares of width and height; one array for each pass.
    """
    from segment_anything.utils.amg import build_point_grid

    points = np.asarray(build_point_grid(per_side))
    if not fast:
        return [points]
    row, column = np.divmod(np.arange(len(points)), per_side)
    every = [(row % step == step // 2) & (column % step == step // 2) for step in (4, 2)]
    passes = np.where(every[0], 0, np.where(every[1], 1, 2))
    return [points[passes == i] for i in range(3) if (passes == i).any()]


def _inside(points: NDArray[np.float64], core: Box) -> NDArray[np.float64]:
    y0, x0, y1, x1 = core
    x, y = points.T
    inside: NDArray[np.float64] = points[(x >= x0) & (x < x1 + 1) & (y >= y0) & (y < y1 + 1)]
    return inside


def _wanted(points: NDArray[np.float64], masks: list[Mask], likely: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the points (x, y) where an object is likely and that no mask covers."""
    open_to_objects = likely.copy()
    for mask in masks:
        tiling.part(open_to_objects, mask.box)[mask.crop] = False
    x, y = points.astype(int).T
    left: NDArray[np.float64] = points[open_to_objects[y, x]]
    return left


def _likely(
    image: Image,
    index: tuple[int, ...],
    region: Box,
    settings: GridSettings,
    model: Any,
    poll: Callable[[], None],
) -> NDArray[np.bool_]:
    """Return where the instance decoder of a model sees an object, (M, N); True everywhere without a decoder."""
    if "InstanceDecoding" not in row(model.name).protocols:
        return np.ones((region[2] - region[0] + 1, region[3] - region[1] + 1), bool)
    maps = decode_maps(image, index, region, model, poll, lambda _: None, tile=settings.tile)
    likely: NDArray[np.bool_] = maps[0] > _LIKELY
    return likely
