"""Part of the image that a run segments: one slice or all slices, whole or a box."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from napari_foundseg.core.errors import AxesError
from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Box
from napari_foundseg.tasks.settings import Inputs

if TYPE_CHECKING:
    from napari_foundseg.core.pyramids import Level

__all__ = ["Region", "region_of", "slices", "whole"]


class Region(Inputs):
    """Slice and region to segment."""

    index: tuple[int, ...] | None = None
    """The only slice to segment; None for every slice."""
    region: tuple[int, int, int, int] | None = None
    """First and last row and column, (y0, x0, y1, x1), both included; None for whole slices."""

    def extent(self, image: Image) -> tuple[int, int]:
        """Return the number of slices that a run reads, and the number of pixels in each."""
        slices, pixels = super().extent(image)
        if self.region is not None:
            y0, x0, y1, x1 = self.region
            pixels = (y1 - y0 + 1) * (x1 - x0 + 1)
        return slices if self.index is None else 1, pixels

    def at_level(self, level: Level) -> Self:
        """Return these inputs with the region in pixels of a coarser level of a pyramid."""
        return self if self.region is None else self.model_copy(update={"region": level.region(self.region)})


def slices(image: Image, inputs: Region) -> list[tuple[int, ...]]:
    """Return the slices that a run reads.

    Parameters
    ----------
    image : Image
        The image.
    inputs : Region
        Slice and region to segment.

    Returns
    -------
    list of tuple of int
        All slices, or the chosen one.

    Raises
    ------
    AxesError
        If the image has no such slice.
    """
    if inputs.index is None:
        return list(image.indices())
    shape = image.slice_shape
    if len(inputs.index) != len(shape) or not all(0 <= i < n for i, n in zip(inputs.index, shape, strict=False)):
        raise AxesError(f"There is no slice {inputs.index}: axes {image.slice_axes!r} have {shape} slices.")
    return [inputs.index]


def region_of(image: Image, inputs: Region) -> Box:
    """Return the box that a run segments.

    Parameters
    ----------
    image : Image
        The image.
    inputs : Region
        Slice and region to segment.

    Returns
    -------
    tuple of int
        (y0, x0, y1, x1), both included.

    Raises
    ------
    AxesError
        If the region is not inside the image.
    """
    height, width = image.plane_shape
    y0, x0, y1, x1 = inputs.region or whole(image.plane_shape)
    if not (0 <= y0 <= y1 < height and 0 <= x0 <= x1 < width):
        raise AxesError(f"The region {(y0, x0, y1, x1)} is not inside the image of {height} by {width} pixels.")
    return y0, x0, y1, x1


def whole(plane_shape: tuple[int, int]) -> Box:
    """Return the box of a whole slice.

    Parameters
    ----------
    plane_shape : tuple of int
        Rows and columns.

    Returns
    -------
    tuple of int
        (y0, x0, y1, x1), both included.
    """
    return 0, 0, plane_shape[0] - 1, plane_shape[1] - 1
