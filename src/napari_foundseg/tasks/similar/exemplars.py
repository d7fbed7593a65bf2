"""Examples for models that take boxes in the searched picture: the examples are placed next to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.masks import Mask
from napari_foundseg.models.protocols.words import ConceptMasks, ConceptQuery
from napari_foundseg.tasks.classes.searched_windows import SearchedWindows
from napari_foundseg.tasks.settings import Poll
from napari_foundseg.tasks.similar.examples import Example

__all__ = ["Strip", "search_exemplars"]

#: Largest share of the model's window that the examples take.
_WIDEST = 0.4


class Strip(NamedTuple):
    """Pictures of examples, one below the other."""

    rgb: NDArray[np.uint8]
    boxes: tuple[tuple[float, float, float, float], ...]
    """The objects in the strip, (y0, x0, y1, x1), both ends included."""
    signs: tuple[int, ...]
    """For each box 1 (positive example) or 0 (negative example)."""

    @classmethod
    def of(cls, examples: Sequence[tuple[Example, int]], rows: int, window: int) -> Strip:
        """Return a strip of examples at the image's scale; those that do not fit are left out, except the first.

        `examples` holds each example with its sign. `rows` is the height of the searched region, `window` the side of
        the model's window.
        """
        highest = max(rows, window)
        widest = round(_WIDEST * window)
        shown: list[NDArray[np.uint8]] = []
        boxes: list[tuple[float, float, float, float]] = []
        signs: list[int] = []
        height = 0
        for example, sign in examples:
            picture, box = _at_scale(example, widest)
            if shown and height + len(picture) > highest:
                continue
            y0, x0, y1, x1 = box
            boxes.append((y0 + height, x0, y1 + height, x1))
            signs.append(sign)
            shown.append(picture)
            height += len(picture)
        width = max(picture.shape[1] for picture in shown)
        out = np.zeros((height, width, 3), np.uint8)
        top = 0
        for picture in shown:
            out[top : top + len(picture), : picture.shape[1]] = picture
            top += len(picture)
        return cls(out, tuple(boxes), tuple(signs))

    def beside(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a picture with the strip at its left side."""
        out = np.zeros((max(len(rgb), len(self.rgb)), self.rgb.shape[1] + rgb.shape[1], 3), np.uint8)
        out[: len(self.rgb), : self.rgb.shape[1]] = self.rgb
        out[: len(rgb), self.rgb.shape[1] :] = rgb
        return out


def search_exemplars(
    windows: SearchedWindows,
    strip: Strip,
    words: str,
    model: ConceptMasks,
    floor: float,
    poll: Poll,
    share: Callable[[float], None],
) -> tuple[list[Mask], bool]:
    """Find objects like the examples in the strip, which is placed next to each window.

    Parameters
    ----------
    windows : SearchedWindows
        Windows to search; with the strip they are as large as the model's window.
    strip : Strip
        Examples of objects to find, and of objects to exclude.
    words : str
        Noun phrase for the objects; may be empty.
    model : ConceptMasks
        The model.
    floor : float
        Least score.
    poll : callable
        Called before each window; may raise to stop.
    share : callable
        Called with the share done.

    Returns
    -------
    list of Mask
        Masks in pixels of the slice, best first; an object in several windows occurs several times.
    bool
        Whether a window held as many objects as the model can return.
    """
    query = ConceptQuery(words, strip.boxes, strip.signs)
    width = strip.rgb.shape[1]
    found: list[Mask] = []
    full = False
    for window, rgb in windows.pictures(poll, share):
        (masks,) = model.concept_masks(strip.beside(rgb), [query], floor)
        full |= len(masks) >= model.most_objects
        own = (m.moved(window[0], window[1] - width) for m in masks if m.box[1] >= width and m.box[2] < len(rgb))
        found += [mask for mask in own if not windows.is_cut(mask.box, window)]
    return sorted(found, key=lambda mask: -mask.predicted_iou), full


def _at_scale(example: Example, widest: int) -> tuple[NDArray[np.uint8], tuple[float, float, float, float]]:
    """Return an example at the image's scale, or at the largest scale that fits, and the box of its object."""
    from PIL.Image import Resampling, fromarray

    rgb = example.rgb
    factor = min(example.pixel, widest / max(rgb.shape[:2]))
    rows, columns = (max(1, round(n * factor)) for n in rgb.shape[:2])
    picture = np.array(fromarray(rgb).resize((columns, rows), Resampling.BILINEAR))
    box = example.box
    down, right = rows / rgb.shape[0], columns / rgb.shape[1]
    return picture, (box[0] * down, box[1] * right, (box[2] + 1) * down - 1, (box[3] + 1) * right - 1)
