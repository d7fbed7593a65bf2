"""Looks, the results of decoding a prompt at one level, and the rules for further levels and for the mask to take.

A small window takes 25 ms on a CPU. So a click is decoded again if the first look asks for it, at most once at every
level; an ordinary nucleus takes 2.3 windows on average. Windows are cached, so that the next click nearby finds most of
them encoded. Models with large windows, which take seconds, decode again only if the object continues beyond the window
or the model doubts, and never beyond the coarsest level.

The constants were chosen on `train`, on drawn discs and on drawn cells with a nucleus (`benchmarks/click_sizes.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from napari_foundseg.core.masks import Box, Mask, iou
from napari_foundseg.core.prompts import Prompt

__all__ = ["DOUBT", "SAME", "Look", "disobeyed", "middle"]

#: Predicted IoU below which a click is decoded in a wider window, whatever the mask.
DOUBT = 0.6
#: Predicted IoU below which a wider window may show the same object better.
SURE = 0.75
#: The same if the window is already coarser than native resolution, which ordinary nuclei never need.
SURE_OF_LARGE = 0.8
#: Least IoU of the masks of two looks that show the same object.
SAME = 0.3
#: Predicted IoU by which a larger object must exceed a part of it, unless the part is doubtful.
JUMP = 0.1
#: Least predicted IoU of a mask for which the picture is not shrunk below the window.
CLEAR = 0.88
#: Bonus in predicted IoU for the mask of an enlarged picture.
ENLARGED = 0.03
#: Predicted IoU that a mask loses for each octave between its level and the one at which it fills a third of a window.
OCTAVE = 0.04
#: Predicted IoU by which another mask must exceed that of the box of the decoder's instance under a click.
INSTANCE = 0.05
#: IoU with a larger instance below which a mask may be one of several objects in it.
JOINED = 0.6
#: Least IoU of two masks of which only one is offered.
ALIKE = 0.9
#: Steps along the longer side of a mask in the search for its middle.
_STEPS = 128


@dataclass(frozen=True, eq=False)
class Look:
    """Result of decoding a prompt at one level.

    Parameters
    ----------
    level : int
        The level.
    window : tuple of int
        The window that was decoded, as a box.
    masks : list of Mask
        Candidates, best first.
    cut : bool
        Whether the best mask continues outside the window.
    fitting : int
        The level at which the best mask comes nearest to filling a third of the window.
    disobeyed : int
        Number of clicks that the best mask disobeys.
    is_picture : bool
        Whether the best mask is the picture itself rather than an object.
    """

    level: int
    window: Box
    masks: list[Mask]
    cut: bool
    fitting: int
    disobeyed: int = 0
    is_picture: bool = False

    @property
    def trust(self) -> float:
        """Predicted IoU of the best mask, adjusted for its level; 0 if the mask is empty or is the picture itself."""
        best = self.masks[0]
        if not best.area or self.is_picture:
            return 0.0
        return best.predicted_iou + ENLARGED * (self.level < 0) - OCTAVE * abs(self.level - self.fitting)

    def is_better(self, other: Look) -> bool:
        """Tell whether to take this look's mask instead of another's.

        Masks that fit into their window come first, then masks that obey the clicks. A larger object must be trusted
        clearly more than a part of it, because a click on a nucleus does not mean the cell.
        """
        mine, theirs = self._rank(), other._rank()
        if mine != theirs:
            return mine > theirs
        if self.level < other.level:
            return not other.is_better(self)
        another = iou(self.masks[0], other.masks[0]) < SAME and other.masks[0].predicted_iou >= DOUBT
        return self.trust > other.trust + JUMP * another

    @property
    def is_clear(self) -> bool:
        """Whether the best mask is good enough without shrinking the picture below the window."""
        return self.masks[0].predicted_iou >= CLEAR

    @property
    def wants_centre(self) -> bool:
        """Whether a click in its middle may improve the best mask; small objects are many and must be more doubtful."""
        best = self.masks[0]
        return best.area > 0 and best.predicted_iou < (CLEAR if self.level >= 0 else SURE)

    def is_as_whole(self, other: Look) -> bool:
        """Tell whether the best mask is no worse than another's: neither newly cut nor disobeying more clicks."""
        return self._rank() >= other._rank() and not self.is_picture

    def is_of_instance(self, other: Look) -> bool:
        """Tell whether to take the mask of an instance's box instead of another look's at the same clicks.

        The decoder may join two objects, so an instance that is much more than the other mask must be trusted more.
        """
        mine, theirs = self.masks[0], other.masks[0]
        joins = mine.area > theirs.area and iou(mine, theirs) < JOINED
        least = theirs.predicted_iou + (JUMP if joins else -INSTANCE)
        return self.is_as_whole(other) and mine.predicted_iou > least

    def with_others(self, other: Look) -> Look:
        """Return this look with the masks of another as further candidates, if they differ."""
        best = self.masks[0]
        return replace(self, masks=[best, *(mask for mask in other.masks if iou(mask, best) < ALIKE)])

    def _rank(self) -> tuple[bool, int]:
        return not self.cut, self.level if self.cut else -self.disobeyed

    def wants_wider(self, *, taken: bool, quick: bool) -> bool:
        """Tell whether a wider window may show the object better.

        `taken` is whether this is the best look so far; `quick` is whether one more window takes milliseconds.
        """
        best = self.masks[0]
        if self.cut or best.predicted_iou < DOUBT:
            return True
        sure = SURE_OF_LARGE if self.level > 0 else SURE
        return taken and quick and best.predicted_iou < sure and self.fitting >= self.level


def disobeyed(mask: Mask, prompt: Prompt) -> int:
    """Return the number of positive clicks outside a mask plus the number of negative clicks inside it."""
    y0, x0, y1, x1 = mask.box
    count = 0
    for (y, x), label in zip(prompt.points, prompt.labels or (), strict=True):
        row = round(y)
        column = round(x)
        inside = y0 <= row <= y1 and x0 <= column <= x1 and bool(mask.crop[row - y0, column - x0])
        count += inside != (label == 1)
    return count


def middle(mask: Mask) -> tuple[int, int]:
    """Return the pixel of a mask that is farthest from its outline; only approximately for a large mask."""
    from scipy import ndimage

    step = max(1, max(mask.crop.shape) // _STEPS)
    depth = ndimage.distance_transform_edt(np.pad(mask.crop[::step, ::step], 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return mask.box[0] + int(y) * step, mask.box[1] + int(x) * step
