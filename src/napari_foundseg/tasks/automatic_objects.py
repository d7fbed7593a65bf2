"""Label image and scores of a slice from its maps or masks, for *Automatic masks*."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.labels import label_dtype
from napari_foundseg.core.masks import Box, Mask, paint
from napari_foundseg.core.watershed import instance_scores, instances
from napari_foundseg.tasks.automatic_settings import DecoderSettings, GridSettings, PromptsSettings
from napari_foundseg.tasks.windows import tiling
from napari_foundseg.tasks.windows.decoder_prompts import kept_masks
from napari_foundseg.tasks.windows.point_grid import passing

__all__ = [
    "decoder_settings",
    "instance_thresholds",
    "objects_of_maps",
    "objects_of_masks",
    "pixels_per_pixel",
    "with_surroundings",
]

#: Calibration of the scores, as `core.watershed.instance_scores` takes it.
Calibration = tuple[float, float, float] | None

#: Pixels around a region that are decoded as well.
_SURROUNDINGS = 64


def with_surroundings(region: Box, plane_shape: tuple[int, int]) -> Box:
    """Return the box to decode for a region. It is larger: pixels beyond the edge separate objects at the edge."""
    y0, x0, y1, x1 = region
    height, width = plane_shape
    m = _SURROUNDINGS
    return max(0, y0 - m), max(0, x0 - m), min(height - 1, y1 + m), min(width - 1, x1 + m)


def pixels_per_pixel(maps: NDArray[Any], box: Box) -> int:
    """Return the number of pixels in the maps (C, M, N) of a box along each side of an image pixel."""
    count: int = max(1, round(maps.shape[1] / (box[2] - box[0] + 1)))
    return count


def decoder_settings(settings: DecoderSettings | PromptsSettings) -> DecoderSettings:
    """Return the decoder settings with which the size of the objects is found."""
    if isinstance(settings, DecoderSettings):
        return settings
    names = ("foreground_threshold", "centre_threshold", "boundary_threshold", "pred_iou_thresh", "min_area")
    values = {name: getattr(settings, name) for name in names}
    return DecoderSettings(seed_smoothing=settings.centre_smoothing, **values)


def instance_thresholds(settings: DecoderSettings) -> dict[str, Any]:
    """Return the thresholds for `core.watershed.instances` by argument name."""
    thresholds = ("foreground_threshold", "centre_threshold", "boundary_threshold")
    return {
        name: getattr(settings, name) for name in (*thresholds, "seed_smoothing", "foreground_smoothing", "min_area")
    }


def objects_of_maps(
    maps: NDArray[Any], settings: DecoderSettings, around: Box, region: Box, calibration: Calibration
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return the instances in a region, (M, N), and their two scores, (2, n).

    The maps cover the box `around`, which contains the region. They may have several pixels along each side of an image
    pixel.
    """
    fine = pixels_per_pixel(maps, around)
    thresholds = instance_thresholds(settings)
    whole = instances(maps, **{**thresholds, "min_area": thresholds["min_area"] * fine**2})
    scores = np.stack(instance_scores(maps, whole, calibration))
    plane = tiling.part(whole[fine // 2 :: fine, fine // 2 :: fine], region, around[:2])
    large = np.bincount(plane.ravel(), minlength=scores.shape[1] + 1)[1:] >= max(1, settings.min_area)
    kept = large & (scores[0] >= settings.pred_iou_thresh)
    return _renumbered(plane, kept), scores[:, kept]


def _renumbered(plane: NDArray[Any], kept: NDArray[np.bool_]) -> NDArray[Any]:
    """Remove the objects whose flag in `kept` is False and number the others 1 to n."""
    ids = np.concatenate([[0], np.where(kept, np.cumsum(kept), 0)]).astype(plane.dtype)
    out: NDArray[Any] = ids[plane]
    return out


def objects_of_masks(
    masks: Iterable[Mask], shape: tuple[int, int], settings: GridSettings | PromptsSettings
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return a label image of the masks that pass the settings, (M, N), and their two scores, (2, n).

    A mask that loses more than half its pixels to others is dropped.
    """
    if isinstance(settings, PromptsSettings):
        chosen = kept_masks(list(masks), settings)
    else:
        most = settings.max_area or np.inf
        chosen = [m for m in passing(list(masks), settings) if max(1, settings.min_area) <= m.area <= most]
    plane = np.zeros(shape, label_dtype(len(chosen)))
    paint(plane, list(enumerate(chosen, 1)), settings.nesting)
    areas = np.bincount(plane.ravel(), minlength=len(chosen) + 1)[1:]
    whole = np.array([m.area for m in chosen], int)
    kept = (areas >= max(1, settings.min_area)) & (2 * areas > whole)
    chosen = [m for m, k in zip(chosen, kept, strict=True) if k]
    scores = np.array([[m.predicted_iou for m in chosen], [m.stability_score for m in chosen]], float)
    return _renumbered(plane, kept), scores.reshape(2, len(chosen))
