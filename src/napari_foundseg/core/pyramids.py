"""Run at a coarser level of a pyramid, with prompts and results at full resolution.

A pixel of a level covers `factor` pixels of the finest one along rows and columns, so the centre of pixel i is at
(i + 0.5) * factor - 0.5. Only levels with as many slices as the finest one are used, so a slice has the same number in
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
        Wanted size of a pixel along rows and columns, in pixels of the finest level.

    Returns
    -------
    int
        The number of the level; 0 is the finest.
    """
    found = 0
    for level in image.usable_levels:
        # Allow a level that is a little coarser: factors are seldom whole.
        if max(Level(image, level).factors) <= 1.1 * pixel:
            found = level
    return found


class Level:
    """One level of a pyramid, with conversions between its pixels and the finest ones.

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
        #: Pixels of the finest level per pixel of this level, along rows and columns.
        self.factors = (
            full.plane_shape[0] / self.image.plane_shape[0],
            full.plane_shape[1] / self.image.plane_shape[1],
        )

    def prompt(self, prompt: Prompt) -> Prompt:
        """Convert a prompt to pixels of the level.

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
            # The mask is thinner than a pixel of the level: keep the pixel in its middle.
            middle = np.argwhere(prompt.mask).mean(0) / self.factors
            mask[tuple(np.minimum(middle.astype(int), np.array(mask.shape) - 1))] = True
        return Prompt([self._place(point) for point in prompt.points], prompt.labels, box, mask, prompt.index)

    def region(self, region: Box) -> Box:
        """Convert a region to pixels of the level, large enough to contain all of `region`.

        Parameters
        ----------
        region : tuple of int
            First and last row and column, (y0, x0, y1, x1), both included.

        Returns
        -------
        tuple of int
            The region in pixels of the level.
        """
        (fy, fx), (height, width) = self.factors, self.image.plane_shape
        y0, x0, y1, x1 = region
        return int(y0 // fy), int(x0 // fx), min(int(y1 // fy), height - 1), min(int(x1 // fx), width - 1)

    def mask(self, mask: Mask) -> Mask:
        """Convert a mask to full resolution. Its outline is interpolated linearly.

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
        # Add a frame of background, so that the outline is also interpolated at the crop's edge.
        padded = np.pad(mask.crop, 1).astype(np.float32)
        offset = []
        # Interpolate bilinearly, one axis after the other, inside the box only.
        for axis, (first, last, factor, size) in enumerate(
            zip(mask.box[:2], mask.box[2:], self.factors, self.full.plane_shape, strict=True)
        ):
            # The finest pixels that the box covers. Factors need not be whole, so the image may cut the last one.
            start = int(first * factor)
            stop = min(int(np.ceil((last + 1) * factor)), size)
            # Centres of the finest pixels in coordinates of the padded crop. Its first pixel is at first - 1. The
            # upper bound is just below the last index, so that `low + 1` exists.
            at = np.clip((np.arange(start, stop) + 0.5) / factor - 0.5 - (first - 1), 0, padded.shape[axis] - 1.001)
            low = at.astype(np.intp)
            share = (at - low).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(2)])
            padded = np.take(padded, low, axis) * (1 - share) + np.take(padded, low + 1, axis) * share
            offset.append(start)
        # Crop again: the interpolated outline may be smaller than the box.
        scores = {"predicted_iou": mask.predicted_iou, "stability_score": mask.stability_score}
        fine = Mask.from_array(padded > 0.5, (offset[0], offset[1]), **scores)
        return replace(mask, box=fine.box, crop=fine.crop)

    def result(self, found: Segmentation) -> Segmentation:
        """Convert a result to full resolution.

        Parameters
        ----------
        found : Segmentation
            A result of the level.

        Returns
        -------
        Segmentation
            The result in pixels of the finest level, without maps. Its provenance records the level.
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
        # y1 and x1 are the last pixels, so the box ends one pixel further on.
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
        """Return labels at full resolution: each pixel gets the id of the level's pixel that contains it."""
        axes = self.full.label_axes
        for letter, factor, size in zip("YX", self.factors, self.full.plane_shape, strict=True):
            axis = axes.index(letter)
            at = ((np.arange(size) + 0.5) / factor).astype(np.intp)
            labels = np.take(labels, np.minimum(at, labels.shape[axis] - 1), axis)
        return labels


def _picked(mask: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return a mask at a coarser resolution, sampled at the centre of each coarse pixel."""
    rows, columns = (((np.arange(m) + 0.5) * n / m).astype(np.intp) for n, m in zip(mask.shape, shape, strict=True))
    return mask[np.ix_(rows, columns)]
