"""Examples for models that take boxes in the same picture: the examples are shown beside what is searched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Box, Mask
from napari_foundseg.models.class_protocols import ConceptMasks, ConceptQuery
from napari_foundseg.tasks.similar.examples import Example
from napari_foundseg.tasks.windows import tiling

__all__ = ["Strip", "search_exemplars"]

#: Largest share of the model's window that the examples take.
_WIDEST = 0.4


class Strip(NamedTuple):
    """Pictures of examples, one below the other."""

    rgb: NDArray[np.uint8]
    boxes: tuple[tuple[float, float, float, float], ...]
    """The objects in the strip, (y0, x0, y1, x1), both ends included."""

    @classmethod
    def of(cls, examples: Sequence[Example], rows: int, window: int) -> Strip:
        """Lay out the examples at the image's scale; those that do not fit are left out, but for the first.

        `rows`: of the region that is searched; `window`: side of what the model sees.
        """
        highest = max(rows, window)
        widest = round(_WIDEST * window)
        shown: list[NDArray[np.uint8]] = []
        boxes: list[tuple[float, float, float, float]] = []
        height = 0
        for example in examples:
            picture, box = _at_scale(example, widest)
            if shown and height + len(picture) > highest:
                continue
            y0, x0, y1, x1 = box
            boxes.append((y0 + height, x0, y1 + height, x1))
            shown.append(picture)
            height += len(picture)
        width = max(picture.shape[1] for picture in shown)
        out = np.zeros((height, width, 3), np.uint8)
        top = 0
        for picture in shown:
            out[top : top + len(picture), : picture.shape[1]] = picture
            top += len(picture)
        return cls(out, tuple(boxes))

    def beside(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a picture with the strip at its left side."""
        out = np.zeros((max(len(rgb), len(self.rgb)), self.rgb.shape[1] + rgb.shape[1], 3), np.uint8)
        out[: len(self.rgb), : self.rgb.shape[1]] = self.rgb
        out[: len(rgb), self.rgb.shape[1] :] = rgb
        return out


def search_exemplars(
    image: Image,
    index: tuple[int, ...],
    region: Box,
    strip: Strip,
    words: str,
    model: ConceptMasks,
    floor: float,
    poll: Callable[[], None],
    share: Callable[[float], None],
    *,
    tile: bool,
) -> list[Mask]:
    """Find the objects of a region that are like the examples.

    Parameters
    ----------
    image : Image
        The image.
    index : tuple of int
        The slice.
    region : tuple of int
        First and last row and column, (y0, x0, y1, x1), both included.
    strip : Strip
        The examples.
    words : str
        What they are; may be empty.
    model : ConceptMasks
        The model.
    floor : float
        Scores up to it are left out.
    poll : callable
        Called before each window; may raise to stop.
    share : callable
        Told the share done.
    tile : bool
        Whether tiles at full resolution are searched too.

    Returns
    -------
    list of Mask
        In pixels of the slice, the best first; objects of several windows are in it several times.
    """
    shape = (region[2] - region[0] + 1, region[3] - region[1] + 1)
    query = ConceptQuery(words, strip.boxes, (1,) * len(strip.boxes))
    width = strip.rgb.shape[1]
    side = model.window - width
    windows = [(0, 0, shape[0] - 1, shape[1] - 1)]
    if tile and max(shape) > side:
        windows += [box for box, _ in tiling.cover(shape, (side, side), side // 2)]
    found: list[Mask] = []
    for i, window in enumerate(windows):
        poll()
        rgb = image.rgb(index, tiling.shifted(window, region[:2]))
        (masks,) = model.concept_masks(strip.beside(rgb), [query], floor)
        inside = (m.moved(window[0], window[1] - width) for m in masks if m.box[1] >= width and m.box[2] < len(rgb))
        found += [m for m in inside if not tiling.touches(m.box, window, shape)]
        share((i + 1) / len(windows))
    moved = [replace(mask.moved(*region[:2]), index=index) for mask in found]
    return sorted(moved, key=lambda mask: -mask.predicted_iou)


def _at_scale(example: Example, widest: int) -> tuple[NDArray[np.uint8], tuple[float, float, float, float]]:
    """Return an example at the image's scale, or as large as it may be, and the box of its object."""
    from PIL.Image import Resampling, fromarray

    rgb = example.rgb
    factor = min(example.pixel, widest / max(rgb.shape[:2]))
    rows, columns = (max(1, round(n * factor)) for n in rgb.shape[:2])
    picture = np.array(fromarray(rgb).resize((columns, rows), Resampling.BILINEAR))
    if example.prompt.mask is not None:
        y, x = np.nonzero(example.prompt.mask)
        box = (float(y.min()), float(x.min()), float(y.max()), float(x.max()))
    else:
        y0, x0, y1, x1 = example.prompt.box or (0, 0, rgb.shape[0] - 1, rgb.shape[1] - 1)
        box = (y0, x0, y1, x1)
    down, right = rows / rgb.shape[0], columns / rgb.shape[1]
    return picture, (box[0] * down, box[1] * right, (box[2] + 1) * down - 1, (box[3] + 1) * right - 1)
