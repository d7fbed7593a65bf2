"""Axes of napari layers: letters, pixel sizes, and transforms between layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.axes import ends_in_channels
from napari_foundseg.core.errors import AxesError

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_foundseg.core.image import Image

__all__ = [
    "affine_between",
    "displayed_axes",
    "label_spacing",
    "layer_axes",
    "layer_letters",
    "layer_units",
    "transform_coordinates",
]

_LETTERS = {
    "t": "T",
    "time": "T",
    "c": "C",
    "channel": "C",
    "channels": "C",
    "ch": "C",
    "z": "Z",
    "depth": "Z",
    "q": "Q",
}


def displayed_axes(viewer: ViewerModel, layer: Layer) -> tuple[int, int]:
    """Return the two displayed data axes of a layer, in the order of the array.

    Return the last two axes if the viewer does not display exactly two axes of the layer.
    """
    shown = sorted(axis - (viewer.dims.ndim - layer.ndim) for axis in viewer.dims.displayed)
    if len(shown) != 2 or shown[0] < 0:
        return layer.ndim - 2, layer.ndim - 1
    return shown[0], shown[1]


def layer_axes(layer: Layer, displayed: tuple[int, int] | None = None) -> str:
    """Return one letter for each axis of a layer's array, with a final C for an RGB layer.

    `displayed` holds the data axes of rows and columns; by default, the last two.

    Raises
    ------
    AxesError
        If the layer has more than five axes.
    """
    named = [_LETTERS.get(str(label).strip().lower()) for label in layer.axis_labels]
    rows, columns = displayed or (layer.ndim - 2, layer.ndim - 1)
    if layer.ndim > 2 and columns == layer.ndim - 1 and rows == columns - 1:
        # The order is rows, columns, channels: napari displays the last two axes, even if the last is channels.
        channels_last = named[-1] == "C" or (not any(named) and ends_in_channels(_shape(layer)[: layer.ndim]))
        if channels_last and not getattr(layer, "rgb", False):
            named[-1] = "C"
            rows, columns = layer.ndim - 3, layer.ndim - 2
    letters: list[str | None] = [None if i in (rows, columns) else name for i, name in enumerate(named)]
    letters[rows], letters[columns] = "Y", "X"
    free = [letter for letter in "ZTQ" if letter not in letters]
    for i in reversed(range(layer.ndim)):
        if letters[i] is None or letters[i] in letters[i + 1 :]:
            if not free:
                raise AxesError(
                    f"The layer {layer.name!r} has {layer.ndim} axes of shape {_shape(layer)}; at most rows, columns "
                    "and three axes of slices are supported. Slice the array first and add the part as a layer."
                )
            letters[i] = free.pop(0)
    return "".join(str(letter) for letter in letters) + ("C" if getattr(layer, "rgb", False) else "")


def layer_letters(layer: Layer, image: Image) -> str:
    """Return one letter for each axis of a layer; the colours of an RGB layer are not an axis in napari."""
    letters = str(image.axes)
    return letters[: layer.ndim] if len(letters) > layer.ndim else letters


def affine_between(source: Layer, target: Layer) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the affine transform from the data coordinates of one layer to those of another.

    Returns
    -------
    (T, S) ndarray of float
        The matrix, for S source and T target axes.
    (T,) ndarray of float
        The offset.
    """

    def transform(place: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array(target.world_to_data(source.data_to_world(place)), float)

    origin = transform(np.zeros(source.ndim))
    return np.stack([transform(axis) - origin for axis in np.eye(source.ndim)], axis=1), origin


def transform_coordinates(source: Layer, target: Layer, coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Transform data coordinates of one layer to data coordinates of another, through world coordinates.

    Parameters
    ----------
    coordinates : (N, S) ndarray of float
        Coordinates in data pixels of the source.

    Returns
    -------
    (N, T) ndarray of float
        Coordinates in data pixels of the target.
    """
    matrix, origin = affine_between(source, target)
    return np.asarray(coordinates @ matrix.T + origin)


def label_spacing(layer: Layer) -> tuple[list[float | None], str]:
    """Return the pixel size of a Labels layer, for measurements.

    Returns
    -------
    list of float or None
        One size for each axis, in the unit of the last axis; None for axes along which objects are not connected,
        such as time.
    str
        The unit; ``px`` if the layer has none.
    """
    letters = layer_axes(layer)
    units = layer_units(layer)
    spacing = [
        None if letter in "TQC" else float(abs(size)) * _ratio(own, units[-1])
        for letter, size, own in zip(letters, layer.scale, units, strict=True)
    ]
    unit = f"{units[-1]:~P}"
    return spacing, "px" if unit in ("", "px", "pixel") else unit


def layer_units(layer: Layer) -> list[Any]:
    """Return the napari unit of each axis; an empty text for axes without one."""
    return [unit if hasattr(unit, "dimensionality") else "" for unit in layer.units]


def _shape(layer: Layer) -> tuple[int, ...]:
    return tuple(layer.data[0].shape if getattr(layer, "multiscale", False) else layer.data.shape)


def _ratio(unit: Any, other: Any) -> float:
    """Return how many `other` make one `unit`; 1 if they cannot be compared, such as pixels and micrometres."""
    return float((1 * unit).to(other).magnitude) if unit.is_compatible_with(other) else 1.0
