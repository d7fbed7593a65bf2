"""Maps of a volume from its xz and yz planes, which a model sees like slices.

The volume is resampled along Z, so that its voxels are as long as they are wide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.contrast import AsIs
from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Box
from napari_foundseg.tasks.windows.sizes.size_search import SizedMaps

__all__ = ["orthogonal_maps", "sees_planes"]

#: Least and largest distance of slices, in pixels, at which the other planes show objects as slices do.
_DISTANCES = (0.5, 4.0)
#: Least thickness of a stack, in pixels, at which other planes show whole objects.
_THICKNESS = 32
#: Foreground probability above which the boundary distance of a plane is used.
_SEEN = 0.5


def sees_planes(slices: int, distance: float) -> bool:
    """Tell whether the other planes of a stack are worth decoding; `distance` of the slices is in pixels."""
    return _DISTANCES[0] <= distance <= _DISTANCES[1] and slices * distance >= _THICKNESS


def orthogonal_maps(
    image: Image,
    planes: Sequence[tuple[int, ...]],
    region: Box,
    distance: float,
    maps_of: Callable[[Image, Sequence[tuple[int, ...]], Box], SizedMaps],
    progress: Callable[[float], None],
) -> NDArray[np.float16]:
    """Decode the xz and yz planes of a volume.

    Parameters
    ----------
    image : Image
        The image.
    planes : sequence of tuple of int
        The slices of the volume, in their order.
    region : tuple of int
        (y0, x0, y1, x1), both included.
    distance : float
        Distance of neighbouring slices, in pixels.
    maps_of : callable
        Takes an image, its slices and a region, and returns their `SizedMaps`.
    progress : callable
        Called with the share done.

    Returns
    -------
    (2, Z, M, N) ndarray of float16
        Mean foreground of both planes, and the larger boundary distance of the planes that show an object.
    """
    volume = _stretched(_pictures([image.rgb(index, region) for index in planes]), distance)
    depth, rows, columns = len(planes), region[2] - region[0] + 1, region[3] - region[1] + 1
    out = np.zeros((2, depth, rows, columns), np.float16)
    axes = "ZYX" if volume.ndim == 3 else "ZYXC"
    for axis, count in ((1, rows), (2, columns)):
        turned = Image(np.moveaxis(volume, axis, 0), axes, normalisation=AsIs())
        indices = [(i,) for i in range(count)]
        height, width = turned.plane_shape
        sized = maps_of(turned, indices, (0, 0, height - 1, width - 1))
        for i, index in enumerate(indices):
            maps = sized.maps(index, lambda _: None)
            fine = max(1, round(maps.shape[1] / height))
            foreground, boundary = (_shrunk(maps[c, fine // 2 :: fine, fine // 2 :: fine], depth) for c in (0, 2))
            at = (slice(None), i, slice(None)) if axis == 1 else (slice(None), slice(None), i)
            out[0][at] += (foreground / 2).astype(np.float16)
            out[1][at] = np.maximum(out[1][at], np.where(foreground > _SEEN, boundary, 0))
            progress((axis - 1 + (i + 1) / count) / 2)
    return out


def _pictures(slices: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Stack slices to a volume, (Z, M, N) if all slices are grey, otherwise (Z, M, N, 3)."""
    grey = all(bool((rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 0] == rgb[..., 2]).all()) for rgb in slices)
    return np.stack([rgb[..., 0] for rgb in slices]) if grey else np.stack(slices)


def _stretched(volume: NDArray[np.uint8], distance: float) -> NDArray[np.uint8]:
    count = max(1, round(len(volume) * distance))
    if count == len(volume):
        return volume
    out = np.empty((count, *volume.shape[1:]), np.uint8)
    for k, (low, high, weight) in enumerate(_places(count, len(volume))):
        out[k] = np.rint(volume[low] * (1 - weight) + volume[high] * weight)
    return out


def _shrunk(plane: NDArray[np.float16], depth: int) -> NDArray[np.float32]:
    """Resample the rows of a plane to the number of slices."""
    rows = plane.astype(np.float32)
    if len(rows) == depth:
        return rows
    return np.stack([rows[low] * (1 - weight) + rows[high] * weight for low, high, weight in _places(depth, len(rows))])


def _places(count: int, among: int) -> list[tuple[int, int, float]]:
    """Return two source rows and the weight of the second for each of `count` rows, resampled from `among` rows."""
    at = np.clip((np.arange(count) + 0.5) * among / count - 0.5, 0, among - 1)
    low = np.minimum(at.astype(int), max(0, among - 2))
    return [(int(a), min(int(a) + 1, among - 1), float(w)) for a, w in zip(low, at - low, strict=True)]
