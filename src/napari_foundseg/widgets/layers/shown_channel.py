"""The channel of a layer that is in view."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_foundseg.core.errors import AxesError
from napari_foundseg.io.image_layers import CHANNEL_NAMES
from napari_foundseg.widgets.layers.layer_axes import displayed_axes, layer_axes

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image as ImageLayer
    from napari.layers import Layer

__all__ = ["channel_axis", "channel_names", "channels_in_view", "show_channel", "shown_channel"]


def channel_axis(viewer: ViewerModel, layer: ImageLayer) -> int | None:
    """Return the data axis with the channels; None if there are not several, or they are RGB colours."""
    try:
        axes = layer_axes(layer, displayed_axes(viewer, layer))[: layer.ndim]
    except AxesError:
        return None
    shape = (layer.data[0] if layer.multiscale else layer.data).shape
    return axes.index("C") if "C" in axes and shape[axes.index("C")] > 1 else None


def channel_names(layer: Layer, count: int) -> tuple[str, ...]:
    """Return a name for each channel of a layer; an empty text for a channel without a name."""
    names = [str(name).strip() for name in layer.metadata.get(CHANNEL_NAMES, ())]
    return tuple(names) if len(names) == count else ("",) * count


def shown_channel(viewer: ViewerModel, layer: Layer, axis: int) -> int | None:
    """Return the index of the channel in view; None if the channel axis is one of the displayed axes."""
    if axis in [shown - (viewer.dims.ndim - layer.ndim) for shown in viewer.dims.displayed]:
        return None
    count = (layer.data[0] if layer.multiscale else layer.data).shape[axis]
    # napari also rounds half a pixel up.
    place = float(layer.world_to_data(viewer.dims.point)[axis])
    return int(np.clip(np.floor(place + 0.5), 0, count - 1))


def channels_in_view(viewer: ViewerModel, layer: ImageLayer) -> tuple[int, ...] | None:
    """Return the channel in view in the form that `Image` takes; None for a layer without several channels."""
    axis = channel_axis(viewer, layer)
    if axis is None:
        return None
    return (shown_channel(viewer, layer, axis) or 0,)


def show_channel(viewer: ViewerModel, layer: ImageLayer, channel: int) -> None:
    """Move the slider to a channel of a layer; do nothing if the layer has no such channel."""
    axis = channel_axis(viewer, layer)
    if axis is None or not 0 <= channel < (layer.data[0] if layer.multiscale else layer.data).shape[axis]:
        return
    place = layer.world_to_data(viewer.dims.point)
    place = np.array(place, float)
    place[axis] = channel
    world = layer.data_to_world(place)
    shared = viewer.dims.ndim - layer.ndim
    viewer.dims.set_point(axis + shared, float(world[axis]))
