"""Where an image looks like examples: cosines of its dense features with those of the examples.

Features are centred and scaled by the image's own mean and standard deviation, because properties that a whole image
shares do not distinguish its objects. See Snell et al., Prototypical Networks, NeurIPS 2017; here without any training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Box
from napari_foundseg.models.protocols.objects import FeatureExtractor
from napari_foundseg.tasks.windows import tiling
from napari_foundseg.tasks.windows.features import enlarged, feature_windows, features_of
from napari_foundseg.tasks.windows.instance_maps import seen_window

__all__ = ["Pattern", "feature_scale", "similarity_map"]

#: Diameters of objects, in pixels, between which features describe them best.
_DIAMETERS = (10.0, 40.0)
#: Cells of a window that are sampled for mean and standard deviation.
_SAMPLE = 4096


@dataclass(frozen=True, eq=False)
class Pattern:
    """An example as the feature extractor takes it.

    Parameters
    ----------
    rgb : (M, N, 3) ndarray of uint8
        The object and its surroundings.
    mask : (M, N) ndarray of bool
        The object.
    pixel : float
        Width of a pixel in pixels of the image.
    """

    rgb: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    pixel: float

    @property
    def area(self) -> float:
        """Area of the object, in pixels of the image."""
        return float(np.count_nonzero(self.mask)) * self.pixel**2

    def vector(self, model: FeatureExtractor, scale: float) -> NDArray[np.float32]:
        """Return the object's mean features at a scale, (D,)."""
        from PIL.Image import Resampling, fromarray

        factor = min(self.pixel * scale, model.features_window / max(self.mask.shape))
        rows, columns = (max(model.feature_stride, round(n * factor)) for n in self.mask.shape)
        picture = np.array(fromarray(self.rgb).resize((columns, rows), Resampling.BILINEAR))
        share = fromarray(self.mask.astype(np.float32)).resize((columns, rows), Resampling.BOX)
        found = features_of(model, picture)
        at = [
            np.clip((np.arange(n) * model.feature_stride + model.feature_offset).round().astype(int), 0, side - 1)
            for n, side in zip(found.shape[1:], (rows, columns), strict=True)
        ]
        weights = np.asarray(share)[np.ix_(*at)]
        inside = weights >= min(0.5, float(weights.max()))
        return np.asarray(found[:, inside].mean(axis=1))


def feature_scale(patterns: Sequence[Pattern]) -> float:
    """Return the factor by which to resize an image so that features describe objects as large as the examples best."""
    diameter = float(np.median([np.sqrt(4 * pattern.area / np.pi) for pattern in patterns]))
    return float(np.clip(diameter, *_DIAMETERS)) / diameter


def similarity_map(
    image: Image,
    index: tuple[int, ...],
    region: Box,
    patterns: Sequence[Pattern],
    model: FeatureExtractor,
    poll: Callable[[], None],
    progress: Callable[[float], None],
    negatives: Sequence[Pattern] = (),
) -> tuple[NDArray[np.float16], float]:
    """Compare every place of a region with the examples.

    Parameters
    ----------
    image : Image
        The image.
    index : tuple of int
        The slice.
    region : tuple of int
        First and last row and column, (y0, x0, y1, x1), both included.
    patterns : sequence of Pattern
        The examples.
    model : FeatureExtractor
        The model.
    poll : callable
        Called before each window; may raise to stop.
    progress : callable
        Called with the share done.
    negatives : sequence of Pattern
        Examples of objects to exclude.

    Returns
    -------
    similarity : (M, N) ndarray of float16
        Cosine with the most similar example, -1 to 1, in pixels of the resized region. Where a negative is more
        similar, its cosine is subtracted, so that the value is below 0.
    scale : float
        Factor by which the region was resized.
    """
    scale = feature_scale(patterns)
    shape = (max(1, round((region[2] - region[0] + 1) * scale)), max(1, round((region[3] - region[1] + 1) * scale)))
    windows = list(feature_windows(shape, model))

    def features(window: Box) -> NDArray[np.float32]:
        poll()
        return features_of(model, seen_window(image, index, region, window, shape))

    samples = []
    for i, (window, _) in enumerate(windows):
        found = features(window)
        flat = found.reshape(len(found), -1)
        samples.append(flat[:, :: max(1, flat.shape[1] // _SAMPLE)])
        progress((i + 1) / len(windows) / 2)
    joined = np.concatenate(samples, axis=1)
    mean = joined.mean(axis=1)[:, None]
    spread = joined.std(axis=1)[:, None] + 1e-3
    shown = [p.vector(model, scale) for p in (*patterns, *negatives)]
    vectors = _unit((np.stack(shown, axis=1) - mean) / spread)
    similarity = np.empty(shape, np.float16)
    for i, (window, core) in enumerate(windows):
        found = features(window)
        cells = _unit((found.reshape(len(found), -1) - mean) / spread)
        alike = vectors.T @ cells
        cosines = alike[: len(patterns)].max(axis=0)
        if negatives:
            other = alike[len(patterns) :].max(axis=0)
            cosines = np.where(other > cosines, cosines - other, cosines)
        cosines = cosines.reshape(1, *found.shape[1:])
        sides = (window[2] - window[0] + 1, window[3] - window[1] + 1)
        tiling.part(similarity, core)[:] = tiling.part(enlarged(cosines, model, sides)[0], core, window[:2])
        progress((1 + (i + 1) / len(windows)) / 2)
    return similarity, scale


def _unit(columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return columns divided by their length."""
    return np.asarray(columns / (np.linalg.norm(columns, axis=0, keepdims=True) + 1e-6), np.float32)
