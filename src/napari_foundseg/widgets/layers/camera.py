"""Moving the camera."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

__all__ = ["centre_on"]


def centre_on(viewer: ViewerModel, layer: Layer, position: Sequence[float]) -> None:
    """Centre the canvas on a position of a layer, on its slice, without changing the zoom.

    Parameters
    ----------
    position : sequence of float
        In the layer's data pixels, one for each axis.
    """
    point = np.array(viewer.dims.point, float)
    # napari aligns layers at their last axes.
    point[-layer.ndim :] = layer.data_to_world(position)
    viewer.dims.point = tuple(point)
    viewer.scene.camera.center = tuple(point[list(viewer.dims.displayed)][-3:])
