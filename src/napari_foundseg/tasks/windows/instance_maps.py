"""Maps of an instance decoder for images of any size.

Large images are decoded in overlapping windows, and each pixel is taken from the window in which it is most central. A
picture can be resized, smoothed and sharpened for the model. `tasks.windows.sizes` finds the size at which the model
sees objects best.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Box
from napari_foundseg.core.pixels.sharpness import sharpened
from napari_foundseg.models.abilities import fallbacks_of
from napari_foundseg.models.out_of_memory import is_out_of_memory, with_fallbacks
from napari_foundseg.models.protocols.objects import EmbeddingMaps, InstanceDecoding, MemoryRescue
from napari_foundseg.tasks.windows import tiling
from napari_foundseg.tasks.windows.embeddings import embedding

__all__ = ["decode_maps", "map_windows", "resized_maps", "scale_for", "seen_window", "share_embeddings"]

#: Diameter, in pixels, of objects for which the built-in models work best.
BEST_DIAMETER = 30.0
#: Least and largest factor by which pictures are resized.
SCALES = (1 / 16, 4.0)
#: Side of a picture that is never halved, even if memory runs out.
_WHOLE = 128
#: Pixels by which neighbouring windows overlap, in the resized picture.
_OVERLAP = 64
#: Pixels that are read around a window, so that resizing and smoothing have neighbours at its sides.
_MARGIN = 2


def share_embeddings(model: object) -> TypeGuard[EmbeddingMaps]:
    """Tell whether maps are decoded from the embeddings of prompts.

    A model that sees larger pictures for its maps than for prompts decodes better maps from those.
    """
    return isinstance(model, EmbeddingMaps) and model.maps_window <= model.window


def scale_for(diameter: float | None) -> float:
    """Return the factor by which to resize a picture so that its objects have `BEST_DIAMETER`, limited to `SCALES`.

    Parameters
    ----------
    diameter : float or None
        Diameter of the objects, in pixels; None does not resize the picture.

    Returns
    -------
    float
        The factor; a value below 1 shrinks the picture.
    """
    return 1.0 if diameter is None else float(np.clip(BEST_DIAMETER / diameter, *SCALES))


def map_windows(shape: tuple[int, int], model: InstanceDecoding) -> Iterator[tuple[Box, Box]]:
    """Return the windows in which the maps of a picture are decoded.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the picture, as the model sees it.
    model : InstanceDecoding
        The model.

    Returns
    -------
    iterator of tuple
        Windows and their cores, as from `tiling.cover`.
    """
    most = max(32, model.maps_window // 32 * 32)
    overlap = min(_OVERLAP, most // 4)
    return tiling.cover(shape, tiling.fitted(shape, most, overlap), overlap)


def decode_maps(
    image: Image,
    index: tuple[int, ...],
    region: Box,
    model: InstanceDecoding,
    poll: Callable[[], None],
    progress: Callable[[float], None],
    *,
    tile: bool = True,
    scale: float = 1.0,
    smoothing: float = 0.0,
    sharpening: float = 0.0,
) -> NDArray[np.float16]:
    """Decode the maps of a region.

    Parameters
    ----------
    image : Image
        The image.
    index : tuple of int
        The slice.
    region : tuple of int
        First and last row and column, (y0, x0, y1, x1), both included.
    model : InstanceDecoding
        The model.
    poll : callable
        Called before each window; may raise to stop.
    progress : callable
        Called with the share of windows done.
    tile : bool
        False to pass the whole region to the model at once.
    scale : float
        Factor by which to resize the picture for the model.
    smoothing : float
        Standard deviation, in pixels of the resized picture, of a Gaussian filter against noise.
    sharpening : float
        Amount of an unsharp mask against blur.

    Returns
    -------
    (3, M, N) ndarray of float16
        Foreground, centre distance and boundary distance of the region. M and N are the sides of the region times
        `scale` (see `resized_maps`).
    """
    rows, columns = region[2] - region[0] + 1, region[3] - region[1] + 1
    shape = max(1, round(rows * scale)), max(1, round(columns * scale))
    windows = list(map_windows(shape, model) if tile else tiling.cover(shape, shape, 0))
    maps = np.empty((3, *shape), np.float16)
    for i, (window, core) in enumerate(windows):
        poll()
        rgb = _smoothed(seen_window(image, index, region, window, shape), smoothing)
        decoded = _maps(sharpened(rgb, sharpening), model)
        tiling.part(maps, core)[:] = tiling.part(decoded, core, window[:2])
        progress((i + 1) / len(windows))
    return maps


def resized_maps(maps: NDArray[np.float16], shape: tuple[int, int]) -> NDArray[np.float16]:
    """Resize maps to the pixels of a picture.

    Parameters
    ----------
    maps : (3, M, N) ndarray of float16
        Maps from `decode_maps`.
    shape : tuple of int
        Rows and columns of the picture.

    Returns
    -------
    (3, *shape) ndarray of float16
        The same array if it has this shape already.
    """
    from PIL.Image import Resampling, fromarray

    if maps.shape[1:] == shape:
        return maps
    resized = np.empty((len(maps), *shape), np.float16)
    for part, target in zip(maps, resized, strict=True):
        target[:] = np.asarray(fromarray(part.astype(np.float32)).resize(shape[::-1], Resampling.BILINEAR))
    return resized


def seen_window(
    image: Image, index: tuple[int, ...], region: Box, window: Box, shape: tuple[int, int]
) -> NDArray[np.uint8]:
    """Return a window of the resized picture of a region.

    Parameters
    ----------
    image : Image
        The image.
    index : tuple of int
        The slice.
    region : tuple of int
        First and last row and column, (y0, x0, y1, x1), both included.
    window : tuple of int
        The window, in pixels of the resized picture.
    shape : tuple of int
        Rows and columns of the whole resized picture.

    Returns
    -------
    (M, N, 3) ndarray of uint8
    """
    from PIL.Image import Resampling, fromarray

    sizes = region[2] - region[0] + 1, region[3] - region[1] + 1
    if sizes == shape:
        return image.rgb(index, tiling.shifted(window, region[:2]))
    first = [window[axis] * sizes[axis] / shape[axis] for axis in (0, 1)]
    last = [(window[axis + 2] + 1) * sizes[axis] / shape[axis] for axis in (0, 1)]
    start = [max(0, int(at) - _MARGIN) for at in first]
    stop = [min(n, int(np.ceil(at)) + _MARGIN) for n, at in zip(sizes, last, strict=True)]
    box = (start[0], start[1], stop[0] - 1, stop[1] - 1)
    rgb = image.rgb(index, tiling.shifted(box, region[:2]))
    part = (first[1] - start[1], first[0] - start[0], last[1] - start[1], last[0] - start[0])
    size = window[3] - window[1] + 1, window[2] - window[0] + 1
    # Copy: torch warns about read-only arrays, such as those of Pillow.
    return np.array(fromarray(rgb).resize(size, Resampling.BILINEAR, box=part))


def _smoothed(rgb: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    from scipy import ndimage

    return np.asarray(ndimage.gaussian_filter(rgb, (sigma, sigma, 0))) if sigma else rgb


def _maps(rgb: NDArray[np.uint8], model: InstanceDecoding) -> NDArray[np.float32]:
    """Decode maps, in two halves if memory runs out."""
    fallbacks = fallbacks_of(model)

    def whole(_batch: int) -> NDArray[np.float32]:
        if share_embeddings(model):
            # The embedding may be cached, because prompts use it as well.
            return model.maps_of(embedding(model, rgb))
        return model.instance_maps(rgb)

    def to_cpu() -> bool:
        # The last resort, when the window cannot be halved any further.
        return _is_small(rgb) and isinstance(model, MemoryRescue) and model.to_cpu()

    try:
        return with_fallbacks(whole, 1, "decoding maps", fallbacks, to_cpu)
    except Exception as error:
        if not is_out_of_memory(error) or _is_small(rgb):
            raise
    fallbacks.note("out of memory in decoding maps: windows of half the size")
    return _in_halves(rgb, model)


def _is_small(rgb: NDArray[np.uint8]) -> bool:
    return bool(max(rgb.shape[:2]) <= _WHOLE)


def _in_halves(rgb: NDArray[np.uint8], model: InstanceDecoding) -> NDArray[np.float32]:
    """Decode the two halves of a picture, with an overlap, and join the maps."""
    axis = int(rgb.shape[1] > rgb.shape[0])
    n = rgb.shape[axis]
    middle = rgb.shape[axis] // 2
    parts = np.moveaxis(rgb, axis, 0)
    first = np.moveaxis(parts[: min(n, middle + _OVERLAP // 2)], 0, axis)
    second = np.moveaxis(parts[max(0, middle - _OVERLAP // 2) :], 0, axis)
    one, two = (_maps(np.ascontiguousarray(half), model) for half in (first, second))
    keep = np.arange(middle), np.arange(middle, n) - max(0, middle - _OVERLAP // 2)
    return np.concatenate([one.take(keep[0], axis + 1), two.take(keep[1], axis + 1)], axis + 1)
