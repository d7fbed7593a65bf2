"""An array, or a pyramid of arrays, with a letter for each axis: its slices, their shape and their number."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.labels import plane_view

__all__ = ["SlicedArray"]


class SlicedArray:
    """Base of `Image`: properties that follow from the shape of the arrays and the letters of their axes."""

    axes: str | None
    levels: tuple[Any, ...]

    @property
    def _axes(self) -> str:
        assert self.axes is not None
        return self.axes

    @property
    def dtype(self) -> np.dtype[Any]:
        """The pixels' dtype."""
        dtype: np.dtype[Any] = np.dtype(self.levels[0].dtype)
        return dtype

    @property
    def label_axes(self) -> str:
        """The axes of a label image of this image: all except the channels, in the array's order."""
        return self._axes.replace("C", "")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a label image of this image."""
        return tuple(n for n, axis in zip(self.levels[0].shape, self._axes, strict=True) if axis != "C")

    @property
    def slice_axes(self) -> str:
        """The axes along which the image is cut into slices, in the array's order."""
        return self.label_axes.replace("Y", "").replace("X", "")

    @property
    def slice_shape(self) -> tuple[int, ...]:
        """Number of slices along each of `slice_axes`."""
        return tuple(self._size(axis) for axis in self.slice_axes)

    @property
    def plane_shape(self) -> tuple[int, int]:
        """Rows and columns of one slice."""
        return self._size("Y"), self._size("X")

    @property
    def usable_levels(self) -> list[int]:
        """Levels of the pyramid with as many slices and channels as the finest one. The finest is the first."""
        fixed = [i for i, axis in enumerate(self._axes) if axis not in "YX"]
        sizes = [[level.shape[i] for i in fixed] for level in self.levels]
        return [number for number, size in enumerate(sizes) if size == sizes[0]]

    def indices(self) -> Iterator[tuple[int, ...]]:
        """Iterate over all slices.

        Yields
        ------
        tuple of int
            One index for each of `slice_axes`; the empty tuple for a single image.
        """
        yield from product(*(range(n) for n in self.slice_shape))

    def plane_view(self, labels: NDArray[Any], index: tuple[int, ...]) -> NDArray[Any]:
        """Return the slice of a label image as a writable (rows, columns) view.

        Parameters
        ----------
        labels : ndarray
            Array of this image's `shape`.
        index : tuple of int
            The slice, one number for each of `slice_axes`.

        Returns
        -------
        (M, N) ndarray
            A view, not a copy.
        """
        return plane_view(labels, self.label_axes, index)

    def _size(self, axis: str) -> int:
        return int(self.levels[0].shape[self._axes.index(axis)])

    @property
    def _count(self) -> int:
        """The number of channels; 0 without a channel axis."""
        return self._size("C") if "C" in self._axes else 0
