"""Heat maps of pictures of any size: windows of several scales, blended so that there are no seams.

The model sees a window as one small square (352 pixels for CLIPSeg). The coarsest scale shows it the whole picture.
Each further scale halves the windows, down to the model's own resolution, and finds smaller things. Within a scale,
neighbouring windows overlap by half. A pixel's weight in a window falls towards the sides, so that no window ends
abruptly. The scales are averaged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Box
from napari_foundseg.models.protocols.words import TextMaps
from napari_foundseg.tasks.windows import tiling

__all__ = ["blended_maps", "scales"]


def scales(shape: tuple[int, int], window: int, most: int) -> list[tuple[int, int]]:
    """Return the sides of the windows of each scale.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the picture.
    window : int
        Side of the square that the model sees.
    most : int
        Maximum number of scales.

    Returns
    -------
    list of tuple of int
        Rows and columns, the whole picture first; no window is smaller than the model's.
    """
    longest = max(shape)
    finer = max(0, math.ceil(math.log2(longest / window))) if longest > window else 0
    sides = [max(window, math.ceil(longest / 2**k)) for k in range(1, min(most - 1, finer) + 1)]
    return [shape, *((min(side, shape[0]), min(side, shape[1])) for side in sides)]


def blended_maps(
    image: Image,
    index: tuple[int, ...],
    region: Box,
    model: TextMaps,
    prompts: Sequence[str | NDArray[np.uint8]],
    poll: Callable[[], None],
    share: Callable[[float], None],
    *,
    most_scales: int,
) -> NDArray[np.float16]:
    """Return the heat map of each prompt, averaged over the scales.

    Parameters
    ----------
    image : Image
        The image.
    index : tuple of int
        The slice.
    region : tuple of int
        (y0, x0, y1, x1), both included.
    model : TextMaps
        The model.
    prompts : sequence of str or (P, Q, 3) ndarray of uint8
        Words, or pictures of examples, to look for.
    poll : callable
        Called before each window; may raise to stop.
    share : callable
        Called with the share of windows done.
    most_scales : int
        Maximum number of scales; 1 shows the model only the whole picture.

    Returns
    -------
    (K, M, N) ndarray of float16
        Scores from 0 to 1.
    """
    shape = (region[2] - region[0] + 1, region[3] - region[1] + 1)
    levels = [list(_overlapping(shape, sides)) for sides in scales(shape, model.window, most_scales)]
    total = sum(map(len, levels))
    done = 0
    mean = np.zeros((len(prompts), *shape), np.float32)
    ask = _answers(model, prompts)
    for windows in levels:
        weights = np.zeros(shape, np.float32)
        for box, own in windows:
            tiling.part(weights, box)[:] += own
        for box, own in windows:
            poll()
            maps = ask(image.rgb(index, tiling.shifted(box, region[:2])))
            tiling.part(mean, box)[:] += maps * (own / tiling.part(weights, box) / len(levels))
            done += 1
            share(done / total)
    # Rounding can make the weighted sum slightly larger than 1.
    return np.clip(mean, 0, 1, out=mean).astype(np.float16)


def _answers(
    model: TextMaps, prompts: Sequence[str | NDArray[np.uint8]]
) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Return a function that makes the maps of a window; windows of a single colour are computed once per colour."""
    flat: dict[bytes, NDArray[np.float32]] = {}

    def ask(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        colour = rgb[0, 0]
        if (rgb != colour).any():
            return model.text_maps(rgb, prompts)
        key = colour.tobytes()
        if key not in flat:
            flat[key] = model.text_maps(rgb, prompts).mean((1, 2), keepdims=True)
        return flat[key]

    return ask


def _overlapping(shape: tuple[int, int], sides: tuple[int, int]) -> Iterator[tuple[Box, NDArray[np.float32]]]:
    """Yield windows that overlap by half, and the weights of their pixels, (M, N)."""
    for box, _ in tiling.cover(shape, sides, min(sides) // 2):
        rows = _ramp(box[0], box[2], shape[0])
        columns = _ramp(box[1], box[3], shape[1])
        yield box, rows[:, None] * columns[None]


def _ramp(first: int, last: int, n: int) -> NDArray[np.float32]:
    """Return weights that fall towards the ends of a window, except at ends of the picture."""
    place = np.arange(first, last + 1, dtype=np.float32)
    side = last - first + 1
    low = np.full(side, np.inf, np.float32) if first == 0 else place - first + 0.5
    high = np.full(side, np.inf, np.float32) if last == n - 1 else last - place + 0.5
    depth = np.minimum(np.minimum(low, high) / (side / 2), 1)
    return np.asarray(np.sin(depth * np.pi / 2) ** 2, np.float32)
