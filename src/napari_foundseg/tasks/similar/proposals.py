"""Objects that may be like the examples: the places to prompt at, the ratings, and the choice of objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_foundseg.core.image import Image
from napari_foundseg.core.labels import label_dtype
from napari_foundseg.core.masks import Box, Mask
from napari_foundseg.models.protocols.objects import GridOptions, PointGrid
from napari_foundseg.tasks.windows import tiling
from napari_foundseg.tasks.windows.embeddings import embedding

__all__ = ["MOST_PLACES", "Rating", "keep_apart", "masks_of_labels", "prompt_peaks", "similar_places"]

#: Least cosine of a place to prompt at.
_LEAST = 0.15
#: Most places in a slice to prompt at.
MOST_PLACES = 4000
#: Scores below which no masks are made, and other options of the model.
_OPTIONS = GridOptions(
    points_per_batch=64, pred_iou_thresh=0.3, stability_score_thresh=0.5, stability_score_offset=1.0, exact=False
)
#: Natural logarithm of the ratio of areas at which a proposal counts 0.6 times.
_AREAS = 1.2
#: Largest share of a proposal that may belong to better ones.
_COVERED = 0.5


def similar_places(similarity: NDArray[np.float16], diameter: float) -> tuple[NDArray[np.float64], int]:
    """Return the places that look most like the examples.

    Parameters
    ----------
    similarity : (M, N) ndarray of float16
        Similarity of each pixel.
    diameter : float
        Diameter of the examples, in the same pixels.

    Returns
    -------
    (K, 2) ndarray of float
        Rows and columns of the maxima, most similar first.
    int
        Number of less similar maxima that are left out.
    """
    smooth = ndimage.gaussian_filter(similarity.astype(np.float32), max(1.0, diameter / 6))
    window = 2 * max(1, round(diameter / 4)) + 1
    peaks = np.argwhere((smooth == ndimage.maximum_filter(smooth, window)) & (smooth > _LEAST))
    order = np.argsort(-smooth[tuple(peaks.T)], kind="stable")[:MOST_PLACES]
    return peaks[order].astype(np.float64), len(peaks) - len(order)


def prompt_peaks(
    image: Image,
    index: tuple[int, ...],
    region: Box,
    places: NDArray[np.float64],
    diameter: float,
    model: PointGrid,
    poll: Callable[[], None],
    progress: Callable[[float], None],
) -> list[Mask]:
    """Prompt a model at places, in windows that suit the size of the objects.

    Parameters
    ----------
    image : Image
        The image.
    index : tuple of int
        The slice.
    region : tuple of int
        First and last row and column, (y0, x0, y1, x1), both included.
    places : (K, 2) ndarray of float
        Rows and columns in pixels of the region.
    diameter : float
        Diameter of the objects, in pixels.
    model : PointGrid
        The model.
    poll : callable
        Called before each batch; may raise to stop.
    progress : callable
        Called with the share done.

    Returns
    -------
    list of Mask
        Up to three masks for each place, in pixels of the slice.
    """
    shape = (region[2] - region[0] + 1, region[3] - region[1] + 1)
    last = tiling.coarsest(shape, model.window)
    level = tiling.box_level((0, 0, diameter - 1, diameter - 1), shape, model.window)
    side = tiling.side(model.window, level)
    windows = list(tiling.cover(shape, (side, side), side // 2))
    found: list[Mask] = []
    for i, (window, core) in enumerate(windows):
        y, x = places.T
        inside = places[(y >= core[0]) & (y < core[2] + 1) & (x >= core[1]) & (x < core[3] + 1)]
        if len(inside):
            rgb = image.rgb(index, tiling.shifted(window, region[:2]))
            shares = (inside[:, ::-1] - window[1::-1] + 0.5) / (rgb.shape[1], rgb.shape[0])
            masks = [m.moved(*window[:2]) for m in model.grid_masks(embedding(model, rgb), shares, _OPTIONS, poll)]
            found += [m for m in masks if level == last or not tiling.touches(m.box, window, shape)]
        progress((i + 1) / len(windows))
    return [replace(mask.moved(*region[:2]), index=index) for mask in found]


def masks_of_labels(plane: NDArray[np.integer], scores: NDArray[np.float64], index: tuple[int, ...]) -> list[Mask]:
    """Return the objects of a slice as masks; `scores` holds the predicted IoU of each label from 1."""
    out = []
    for label, part in enumerate(ndimage.find_objects(plane.astype(np.int64, copy=False)), 1):
        if part is not None:
            crop = plane[part] == label
            origin = (part[0].start, part[1].start)
            out.append(Mask.from_array(crop, origin, predicted_iou=float(scores[label - 1]), index=index))
    return out


class Rating:
    """Rating of proposals by the model's score, by their similarity to the examples, and by their size.

    Parameters
    ----------
    similarity : (M, N) ndarray of float16
        Similarity of each pixel of the resized region.
    scale : float
        Factor by which the region was resized.
    region : tuple of int
        The region, (y0, x0, y1, x1).
    area : float
        Area of the examples, in pixels.
    """

    def __init__(self, similarity: NDArray[np.float16], scale: float, region: Box, area: float) -> None:
        self._similarity = similarity
        self._scale = scale
        self._origin = region[:2]
        self._area = area

    def rated(self, mask: Mask) -> Mask:
        """Return a mask whose predicted IoU is replaced by its match with the examples, 0 to 1."""
        size = np.exp(-0.5 * (np.log(mask.area / self._area) / _AREAS) ** 2)
        match = mask.predicted_iou * np.sqrt(max(0.0, self._alike(mask))) * size
        return replace(mask, predicted_iou=float(np.clip(match, 0, 1)))

    def _alike(self, mask: Mask) -> float:
        """Return the mean similarity of a mask's pixels."""
        rows, columns = np.nonzero(mask.crop)
        at = [
            np.clip(((along + first - origin + 0.5) * self._scale).astype(int), 0, side - 1)
            for along, first, origin, side in zip(
                (rows, columns), mask.box, self._origin, self._similarity.shape, strict=False
            )
        ]
        return float(self._similarity[tuple(at)].mean(dtype=np.float64))


def keep_apart(
    masks: Iterable[Mask], shape: tuple[int, int], threshold: float, min_area: int
) -> tuple[NDArray[np.unsignedinteger], list[Mask]]:
    """Paint masks into a slice; earlier masks keep their pixels.

    Parameters
    ----------
    masks : iterable of Mask
        Masks of one slice, best first.
    shape : tuple of int
        Rows and columns of the slice.
    threshold : float
        Least predicted IoU.
    min_area : int
        Least number of pixels that a mask keeps.

    Returns
    -------
    labels : (M, N) ndarray of unsigned int
        Kept mask i is object i + 1.
    kept : list of Mask
        Masks of which earlier masks cover at most half.
    """
    plane = np.zeros(shape, np.uint32)
    kept: list[Mask] = []
    for mask in masks:
        if mask.predicted_iou < threshold or not mask.area:
            continue
        view = tiling.part(plane, mask.box)
        free = mask.crop & (view == 0)
        left = np.count_nonzero(free)
        if left >= max(1, min_area) and left >= (1 - _COVERED) * mask.area:
            kept.append(mask)
            view[free] = len(kept)
    return plane.astype(label_dtype(len(kept)), copy=False), kept
