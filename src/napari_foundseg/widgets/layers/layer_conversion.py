"""Conversion of napari's layers to `core`. The way back is in `widgets.layers.overlay`; it is done nowhere else.

What a person sees as one picture is one slice: the two displayed axes of a layer are rows (Y) and columns (X),
the others are axes of slices. Coordinates go from their own layer through world to the image layer's data.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Shapes
from numpy.typing import NDArray

from napari_foundseg.core.contrast import Normalisation, Percentile
from napari_foundseg.core.errors import AxesError, PromptError
from napari_foundseg.core.image import Image

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image as ImageLayer
    from napari.layers import Layer

__all__ = [
    "affine_between",
    "carried",
    "current_index",
    "displayed_axes",
    "image_from_layer",
    "label_spacing",
    "layer_axes",
    "layer_letters",
    "region_from_shape",
    "view_pixel",
    "visible_region",
]

Box = tuple[int, int, int, int]
_LETTERS = {"t": "T", "time": "T", "c": "C", "channel": "C", "channels": "C", "ch": "C", "z": "Z", "depth": "Z"}


def displayed_axes(viewer: ViewerModel, layer: Layer) -> tuple[int, int]:
    """Return the two data axes of a layer that lie in the screen, rows first, as the array has them.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    layer : Layer
        One of its layers.

    Returns
    -------
    tuple of int
        The last two axes in a 3-D view, or where the view shows axes that the layer lacks.
    """
    shown = sorted(axis - (viewer.dims.ndim - layer.ndim) for axis in viewer.dims.displayed)
    if len(shown) != 2 or shown[0] < 0:
        return layer.ndim - 2, layer.ndim - 1
    return shown[0], shown[1]


def layer_axes(layer: Layer, displayed: tuple[int, int] | None = None) -> str:
    """Name the axes of a layer's array.

    Parameters
    ----------
    layer : Layer
        An image layer.
    displayed : tuple of int, optional
        Which data axes are rows and columns; the last two by default.

    Returns
    -------
    str
        One letter of ``QTCZYX`` an axis. Names that the layer itself gives (``axis_labels``) are kept for
        time, channel and depth.

    Raises
    ------
    AxesError
        If the layer has more than five axes.
    """
    rows, columns = displayed or (layer.ndim - 2, layer.ndim - 1)
    named = [_LETTERS.get(str(label).strip().lower()) for label in layer.axis_labels]
    letters: list[str | None] = [None if i in (rows, columns) else name for i, name in enumerate(named)]
    letters[rows], letters[columns] = "Y", "X"
    free = [letter for letter in "ZTQ" if letter not in letters]
    for i in reversed(range(layer.ndim)):
        if letters[i] is None or letters[i] in letters[i + 1 :]:
            if not free:
                raise AxesError(
                    f"The layer {layer.name!r} has {layer.ndim} axes of shape {_shape(layer)}; at most rows, columns "
                    "and three axes of slices can be worked on. Slice the array first and add the part as a layer."
                )
            letters[i] = free.pop(0)
    return "".join(str(letter) for letter in letters) + ("C" if getattr(layer, "rgb", False) else "")


def layer_letters(layer: Layer, image: Image) -> str:
    """Return a letter for each axis that napari counts: colours are no axis of an RGB layer.

    Parameters
    ----------
    layer : Layer
        The image's layer.
    image : Image
        The layer as an image.

    Returns
    -------
    str
        As many letters as the layer has axes.
    """
    letters = str(image.axes)
    return letters[: layer.ndim] if len(letters) > layer.ndim else letters


def image_from_layer(
    layer: ImageLayer,
    *,
    axes: str | None = None,
    channels: int | tuple[int, ...] | None = None,
    normalisation: Normalisation | None = None,
    displayed: tuple[int, int] | None = None,
) -> Image:
    """Return a layer's pixels as an `Image`, without copying or computing any.

    Parameters
    ----------
    layer : napari.layers.Image
        In memory, lazy or multiscale.
    axes : str, optional
        One letter an axis; by default from `layer_axes`.
    channels : int or tuple of int, optional
        Which channels to use.
    normalisation : Percentile or Limits or CTWindow, optional
        How grey values become 8 bits; percentiles of the whole stack by default.
    displayed : tuple of int, optional
        Which data axes are rows and columns; the last two by default.

    Returns
    -------
    Image
        With the layer's spacing, units and file.

    Raises
    ------
    FoundsegError
        If the layer's pixels or axes cannot be worked on.
    """
    axes = axes or layer_axes(layer, displayed)
    names = [letter for letter in axes if letter != "C" or not layer.rgb]
    spacing = {name: float(abs(s)) for name, s in zip(names, layer.scale, strict=True) if name != "C"}
    units = {name: f"{unit:~P}" for name, unit in zip(names, _units(layer), strict=True) if name != "C"}
    return Image(
        list(layer.data) if layer.multiscale else layer.data,
        axes=axes,
        channels=channels,
        normalisation=normalisation or Percentile(),
        spacing=spacing,
        units={name: unit for name, unit in units.items() if unit not in ("px", "pixel")},
        source=None if layer.source.path is None else str(layer.source.path),
    )


def current_index(viewer: ViewerModel, layer: Layer, image: Image) -> tuple[int, ...]:
    """Return the slice of an image that the viewer shows.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    layer : Layer
        The image's layer.
    image : Image
        The layer as an image.

    Returns
    -------
    tuple of int
        One index for each of the image's `slice_axes`.

    Raises
    ------
    PromptError
        If the viewer stands where the image has no slice.
    """
    position = layer.world_to_data(viewer.dims.point)
    axes = layer_letters(layer, image)
    index = tuple(int(np.floor(position[axes.index(axis)] + 0.5)) for axis in image.slice_axes)
    if any(not 0 <= i < n for i, n in zip(index, image.slice_shape, strict=True)):
        raise PromptError(
            f"The viewer shows slice {index} of {layer.name!r}, which has {image.slice_shape} slices "
            f"({image.slice_axes}). Move the slider below the picture to a slice of the image."
        )
    return index


def visible_region(viewer: ViewerModel, layer: Layer, image: Image) -> Box:
    """Return the part of an image's slice that the window shows.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer, in a 2-D view.
    layer : Layer
        The image's layer.
    image : Image
        The layer as an image.

    Returns
    -------
    tuple of int
        First and last row and column, (y0, x0, y1, x1), both included; the bounding box where the layer is
        rotated or sheared in the view.

    Raises
    ------
    PromptError
        If no pixel of the image is in view.
    """
    camera = viewer.scene.camera
    half = np.asarray(viewer.canvas.size, float) / (2 * camera.zoom)
    centre = np.asarray(camera.center[-2:], float)
    corners = []
    for signs in itertools.product((-1, 1), repeat=2):
        position = np.array(viewer.dims.point, float)
        position[list(viewer.dims.displayed[-2:])] = centre + half * signs
        corners.append(layer.world_to_data(position))
    return _bounding_region(np.array(corners), layer, image, "The visible part of the canvas")


def view_pixel(viewer: ViewerModel, layer: Layer) -> float:
    """Return how many of a layer's pixels lie under one pixel of the screen.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    layer : Layer
        One of its layers.

    Returns
    -------
    float
        Along rows or columns, whichever are more; less than 1 where the view is enlarged.
    """
    point = np.array(viewer.dims.point, float)
    start, found = np.array(layer.world_to_data(point), float), 0.0
    for axis in viewer.dims.displayed[-2:]:
        beside = point.copy()
        beside[axis] += 1 / viewer.scene.camera.zoom
        found = max(found, float(np.linalg.norm(np.array(layer.world_to_data(beside), float) - start)))
    return found


def region_from_shape(shapes: Shapes, layer: Layer, image: Image) -> Box:
    """Return the part of an image's slice that a drawn shape encloses.

    Parameters
    ----------
    shapes : napari.layers.Shapes
        With one selected shape, or with one shape only.
    layer : Layer
        The image's layer.
    image : Image
        The layer as an image.

    Returns
    -------
    tuple of int
        Bounding box, (y0, x0, y1, x1), both included.

    Raises
    ------
    PromptError
        If it is not clear which shape is meant, or it lies outside the image.
    """
    chosen = sorted(shapes.selected_data) or list(range(len(shapes.data)))
    if len(chosen) != 1:
        raise PromptError(
            f"{len(chosen)} shapes of {shapes.name!r} are meant, one is needed. Select one rectangle with the arrow "
            "tool, or draw one if there is none."
        )
    corners = carried(shapes, layer, np.asarray(shapes.data[chosen[0]], float))
    return _bounding_region(corners, layer, image, f"The selected shape of {shapes.name!r}")


def affine_between(source: Layer, target: Layer) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how data coordinates of one layer become data coordinates of another, through world.

    Parameters
    ----------
    source, target : Layer
        Of any numbers of axes; napari aligns them at their last ones.

    Returns
    -------
    (T, S) ndarray of float
        The matrix.
    (T,) ndarray of float
        What is added.
    """

    def there(place: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array(target.world_to_data(source.data_to_world(place)), float)

    origin = there(np.zeros(source.ndim))
    return np.stack([there(axis) - origin for axis in np.eye(source.ndim)], axis=1), origin


def carried(source: Layer, target: Layer, coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Carry data coordinates of one layer to data coordinates of another, through world.

    Parameters
    ----------
    source, target : Layer
        The layers.
    coordinates : (N, S) ndarray of float
        In data pixels of the source.

    Returns
    -------
    (N, T) ndarray of float
        In data pixels of the target.
    """
    matrix, origin = affine_between(source, target)
    return np.asarray(coordinates @ matrix.T + origin)


def label_spacing(layer: Layer) -> tuple[list[float | None], str]:
    """Return the size of a Labels layer's pixels, for tools that measure.

    Parameters
    ----------
    layer : Layer
        The layer.

    Returns
    -------
    list of float or None
        One for each axis, all in the last axis's unit; None along time, where objects do not go on.
    str
        The unit, ``px`` where none is known.
    """
    letters, units = layer_axes(layer), _units(layer)
    spacing = [
        None if letter in "TQC" else float(abs(size)) * _ratio(own, units[-1])
        for letter, size, own in zip(letters, layer.scale, units, strict=True)
    ]
    unit = f"{units[-1]:~P}"
    return spacing, "px" if unit in ("", "px", "pixel") else unit


def _shape(layer: Layer) -> tuple[int, ...]:
    return tuple(layer.data[0].shape if getattr(layer, "multiscale", False) else layer.data.shape)


def _units(layer: Layer) -> list[Any]:
    return [unit if hasattr(unit, "dimensionality") else "" for unit in layer.units]


def _ratio(unit: Any, other: Any) -> float:
    """Return how many of another unit one is; 1 where they are not of a kind, such as pixels and micrometres."""
    return float((1 * unit).to(other).magnitude) if unit.is_compatible_with(other) else 1.0


def _bounding_region(corners: NDArray[np.float64], layer: Layer, image: Image, what: str) -> Box:
    letters = layer_letters(layer, image)
    plane = corners[:, [letters.index("Y"), letters.index("X")]]
    low = np.maximum(np.floor(plane.min(0) + 0.5), 0).astype(int)
    high = np.minimum(np.floor(plane.max(0) + 0.5), np.asarray(image.plane_shape) - 1).astype(int)
    if (low > high).any():
        raise PromptError(
            f"{what} does not overlap {layer.name!r} (rows and columns {image.plane_shape}). "
            "Move the picture into view or the shape onto it, or choose the whole image."
        )
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])
