"""Conversion of napari layers to `core`. The other direction is in `widgets.layers.overlay`.

The two displayed axes of a layer are rows (Y) and columns (X); one position along the other axes is a slice.
Coordinates are transformed from their own layer through world coordinates to the data of the image layer.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Shapes
from numpy.typing import NDArray

from napari_foundseg.core.contrast import Normalisation, Percentile
from napari_foundseg.core.errors import PromptError
from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Box
from napari_foundseg.io.image_layers import CHANNEL_NAMES, IMAGE_PATH
from napari_foundseg.widgets.layers.camera import canvas_size, find_camera
from napari_foundseg.widgets.layers.layer_axes import layer_axes, layer_units, transform_coordinates

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image as ImageLayer
    from napari.layers import Layer

    from napari_foundseg.core.pixels.colour import FoundColour
    from napari_foundseg.core.pixels.slab import Slab
    from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer

__all__ = [
    "current_index",
    "image_from_layer",
    "rectangle_region",
    "region_from_shape",
    "view_pixel",
    "visible_region",
]


def image_from_layer(
    layer: ImageLayer,
    *,
    axes: str | None = None,
    channels: int | str | tuple[int | str, ...] | None = None,
    normalisation: Normalisation | None = None,
    displayed: tuple[int, int] | None = None,
    colour: FoundColour | None = None,
    slab: Slab | None = None,
) -> Image:
    """Return a layer's pixels as an `Image`, without copying or computing them.

    `axes` holds one letter for each axis; by default they come from `layer_axes`. `normalisation` maps grey values to 8
    bits; by default it uses percentiles of the whole stack. `displayed` holds the data axes of rows and columns; by
    default, the last two. `colour` holds the measured colours of an RGB layer, if available. `slab` describes slices
    that are replaced by their projection.

    Raises
    ------
    FoundsegError
        If the layer's pixels or axes are not supported.
    """
    axes = axes or layer_axes(layer, displayed)
    names = [letter for letter in axes if letter != "C" or not layer.rgb]
    spacing = {name: float(abs(s)) for name, s in zip(names, layer.scale, strict=True) if name != "C"}
    units = {name: f"{unit:~P}" for name, unit in zip(names, layer_units(layer), strict=True) if name != "C"}
    return Image(
        list(layer.data) if layer.multiscale else layer.data,
        axes=axes,
        channels=channels,
        normalisation=normalisation or Percentile(),
        spacing=spacing,
        units={name: unit for name, unit in units.items() if unit not in ("px", "pixel")},
        source=_source(layer),
        channel_names=tuple(layer.metadata.get(CHANNEL_NAMES, ())),
        colour=colour,
        slab=slab,
    )


def _source(layer: ImageLayer) -> str | None:
    """Return the path of a layer's file, or of the image inside a file that holds several."""
    inside = layer.metadata.get(IMAGE_PATH)
    return str(inside or layer.source.path) if inside or layer.source.path else None


def current_index(viewer: ViewerModel, target: ImageOnLayer) -> tuple[int, ...]:
    """Return the index of the slice of an image that the viewer shows.

    Raises
    ------
    PromptError
        If the image has no slice at the viewer's position.
    """
    position = target.layer.world_to_data(viewer.dims.point)
    image = target.image
    index = tuple(int(np.floor(position[target.letters.index(axis)] + 0.5)) for axis in image.slice_axes)
    if any(not 0 <= i < n for i, n in zip(index, image.slice_shape, strict=True)):
        raise PromptError(
            f"The viewer shows slice {index} of {target.name!r}, which has {image.slice_shape} slices "
            f"({image.slice_axes}). Move the slider below the canvas to a slice of the image."
        )
    return index


def visible_region(viewer: ViewerModel, target: ImageOnLayer) -> Box:
    """Return the part of an image's slice that the canvas shows.

    Raises
    ------
    PromptError
        If no pixel of the image is in view.
    """
    camera = find_camera(viewer)
    half = np.asarray(canvas_size(viewer), float) / (2 * camera.zoom)
    centre = np.asarray(camera.center[-2:], float)
    corners = []
    for signs in itertools.product((-1, 1), repeat=2):
        position = np.array(viewer.dims.point, float)
        position[list(viewer.dims.displayed[-2:])] = centre + half * signs
        corners.append(target.layer.world_to_data(position))
    return rectangle_region(np.array(corners), target, "The visible part of the canvas")


def view_pixel(viewer: ViewerModel, layer: Layer) -> float:
    """Return the width of one screen pixel, in pixels of a layer."""
    point = np.array(viewer.dims.point, float)
    start = np.array(layer.world_to_data(point), float)
    found = 0.0
    for axis in viewer.dims.displayed[-2:]:
        neighbour = point.copy()
        neighbour[axis] += 1 / find_camera(viewer).zoom
        found = max(found, float(np.linalg.norm(np.array(layer.world_to_data(neighbour), float) - start)))
    return found


def region_from_shape(shapes: Shapes, target: ImageOnLayer) -> Box:
    """Return the bounding box of a drawn shape, as a part of an image's slice.

    Raises
    ------
    PromptError
        If it is not clear which shape to use, or the shape is outside the image.
    """
    chosen = sorted(shapes.selected_data) or list(range(len(shapes.data)))
    if len(chosen) != 1:
        raise PromptError(
            f"{shapes.name!r} has {len(chosen)} shapes to choose from; one is needed. Select one rectangle with the "
            "selection tool, or draw one if there is none."
        )
    corners = transform_coordinates(shapes, target.layer, np.asarray(shapes.data[chosen[0]], float))
    return rectangle_region(corners, target, f"The selected shape of {shapes.name!r}")


def rectangle_region(corners: NDArray[np.float64], target: ImageOnLayer, what: str) -> Box:
    """Return the bounding box of corners in data coordinates, clipped to the image.

    Raise a PromptError, which begins with `what`, if the box is outside the image.
    """
    image = target.image
    plane = corners[:, [target.letters.index("Y"), target.letters.index("X")]]
    low = np.maximum(np.floor(plane.min(0) + 0.5), 0).astype(int)
    high = np.minimum(np.floor(plane.max(0) + 0.5), np.asarray(image.plane_shape) - 1).astype(int)
    if (low > high).any():
        raise PromptError(
            f"{what} does not overlap {target.name!r} (rows and columns {image.plane_shape}). "
            "Move the image into view or the shape onto the image, or choose the whole image."
        )
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])
