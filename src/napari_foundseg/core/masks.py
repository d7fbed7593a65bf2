"""Masks stored as bounding box and crop, with scores; their overlaps, and the rule for painting them as labels.

**Who wins a pixel** where masks overlap: the mask of higher predicted IoU; if equal, the smaller mask; if equal again,
the earlier in the list.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["Mask", "Nesting", "intersection", "iou", "paint"]

#: First and last row and column of a slice, (y0, x0, y1, x1), both included.
Box = tuple[int, int, int, int]
#: The mask that wins a pixel of several masks.
Nesting = Literal["best score", "smaller", "larger"]
#: The box of a mask without a pixel: its last row and column are before its first.
EMPTY_BOX: Box = (0, 0, -1, -1)


@dataclass(frozen=True, eq=False)
class Mask:
    """One candidate object of one slice.

    Parameters
    ----------
    box : tuple of int
        First and last row and column, ``(y0, x0, y1, x1)``, both included.
    crop : (y1 - y0 + 1, x1 - x0 + 1) ndarray of bool
        The mask inside its box.
    predicted_iou : float
        The model's own estimate of the mask's IoU with the object.
    stability_score : float
        IoU of the masks at a higher and a lower threshold (Kirillov et al. 2023, section 5).
    index : tuple of int
        The slice; empty for a single image.
    label : int
        The object for which the mask is a candidate; 0 if every mask is a separate object.
    class_id : int
        Its class.
    """

    box: Box
    crop: NDArray[np.bool_]
    predicted_iou: float = 1.0
    stability_score: float = 1.0
    index: tuple[int, ...] = ()
    label: int = 0
    class_id: int = 1

    def __post_init__(self) -> None:
        y0, x0, y1, x1 = self.box
        if self.crop.shape != (y1 - y0 + 1, x1 - x0 + 1) or self.crop.dtype != bool:
            raise ValueError(f"box {self.box} and a crop of {self.crop.dtype} and shape {self.crop.shape} do not fit")

    @classmethod
    def from_array(cls, mask: NDArray[Any], offset: tuple[int, int] = (0, 0), **scores: Any) -> Self:
        """Return the mask of a boolean array.

        Parameters
        ----------
        mask : (M, N) ndarray
            Non-zero inside.
        offset : tuple of int
            Row and column of the array's first pixel in the slice.

        Returns
        -------
        Mask
            Cropped to its bounding box; with `EMPTY_BOX` where nothing is set.
        """
        mask = mask.astype(bool, copy=False)
        rows = np.flatnonzero(mask.any(1))
        columns = np.flatnonzero(mask.any(0))
        if not len(rows):
            return cls(EMPTY_BOX, np.zeros((0, 0), bool), **scores)
        y0 = int(rows[0])
        y1 = int(rows[-1])
        x0 = int(columns[0])
        x1 = int(columns[-1])
        dy, dx = offset
        return cls((y0 + dy, x0 + dx, y1 + dy, x1 + dx), mask[y0 : y1 + 1, x0 : x1 + 1].copy(), **scores)

    @cached_property
    def area(self) -> int:
        """Number of pixels."""
        return int(np.count_nonzero(self.crop))

    def moved(self, dy: int, dx: int) -> Self:
        """Return the mask shifted by whole pixels. An empty mask is returned unchanged.

        Parameters
        ----------
        dy, dx : int
            Rows and columns.
        """
        if not self.crop.size:
            return self
        y0, x0, y1, x1 = self.box
        return replace(self, box=(y0 + dy, x0 + dx, y1 + dy, x1 + dx))


def intersection(a: Mask, b: Mask) -> int:
    """Return the number of pixels that two masks of one slice share."""
    y0 = max(a.box[0], b.box[0])
    x0 = max(a.box[1], b.box[1])
    y1 = min(a.box[2], b.box[2])
    x1 = min(a.box[3], b.box[3])
    if y0 > y1 or x0 > x1:
        return 0
    parts = [m.crop[y0 - m.box[0] : y1 + 1 - m.box[0], x0 - m.box[1] : x1 + 1 - m.box[1]] for m in (a, b)]
    return int(np.count_nonzero(parts[0] & parts[1]))


def iou(a: Mask, b: Mask) -> float:
    """Return the intersection over union of two masks of one slice.

    Returns
    -------
    float
        0 to 1; 0 for two empty masks.
    """
    shared = intersection(a, b)
    return shared / (a.area + b.area - shared) if shared else 0.0


def by_rank(masks: Sequence[Mask], rule: Nesting = "best score") -> list[int]:
    """Return the positions of masks, sorted by who wins a pixel: the winner first.

    Parameters
    ----------
    rule : str
        Who wins: the mask of the best score, the smaller, or the larger one.

    Returns
    -------
    list of int
        Sorted by `rule`; ties are sorted by the rule of this module.
    """
    size = {"best score": 0, "smaller": 1, "larger": -1}[rule]
    return sorted(range(len(masks)), key=lambda i: (size * masks[i].area, -masks[i].predicted_iou, masks[i].area, i))


def paint(plane: NDArray[Any], masks: Iterable[tuple[int, Mask]], rule: Nesting = "best score") -> None:
    """Write masks into a label image of one slice. Where masks overlap, `rule` decides, then the rule of this module.

    Parameters
    ----------
    plane : (M, N) ndarray of unsigned int
        The label image, written in place where a mask is set.
    """
    numbered = list(masks)
    for i in reversed(by_rank([mask for _, mask in numbered], rule)):
        label, mask = numbered[i]
        y0, x0, y1, x1 = mask.box
        plane[y0 : y1 + 1, x0 : x1 + 1][mask.crop] = label
