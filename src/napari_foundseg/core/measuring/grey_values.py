"""Grey values of an image at the pixels of its label image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_foundseg.core.arrays import Blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_foundseg.core.editing.difference import SliceBox
    from napari_foundseg.core.image import Image

__all__ = ["GreyValues", "channel_labels", "grey_values"]


class GreyValues(Protocol):
    """Grey values in the shape of a label image: an array, or a reader of its parts."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the label image, plus a last axis of channels if there are any."""

    def __getitem__(self, box: SliceBox, /) -> NDArray[Any]:
        """Return the values of a box of the label image."""


class _LazyGrey:
    """A reader of the pixels of a lazy image, in boxes of a label image."""

    def __init__(self, values: Any, axes: str, ndim: int) -> None:
        self._channel = axes.index("C") if "C" in axes else None
        #: Whether the labels have the channel axis too, with length 1.
        self._keeps = self._channel is not None and len(axes) == ndim
        self._blocks = Blocks(values, (axes.index("Y"), axes.index("X")), self._channel)
        shape = list(values.shape)
        channels = [] if self._channel is None else [shape.pop(self._channel)]
        if self._keeps and self._channel is not None:
            shape.insert(self._channel, 1)
        self.shape = (*shape, *channels)

    def __getitem__(self, box: SliceBox) -> NDArray[Any]:
        if self._channel is None:
            return self._blocks[box]
        parts = list(box)
        if self._keeps:
            del parts[self._channel]
        parts.insert(self._channel, slice(0, self.shape[-1]))
        values = np.moveaxis(self._blocks[tuple(parts)], self._channel, -1)
        return np.expand_dims(values, self._channel) if self._keeps else values


def grey_values(image: Image, shape: tuple[int, ...]) -> GreyValues | None:
    """Return the pixels of an image in the shape of a label image.

    If the image has channels, they are a last axis. The result is a view, or for a lazy image a reader of parts. It is
    None if the image does not fit.
    """
    values = image.levels[0]
    axes = str(image.axes)
    grey: Any
    if not isinstance(values, np.ndarray):
        grey = _LazyGrey(values, axes, len(shape))
    else:
        grey = values
        if "C" in axes:
            axis = axes.index("C")
            grey = np.moveaxis(values, axis, -1)
            if grey.ndim == len(shape):  # the labels keep the channel axis, with length 1
                grey = np.expand_dims(grey, axis)
    return grey if grey.shape[: len(shape)] == shape else None


def channel_labels(image: Image) -> tuple[str, ...]:
    """Return the names of an image's channels for columns; empty unless all channels have different names."""
    names = tuple(image.channel_names)
    axes = str(image.axes)
    if "C" not in axes or len(names) != image.levels[0].shape[axes.index("C")]:
        return ()
    return names if all(names) and len(set(names)) == len(names) else ()
