"""Maps of Cellpose-like models for a region of a slice, and the objects made from them.

The picture is prepared as in cellpose 4. The 1st and 99th percentile of each channel become 0 and 1, without clipping
values beyond them. Channels that are missing or without contrast are 0. With a diameter, the picture is resized so that
objects have 30 pixels. If the user chose limits of grey values, these become 0 and 1 instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.contrast import Percentile
from napari_foundseg.core.errors import SettingsError
from napari_foundseg.core.flows.flow_instances import flow_instances
from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Box
from napari_foundseg.models.protocols.objects import FlowDecoding
from napari_foundseg.tasks.windows import tiling

if TYPE_CHECKING:
    from napari_foundseg.tasks.automatic_settings import FlowsSettings

__all__ = ["decode_flows", "flow_objects", "flow_picture", "flow_scale"]

#: Diameter, in pixels, of objects for which the networks work best.
BEST_DIAMETER = 30.0
#: Percentiles of each channel that become 0 and 1.
_PERCENTILES = (1.0, 99.0)
#: Least difference of the percentiles, in units of the image, for which a channel has contrast.
_LEAST_CONTRAST = 1e-3
#: Number of pixels from which percentiles are computed on a sample, and the least number of pixels along its sides.
_SAMPLED = 224**3
_SAMPLE_SIDE = 224


def flow_scale(diameter: float | None) -> float:
    """Return the factor by which to resize a picture so that its objects have `BEST_DIAMETER`; 1 without a diameter."""
    return 1.0 if diameter is None else BEST_DIAMETER / diameter


def flow_picture(image: Image, index: tuple[int, ...], region: Box) -> NDArray[np.float32]:
    """Return a region of a slice as Cellpose-like models take it.

    Parameters
    ----------
    image : Image
        The image.
    index : tuple of int
        The slice.
    region : tuple of int
        First and last row and column, (y0, x0, y1, x1), both included.

    Returns
    -------
    (M, N, C) ndarray of float32
        The chosen channels of the image; percentiles are those of the whole slice.
    """
    if not isinstance(image.normalisation, Percentile | None):
        rgb = tiling.part(image.rgb(index).transpose(2, 0, 1), region).transpose(1, 2, 0)
        grey = not image.is_rgb and bool((rgb == rgb[..., :1]).all())
        return np.asarray(rgb[..., :1] if grey else rgb, np.float32) / np.float32(255)
    raw = np.asarray(image.raw(index))
    raw = raw[..., None] if raw.ndim == 2 else raw
    planes = [_normalised(raw[..., c].astype(np.float32)) for c in range(raw.shape[-1])]
    return np.stack([tiling.part(plane, region) for plane in planes], axis=-1)


def _normalised(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    finite = plane[np.isfinite(plane)]
    if not finite.size or np.ptp(finite) <= 0:
        return np.zeros_like(plane)
    if plane.size > _SAMPLED:
        rows, columns = (max(1, n // _SAMPLE_SIDE) for n in plane.shape)
        sample = plane[::rows, ::columns]
        finite = sample[np.isfinite(sample)]
    low, high = np.percentile(finite, _PERCENTILES)
    if high - low <= _LEAST_CONTRAST:
        return np.zeros_like(plane)
    out = (plane - np.float32(low)) / np.float32(high - low)
    return np.where(np.isfinite(out), out, np.float32(0))


def decode_flows(
    image: Image,
    index: tuple[int, ...],
    region: Box,
    model: FlowDecoding,
    diameter: float | None,
    poll: Callable[[], None],
    *,
    tile: bool = True,
) -> NDArray[np.float16]:
    """Decode the flow maps of a region.

    Parameters
    ----------
    image : Image
        The image.
    index : tuple of int
        The slice.
    region : tuple of int
        First and last row and column, (y0, x0, y1, x1), both included.
    model : FlowDecoding
        The model.
    diameter : float or None
        Diameter of the objects, in pixels; None does not resize the picture.
    poll : callable
        Called before each batch of tiles; may raise to stop.
    tile : bool
        False to shrink the whole region to the model's window.

    Returns
    -------
    (3, M, N) ndarray of float16
        As `FlowDecoding.flow_maps`, one value for each pixel of the region.

    Raises
    ------
    SettingsError
        If the diameter would shrink the picture to less than one pixel.
    """
    picture = flow_picture(image, index, region)
    shape = picture.shape[:2]
    scale = flow_scale(diameter)
    seen = scale if tile else min(scale, model.window / max(shape))
    size = (int(shape[0] * seen), int(shape[1] * seen)) if seen != 1 else shape
    if min(size) < 1:
        raise SettingsError(
            f"The diameter of {BEST_DIAMETER / seen:.4g} pixels shrinks a picture of {shape[0]} by {shape[1]} "
            "pixels to nothing; give a smaller one, or none."
        )
    maps = model.flow_maps(_resized(picture, size), poll)
    maps = _resized(maps.transpose(1, 2, 0), shape).transpose(2, 0, 1)
    return np.clip(maps, -60_000, 60_000).astype(np.float16)


def _resized(picture: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return a picture (M, N, C) resized by linear interpolation between the centres of pixels, without smoothing."""
    for axis in (0, 1):
        old, new = picture.shape[axis], shape[axis]
        if old == new:
            continue
        at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = at.astype(int)
        share = (at - low).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(picture.ndim)])
        high = np.minimum(low + 1, old - 1)
        picture = picture.take(low, axis) * (1 - share) + picture.take(high, axis) * share
    return picture


def flow_objects(
    maps: NDArray[Any], settings: FlowsSettings, around: Box, region: Box, diameter: float | None
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Make objects from the maps of the box `around` a region, and crop them to the region.

    Parameters
    ----------
    maps : (3, M, N) ndarray of float
        Maps from `decode_flows`.
    settings : FlowsSettings
        The thresholds.
    around, region : tuple of int
        First and last row and column of the maps, and of the region inside them.
    diameter : float or None
        Diameter of the objects, as in `decode_flows`.

    Returns
    -------
    labels : (M, N) ndarray of uint16 or wider
        Objects of the region.
    scores : (2, n) ndarray of float
        Mean probability of each object's pixels, and 1 minus the error of its flows.
    """
    from scipy import ndimage

    scale = flow_scale(diameter)
    whole, errors = flow_instances(
        maps,
        probability_threshold=settings.probability_threshold,
        flow_threshold=settings.flow_threshold,
        min_area=settings.min_area,
        scale=scale,
    )
    probability = 1 / (1 + np.exp(-np.clip(maps[2].astype(np.float32), -60, 60)))
    ids = np.arange(1, len(errors) + 1)
    mean = np.asarray(ndimage.mean(probability, whole, ids), float).reshape(len(ids))
    scores = np.stack([mean, np.clip(1 - errors, 0, 1)])
    plane = tiling.part(whole, region, around[:2])
    kept = np.bincount(plane.ravel(), minlength=len(ids) + 1)[1:] >= max(1, settings.min_area)
    numbers = np.concatenate([[0], np.where(kept, np.cumsum(kept), 0)]).astype(whole.dtype)
    return numbers[plane], scores[:, kept]
