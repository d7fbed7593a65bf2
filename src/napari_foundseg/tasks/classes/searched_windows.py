"""Windows of a region in which objects are searched: the whole region, and tiles at full resolution."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Box
from napari_foundseg.tasks.settings import Poll
from napari_foundseg.tasks.windows import tiling

__all__ = ["SearchedWindows"]


class SearchedWindows:
    """Pictures of a region for a model: the whole region, shrunk, and if it is larger, tiles that overlap by half.

    Parameters
    ----------
    image : Image
        The image.
    index : tuple of int
        The slice.
    region : tuple of int
        (y0, x0, y1, x1), both included.
    side : int
        Side of a tile, in pixels.
    tile : bool
        Whether to use tiles.
    """

    def __init__(self, image: Image, index: tuple[int, ...], region: Box, side: int, *, tile: bool) -> None:
        self._image = image
        self._index = index
        self._origin = region[:2]
        self._shape = (region[2] - region[0] + 1, region[3] - region[1] + 1)
        self._windows = [(0, 0, self._shape[0] - 1, self._shape[1] - 1)]
        if tile and max(self._shape) > side:
            self._windows += [box for box, _ in tiling.cover(self._shape, (side, side), side // 2)]

    def pictures(self, poll: Poll, share: Callable[[float], None]) -> Iterator[tuple[Box, NDArray[np.uint8]]]:
        """Yield each window, as a box of the slice, and its picture."""
        for i, window in enumerate(self._windows):
            poll()
            box = tiling.shifted(window, self._origin)
            yield box, self._image.rgb(self._index, box)
            share((i + 1) / len(self._windows))

    def is_cut(self, box: Sequence[float], window: Box, margin: int = 0) -> bool:
        """Tell whether an object may continue outside a window; then another window shows more of it.

        `box` and `window` are in pixels of the slice; `margin` is the distance from its border that counts as cut.
        """
        y0, x0 = (math.floor(first) - margin for first in box[:2])
        y1, x1 = (math.ceil(last) + margin for last in box[2:])
        y, x = self._origin
        return tiling.touches((y0 - y, x0 - x, y1 - y, x1 - x), tiling.shifted(window, (-y, -x)), self._shape)
