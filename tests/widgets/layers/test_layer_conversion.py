from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from napari.layers import Points, Shapes

from napari_foundseg.core.errors import AxesError, FoundsegError, PromptError
from napari_foundseg.core.masks import Mask
from napari_foundseg.core.object_table import object_table
from napari_foundseg.core.result import Segmentation
from napari_foundseg.widgets.layers.camera import find_camera
from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer
from napari_foundseg.widgets.layers.layer_axes import displayed_axes
from napari_foundseg.widgets.layers.layer_conversion import (
    current_index,
    image_from_layer,
    region_from_shape,
    visible_region,
)
from napari_foundseg.widgets.layers.marks import POLARITY
from napari_foundseg.widgets.layers.result_layers import add_labels
from napari_foundseg.widgets.prompt.prompt_rules import prompts_from_layers

SHAPE = (5, 6, 30, 40)
finite = st.floats(-50, 50, allow_nan=False).map(lambda v: round(v, 2))


@st.composite
def transforms(draw: Any, ndim: int) -> dict[str, Any]:
    """A layer's transforms that can be inverted; rotation and shear act on rows and columns."""
    angle = np.deg2rad(draw(st.integers(-180, 180)))
    rotate, affine = np.eye(ndim), np.eye(ndim + 1)
    rotate[-2:, -2:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine[-3:-1, -3:-1] += np.reshape(draw(st.lists(st.floats(-0.3, 0.3), min_size=4, max_size=4)), (2, 2))
    affine[:-1, -1] = draw(st.lists(finite, min_size=ndim, max_size=ndim))
    shear = np.eye(ndim)
    shear[-2, -1] = draw(st.floats(-0.5, 0.5))
    return {
        "scale": draw(st.lists(st.floats(0.1, 10), min_size=ndim, max_size=ndim)),
        "translate": draw(st.lists(finite, min_size=ndim, max_size=ndim)),
        "rotate": rotate,
        "shear": shear,
        "affine": affine,
    }


@settings(max_examples=40, deadline=None)
@given(data=st.data(), ndim=st.integers(2, 4), rgb=st.booleans())
def test_prompts_reach_the_pixel_they_were_put_on(data: st.DataObject, ndim: int, rgb: bool) -> None:
    shape = SHAPE[-ndim:]
    layer = ImageLayer(np.zeros((*shape, 3) if rgb else shape, np.uint8), rgb=rgb, **data.draw(transforms(ndim)))
    pixel = np.array([data.draw(st.integers(0, n - 1)) for n in shape], float)
    image = image_from_layer(layer)
    points = Points(ndim=ndim, **data.draw(transforms(ndim)))
    boxes = Shapes(ndim=ndim, **data.draw(transforms(ndim)))
    far = np.minimum(pixel + np.r_[np.zeros(ndim - 2), 3, 5], np.array(shape) - 1)
    corners = np.array([pixel, far])
    around = np.array([pixel, pixel, far, far])
    around[[1, 3], -1] = around[[3, 1], -1]
    there = [boxes.world_to_data(layer.data_to_world(c)) for c in around]
    points.data = [points.world_to_data(layer.data_to_world(pixel))]
    points.features = {POLARITY: ["negative"]}
    index = tuple(int(v) for v in pixel[: ndim - 2])
    (prompt,) = prompts_from_layers(points, None, ImageOnLayer(layer, image), index)
    np.testing.assert_allclose(prompt.points[0], pixel, atol=1e-3)
    assert prompt.labels == (0,)
    boxes.add(np.array(there), shape_type="rectangle")
    (prompt,) = prompts_from_layers(None, boxes, ImageOnLayer(layer, image), index)
    np.testing.assert_allclose(prompt.box, corners.ravel(), atol=1e-3)
    assert prompt.in_plane(image.shape, image.label_axes)[0] == index


@settings(max_examples=25, deadline=None)
@given(data=st.data(), ndim=st.integers(2, 4), rgb=st.booleans())
def test_results_lie_on_their_image(data: st.DataObject, ndim: int, rgb: bool) -> None:
    shape = SHAPE[-ndim:]
    viewer = ViewerModel()
    array = np.zeros((*shape, 3) if rgb else shape, np.uint8)
    layer = viewer.add_image(array, rgb=rgb, units=["um"] * ndim, **data.draw(transforms(ndim)))
    before = layer.as_layer_data_tuple()[1]["affine"].copy()
    labels = np.zeros(shape, np.uint16)
    labels[(0,) * ndim] = 1
    image = image_from_layer(layer)
    result = Segmentation(labels, object_table(labels, image.label_axes, predicted_iou=[1], stability_score=[1]))
    added = add_labels(viewer, ImageOnLayer(layer, image), result, layer.name)
    assert added.name != layer.name
    for corner in np.ndindex(*(2,) * ndim):
        pixel = np.array(corner) * (np.array(shape) - 1)
        np.testing.assert_allclose(added.data_to_world(pixel), layer.data_to_world(pixel), atol=1e-3, rtol=1e-5)
    assert added.units == layer.units
    np.testing.assert_array_equal(layer.affine.affine_matrix, before)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0), (1, 2, 0)])
def test_the_displayed_plane_is_the_slice(order: tuple[int, ...]) -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((5, 30, 40), np.uint8), scale=(2, 1, 1))
    viewer.dims.order = order
    viewer.dims.set_current_step(order[0], 3)
    image = image_from_layer(layer, displayed=displayed_axes(viewer, layer))
    assert image.slice_shape == (layer.data.shape[order[0]],)
    assert current_index(viewer, ImageOnLayer(layer, image)) == (3,)


def test_a_point_on_another_slice_is_left_out() -> None:
    layer = ImageLayer(np.zeros((5, 30, 40)), scale=(3, 1, 1))
    image = image_from_layer(layer)
    points = Points([[2, 5, 5], [3, 6, 6]], scale=(3, 1, 1), features={POLARITY: ["positive", "positive"]})
    (prompt,) = prompts_from_layers(points, None, ImageOnLayer(layer, image), (2,))
    assert prompt.points == ((2, 5, 5),)


def test_a_point_belongs_to_the_box_around_it() -> None:
    layer = ImageLayer(np.zeros((60, 60)))
    points = Points([[45, 45], [12, 12]], features={POLARITY: ["positive", "negative"]})
    boxes = Shapes([np.array([[5, 5], [20, 20]]), np.array([[40, 40], [50, 50]])])
    first, second = prompts_from_layers(points, boxes, ImageOnLayer(layer, image_from_layer(layer)), ())
    assert first.points == ((12, 12),)
    assert first.labels == (0,)
    assert second.points == ((45, 45),)
    assert second.box == (40, 40, 50, 50)


def test_shapes_mean_boxes_masks_and_strokes() -> None:
    layer = ImageLayer(np.zeros((60, 80)))
    image = image_from_layer(layer)
    shapes = Shapes(ndim=2)
    shapes.add(np.array([[5, 5], [5, 25], [20, 25], [20, 5]]), shape_type="ellipse")
    shapes.add(np.array([[40, 40], [55, 40], [40, 60]]), shape_type="polygon")
    shapes.add(np.array([[10, 50], [10, 74]]), shape_type="line")
    ellipse, polygon = prompts_from_layers(None, shapes, ImageOnLayer(layer, image), ())
    assert 0.95 < ellipse.mask.sum() / (np.pi * 7.5 * 10) < 1.05
    assert 0.85 < polygon.mask.sum() / (15 * 20 / 2) < 1.15
    assert ellipse.box is None
    # The stroke belongs to the shape that it lies nearest to; alone it would be an object.
    assert len(ellipse.points) + len(polygon.points) == 4
    _, _, stroke = prompts_from_layers(None, shapes, ImageOnLayer(layer, image), (), each=True)
    assert stroke.points == ((10, 50), (10, 58), (10, 66), (10, 74))
    assert stroke.labels == (1, 1, 1, 1)


def test_points_are_one_object_or_an_object_each() -> None:
    layer = ImageLayer(np.zeros((60, 60)))
    image = image_from_layer(layer)
    points = Points([[10, 10], [40, 40], [42, 50]], features={POLARITY: ["positive", "positive", "negative"]})
    (one,) = prompts_from_layers(points, None, ImageOnLayer(layer, image), ())
    assert sorted(one.labels) == [0, 1, 1]
    first, second = prompts_from_layers(points, None, ImageOnLayer(layer, image), (), each=True)
    assert first.points == ((10, 10),)
    assert second.points == ((40, 40), (42, 50))
    assert second.labels == (1, 0)


def test_an_outline_smaller_than_a_pixel_is_a_click() -> None:
    layer = ImageLayer(np.zeros((60, 60)))
    shapes = Shapes(ndim=2)
    shapes.add(np.array([[10.1, 10.1], [10.2, 10.1], [10.1, 10.3]]), shape_type="polygon")
    (prompt,) = prompts_from_layers(None, shapes, ImageOnLayer(layer, image_from_layer(layer)), ())
    assert prompt.mask is None
    np.testing.assert_allclose(prompt.points, [(10.1, 10.2)], atol=0.1)


def test_a_named_channel_axis_is_no_axis_of_the_labels() -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((3, 5, 30, 40)), axis_labels=("c", "z", "y", "x"), scale=(1, 2, 0.5, 0.5))
    image = image_from_layer(layer)
    assert image.axes == "CZYX"
    labels = np.zeros(image.shape, np.uint16)
    added = add_labels(
        viewer,
        ImageOnLayer(layer, image),
        Segmentation(labels, object_table(labels, "ZYX", predicted_iou=[], stability_score=[])),
        "a",
    )
    np.testing.assert_allclose(added.scale, (2, 0.5, 0.5))


@pytest.mark.parametrize("names", ["zcyx", "tzcyx", "zyxc"])
def test_labels_lie_over_their_image_whichever_channel_is_shown(names: str) -> None:
    size = {"t": 2, "z": 5, "c": 3, "y": 12, "x": 14}
    viewer = ViewerModel()
    layer = viewer.add_image(
        np.zeros([size[a] for a in names]),
        axis_labels=tuple(names),
        scale=[2.0] * len(names),
        translate=[1.0] * len(names),
    )
    rows, columns = names.index("y"), names.index("x")
    image = image_from_layer(layer, axes=names.upper())
    assert (image.axes, rows < columns) == (names.upper(), True)
    labels = np.zeros(image.shape, np.uint16)
    at = {"t": 1, "z": 3, "y": 4, "x": 5}
    labels[tuple(at[a] for a in names if a != "c")] = 7
    result = Segmentation(
        labels, object_table(labels, image.label_axes, predicted_iou=[1] * 7, stability_score=[1] * 7)
    )
    added = add_labels(viewer, ImageOnLayer(layer, image), result, "a")
    for channel in range(3):
        world = layer.data_to_world([{**at, "c": channel}[a] for a in names])
        viewer.dims.point = world
        assert added.get_value(world, world=True) == 7
    points = Points(ndim=len(names), **ImageOnLayer(layer, image).overlay.transforms)
    points.data = [points.world_to_data(world)]
    points.features = {POLARITY: ["positive"]}
    index = tuple(at[a.lower()] for a in image.slice_axes)
    (prompt,) = prompts_from_layers(points, None, ImageOnLayer(layer, image), index)
    np.testing.assert_allclose(prompt.points, [[at[a.lower()] for a in image.label_axes]])
    mask = Mask((4, 5, 6, 8), np.ones((3, 4), bool), index=index)
    overlay = ImageOnLayer(layer, image).overlay
    data = np.zeros(overlay.shape, np.uint8)
    data[overlay.box(mask)] = 1
    assert data.sum() == 12
    assert overlay.plane(data, index)[4:7, 5:9].all()
    data[overlay.pixels(index, [0], [0])] = 2
    assert overlay.plane(data, index)[0, 0] == 2


def test_a_multiscale_layer_keeps_its_levels_and_its_file_is_read_lazily() -> None:
    import dask.array as da

    levels = [da.zeros((4, 64, 64), chunks=(1, 64, 64)), da.zeros((4, 32, 32), chunks=(1, 32, 32))]
    image = image_from_layer(ImageLayer(levels, multiscale=True))
    assert len(image.levels) == 2
    assert image.shape == (4, 64, 64)


def test_what_cannot_be_worked_on_is_named() -> None:
    with pytest.raises(AxesError, match="6 axes"):
        image_from_layer(ImageLayer(np.zeros((2, 2, 2, 2, 8, 8))))


def test_the_visible_region_is_what_the_camera_shows() -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((200, 300)), scale=(2, 2), translate=(10, 20))
    image = image_from_layer(layer)
    if hasattr(viewer, "canvas"):
        viewer.canvas.size = (100, 200)
    else:  # napari before 0.9
        viewer._canvas_size = (100, 200)
    find_camera(viewer).zoom = 1
    find_camera(viewer).center = (0, *layer.data_to_world((100, 150)))
    assert visible_region(viewer, ImageOnLayer(layer, image)) == (75, 100, 125, 200)
    find_camera(viewer).center = (0, 5000, 5000)
    with pytest.raises(PromptError, match="does not overlap"):
        visible_region(viewer, ImageOnLayer(layer, image))


def test_a_drawn_rectangle_is_clipped_to_the_image() -> None:
    layer = ImageLayer(np.zeros((100, 100)), scale=(2, 2))
    shapes = Shapes([np.array([[-20, 40], [60, 400]])])
    assert region_from_shape(shapes, ImageOnLayer(layer, image_from_layer(layer))) == (0, 20, 30, 99)
    shapes.add(np.array([[0, 0], [5, 5]]))
    shapes.selected_data = set()
    with pytest.raises(FoundsegError, match="2 shapes"):
        region_from_shape(shapes, ImageOnLayer(layer, image_from_layer(layer)))
