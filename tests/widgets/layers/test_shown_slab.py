"""What a model sees of a stack is the projection that napari shows, slice for slice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image as ImageLayer

from napari_foundseg.widgets.layers.layer_conversion import image_from_layer
from napari_foundseg.widgets.layers.shown_slab import shown_slab, slab_words


def shown(viewer: ViewerModel, layer: ImageLayer, axes: str) -> np.ndarray:
    image = image_from_layer(layer, axes=axes, slab=shown_slab(viewer, layer, axes))
    place = layer.world_to_data(viewer.dims.point)
    return image.raw(tuple(int(np.floor(place[axes.index(axis)] + 0.5)) for axis in image.slice_axes))


@pytest.mark.parametrize("mode", ["max", "mean", "min", "sum"])
@pytest.mark.parametrize("scale", [1.0, 2.5])
@pytest.mark.parametrize("thickness", [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 40.0])
def test_every_slice_is_the_picture_that_napari_shows(mode: str, scale: float, thickness: float) -> None:
    viewer = ViewerModel()
    data = np.random.default_rng(0).integers(0, 60_000, (9, 7, 8)).astype(np.uint16)
    layer = viewer.add_image(data, scale=(scale, 1, 1), projection_mode=mode)
    viewer.dims.thickness = (thickness * scale, 0, 0)
    for z in range(9):
        viewer.dims.set_point(0, z * scale)
        np.testing.assert_allclose(shown(viewer, layer, "ZYX"), layer._data_view, rtol=1e-6)


def test_slices_of_two_axes_unequal_margins_and_a_flipped_axis() -> None:
    viewer = ViewerModel()
    data = np.random.default_rng(0).normal(size=(4, 6, 5, 6)).astype(np.float32)
    layer = viewer.add_image(data, axis_labels=("t", "z", "y", "x"), translate=(0, 3, 0, 0), projection_mode="max")
    viewer.dims.margin_left = (0, 2, 0, 0)
    viewer.dims.margin_right = (1, 1, 0, 0)
    viewer.dims.set_point((0, 1), (1, 5))
    np.testing.assert_array_equal(shown(viewer, layer, "TZYX"), layer._data_view)
    assert slab_words(viewer, layer) == "Maximum of 2 slices along T and 4 slices along Z, as shown"


def test_words_appear_only_where_several_slices_are_projected() -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((9, 7, 8), np.uint8), projection_mode="none")
    viewer.dims.thickness = (4, 0, 0)
    viewer.dims.set_point(0, 4)
    assert slab_words(viewer, layer) == ""
    layer.projection_mode = "mean"
    assert slab_words(viewer, layer) == "Mean of 5 slices along Z, as shown"
    viewer.dims.set_point(0, 0)
    assert slab_words(viewer, layer) == "Mean of 3 slices along Z, as shown"
    viewer.dims.ndisplay = 3
    assert shown_slab(viewer, layer) is None


def test_channels_are_never_projected_and_lazy_stacks_are_read_slice_by_slice() -> None:
    reads: list[Any] = []

    class Lazy:
        shape, dtype, ndim = (9, 2, 7, 8), np.dtype(np.uint8), 4

        def __getitem__(self, key: Any) -> np.ndarray:
            reads.append(key)
            return data[key]

    data = np.random.default_rng(0).integers(0, 200, (9, 2, 7, 8)).astype(np.uint8)
    viewer = ViewerModel()
    layer = viewer.add_image(data, axis_labels=("z", "c", "y", "x"), projection_mode="max")
    viewer.dims.thickness = (4, 4, 0, 0)
    viewer.dims.set_point(0, 4)
    slab = shown_slab(viewer, layer)
    assert slab is not None
    assert set(slab.margins) == {"Z"}
    image = image_from_layer(layer, channels=1, slab=slab)
    object.__setattr__(image, "levels", (Lazy(),))
    np.testing.assert_array_equal(image.raw((4,)), data[2:7, 1].max(0))
    assert len(reads) == 5
