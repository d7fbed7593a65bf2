"""Placement of label images, points and shapes over the layer of their image.

The other direction is `widgets.layers.layer_conversion`, which makes `core` types from layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image as ImageLayer
from napari.layers import Labels
from numpy.typing import NDArray

from napari_foundseg.io.image_layers import image_attributes
from napari_foundseg.widgets.layers.layer_axes import layer_letters

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_foundseg.core.editing.difference import SliceBox
    from napari_foundseg.core.image import Image
    from napari_foundseg.core.masks import Mask

__all__ = ["Overlay", "image_layer", "part_transforms"]


def image_layer(image: Image, name: str) -> ImageLayer:
    """Return a new layer of an image, with its axes, spacing, units and channel names."""
    data, attributes = image_attributes(image)
    return ImageLayer(data, name=name, **attributes)


class Overlay:
    """The placement of a label image over the layer of its image.

    napari aligns the last axes of layers. Therefore a channel axis that follows other axes stays in the overlay. It has
    length 1 and is as wide as all channels together, so that the labels are shown with every channel.
    """

    def __init__(self, layer: Layer, image: Image) -> None:
        self._layer = layer
        self._image = image
        letters = layer_letters(layer, image)
        self._kept = [i for i, letter in enumerate(letters) if letter != "C" or i > 0]
        #: A letter for each axis of the overlay.
        self.axes = "".join(letters[i] for i in self._kept)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array of a Labels layer over the image."""
        return self.expanded(np.empty(self._image.shape, np.void)).shape

    @property
    def transforms(self) -> dict[str, Any]:
        """Keywords scale, translate, rotate, shear, affine, units and axis_labels for a layer."""
        layer = self._layer
        kept = self._kept
        whole = [*kept, layer.ndim]
        rotate = np.asarray(layer.rotate, float)
        shear = _shear_matrix(layer)
        scale = np.array(layer.scale, float)
        translate = np.array(layer.translate, float)
        if "C" in self.axes:
            axis = kept[self.axes.index("C")]
            count = int(self._image.levels[0].shape[axis])
            middle = np.zeros(layer.ndim)
            middle[axis] = scale[axis] * (count - 1) / 2
            translate += rotate @ shear @ middle
            scale[axis] *= count
        return {
            "scale": scale[kept],
            "translate": translate[kept],
            "rotate": rotate[np.ix_(kept, kept)],
            "shear": shear[np.ix_(kept, kept)],
            "affine": np.asarray(layer.affine.affine_matrix)[np.ix_(whole, whole)],
            "units": tuple(layer.units[i] for i in kept),
            "axis_labels": tuple(layer.axis_labels[i] for i in kept),
        }

    def cells(
        self, cells: NDArray[Any], index: tuple[int, ...], corner: tuple[int, int], side: int
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Return a map of cells over one slice in the form that a layer needs, with its transforms.

        Parameters
        ----------
        cells : (M, N) ndarray
            The map; each cell is `side` pixels high and wide.

        Returns
        -------
        ndarray
            A view with length 1 along all axes except rows and columns.
        dict
            Keywords for the layer, like `transforms`.
        """
        out = self.transforms
        layer = self._layer
        kept = self._kept
        first: dict[str, float] = {**dict(zip(self._image.slice_axes, index, strict=True)), "C": 0}
        first |= {axis: at + (side - 1) / 2 for axis, at in zip("YX", corner, strict=True)}
        turned = (np.asarray(layer.rotate, float) @ _shear_matrix(layer))[np.ix_(kept, kept)]
        out["translate"] = out["translate"] + turned @ (out["scale"] * [first[axis] for axis in self.axes])
        out["scale"] = out["scale"] * [side if axis in "YX" else 1 for axis in self.axes]
        plane = cells if self.axes.index("Y") < self.axes.index("X") else cells.T
        return np.expand_dims(plane, [i for i, axis in enumerate(self.axes) if axis not in "YX"]), out

    def lies_under(self, labels: Layer) -> bool:
        """Return whether a layer of this overlay's shape has the same pixels in world coordinates.

        This is true if the corners of both are at most half a pixel apart.
        """
        like = Labels(np.zeros((1,) * labels.ndim, np.uint8), **self.transforms)
        corners = np.array([np.zeros(labels.ndim), np.array(self.shape, float)])
        here, there = (np.array([one.data_to_world(corner) for corner in corners]) for one in (like, labels))
        pixel = np.abs(np.array(like.data_to_world(np.ones(labels.ndim))) - np.array(like.data_to_world(corners[0])))
        return bool((np.abs(here - there) <= pixel / 2 + 1e-9).all())

    def expanded(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Return a label image with the axes that the layer needs.

        Parameters
        ----------
        labels : ndarray
            A label image with the image's shape without channels.

        Returns
        -------
        ndarray
            A view.
        """
        return np.expand_dims(labels, self.axes.index("C")) if "C" in self.axes else labels

    def plane(self, data: NDArray[Any], index: tuple[int, ...]) -> NDArray[Any]:
        """Return one slice of a layer's array, or of a box of it, as a writable (rows, columns) view.

        Parameters
        ----------
        data : ndarray
            An array with one axis for each letter of `axes`.

        Returns
        -------
        (M, N) ndarray
            A view, not a copy.
        """
        flat = data[(slice(None),) * self.axes.index("C") + (0,)] if "C" in self.axes else data
        return self._image.plane_view(flat, index)

    def box(self, mask: Mask) -> SliceBox:
        """Return the box of a mask in the layer's array, with one `slice` for each axis."""
        y0, x0, y1, x1 = mask.box
        at = {"Y": slice(y0, y1 + 1), "X": slice(x0, x1 + 1), "C": slice(0, 1)}
        at |= {axis: slice(i, i + 1) for axis, i in zip(self._image.slice_axes, mask.index, strict=True)}
        return tuple(at[axis] for axis in self.axes)

    def pixels(
        self, index: tuple[int, ...], rows: Iterable[int], columns: Iterable[int]
    ) -> tuple[NDArray[np.intp], ...]:
        """Return pixels of a slice as index arrays for `Labels.data_setitem`.

        Returns
        -------
        tuple of (K,) ndarray of int
            One index array for each axis.
        """
        at: dict[str, Any] = {"Y": np.asarray(rows, np.intp), "X": np.asarray(columns, np.intp)}
        fixed = dict(zip(self._image.slice_axes, index, strict=True)) | {"C": 0}
        at |= {axis: np.full(len(at["Y"]), i, np.intp) for axis, i in fixed.items()}
        return tuple(at[axis] for axis in self.axes)


def part_transforms(layer: Layer, corner: Sequence[int]) -> dict[str, Any]:
    """Return keywords for a layer with a part of another layer's array; `corner` is the part's first pixel."""
    kept = ("scale", "rotate", "shear", "affine", "units", "axis_labels")
    turned = np.asarray(layer.rotate, float) @ _shear_matrix(layer)
    moved = np.array(layer.translate, float) + turned @ (np.array(layer.scale, float) * np.array(corner, float))
    return {**{name: getattr(layer, name) for name in kept}, "translate": moved}


def _shear_matrix(layer: Layer) -> NDArray[np.float64]:
    """Return the shear as a matrix; napari may store its upper triangle as a vector."""
    shear = np.asarray(layer.shear, float)
    if shear.ndim == 2:
        return shear
    matrix = np.eye(layer.ndim)
    matrix[np.triu_indices(layer.ndim, 1)] = shear
    return matrix
