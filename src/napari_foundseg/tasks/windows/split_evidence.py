"""Evidence of a model for splitting an object by clicks: borders between nuclei, and scores of each click's part.

Borders are the boundary distances of an instance decoder, for a picture in which the parts have the size that suits it.
Scores are the logits of one prompt for each click, with the other clicks as negative points. A model sees single
slices, so there are no scores if the clicks are in several slices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.editing.splitting import Evidence
from napari_foundseg.core.image import Image
from napari_foundseg.core.labels import plane_view
from napari_foundseg.core.masks import Box
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.models.catalog import row
from napari_foundseg.tasks.windows import tiling
from napari_foundseg.tasks.windows.embeddings import embedding
from napari_foundseg.tasks.windows.instance_maps import SCALES, decode_maps, resized_maps, share_embeddings

__all__ = ["brightness", "split_evidence"]

#: Diameter of the parts, in pixels, at which the decoder sees borders between them best; chosen on `val`.
_DIAMETER = 40.0
#: Pixels around an object, in the resized picture, that are decoded with it.
_SURROUNDINGS = 48

Bool = NDArray[np.bool_]


def brightness(image: Image, origin: Sequence[int], shape: Sequence[int]) -> NDArray[np.float64]:
    """Return the brightness of a box of an image: the mean of the chosen channels.

    Parameters
    ----------
    image : Image
        The image.
    origin : sequence of int
        First pixel of the box in a label image.
    shape : sequence of int
        Shape of the box.
    """
    values = np.zeros(shape)
    for index, place in _slices(image.label_axes, origin, shape):
        raw = np.asarray(image.raw(index, _plane_box(image.label_axes, origin, shape)), float)
        plane = plane_view(values, image.label_axes, place)
        plane[:] = raw if raw.ndim == 2 else raw.mean(-1)
    return np.asarray(np.nan_to_num(values, posinf=0, neginf=0))


def split_evidence(
    image: Image,
    mask: Bool,
    origin: Sequence[int],
    clicks: Sequence[tuple[int, ...]],
    model: Any,
    poll: Callable[[], None],
    progress: Callable[[float], None],
) -> Evidence | None:
    """Return the evidence of a model for the parts of an object.

    Parameters
    ----------
    image : Image
        The image.
    mask : ndarray of bool
        The object, in a box of its label image.
    origin : sequence of int
        First pixel of the box in the label image.
    clicks : sequence of tuple of int
        Clicks, in pixels of the box.
    model : Promptable
        The model; with an instance decoder it gives borders too.
    poll : callable
        Called before each slice; may raise to stop.
    progress : callable
        Called with the share of slices done.

    Returns
    -------
    Evidence or None
        None if the model gives neither borders nor scores.
    """
    axes = image.label_axes
    sees_borders = "InstanceDecoding" in row(model.name).protocols
    borders = np.zeros(mask.shape, np.float32)
    scores = np.zeros((len(clicks), *mask.shape), np.float32)
    scored = False
    corner = (origin[axes.index("Y")], origin[axes.index("X")])
    places = [_place(axes, click) for click in clicks]
    times = [_time(axes, place) for place in places]
    # Nothing is split at points in time and positions without clicks.
    looks = [
        (index, place)
        for index, place in _slices(axes, origin, mask.shape)
        if _time(axes, place) in times and plane_view(mask, axes, place).any()
    ]
    for done, (index, place) in enumerate(looks):
        poll()
        look = _Look(image, index, plane_view(mask, axes, place), corner, model)
        parts = times.count(_time(axes, place))
        here = [i for i, other in enumerate(places) if other == place]
        if sees_borders:
            plane_view(borders, axes, place)[:] = look.borders(parts, poll)
        if len(here) == parts > 1:
            points = [tuple(clicks[i][axes.index(axis)] for axis in "YX") for i in here]
            for i, found in zip(here, look.scores(points), strict=True):
                plane_view(scores[i], axes, place)[:] = found
            scored = True
        progress((done + 1) / len(looks))
    if not sees_borders and not scored:
        return None
    return Evidence(borders if sees_borders else None, scores if scored else None)


class _Look:
    """Evidence for an object in one slice; results have the shape of the object's box."""

    def __init__(self, image: Image, index: tuple[int, ...], own: Bool, corner: tuple[int, int], model: Any) -> None:
        self._image = image
        self._index = index
        self._own = own
        self._corner = corner
        self._model = model
        rows, columns = np.nonzero(own)
        y, x = corner
        self._extent = (int(rows.min()) + y, int(columns.min()) + x, int(rows.max()) + y, int(columns.max()) + x)

    def borders(self, parts: int, poll: Callable[[], None]) -> NDArray[Any]:
        """Return the boundary distance of the decoder at each pixel."""
        model = self._model
        if share_embeddings(model):
            window = self._window()
            return self._cut(model.maps_of(embedding(model, self._image.rgb(self._index, window)))[2], window)
        diameter = float(np.sqrt(4 / np.pi * np.count_nonzero(self._own) / parts))
        scale = float(np.clip(_DIAMETER / diameter, *SCALES))
        more = int(np.ceil(_SURROUNDINGS / scale))
        y0, x0, y1, x1 = self._extent
        height, width = self._image.plane_shape
        region = (max(0, y0 - more), max(0, x0 - more), min(height - 1, y1 + more), min(width - 1, x1 + more))
        maps = decode_maps(self._image, self._index, region, model, poll, lambda _: None, scale=scale)
        shape = (region[2] - region[0] + 1, region[3] - region[1] + 1)
        return self._cut(resized_maps(maps, shape)[2], region)

    def scores(self, points: Sequence[tuple[int, ...]]) -> list[NDArray[Any]]:
        """Return the logits of each point's part; `points` are in pixels of the object's box."""
        window = self._window()
        y, x = (corner - start for corner, start in zip(self._corner, window[:2], strict=True))
        moved = [(float(py + y), float(px + x)) for py, px in points]
        labels = [1, *[0] * (len(moved) - 1)]
        prompts = [Prompt([point, *(p for p in moved if p != point)], labels) for point in moved]
        encoded = embedding(self._model, self._image.rgb(self._index, window))
        found = self._model.decode(encoded, prompts, multimask=False, one_by_one=True)
        return [self._cut(candidates.logits[0], window) for candidates in found]

    def _window(self) -> Box:
        """Return the window of which the object fills about a third, or a coarser one if that cannot hold it."""
        shape = self._image.plane_shape
        side = self._model.window
        for level in range(tiling.box_level(self._extent, shape, side), tiling.coarsest(shape, side) + 1):
            window = tiling.surrounding(self._extent, shape, tiling.side(side, level))
            if window is not None:
                return window
        return 0, 0, shape[0] - 1, shape[1] - 1

    def _cut(self, seen: NDArray[Any], box: Box) -> NDArray[Any]:
        """Return the values of a map of `box` in the object's box, 0 outside `box`."""
        out = np.zeros(self._own.shape, np.float32)
        y, x = self._corner
        height, width = self._own.shape[0], self._own.shape[1]
        common = max(y, box[0]), max(x, box[1]), min(y + height - 1, box[2]), min(x + width - 1, box[3])
        tiling.part(out, common, (y, x))[:] = tiling.part(seen, common, (box[0], box[1]))
        return out


def _slices(
    axes: str, origin: Sequence[int], shape: Sequence[int]
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Yield the slices of a box: their indices in the image and in the box."""
    others = [i for i, axis in enumerate(axes) if axis not in "YX"]
    for place in product(*(range(shape[i]) for i in others)):
        yield tuple(k + origin[i] for k, i in zip(place, others, strict=True)), place


def _place(axes: str, pixel: Sequence[int]) -> tuple[int, ...]:
    """Return the slice index of a pixel."""
    return tuple(k for k, axis in zip(pixel, axes, strict=True) if axis not in "YX")


def _time(axes: str, place: tuple[int, ...]) -> tuple[int, ...]:
    """Return the position of a slice along the axes along which objects do not continue, T and Q."""
    others = axes.replace("Y", "").replace("X", "")
    return tuple(k for k, axis in zip(place, others, strict=True) if axis in "TQ")


def _plane_box(axes: str, origin: Sequence[int], shape: Sequence[int]) -> Box:
    y, x = axes.index("Y"), axes.index("X")
    return origin[y], origin[x], origin[y] + shape[y] - 1, origin[x] + shape[x] - 1
