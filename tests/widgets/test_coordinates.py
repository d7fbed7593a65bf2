"""Coordinates there and back: a mark is the pixel it was put on, a result lies on its image, for any transforms."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from napari.layers import Labels, Points, Shapes

from napari_foundseg.core.errors import PromptError
from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer
from napari_foundseg.widgets.layers.layer_axes import affine_between, displayed_axes, transform_coordinates
from napari_foundseg.widgets.layers.layer_conversion import current_index, image_from_layer
from napari_foundseg.widgets.layers.marks import POLARITY, labels_on_slice, point_at
from napari_foundseg.widgets.prompt.prompt_layers import PromptLayers
from napari_foundseg.widgets.prompt.prompt_rules import NOT_IT, Scribbles, prompts_from_layers

# napari shows axes of slices that are turned as if they were not; coordinates do not depend on what it shows.
pytestmark = pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
SHAPE = (2, 3, 4, 24, 30)
UNITS = ("um", "nm", "mm", "pixel")
moderate = st.floats(-40, 40, allow_nan=False).map(lambda v: round(v, 2))


@st.composite
def turned(draw: Any, ndim: int, plane_only: bool = False, channel: int | None = None) -> dict[str, Any]:
    """Scale, translation, rotation, shear, affine and units; of all axes but the channels."""
    rotate, affine, shear = np.eye(ndim), np.eye(ndim + 1), np.eye(ndim)
    space = [i for i in range(ndim) if i != channel]
    planes = [(ndim - 2, ndim - 1)] if plane_only else list(pairwise(space))
    for a, b in planes:
        angle = np.deg2rad(draw(st.integers(-180, 180)))
        turn = np.eye(ndim)
        turn[np.ix_((a, b), (a, b))] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        rotate = rotate @ turn
        shear[a, b] = draw(st.floats(-0.5, 0.5))
        affine[a, b] = draw(st.floats(-0.3, 0.3))
        affine[b, a] = draw(st.floats(-0.3, 0.3))
    affine[:-1, -1] = draw(st.lists(moderate, min_size=ndim, max_size=ndim))
    return {
        "scale": draw(st.lists(st.floats(0.1, 8), min_size=ndim, max_size=ndim)),
        "translate": draw(st.lists(moderate, min_size=ndim, max_size=ndim)),
        "rotate": rotate,
        "shear": shear,
        "affine": affine,
    }


@st.composite
def scenes(draw: Any, plane_only: bool = False) -> SimpleNamespace:
    """An image layer of 2 to 5 axes in any order, RGB, with a channel axis or neither, and one of its pixels."""
    ndim = draw(st.integers(2, 5))
    kind = draw(st.sampled_from(["plain", "rgb", "channels"])) if ndim > 2 else draw(st.sampled_from(["plain", "rgb"]))
    shape = list(SHAPE[-ndim:])
    labels = [f"axis {i}" for i in range(ndim)]
    channel = None
    if kind == "channels":
        channel = draw(st.integers(0, ndim - 3))
        labels[channel] = "c"
        shape[channel] = 3
    array = np.zeros((*shape, 3) if kind == "rgb" else shape, np.uint8)
    layer = ImageLayer(
        array, rgb=kind == "rgb", axis_labels=labels, units=[draw(st.sampled_from(UNITS))] * ndim,
        **draw(turned(ndim, plane_only, channel)),
    )  # fmt: skip
    # Which axes lie in the screen: any two that are no channels, in either order of the array.
    free = [i for i in range(ndim) if i != channel]
    chosen = sorted(draw(st.permutations(free))[:2]) if kind != "rgb" else [ndim - 2, ndim - 1]
    if plane_only:
        chosen = [ndim - 2, ndim - 1]
    image = image_from_layer(layer, displayed=(chosen[0], chosen[1]))
    pixel = np.array([draw(st.integers(0, n - 1)) for n in shape], float)
    # Without the channel, as prompts count.
    data = np.array([pixel[i] for i in range(ndim) if i != channel])
    index = tuple(int(data[image.label_axes.index(axis)]) for axis in image.slice_axes)
    target = ImageOnLayer(layer, image)
    return SimpleNamespace(
        layer=layer, image=image, target=target, pixel=pixel, data=data, index=index, ndim=ndim, channel=channel
    )


@settings(max_examples=40, deadline=None)
@given(scene=scenes(), data=st.data())
def test_a_point_is_the_pixel_it_was_put_on(scene: SimpleNamespace, data: st.DataObject) -> None:
    world = scene.layer.data_to_world(scene.pixel)
    points = Points(ndim=scene.ndim, **data.draw(turned(scene.ndim)))
    points.data = [points.world_to_data(world)]
    points.features = {POLARITY: ["negative"]}
    (prompt,) = prompts_from_layers(points, None, scene.target, scene.index)
    np.testing.assert_allclose(prompt.points[0], scene.data, atol=1e-5)
    assert prompt.labels == (0,)
    assert prompt.in_plane(scene.image.shape, scene.image.label_axes)[0] == scene.index
    np.testing.assert_allclose(point_at(world, scene.target), scene.data, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(scene=scenes(), data=st.data())
def test_the_way_between_two_layers_is_the_way_through_the_world(scene: SimpleNamespace, data: st.DataObject) -> None:
    other = Points(ndim=data.draw(st.integers(2, 5)))
    for name, value in data.draw(turned(other.ndim)).items():
        setattr(other, name, value)
    place = np.array(data.draw(st.lists(moderate, min_size=other.ndim, max_size=other.ndim)))
    through = scene.layer.world_to_data(other.data_to_world(place))
    np.testing.assert_allclose(transform_coordinates(other, scene.layer, place[None])[0], through, rtol=1e-6, atol=1e-4)
    if other.ndim == scene.ndim:
        there, _ = affine_between(other, scene.layer)
        back, _ = affine_between(scene.layer, other)
        np.testing.assert_allclose(there @ back, np.eye(scene.ndim), atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(scene=scenes(), seed=st.integers(0, 1000))
def test_what_is_painted_over_an_image_is_read_pixel_for_pixel(scene: SimpleNamespace, seed: int) -> None:
    overlay = scene.target.overlay
    rng = np.random.default_rng(seed)
    data = np.where(rng.random(overlay.shape) < 0.2, rng.integers(1, 9, overlay.shape), 0).astype(np.uint8)
    plane = overlay.plane(data, scene.index)
    found = labels_on_slice(Labels(data, **overlay.transforms), scene.target, scene.index)
    drawn = np.zeros_like(plane)
    if found is not None:
        (y, x), ids = found
        drawn[y : y + ids.shape[0], x : x + ids.shape[1]] = ids
    np.testing.assert_array_equal(drawn, plane)


@settings(max_examples=25, deadline=None)
@given(scene=scenes(), side=st.integers(1, 5))
def test_a_map_of_cells_lies_over_the_pixels_that_it_is_of(scene: SimpleNamespace, side: int) -> None:
    cells = np.arange(1, 13, dtype=np.uint8).reshape(3, 4)
    pixels, place = scene.target.overlay.cells(cells, scene.index, (1, 0), side)
    found = labels_on_slice(Labels(pixels, **place), scene.target, scene.index)
    assert found is not None
    (y, x), ids = found
    drawn, expected = np.zeros((2, *scene.image.plane_shape), int)
    drawn[y : y + ids.shape[0], x : x + ids.shape[1]] = ids
    part = np.kron(cells, np.ones((side, side), int))[: drawn.shape[0] - 1, : drawn.shape[1]]
    expected[1 : 1 + part.shape[0], : part.shape[1]] = part
    np.testing.assert_array_equal(drawn, expected)


@settings(max_examples=25, deadline=None)
@given(scene=scenes(plane_only=True), data=st.data(), seed=st.integers(0, 1000))
def test_labels_with_transforms_of_their_own_are_read_where_they_are_seen(
    scene: SimpleNamespace, data: st.DataObject, seed: int
) -> None:
    overlay = scene.target.overlay
    own = dict(overlay.transforms)
    zoom = data.draw(st.sampled_from([0.5, 1.0, 2.0, 3.0]))
    own["scale"] = np.array([*own["scale"][:-2], own["scale"][-2] * zoom, own["scale"][-1] * zoom])
    angle = np.deg2rad(data.draw(st.integers(-180, 180)))
    turn = np.eye(len(overlay.shape))
    turn[-2:, -2:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    own["rotate"] = own["rotate"] @ turn
    ids = np.random.default_rng(seed).integers(0, 4, overlay.shape).astype(np.uint16)
    labels = Labels(ids, **own)
    found = labels_on_slice(labels, scene.target, scene.index)
    (top, left), crop = found or ((0, 0), np.zeros((0, 0), int))
    for row in range(0, scene.image.plane_shape[0], 5):
        for column in range(0, scene.image.plane_shape[1], 5):
            pixel = scene.pixel.copy()
            pixel[-2:] = row, column
            place = np.array(labels.world_to_data(scene.layer.data_to_world(pixel)))
            if np.abs(place % 1 - 0.5).min() < 1e-3:
                continue  # between two pixels: either is right
            at = tuple(np.floor(place + 0.5).astype(int))
            inside = all(0 <= i < n for i, n in zip(at, ids.shape, strict=True))
            y, x = row - top, column - left
            got = crop[y, x] if 0 <= y < crop.shape[0] and 0 <= x < crop.shape[1] else 0
            assert got == (ids[at] if inside else 0)


@settings(max_examples=15, deadline=None)
@given(scene=scenes())
def test_what_is_laid_over_an_image_lies_on_it_in_the_world(scene: SimpleNamespace) -> None:
    overlay = scene.target.overlay
    viewer = ViewerModel()
    viewer.add_layer(scene.layer)
    before = {k: repr(v) for k, v in scene.layer.as_layer_data_tuple()[1].items()}
    session = PromptLayers(viewer, scene.target, lambda: None, lambda _: None)
    kept = [i for i, letter in enumerate(overlay.axes) if letter != "C"]
    for added in (
        session.preview.layer,
        session.points,
        session.boxes,
        Labels(np.zeros(overlay.shape, int), **overlay.transforms),
    ):
        there = transform_coordinates(added, scene.layer, np.eye(added.ndim)[kept] * 2)
        back = transform_coordinates(scene.layer, added, there)
        np.testing.assert_allclose(back, np.eye(added.ndim)[kept] * 2, atol=1e-5)
        # A step along an axis of the overlay is the same step in the image.
        step = there - transform_coordinates(added, scene.layer, np.zeros((1, added.ndim)))
        letters = [letter for letter in overlay.axes if letter != "C"]
        for row, letter in zip(step, letters, strict=True):
            axis = str(scene.image.axes).index(letter)
            np.testing.assert_allclose(row, 2 * np.eye(scene.ndim)[axis], atol=1e-5)
        assert all(u in scene.layer.units for u in added.units)
    assert {k: repr(v) for k, v in scene.layer.as_layer_data_tuple()[1].items()} == before


@pytest.mark.parametrize("turns", range(3))
def test_rolled_axes_are_the_slices_that_are_seen(turns: int) -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((5, 30, 40), np.uint8), scale=(2, 1, 0.5), translate=(3, 4, 5))
    for _ in range(turns):
        viewer.dims.roll()
    rows, columns = displayed_axes(viewer, layer)
    (sliced,) = {0, 1, 2} - {rows, columns}
    viewer.dims.set_current_step(sliced, 3)
    image = image_from_layer(layer, displayed=(rows, columns))
    assert current_index(viewer, ImageOnLayer(layer, image)) == (3,)
    pixel = [2.0, 2.0, 2.0]
    pixel[sliced] = 3
    points = Points([layer.data_to_world(pixel)], features={POLARITY: ["positive"]})
    (prompt,) = prompts_from_layers(points, None, ImageOnLayer(layer, image), (3,))
    np.testing.assert_allclose(prompt.points, [pixel])
    assert prompt.in_plane(image.shape, image.label_axes)[0] == (3,)


def test_a_multiscale_image_is_prompted_and_answered_at_full_resolution() -> None:
    import dask.array as da

    levels = [da.zeros((256, 320), chunks=64), da.zeros((128, 160), chunks=64), da.zeros((64, 80), chunks=64)]
    viewer = ViewerModel()
    layer = viewer.add_image(levels, multiscale=True, scale=(0.5, 0.5), translate=(10, 20))
    image = image_from_layer(layer)
    assert (image.shape, len(image.levels)) == ((256, 320), 3)
    for level in range(3):
        layer.data_level = level  # what napari happens to show
        points = Points([layer.data_to_world((200, 300))], features={POLARITY: ["positive"]})
        (prompt,) = prompts_from_layers(points, None, ImageOnLayer(layer, image), ())
        np.testing.assert_allclose(prompt.points, [(200, 300)])
    overlay = ImageOnLayer(layer, image).overlay
    result = Labels(np.zeros(overlay.shape, np.uint16), **overlay.transforms)
    assert result.data.shape == (256, 320)
    assert result.editable
    np.testing.assert_allclose(result.data_to_world((255, 319)), layer.data_to_world((255, 319)))


def test_multiscale_and_lazy_labels_are_read_at_full_resolution() -> None:
    import dask.array as da

    layer = ImageLayer(np.zeros((64, 64)))
    image = image_from_layer(layer)
    ids = np.zeros((64, 64), np.uint16)
    ids[10:20, 30:50] = 7
    for labels in (Labels([ids, ids[::2, ::2]], multiscale=True), Labels(da.from_array(ids, chunks=16))):
        corner, crop = labels_on_slice(labels, ImageOnLayer(layer, image), ())
        assert crop[10 - corner[0], 30 - corner[1]] == 7
        assert crop.dtype == np.uint16
        assert (crop == 7).sum() == 200
    mapped = np.broadcast_to(ids, (1, 64, 64))  # read-only
    assert labels_on_slice(Labels(mapped[0]), ImageOnLayer(layer, image), ()) is not None


# What marks mean.


@pytest.fixture
def flat() -> SimpleNamespace:
    layer = ImageLayer(np.zeros((100, 120)))
    image = image_from_layer(layer)
    target = ImageOnLayer(layer, image)
    return SimpleNamespace(layer=layer, image=image, target=target, data=np.zeros((100, 120), np.uint8))


def painted(flat: SimpleNamespace, brush: float = 6, areas: Any = (), each: bool = False, points: Any = None) -> Any:
    scribbles = Scribbles(Labels(flat.data), brush, areas)
    return prompts_from_layers(points, None, flat.target, (), each, scribbles)


def test_a_stroke_is_points_and_an_area_a_mask(flat: SimpleNamespace) -> None:
    flat.data[20:26, 10:80] = 1
    (stroke,) = painted(flat)
    assert stroke.mask is None
    assert len(stroke.points) > 5
    assert all(22 <= y <= 23 for y, _ in stroke.points)
    flat.data[50:80, 10:60] = 1
    (both,) = painted(flat)
    np.testing.assert_array_equal(both.mask, (flat.data == 1) & (np.arange(100) > 40)[:, None])
    assert len(both.points) == len(stroke.points)


def test_each_colour_is_an_object_and_what_is_not_belongs_to_the_nearest(flat: SimpleNamespace) -> None:
    flat.data[10:14, 10:40] = 1
    flat.data[60:64, 10:40] = 3
    flat.data[80:84, 70:100] = 4
    flat.data[66:70, 10:40] = NOT_IT
    first, second, third = painted(flat)
    assert set(first.labels) == {1}
    assert set(second.labels) == {0, 1}
    assert set(third.labels) == {1}


def test_an_object_taken_from_another_layer_is_an_area_however_thin(flat: SimpleNamespace) -> None:
    flat.data[20:22, 10:80] = 3
    assert painted(flat)[0].mask is None
    (prompt,) = painted(flat, areas={3})
    np.testing.assert_array_equal(prompt.mask, flat.data == 3)


def test_clicks_strokes_and_shapes_go_together(flat: SimpleNamespace) -> None:
    flat.data[20:24, 20:50] = 1
    flat.data[20:24, 90:100] = NOT_IT
    points = Points([[30, 30], [60, 60]], features={POLARITY: ["positive", "negative"]})
    (one,) = painted(flat, points=points)
    assert 0 in one.labels
    assert (30, 30) in one.points
    assert len(painted(flat, points=points, each=True)) == 2
    shapes = Shapes([np.array([[10, 10], [40, 60]])])
    scribbles = Scribbles(Labels(flat.data), 6)
    (boxed,) = prompts_from_layers(points, shapes, flat.target, (), False, scribbles)
    assert boxed.box == (10, 10, 40, 60)
    assert len(boxed.points) == len(one.points)


@pytest.mark.parametrize("value", [1, 3, NOT_IT])
def test_one_painted_pixel_is_a_point(flat: SimpleNamespace, value: int) -> None:
    flat.data[40, 50] = value
    (prompt,) = painted(flat, brush=1)
    assert prompt.points == ((40, 50),)
    assert prompt.labels == (int(value != NOT_IT),)


@pytest.mark.parametrize("edge", [(0, 0), (0, 119), (99, 0), (99, 119)])
def test_a_mark_at_the_very_edge_is_inside(flat: SimpleNamespace, edge: tuple[int, int]) -> None:
    flat.data[edge] = 1
    (prompt,) = painted(flat, brush=1)
    prompt.in_plane(flat.image.shape, "YX")
    assert prompt.points == (edge,)


def test_prompts_outside_are_refused_by_name_and_a_box_may_hang_over(flat: SimpleNamespace) -> None:
    for outside in ([(-3, 5)], [(5, 500)]):
        points = Points(outside, features={POLARITY: ["positive"]})
        (prompt,) = prompts_from_layers(points, None, flat.target, ())
        with pytest.raises(PromptError, match="outside the image"):
            prompt.in_plane(flat.image.shape, "YX")
        assert point_at(outside[0], flat.target) is None
    (hanging,) = prompts_from_layers(None, Shapes([np.array([[-9, -9], [20, 30]])]), flat.target, ())
    assert hanging.in_plane(flat.image.shape, "YX")[1].box == (0, 0, 20, 30)
    away = Labels(np.ones((10, 10), np.uint8), translate=(500, 500))
    assert labels_on_slice(away, flat.target, ()) is None


def test_a_hundred_marks_of_every_kind_at_once(flat: SimpleNamespace) -> None:
    rng = np.random.default_rng(0)
    points = Points(rng.uniform(0, 99, (100, 2)), features={POLARITY: ["positive"] * 100})
    corners = rng.uniform(0, 80, (100, 2))
    shapes = Shapes([np.array([c, c + 9]) for c in corners])
    for i in range(100):
        flat.data[i, i : i + 3] = i + 1
    prompts = prompts_from_layers(points, shapes, flat.target, (), True, Scribbles(Labels(flat.data), 1))
    assert len(prompts) >= 199
    for prompt in prompts:
        prompt.in_plane(flat.image.shape, "YX")
