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
    """An image and the napari layer that shows it, which need not be in the viewer any more.

    Parameters
    ----------
    layer : napari.layers.Image
        The layer; its transforms place marks and results in the world.
    image : Image
        Its pixels, with the axes, channels and normalisation that the form had when it was made.
    """

    layer: Layer
    image: Image

    @property
    def name(self) -> str:
        """The layer's name."""
        return str(self.layer.name)

    @cached_property
    def letters(self) -> str:
        """A letter for each axis of the layer: colours are no axis of an RGB layer."""
        return layer_letters(self.layer, self.image)

    @cached_property
    def overlay(self) -> Overlay:
        """How label images of this image are laid over the layer."""
        return Overlay(self.layer, self.image)
