"""Dense features of images of any size: cached features of overlapping windows, and their interpolation to pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.clusters.feature_colours import as_rgb
from napari_foundseg.core.clusters.local_mean import local_mean
from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Box
from napari_foundseg.models.protocols.objects import FeatureExtractor
from napari_foundseg.tasks.windows import tiling
from napari_foundseg.tasks.windows.embeddings import embedding

__all__ = ["enlarged", "feature_rgb", "feature_windows", "features_of"]


#: Kind of the cached data; increase the number when the same weights give other features.
_KIND = "#features2"


class _Encoder:
    """Adapter that lets the cache of embeddings hold features."""

    def __init__(self, model: FeatureExtractor) -> None:
        self._model = model
        self.name = model.name
        self.key = f"{model.key}{_KIND}"
        self.device = model.device
        self.window = model.window

    def encode(self, rgb: NDArray[np.uint8]) -> Any:
        return self._model.features(rgb)


def features_of(model: FeatureExtractor, rgb: NDArray[np.uint8], context: int = 0) -> NDArray[np.float32]:
    """Return the features of a picture; compute them only if no cache has them.

    Parameters
    ----------
    model : FeatureExtractor
        The model.
    rgb : (M, N, 3) ndarray of uint8
        The picture, not larger than the model's `features_window`.
    context : int
        Side in pixels of the square over which features are averaged.

    Returns
    -------
    (D, H, W) ndarray of float32
        One cell for every `feature_stride` pixels.
    """
    found: Any = embedding(_Encoder(model), rgb)
    return local_mean(found, 2 * (context // (2 * model.feature_stride)) + 1)


def feature_windows(shape: tuple[int, int], model: FeatureExtractor, context: int = 0) -> Iterator[tuple[Box, Box]]:
    """Return the windows in which the features of a picture are computed.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the picture.
    model : FeatureExtractor
        The model.
    context : int
        Averaging square, as in `features_of`.

    Returns
    -------
    iterator of tuple
        Windows and their cores, as from `tiling.cover`.
    """
    most = model.features_window
    overlap = min(2 * model.feature_margin + context, most // 2)
    multiple = 32 if most % 32 == 0 else model.feature_stride
    return tiling.cover(shape, tiling.fitted(shape, most, overlap, multiple), overlap)


def enlarged(cells: NDArray[Any], model: FeatureExtractor, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Interpolate a map of cells to pixels, bilinear between the pixels at the centres of cells.

    Parameters
    ----------
    cells : (K, H, W) ndarray of float
        Map of a window.
    model : FeatureExtractor
        Model that made the cells.
    shape : tuple of int
        Rows and columns of the window.

    Returns
    -------
    (K, M, N) ndarray of float32
    """
    out = np.asarray(cells, np.float32)
    for axis, size in zip((1, 2), shape, strict=True):
        count = out.shape[axis]
        at = np.clip((np.arange(size) - model.feature_offset) / model.feature_stride, 0, count - 1)
        low = np.minimum(at.astype(np.int64), max(0, count - 2))
        share = (at - low).astype(np.float32)
        share = share[:, None] if axis == 1 else share
        out = np.take(out, low, axis) * (1 - share) + np.take(out, np.minimum(low + 1, count - 1), axis) * share
    return out


def feature_rgb(
    image: Image,
    model: FeatureExtractor,
    index: tuple[int, ...] = (),
    context: int = 0,
    poll: Callable[[], None] = lambda: None,
) -> NDArray[np.uint8]:
    """Return the first three principal components of a slice's features as colours, to show what a model sees.

    Parameters
    ----------
    image : Image
        The image.
    model : FeatureExtractor
        The model.
    index : tuple of int
        The slice.
    context : int
        Averaging square, as in `features_of`.
    poll : callable
        Called before each window; may raise to stop.

    Returns
    -------
    (M, N, 3) ndarray of uint8
        Picture of the slice's size.
    """
    from napari_foundseg.core.clusters.feature_colours import principal_axes

    shape = image.plane_shape
    windows = list(feature_windows(shape, model, context))
    samples = []
    for box, _ in windows:
        poll()
        flat = features_of(model, image.rgb(index, box), context)
        samples.append(flat.reshape(len(flat), -1)[:, :: max(1, len(windows))])
    mean, axes = principal_axes(np.concatenate(samples, 1).T)
    out = np.empty((3, *shape), np.float32)
    for box, core in windows:
        poll()
        found = features_of(model, image.rgb(index, box), context)
        parts = np.tensordot(axes, found - mean[:, None, None], 1)
        side = (box[2] - box[0] + 1, box[3] - box[1] + 1)
        tiling.part(out, core)[:] = tiling.part(enlarged(parts, model, side), core, box[:2])
    return as_rgb(out)
