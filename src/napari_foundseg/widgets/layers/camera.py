"""The camera and the canvas of a viewer, in napari 0.7 and later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari.components import Camera, ViewerModel
    from napari.layers import Layer

__all__ = ["canvas_size", "centre_on", "find_camera", "fit_to_layer", "show_slice"]


def find_camera(viewer: ViewerModel) -> Camera:
    """Return the camera; since napari 0.9 it belongs to the viewer's scene."""
    return viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera


def canvas_size(viewer: ViewerModel) -> tuple[int, int]:
    """Return the height and width of the canvas in screen pixels."""
    height, width = viewer.canvas.size if hasattr(viewer, "canvas") else viewer._canvas_size
    return height, width


def centre_on(viewer: ViewerModel, layer: Layer, position: Sequence[float]) -> None:
    """Show the slice of a position and centre the canvas on it, without changing the zoom.

    Parameters
    ----------
    position : sequence of float
        Data coordinates of the layer in pixels, one for each axis.
    """
    point = np.array(viewer.dims.point, float)
    # napari aligns the last axes of layers.
    point[-layer.ndim :] = layer.data_to_world(position)
    viewer.dims.point = tuple(point)
    find_camera(viewer).center = tuple(point[list(viewer.dims.displayed)][-3:])


def show_slice(viewer: ViewerModel, layer: Layer, axis: int, at: int) -> None:
    """Show a slice of a layer; the position along other axes does not change.

    Parameters
    ----------
    axis : int
        The axis of the layer's data that is perpendicular to the slice.
    at : int
        The index of the slice, in data pixels.
    """
    position = np.array(layer.world_to_data(viewer.dims.point[-layer.ndim :]), float)
    position[axis] = at
    world = layer.data_to_world(position)
    offset = viewer.dims.ndim - layer.ndim
    for one in range(layer.ndim):
        if one + offset not in viewer.dims.displayed:
            viewer.dims.set_point(one + offset, world[one])


def fit_to_layer(viewer: ViewerModel, layer: Layer) -> None:
    """Zoom to show a whole layer, or all layers if this napari version cannot fit a single one.

    napari 0.7 can only fit all visible layers; napari 0.9 cannot fit a layer that has fewer axes than others.
    """
    try:
        viewer.fit_to_view(layers=[layer])
    except (IndexError, TypeError):
        viewer.fit_to_view()
