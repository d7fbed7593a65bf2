"""Slices that napari shows as one projection, by the layer's projection mode and the viewer's slice thickness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_foundseg.core.errors import AxesError
from napari_foundseg.core.pixels.slab import Slab, slab_in_words
from napari_foundseg.widgets.layers.layer_axes import displayed_axes, layer_axes

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image as ImageLayer

__all__ = ["shown_slab", "slab_words"]


def shown_slab(viewer: ViewerModel, layer: ImageLayer, axes: str | None = None) -> Slab | None:
    """Return the slab of a layer that the viewer shows; None if it shows single slices.

    `axes` holds a letter for each axis; by default, the letters come from the layer.
    """
    mode: Any = str(layer.projection_mode)
    dims = viewer.dims
    if mode == "none" or dims.ndisplay != 2 or not any((*dims.margin_left, *dims.margin_right)):
        return None
    try:
        letters = axes or layer_axes(layer, displayed_axes(viewer, layer))
    except AxesError:
        return None
    here = np.asarray(layer.world_to_data(dims.point), float)
    margins: dict[str, tuple[float, float]] = {}
    for axis, letter in enumerate(letters[: layer.ndim]):
        world = axis + dims.ndim - layer.ndim
        if letter in "CYX" or world in dims.displayed:
            continue
        pair = []
        for margin in (dims.margin_left[world], dims.margin_right[world]):
            there = np.array(dims.point, float)
            there[world] += margin
            pair.append(abs(float(np.asarray(layer.world_to_data(there))[axis] - here[axis])))
        if any(pair):
            # Round away floating-point noise, so that the number of slices agrees with napari's.
            margins[letter] = round(pair[0], 6), round(pair[1], 6)
    return Slab(mode=mode, margins=margins) if margins else None


def slab_words(viewer: ViewerModel, layer: ImageLayer, axes: str | None = None) -> str:
    """Describe the projection that a model gets, such as ``Maximum of 5 slices along Z, as shown``; else empty."""
    slab = shown_slab(viewer, layer, axes)
    if slab is None:
        return ""
    letters = axes or layer_axes(layer, displayed_axes(viewer, layer))
    shape = (layer.data[0] if layer.multiscale else layer.data).shape
    here = np.asarray(layer.world_to_data(viewer.dims.point), float)
    kept = [axis for axis, letter in enumerate(letters[: layer.ndim]) if letter in slab.margins]
    along = "".join(letters[axis] for axis in kept)
    lengths = [int(shape[axis]) for axis in kept]
    at = [int(np.clip(np.floor(here[axis] + 0.5), 0, n - 1)) for axis, n in zip(kept, lengths, strict=True)]
    words = slab_in_words(slab, at, along, lengths)
    return f"{words}, as shown" if words else ""
