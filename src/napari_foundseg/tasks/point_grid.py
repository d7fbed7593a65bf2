"""SAM's automatic mask generator in windows of several levels.

A mask that touches a side of its window is dropped, since the next coarser level holds it whole, and what is found
twice is found once after suppression by IoU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Box, Mask, non_maximum_suppression
from napari_foundseg.models.protocols import GridOptions, PointGrid
from napari_foundseg.tasks import tiling

if TYPE_CHECKING:
    from napari_foundseg.tasks.automatic import GridSettings

__all__ = ["grid_masks"]


def grid_masks(
    image: Image,
    index: tuple[int, ...],
    region: Box,
    settings: GridSettings,
    model: PointGrid,
    poll: Callable[[], None],
    progress: Callable[[float], None],
) -> list[Mask]:
    """Prompt at every point of a grid, from the finest level to the one that sees the whole region.

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
        Told the share done.

    Returns
    -------
    list of Mask
        In pixels of the slice.
    """
    shape = (region[2] - region[0] + 1, region[3] - region[1] + 1)
    options = GridOptions(**settings.model_dump(include=set(GridOptions.__dataclass_fields__)))
    last = tiling.coarsest(shape, model.window)
    levels = range(min(0, last), last + 1) if settings.tile else [last]
    points = _grid_points(settings.points_per_side) * np.array(shape)[::-1]
    kept: list[Mask] = []
    for step, level in enumerate(levels):
        side = tiling.side(model.window, level)
        windows = list(tiling.cover(shape, (side, side), side // 2))
        for i, (window, core) in enumerate(windows):
            if len(inside := _inside(points, core)):
                rgb = image.rgb(index, tiling.shifted(window, region[:2]))
                shares = (inside - window[1::-1]) / (rgb.shape[1], rgb.shape[0])
                masks = [m.moved(*window[:2]) for m in model.grid_masks(rgb, shares, options, poll)]
                kept += [m for m in masks if level == last or not tiling.touches(m.box, window, shape)]
            progress((step + (i + 1) / len(windows)) / len(levels))
        kept = non_maximum_suppression(kept, settings.box_nms_thresh)
        points = _uncovered(points, kept, shape)
    return [replace(mask.moved(*region[:2]), index=index) for mask in kept]


def _grid_points(per_side: int) -> NDArray[np.float64]:
    from segment_anything.utils.amg import build_point_grid

    return np.asarray(build_point_grid(per_side))


def _inside(points: NDArray[np.float64], core: Box) -> NDArray[np.float64]:
    y0, x0, y1, x1 = core
    x, y = points.T
    inside: NDArray[np.float64] = points[(x >= x0) & (x < x1 + 1) & (y >= y0) & (y < y1 + 1)]
    return inside


def _uncovered(points: NDArray[np.float64], masks: list[Mask], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return the points (x, y) that no mask covers: the only ones worth another look at a coarser level."""
    covered = np.zeros(shape, bool)
    for mask in masks:
        tiling.part(covered, mask.box)[mask.crop] = True
    x, y = points.astype(int).T
    left: NDArray[np.float64] = points[~covered[y, x]]
    return left
