"""Looks: what a model makes of one prompt at one level; which further levels are worth a look, and which mask is taken.

A small window costs 25 ms on a processor, so a click is looked at again where the first look asks for it, and at most
once at every level; an ordinary nucleus costs 2.3 windows for the 2.1 of its own size and its best one. Windows are
kept, so that the next click nearby finds most of them encoded. Models of large windows look again only where the
object goes on beyond the window or the model doubts, and never beyond the coarsest level, which takes them seconds.

The constants were chosen on `train`, drawn discs and drawn cells with a nucleus (`benchmarks/click_sizes.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_foundseg.core.masks import Box, Mask, iou
from napari_foundseg.core.prompts import Prompt

__all__ = ["DOUBT", "SAME", "Look", "disobeyed", "middle"]

#: Predicted IoU below which a click is looked at in a wider window, whatever it shows.
DOUBT = 0.6
#: Predicted IoU below which the same object may be seen better in a wider window.
SURE = 0.75
#: The same where the window is a wide one already, which ordinary nuclei never ask for.
SURE_OF_LARGE = 0.8
#: IoU from which on two looks show the same object.
SAME = 0.3
#: Predicted IoU by which a larger object must be trusted more than a part of it that is not a doubtful one.
JUMP = 0.1
#: Predicted IoU from which on the picture is not shrunk below the window to see the same object better.
CLEAR = 0.88
#: Predicted IoU by which an enlarged picture may be trusted less and is taken all the same.
ENLARGED = 0.03
#: Predicted IoU that a mask loses for each octave between its level and the one at which it fills a third of a window.
OCTAVE = 0.04
#: Steps across a mask in which its middle is looked for.
_STEPS = 128


@dataclass(frozen=True, eq=False)
class Look:
    """What a model makes of a prompt at one level.

    Parameters
    ----------
    level : int
        The level.
    window : tuple of int
        The window that was decoded, as a box.
    masks : list of Mask
        Candidates, the best first.
    cut : bool
        Whether the best goes on outside the window.
    fitting : int
        The level at which the best comes nearest to filling a third of the window.
    disobeyed : int
        Clicks that the best disobeys.
    is_picture : bool
        Whether the best is the picture itself.
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
        """The best mask's predicted IoU, less where the level does not fit it; 0 if it shows nothing."""
        best = self.masks[0]
        if not best.area or self.is_picture:
            return 0.0
        return best.predicted_iou + ENLARGED * (self.level < 0) - OCTAVE * abs(self.level - self.fitting)

    def is_better(self, other: Look) -> bool:
        """Tell whether to take this look's mask for another's.

        A mask that fits its window goes first, then one that obeys the clicks. A larger object must be trusted clearly
        more than a part of it: a click on a nucleus does not mean the cell.
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
        """Whether the best mask needs no picture that is shrunk below the window to be seen better."""
        return self.masks[0].predicted_iou >= CLEAR

    @property
    def wants_centre(self) -> bool:
        """Whether the best mask could be better; of small objects, which are many and quick to mend, the doubtful."""
        best = self.masks[0]
        return best.area > 0 and best.predicted_iou < (CLEAR if self.level >= 0 else SURE)

    def is_as_whole(self, other: Look) -> bool:
        """Tell whether the best is neither cut where another's is not, nor disobeys more clicks."""
        return self._rank() >= other._rank() and not self.is_picture

    def _rank(self) -> tuple[bool, int]:
        return not self.cut, self.level if self.cut else -self.disobeyed

    def wants_wider(self, *, taken: bool, quick: bool) -> bool:
        """Tell whether a wider window may show the object better.

        `taken`: whether this is the best look so far; `quick`: whether one more window takes milliseconds.
        """
        best = self.masks[0]
        if self.cut or best.predicted_iou < DOUBT:
            return True
        sure = SURE_OF_LARGE if self.level > 0 else SURE
        return taken and quick and best.predicted_iou < sure and self.fitting >= self.level


def disobeyed(mask: Mask, prompt: Prompt) -> int:
    """Count the positive clicks outside a mask and the negative ones inside it."""
    y0, x0, y1, x1 = mask.box
    count = 0
    for (y, x), label in zip(prompt.points, prompt.labels or (), strict=True):
        row = round(y)
        column = round(x)
        inside = y0 <= row <= y1 and x0 <= column <= x1 and bool(mask.crop[row - y0, column - x0])
        count += inside != (label == 1)
    return count


def middle(mask: Mask) -> tuple[int, int]:
    """Return the pixel of a mask that lies farthest from its outline; of a large one, nearly so."""
    from scipy import ndimage

    step = max(1, max(mask.crop.shape) // _STEPS)
    depth = ndimage.distance_transform_edt(np.pad(mask.crop[::step, ::step], 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return mask.box[0] + int(y) * step, mask.box[1] + int(x) * step
