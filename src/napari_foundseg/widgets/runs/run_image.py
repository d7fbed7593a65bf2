"""`RunImage`: the pixels of a run, and whether their layer still shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_foundseg.core.errors import FoundsegError
from napari_foundseg.core.image import Image

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer

__all__ = ["RunImage"]


class RunImage:
    """The image of a run, which can be compared with its layer's current pixels.

    Parameters
    ----------
    target : ImageOnLayer
        The image and its layer.
    """

    def __init__(self, target: ImageOnLayer) -> None:
        self.target = target
        self._data = target.layer.data
        self._shape = _shape(target.layer)
        # Lazy pixels are assumed to be immutable; reading them may be slow.
        self._fingerprint = target.image.fingerprint() if _in_memory(self._data) else ""

    def describe_change(self, viewer: ViewerModel) -> str:
        """Describe how the layer has changed since the run; empty if it shows the same pixels."""
        layer = self.target.layer
        if layer not in viewer.layers:
            return f"{layer.name!r} was removed"
        if _shape(layer) != self._shape:
            return f"{layer.name!r} has another shape now"
        return "" if self._same_pixels() else f"{layer.name!r} has other pixels now"

    def _same_pixels(self) -> bool:
        data = self.target.layer.data
        if not (self._fingerprint and _in_memory(data)):
            return data is self._data
        image = self.target.image
        try:
            return Image(data, axes=image.axes, channels=image.channels or None).fingerprint() == self._fingerprint
        except FoundsegError:
            return False


def _in_memory(data: Any) -> bool:
    return isinstance(data, np.ndarray) and not isinstance(data, np.memmap)


def _shape(layer: Any) -> tuple[int, ...]:
    return tuple(layer.data[0].shape if layer.multiscale else layer.data.shape)
