"""Work at a coarser level of a pyramid, with prompts and results at full resolution.

A pixel of a level covers `factor` pixels of the finest one along rows and columns; so the centre of pixel i is at
(i + 0.5) * factor - 0.5. Only levels with as many slices as the finest one are worked at: a slice has one number in
all of them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.masks import Box, Mask
from napari_foundseg.core.painting import Painting
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.core.result import Segmentation

if TYPE_CHECKING:
    from napari_foundseg.core.image import Image

__all__ = ["Level", "fitting_level"]


def fitting_level(image: Image, pixel: float) -> int:
    """Return the coarsest level whose pixels are not much larger than a given size.

    Parameters
    ----------
    pixel : float
        How many of the finest pixels may become one.

    Returns
    -------
    int
        0 for the finest level, also where there is no other.
    """
    found = 0
    for level in image.usable_levels:
        # A little coarser is fine: factors are seldom whole.
        if max(Level(image, level).factors) <= 1.1 * pixel:
            found = level
    return found


class Level:
    """One level of a pyramid, and the way between its pixels and the finest ones.

    Parameters
    ----------
    full : Image
        The pyramid.
    number : int
        One of its `usable_levels`.
    """

    def __init__(self, full: Image, number: int) -> None:
        self.full = full
        self.number = number
        #: The level as an image.
        self.image = full.at_level(number)
        #: Finest pixels a pixel of the level, along rows and columns.
        self.factors = (
            full.plane_shape[0] / self.image.plane_shape[0],
            full.plane_shape[1] / self.image.plane_shape[1],
        )

    def prompt(self, prompt: Prompt) -> Prompt:
        """Return a prompt in pixels of the level.

        Parameters
        ----------
        prompt : Prompt
            In pixels of the finest level.

        Returns
        -------
        Prompt
            The same points, box and mask.
        """
        box = prompt.box
        if box is not None:
            half = len(box) // 2
            box = [*self._place(box[:half]), *self._place(box[half:])]
        mask = None if prompt.mask is None else _picked(prompt.mask, self.image.plane_shape)
        if mask is not None and not mask.any() and not prompt.points and box is None:
            # Thinner than a pixel of the level: keep the pixel in its middle.
            middle = np.argwhere(prompt.mask).mean(0) / self.factors
            mask[tuple(np.minimum(middle.astype(int), np.array(mask.shape) - 1))] = True
        return Prompt([self._place(point) for point in prompt.points], prompt.labels, box, mask, prompt.index)

    def region(self, region: Box) -> Box:
        """Return a region in pixels of the level; it holds all of the region given.

        Parameters
        ----------
        region : tuple of int
            First and last row and column, (y0, x0, y1, x1), both included.

        Returns
        -------
        tuple of int
            The same of the level.
        """
        (fy, fx), (height, width) = self.factors, self.image.plane_shape
        y0, x0, y1, x1 = region
        return int(y0 // fy), int(x0 // fx), min(int(y1 // fy), height - 1), min(int(x1 // fx), width - 1)

    def mask(self, mask: Mask) -> Mask:
        """Return a mask at full resolution, its outline interpolated linearly.

        Parameters
        ----------
        mask : Mask
            In pixels of the level.

        Returns
        -------
        Mask
            In pixels of the finest level.
        """
        if not mask.crop.size:
            return mask
        # A frame of background, so that the outline is interpolated at the crop's edge, too.
        padded = np.pad(mask.crop, 1).astype(np.float32)
        offset = []
        # Bilinear interpolation, one axis after the other: the result is needed inside the box only.
        for axis, (first, last, factor, size) in enumerate(
            zip(mask.box[:2], mask.box[2:], self.factors, self.full.plane_shape, strict=True)
        ):
            # The finest pixels that the box covers; factors need not be whole, so the last one may be cut by the image.
            start = int(first * factor)
            stop = min(int(np.ceil((last + 1) * factor)), size)
            # Centres of the finest pixels as coordinates of the padded crop, whose first pixel is at first - 1. The
            # upper bound is just below the last index, so that `low + 1` exists.
            at = np.clip((np.arange(start, stop) + 0.5) / factor - 0.5 - (first - 1), 0, padded.shape[axis] - 1.001)
            low = at.astype(np.intp)
            share = (at - low).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(2)])
            padded = np.take(padded, low, axis) * (1 - share) + np.take(padded, low + 1, axis) * share
            offset.append(start)
        # Cropped again: the interpolated outline may end before the box.
        scores = {"predicted_iou": mask.predicted_iou, "stability_score": mask.stability_score}
        fine = Mask.from_array(padded > 0.5, (offset[0], offset[1]), **scores)
        return replace(mask, box=fine.box, crop=fine.crop)

    def result(self, found: Segmentation) -> Segmentation:
        """Return a result at full resolution.

        Parameters
        ----------
        found : Segmentation
            Of the level.

        Returns
        -------
        Segmentation
            Of the finest level, without maps; its provenance says the level.
        """
        provenance = {**found.provenance, "level": self.number}
        masks = None if found.masks is None else tuple(map(self.mask, found.masks))
        if isinstance(found.pixels, Painting):
            fine = tuple(map(self.mask, found.pixels.masks))
            painting = Painting(self.full.shape, self.full.label_axes, fine, found.pixels.ids)
            return replace(
                found, pixels=painting, table=painting.table(), masks=masks, maps=None, semantic=None,
                provenance=provenance,
            )  # fmt: skip
        labels = self._enlarged(found.labels)
        semantic = None if found.semantic is None else self._enlarged(found.semantic)
        table = found.table.copy()
        # y1 and x1 are the last pixels, so that their ends are one pixel further on.
        last = np.array([0, 0, 1, 1])
        ends = np.floor((table[["y0", "x0", "y1", "x1"]].to_numpy(float) + last) * (self.factors * 2)) - last
        table[["y0", "x0", "y1", "x1"]] = ends.astype(np.int64)
        counts = np.bincount(labels.ravel(), minlength=int(table["label"].max()) + 1 if len(table) else 1)
        table["area"] = counts[table["label"]]
        return replace(
            found, pixels=labels, table=table, masks=masks, maps=None, semantic=semantic, provenance=provenance
        )

    def _place(self, point: Any) -> list[float]:
        axes = self.full.label_axes
        factor = {"Y": self.factors[0], "X": self.factors[1]}
        return [(v + 0.5) / factor[axis] - 0.5 if axis in factor else v for v, axis in zip(point, axes, strict=True)]

    def _enlarged(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Return labels at full resolution: each pixel has the id of the level's pixel that contains it."""
        axes = self.full.label_axes
        for letter, factor, size in zip("YX", self.factors, self.full.plane_shape, strict=True):
            axis = axes.index(letter)
            at = ((np.arange(size) + 0.5) / factor).astype(np.intp)
            labels = np.take(labels, np.minimum(at, labels.shape[axis] - 1), axis)
        return labels


def _picked(mask: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return a mask at a coarser resolution, sampled at the centre of each pixel."""
    rows, columns = (((np.arange(m) + 0.5) * n / m).astype(np.intp) for n, m in zip(mask.shape, shape, strict=True))
    return mask[np.ix_(rows, columns)]
