"""The object that an instance decoder sees under clicks.

A click in the middle of a group of touching objects may mean the group as well as one of them. The decoder sees where
objects end, so the box of its instance says what the click means. Among the windows of the clicks, the
instance is taken from the one in which it is nearest to `_BEST_SIDE`.

The constants were chosen on `val`, on drawn discs and on drawn stacks of touching cells.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Box
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.core.watershed import instances
from napari_foundseg.models.catalog import row
from napari_foundseg.models.protocols.objects import Embedding, EmbeddingMaps
from napari_foundseg.models.row_defaults import default_settings
from napari_foundseg.tasks.automatic_objects import instance_thresholds
from napari_foundseg.tasks.automatic_settings import DecoderSettings
from napari_foundseg.tasks.windows import tiling
from napari_foundseg.tasks.windows.embeddings import embedding

__all__ = ["clicked_instance"]

#: Longer side, in pixels of the window as the model sees it, of an instance that the decoder outlines best.
_BEST_SIDE = 60
#: Instances of encoded windows, so that the next click in a window does not compute them again.
_known: WeakKeyDictionary[Embedding, NDArray[Any]] = WeakKeyDictionary()


def clicked_instance(
    image: Image, index: tuple[int, ...], windows: Iterable[Box], prompt: Prompt, model: EmbeddingMaps
) -> Box | None:
    """Return the box of the instance under clicks.

    Parameters
    ----------
    image : Image
        The image.
    index : tuple of int
        The slice.
    windows : iterable of tuple of int
        Windows that hold the clicks, as boxes (y0, x0, y1, x1) with both ends included.
    prompt : Prompt
        Points in the slice, the first of them positive.
    model : EmbeddingMaps
        The model.

    Returns
    -------
    tuple of int or None
        The instance that holds all positive and no negative clicks; None if there is none that ends in its window.
    """
    found = []
    for window in windows:
        box = _box_in(image, index, window, prompt, model)
        if box is not None and not tiling.touches(box, window, image.plane_shape):
            side = max(box[2] - box[0], box[3] - box[1]) + 1
            seen = side * model.window / max(window[2] - window[0] + 1, window[3] - window[1] + 1)
            found.append((abs(math.log(seen / _BEST_SIDE)), box))
    return min(found)[1] if found else None


def _box_in(image: Image, index: tuple[int, ...], window: Box, prompt: Prompt, model: EmbeddingMaps) -> Box | None:
    encoded = embedding(model, image.rgb(index, window))
    if encoded not in _known:
        _known[encoded] = _instances(model, encoded)
    labels = _known[encoded]
    height, width = (window[axis + 2] - window[axis] + 1 for axis in (0, 1))
    zoom = np.array(labels.shape) / (height, width)
    at = ((np.array(prompt.points) - window[:2] + 0.5) * zoom).astype(int)
    under = labels[tuple(np.clip(at, 0, np.array(labels.shape) - 1).T)]
    positive = np.array(prompt.labels) == 1
    chosen = int(under[0])
    if not chosen or not np.array_equal(under == chosen, positive):
        return None
    rows, columns = np.nonzero(labels == chosen)
    first = np.array([rows.min(), columns.min()]) / zoom
    last = np.array([rows.max() + 1, columns.max() + 1]) / zoom - 1
    y0, x0, y1, x1 = np.rint([*first, *last]).astype(int).tolist()
    return window[0] + y0, window[1] + x0, window[0] + max(y0, y1), window[1] + max(x0, x1)


def _instances(model: EmbeddingMaps, encoded: Embedding) -> NDArray[Any]:
    """Return the instances of a window, with at most as many pixels as the model sees."""
    maps = model.maps_of(encoded)
    step = max(1, round(max(maps.shape[1:]) / model.window))
    rows, columns = (slice(min(step // 2, n - 1), None, step) for n in maps.shape[1:])
    return instances(maps[:, rows, columns], **_thresholds(model.name))


@cache
def _thresholds(name: str) -> dict[str, Any]:
    return instance_thresholds(DecoderSettings(**default_settings(row(name), "automatic", "decoder")))
