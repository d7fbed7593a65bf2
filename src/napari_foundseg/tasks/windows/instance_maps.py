"""The maps of an instance decoder, of images of any size and of objects of any size.

Large images are decoded in overlapping windows and each pixel is taken from the window in which it lies most central.
Where objects are much larger or smaller than the model knows them, the picture is shrunk or enlarged before and the
maps are brought back after. How large they are is told by the person, or by a first look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Box
from napari_foundseg.core.watershed import instances
from napari_foundseg.models.abilities import fallbacks_of
from napari_foundseg.models.out_of_memory import is_out_of_memory, with_fallbacks
from napari_foundseg.models.protocols import EmbeddingMaps, InstanceDecoding, MemoryRescue
from napari_foundseg.tasks.windows import tiling
from napari_foundseg.tasks.windows.embeddings import embedding

__all__ = ["decode_maps", "fitted_maps", "map_windows", "scale_for"]

#: Diameter in pixels at which a model of ours sees objects best.
BEST_DIAMETER = 30.0
#: Least and largest factor by which pictures are resized.
SCALES = (1 / 16, 4.0)
#: Median diameters in pixels below and above which a picture is looked at once more, and by how much it is resized
#: then; chosen on `val` and `train`.
_SMALL = 15.0
_ENLARGED = 2.0
_LARGE = 40.0
_SHRUNK = 0.7
#: Side in pixels of the middle of a picture whose objects tell their size.
_MIDDLE = 512
#: Side of a picture that is decoded whole, whatever the memory.
_WHOLE = 128
#: Pixels that neighbouring windows share, as the model sees them.
_OVERLAP = 64


def scale_for(diameter: float | None) -> float:
    """Return by how much to resize a picture so that its objects have the size that the model knows best.

    Parameters
    ----------
    diameter : float or None
        Of the objects, in pixels; None leaves the picture as it is.

    Returns
    -------
    float
        Below 1 shrinks.
    """
    return 1.0 if diameter is None else float(np.clip(BEST_DIAMETER / diameter, *SCALES))


def fitted_maps(
    image: Image,
    index: tuple[int, ...],
    region: Box,
    model: InstanceDecoding,
    poll: Callable[[], None],
    progress: Callable[[float], None],
    thresholds: Mapping[str, float],
    *,
    tile: bool = True,
    diameter: float | None = None,
) -> NDArray[np.float16]:
    """Decode the maps of a region at sizes of the picture that suit its objects.

    With a diameter the picture is resized so that they have the size that the model knows best. Without one it is
    decoded as it is; where most of what is found then is small or large, it is decoded resized as well, unless windows
    are slow to encode, and the mean of both is returned.

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
        Told the share of windows done.
    thresholds : mapping of str to float
        As `core.watershed.instances` takes them: what counts as an object at the first look.
    tile : bool
        False hands the whole region to the model at once.
    diameter : float, optional
        Of the objects, in pixels.

    Returns
    -------
    (3, M, N) ndarray of float16
        As `decode_maps`.
    """
    decode = partial(decode_maps, image, index, region, model, poll, tile=tile)
    if diameter is not None or not tile or model.maps_window > tiling.QUICK:
        return decode(progress, scale=scale_for(diameter))
    maps = decode(lambda share: progress(share / 2))
    again = _another_scale(maps, thresholds)
    if again is None:
        progress(1.0)
        return maps
    # In place and in float16: of a large picture there are gigabytes of maps.
    maps += decode(lambda share: progress((1 + share) / 2), scale=again)
    maps *= np.float16(0.5)
    return maps


def _another_scale(maps: NDArray[np.float16], thresholds: Mapping[str, float]) -> float | None:
    """Return at which other size a picture of these maps is to be looked at, None if its own suits its objects."""
    y, x = ((n - min(n, _MIDDLE)) // 2 for n in maps.shape[1:])
    middle = maps[:, y : y + _MIDDLE, x : x + _MIDDLE]
    found = instances(middle, **thresholds)  # type: ignore[arg-type]
    if not found.any() and middle.shape != maps.shape:
        found = instances(maps, **thresholds)  # type: ignore[arg-type]
    if not found.any():
        return None
    diameter = float(np.median(np.sqrt(4 / np.pi * np.bincount(found.ravel())[1:])))
    return _ENLARGED if diameter < _SMALL else _SHRUNK if diameter > _LARGE else None


def map_windows(shape: tuple[int, int], model: InstanceDecoding, scale: float = 1.0) -> Iterator[tuple[Box, Box]]:
    """Return the windows in which the maps of a picture are decoded.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the picture.
    model : InstanceDecoding
        The model.
    scale : float
        By how much the picture is resized.

    Returns
    -------
    iterator of tuple
        As `tiling.cover`, in pixels of the picture.
    """
    most = max(32, int(model.maps_window / scale) // 32 * 32)
    overlap = min(int(_OVERLAP / scale), most // 4)
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
        Told the share of windows done.
    tile : bool
        False hands the whole region to the model at once.
    scale : float
        By how much to resize the picture for the model.

    Returns
    -------
    (3, M, N) ndarray of float16
        Foreground, centre distance and boundary distance of the region's pixels.
    """
    shape = (region[2] - region[0] + 1, region[3] - region[1] + 1)
    windows = list(map_windows(shape, model, scale) if tile else tiling.cover(shape, shape, 0))
    maps = np.empty((3, *shape), np.float16)
    for i, (window, core) in enumerate(windows):
        poll()
        decoded = _resized_decode(image.rgb(index, tiling.shifted(window, region[:2])), model, scale)
        tiling.part(maps, core)[:] = tiling.part(decoded, core, window[:2])
        progress((i + 1) / len(windows))
    return maps


def _resized_decode(rgb: NDArray[np.uint8], model: InstanceDecoding, scale: float) -> NDArray[np.float32]:
    from PIL.Image import Resampling, fromarray

    if scale == 1:
        return _maps(rgb, model)
    height, width = rgb.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    # A copy: torch warns of arrays that cannot be written to, such as Pillow's.
    maps = _maps(np.array(fromarray(rgb).resize(size, Resampling.BILINEAR)), model)
    return np.stack(
        [np.asarray(fromarray(part).resize((width, height), Resampling.BILINEAR), np.float32) for part in maps]
    )


def _maps(rgb: NDArray[np.uint8], model: InstanceDecoding) -> NDArray[np.float32]:
    """Decode maps; in halves if memory runs out."""
    fallbacks = fallbacks_of(model)

    def whole(_batch: int) -> NDArray[np.float32]:
        if isinstance(model, EmbeddingMaps):
            # Prompts may have encoded the window already.
            return model.maps_of(embedding(model, rgb))
        return model.instance_maps(rgb)

    def to_cpu() -> bool:
        # Only when the window cannot be halved any further.
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
    """Decode the two halves of a picture, each with some of the other."""
    axis = int(rgb.shape[1] > rgb.shape[0])
    n = rgb.shape[axis]
    middle = rgb.shape[axis] // 2
    parts = np.moveaxis(rgb, axis, 0)
    first = np.moveaxis(parts[: min(n, middle + _OVERLAP // 2)], 0, axis)
    second = np.moveaxis(parts[max(0, middle - _OVERLAP // 2) :], 0, axis)
    one, two = (_maps(np.ascontiguousarray(half), model) for half in (first, second))
    keep = np.arange(middle), np.arange(middle, n) - max(0, middle - _OVERLAP // 2)
    return np.concatenate([one.take(keep[0], axis + 1), two.take(keep[1], axis + 1)], axis + 1)
