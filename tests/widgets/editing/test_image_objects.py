"""Accepted masks and refined objects: what they may change, and the layers that they are written into."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from napari.layers import Labels, Points

from napari_foundseg.core.errors import PromptError
from napari_foundseg.core.masks import Mask
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.widgets.editing.image_objects import ImageObjects
from napari_foundseg.widgets.editing.labels_history import LabelsHistory
from napari_foundseg.widgets.editing.mask_writing import add_objects, clicked_others, outline_prompt, refine_object
from napari_foundseg.widgets.editing.write_checks import why_not_fitting, why_not_writable
from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer
from napari_foundseg.widgets.layers.layer_conversion import image_from_layer
from napari_foundseg.widgets.layers.marks import POLARITY, labels_on_slice, points_on_slice
from napari_foundseg.widgets.layers.object_features import read_facts

pytestmark = pytest.mark.gui  # a history tells of its changes by Qt signals


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path))


#: Slices, rows and columns; ids near the end of their dtype among them.
SHAPE = (3, 12, 14)
ids = st.sampled_from([0, 0, 0, 1, 2, 3, 65535])
several = {"max_examples": 30, "deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


@st.composite
def masks(draw: Any) -> Mask:
    index = (draw(st.integers(0, SHAPE[0] - 1)),)
    pixels = draw(arrays(bool, SHAPE[1:], elements=st.booleans(), fill=st.just(False)))
    return Mask.from_array(pixels, index=index)


def over(labels: Any) -> SimpleNamespace:
    layer = ImageLayer(np.zeros(SHAPE, np.uint8))
    image = image_from_layer(layer)
    history = LabelsHistory(Labels(labels), None)
    target = ImageOnLayer(layer, image)
    return SimpleNamespace(history=history, target=target, overlay=target.overlay, image=image, labels=history.layer)


def full(mask: Mask) -> np.ndarray[Any, Any]:
    out = np.zeros(SHAPE, bool)
    if mask.crop.size:
        y0, x0, y1, x1 = mask.box
        out[mask.index[0], y0 : y1 + 1, x0 : x1 + 1] = mask.crop
    return out


@settings(**several)
@given(labels=arrays(np.uint16, SHAPE, elements=ids), mask=masks(), label=st.sampled_from([1, 2, 3, 65535]))
def test_refining_one_object_changes_no_pixel_of_any_other(labels: Any, mask: Mask, label: int) -> None:
    scene = over(labels.copy())
    if not mask.crop.size:
        return
    changed = refine_object(scene.history, scene.overlay, mask, label, "keep others")
    after = scene.labels.data
    for other in set(np.unique(labels)) - {0, label}:
        np.testing.assert_array_equal(after == other, labels == other)
    inside = full(mask) & ((labels == 0) | (labels == label))
    elsewhere = np.arange(SHAPE[0]) != mask.index[0]
    if inside.any():
        np.testing.assert_array_equal((after == label)[mask.index[0]], inside[mask.index[0]])
    np.testing.assert_array_equal(after[elsewhere], labels[elsewhere])
    assert changed == bool((after != labels).any())
    if changed:
        scene.history.undo()
    np.testing.assert_array_equal(scene.labels.data, labels)
    scene.history.release()


@settings(**several)
@given(labels=arrays(np.uint16, SHAPE, elements=ids), mask=masks(), label=st.sampled_from([1, 2, 3]))
def test_overwriting_takes_pixels_of_the_mask_and_no_others(labels: Any, mask: Mask, label: int) -> None:
    scene = over(labels.copy())
    if not mask.crop.size:
        return
    refine_object(scene.history, scene.overlay, mask, label, "overwrite")
    after, taken = scene.labels.data, full(mask)
    assert (after[taken] == label).all()
    given_up = (labels == label) & ~taken & (np.arange(SHAPE[0]) == mask.index[0])[:, None, None]
    assert (after[given_up] == 0).all()
    untouched = ~taken & ~given_up
    np.testing.assert_array_equal(after[untouched], labels[untouched])
    scene.history.release()


@settings(**several)
@given(labels=arrays(np.uint16, SHAPE, elements=ids), many=st.lists(masks(), max_size=4), keep=st.booleans())
def test_new_objects_have_new_ids_and_respect_the_rule(labels: Any, many: list[Mask], keep: bool) -> None:
    scene = over(labels.copy())
    many = [mask for mask in many if mask.crop.size]
    new = add_objects(scene.history, scene.overlay, many, "keep others" if keep else "overwrite")
    after = scene.labels.data
    assert not set(new) & set(np.unique(labels).tolist())
    assert all(label <= np.iinfo(after.dtype).max for label in new)
    taken = (
        np.logical_or.reduce([full(mask) for mask in many], initial=False, axis=0) if many else np.zeros(SHAPE, bool)
    )
    free = taken & (labels == 0) if keep else taken
    np.testing.assert_array_equal(after[~free], labels[~free])
    assert np.isin(after[free], new).all()
    if new:
        scene.history.undo()
    np.testing.assert_array_equal(scene.labels.data, labels)
    scene.history.release()


@settings(**several)
@given(labels=arrays(np.uint16, SHAPE, elements=ids), mask=masks(), label=st.sampled_from([1, 2, 3]))
def test_filling_what_is_free_takes_nothing_from_anything(labels: Any, mask: Mask, label: int) -> None:
    scene = over(labels.copy())
    if not mask.crop.size:
        return
    refine_object(scene.history, scene.overlay, mask, label, "fill free only")
    after, free = scene.labels.data, full(mask) & (labels == 0)
    assert (after[free] == label).all()
    np.testing.assert_array_equal(after[~free], labels[~free])
    scene.history.release()


def test_an_object_has_the_scores_of_the_mask_that_it_came_from() -> None:
    labels = np.zeros(SHAPE, np.uint16)
    scene = over(labels)
    mask = Mask((2, 2, 3, 3), np.ones((2, 2), bool), predicted_iou=0.5, stability_score=0.75, index=(0,))
    assert add_objects(scene.history, scene.overlay, [mask], "keep others") == [1]
    scores = {"predicted_iou": 0.5, "stability_score": 0.75}
    assert read_facts(scene.labels) == {1: scores}
    scene.history.note("note", [1], note="mine")
    better = Mask((2, 2, 4, 4), np.ones((3, 3), bool), predicted_iou=0.875, index=(0,))
    assert refine_object(scene.history, scene.overlay, better, 1, "keep others")
    assert read_facts(scene.labels) == {1: {"predicted_iou": 0.875, "stability_score": 1.0, "note": "mine"}}
    for _ in range(2):
        scene.history.undo()
    assert read_facts(scene.labels) == {1: scores}
    scene.history.release()


def test_other_pixels_under_the_objects_begin_a_layer_of_their_own() -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(np.arange(600.0).reshape(20, 30))
    objects = ImageObjects(viewer)
    history = objects.add(ImageOnLayer(layer, image_from_layer(layer)))
    assert objects.of(ImageOnLayer(layer, image_from_layer(layer))) is history
    assert objects.swapped(ImageOnLayer(layer, image_from_layer(layer))) is None
    layer.data = layer.data[::-1].copy()  # of equal shape
    assert objects.swapped(ImageOnLayer(layer, image_from_layer(layer))) is history.layer
    assert objects.of(ImageOnLayer(layer, image_from_layer(layer))) is None
    assert history.layer in viewer.layers
    # By a person's word they are taken for the same.
    assert objects.adopt(ImageOnLayer(layer, image_from_layer(layer)), history.layer).layer is history.layer
    assert objects.of(ImageOnLayer(layer, image_from_layer(layer))) is not None
    objects.release()


def test_the_object_under_the_first_click_is_refined() -> None:
    labels = np.zeros(SHAPE, np.uint16)
    labels[1, 2:6, 2:6] = 5
    scene = over(labels)
    click = Prompt([(1, 3, 3)])
    label, prompt = outline_prompt(scene.history, scene.target, [click], None)
    assert label == 5
    np.testing.assert_array_equal(prompt.mask, labels[1] == 5)
    with pytest.raises(PromptError, match="no accepted object under"):
        outline_prompt(scene.history, scene.target, [Prompt([(1, 9, 9)])], None)
    with pytest.raises(PromptError, match="Object 5 is not on this slice"):
        outline_prompt(scene.history, scene.target, [Prompt([(2, 3, 3)])], 5)
    with pytest.raises(PromptError, match="outside the image"):
        outline_prompt(scene.history, scene.target, [Prompt([(1, 99, 3)])], None)
    for wrong in ([click, click], [Prompt(box=(1, 2, 2, 1, 5, 5))]):
        with pytest.raises(PromptError, match="click on one accepted object"):
            outline_prompt(scene.history, scene.target, wrong, None)
    with pytest.raises(PromptError, match="no accepted objects"):
        outline_prompt(None, scene.target, [click], None)
    scene.history.release()


def test_a_first_click_beside_an_object_means_it() -> None:
    labels = np.zeros(SHAPE, np.uint16)
    labels[1, 2:6, 2:6] = 5
    labels[1, 2:6, 8:11] = 6
    scene = over(labels)
    for at, label in (((1, 3, 6), 5), ((1, 6, 9), 6), ((1, 7, 4), 5)):
        for sign in (1, 0):
            found, prompt = outline_prompt(scene.history, scene.target, [Prompt([at], [sign])], None)
            assert found == label
            np.testing.assert_array_equal(prompt.mask, labels[1] == label)
    scene.history.release()


def test_a_click_on_another_object_takes_what_the_mask_has_of_it() -> None:
    labels = np.zeros(SHAPE, np.uint16)
    labels[1, 2:6, 2:6] = 5
    labels[1, 2:6, 6:10] = 6
    labels[1, 6:9, 2:10] = 7
    scene = over(labels.copy())
    prompt = Prompt([(1, 3, 3), (1, 4, 7), (1, 7, 3)], [1, 1, 0])
    assert clicked_others(scene.history, scene.target, prompt, 5) == {6}
    pixels = np.zeros(SHAPE[1:], bool)
    pixels[2:8, 2:8] = True
    assert refine_object(scene.history, scene.overlay, Mask.from_array(pixels, index=(1,)), 5, "keep others", {6})
    after = scene.labels.data
    assert (after[1, 2:6, 2:8] == 5).all()
    assert (after[1, 2:6, 8:10] == 6).all()
    np.testing.assert_array_equal(after == 7, labels == 7)
    scene.history.undo()
    np.testing.assert_array_equal(after, labels)
    scene.history.release()


def test_a_new_object_takes_less_than_half_of_one_that_was_clicked() -> None:
    labels = np.zeros(SHAPE, np.uint16)
    labels[1, 2:6, 2:10] = 5
    scene = over(labels.copy())
    pixels = np.zeros(SHAPE[1:], bool)
    pixels[2:6, 7:11] = True
    part = Mask.from_array(pixels, index=(1,), label=1)
    assert add_objects(scene.history, scene.overlay, [part], "keep others", taken={1: {5}}) == [6]
    assert (scene.labels.data[1, 2:6, 7:11] == 6).all()
    assert (scene.labels.data[1, 2:6, 2:7] == 5).all()
    scene.history.undo()
    pixels[2:6, 3:11] = True
    again = Mask.from_array(pixels, index=(1,), label=1)
    add_objects(scene.history, scene.overlay, [again], "keep others", taken={1: {5}})
    np.testing.assert_array_equal(scene.labels.data == 5, labels == 5)
    scene.history.release()


# The facts about napari's layers that have cost others their work.


def test_a_new_layer_of_objects_never_takes_the_place_of_one_of_that_name() -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((20, 30)), units=("um", "um"), scale=(2, 2))
    mine = viewer.add_labels(np.full((20, 30), 4), name="foundseg objects", scale=(2, 2), units=("um", "um"))
    objects = ImageObjects(viewer)
    history = objects.add(ImageOnLayer(layer, image_from_layer(layer)))
    assert history.layer.name == "foundseg objects [1]"
    assert (mine.data == 4).all()
    # Units stay one for all layers, else napari shows none.
    assert [str(u) for u in viewer.layers.extent.units] == ["micrometer", "micrometer"]
    objects.release()


def test_the_layer_of_objects_is_found_again_renamed_and_moved_and_not_when_it_is_gone() -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((20, 30)))
    image, objects = image_from_layer(layer), ImageObjects(viewer)
    history = objects.add(ImageOnLayer(layer, image))
    history.layer.name = "mine"
    viewer.layers.move(1, 0)
    assert objects.of(ImageOnLayer(layer, image)) is history
    viewer.layers.remove(history.layer)
    assert objects.of(ImageOnLayer(layer, image)) is None
    again = objects.add(ImageOnLayer(layer, image))
    again.layer.data = np.zeros((9, 9), int)
    assert objects.of(ImageOnLayer(layer, image)) is None
    objects.release()


@pytest.mark.parametrize("dtype", ["bool", "u1", "i1", "u2", "i4", "u4", "i8", "u8"])
def test_labels_of_every_dtype_are_read(dtype: str) -> None:
    layer = ImageLayer(np.zeros((20, 30)))
    ids = np.zeros((20, 30), dtype)
    ids[5:9, 6:12] = largest = 1 if dtype == "bool" else np.iinfo(dtype).max
    (_, crop) = labels_on_slice(Labels(ids), ImageOnLayer(layer, image_from_layer(layer)), ()) or (None, None)
    assert int(crop.max()) == int(largest)


@pytest.mark.parametrize("dtype", ["u1", "i1"])
def test_ids_beyond_a_narrow_dtype_widen_it(dtype: str) -> None:
    labels = np.zeros(SHAPE, dtype)
    labels[0, 0, 0] = np.iinfo(dtype).max
    scene = over(labels)
    new = add_objects(
        scene.history, scene.overlay, [Mask((2, 2, 3, 3), np.ones((2, 2), bool), index=(0,))], "keep others"
    )
    assert new == [int(np.iinfo(dtype).max) + 1]
    assert scene.labels.data[0, 2, 2] == new[0]
    assert scene.labels.data[0, 0, 0] == new[0] - 1
    scene.history.release()


def test_points_with_fewer_axes_than_the_image_lie_on_its_first_slice() -> None:
    layer = ImageLayer(np.zeros((4, 20, 30)))
    image = image_from_layer(layer)
    points = Points([[5, 6]], features={POLARITY: ["positive"]})
    where, _ = points_on_slice(points, ImageOnLayer(layer, image), (0,))
    np.testing.assert_allclose(where, [[0, 5, 6]])
    assert not len(points_on_slice(points, ImageOnLayer(layer, image), (1,))[0])


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    import dask.array as da

    held = np.zeros((16, 16), np.uint8)
    frozen, view = held.copy(), np.broadcast_to(held[:1], (16, 16))
    frozen.flags.writeable = False
    mapped = np.memmap(tmp_path / "a.raw", np.uint8, "w+", shape=(16, 16))
    locked = Labels(held)
    locked.editable = False
    for labels, why in (
        (Labels([held, held[::2, ::2]], multiscale=True), "multiscale"),
        (Labels(da.from_array(held)), "keeps no changes"),
        (Labels(frozen), "read-only in memory"),
        (Labels(view), "read-only view"),
        (Labels(mapped), "memory-mapped"),
        (locked, "not editable"),
        (Labels(held), ""),
    ):
        assert why in why_not_writable(labels)
        assert bool(why) == bool(why_not_writable(labels))


def test_a_layer_that_lies_elsewhere_takes_no_masks() -> None:
    layer = ImageLayer(np.zeros(SHAPE), scale=(3, 0.5, 0.5), translate=(1, 2, 3))
    target = ImageOnLayer(layer, image_from_layer(layer))
    place: dict[str, Any] = {"scale": (3, 0.5, 0.5), "translate": (1, 2, 3)}
    assert why_not_fitting(Labels(np.zeros(SHAPE, int), **place), target) is None
    for other in ({"scale": (3, 0.6, 0.5)}, {"translate": (1, 2.3, 3)}, {"rotate": [[1, 0, 0], [0, 0, -1], [0, 1, 0]]}):
        assert "pixel for pixel" in str(why_not_fitting(Labels(np.zeros(SHAPE, int), **place | other), target))
    assert "its shape is (12, 14)" in str(why_not_fitting(Labels(np.zeros(SHAPE[1:], int)), target))
