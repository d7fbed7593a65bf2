"""Checks before a write: whether a Labels layer can take objects of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_foundseg.widgets.layers.overlay import Overlay

if TYPE_CHECKING:
    from napari.layers import Image as ImageLayer
    from napari.layers import Labels

    from napari_foundseg.core.image import Image

__all__ = ["misfit", "refused"]


def refused(layer: Labels) -> str:
    """Say why a layer cannot be written.

    Parameters
    ----------
    layer : napari.layers.Labels
        The layer.

    Returns
    -------
    str
        What it is, such as ``locked``; empty where it can be.
    """
    data = layer.data
    if layer.multiscale:
        return "multiscale"
    if not isinstance(data, np.ndarray):
        return f"a {type(data).__name__}, which keeps no changes"
    if not data.flags.writeable:
        return "read-only in memory" if data.base is None else "a read-only view or memory-mapped file"
    if isinstance(data, np.memmap):
        return "a memory-mapped file, whose pixels would change on the disk"
    return "" if layer.editable else "set to be not editable"


def misfit(labels: Labels, layer: ImageLayer, image: Image) -> str | None:
    """Say why a layer cannot hold the objects of an image.

    Parameters
    ----------
    labels : napari.layers.Labels
        The layer.
    layer : napari.layers.Image
        The image's layer.
    image : Image
        The layer as an image.

    Returns
    -------
    str or None
        A sentence; None where it can, in memory or by a copy.
    """
    over = Overlay(layer, image)
    shape = tuple((labels.data[0] if labels.multiscale else labels.data).shape)
    if shape != over.shape:
        return f"its shape is {shape}, that of objects of {layer.name!r} {over.shape}. Choose another layer."
    if not over.lies_under(labels):
        return (
            f"it does not lie on {layer.name!r} pixel for pixel (scale, translation or rotation differ). "
            "Choose another layer."
        )
    return None
