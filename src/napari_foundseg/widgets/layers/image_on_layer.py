"""`ImageOnLayer`: an image together with the napari layer that shows it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from napari_foundseg.widgets.layers.layer_axes import layer_letters
from napari_foundseg.widgets.layers.overlay import Overlay

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_foundseg.core.image import Image

__all__ = ["ImageOnLayer"]


@dataclass(frozen=True, eq=False)
class ImageOnLayer:
    """An image and the napari layer that shows it; the layer may have been removed from the viewer.

    Parameters
    ----------
    layer : napari.layers.Image
        The layer; its transforms place marks and results in the world.
    image : Image
        The layer's pixels, with the axes, channels and normalisation that the form had at that time.
    """

    layer: Layer
    image: Image

    @property
    def name(self) -> str:
        """The layer's name."""
        return str(self.layer.name)

    @cached_property
    def letters(self) -> str:
        """One letter for each axis of the layer; the colours of an RGB layer are not an axis."""
        return layer_letters(self.layer, self.image)

    @cached_property
    def overlay(self) -> Overlay:
        """The placement of label images of this image over the layer."""
        return Overlay(self.layer, self.image)
