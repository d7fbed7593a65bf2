"""Checks whether objects can be written into a Labels layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer

__all__ = ["why_not_fitting", "why_not_writable"]


def why_not_writable(layer: Labels) -> str:
    """Return the reason why a layer cannot be written, such as ``multiscale``; empty if it can."""
    data = layer.data
    if layer.multiscale:
        return "multiscale"
    if not isinstance(data, np.ndarray):
        return f"a {type(data).__name__}, which keeps no changes"
    if not data.flags.writeable:
        return "read-only in memory" if data.base is None else "a read-only view or memory-mapped file"
    if isinstance(data, np.memmap):
        return "a memory-mapped file, whose pixels would change on the disk"
    return "" if layer.editable else "locked (not editable)"


def why_not_fitting(labels: Labels, target: ImageOnLayer) -> str | None:
    """Return, as a sentence, the reason why a layer cannot hold the objects of an image; None if it can."""
    over = target.overlay
    shape = tuple((labels.data[0] if labels.multiscale else labels.data).shape)
    if shape != over.shape:
        return f"its shape is {shape}, but objects of {target.name!r} need {over.shape}. Choose another layer."
    if not over.lies_under(labels):
        return (
            f"it does not match {target.name!r} pixel for pixel (scale, translation or rotation differ). "
            "Choose another layer."
        )
    return None
