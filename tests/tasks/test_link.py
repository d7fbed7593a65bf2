"""Objects of a stack: linked from slice to slice, counted, and said in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

import napari_foundseg as fs
from napari_foundseg.batch.recipe import Recipe, read_recipe, recipe_of, step_of, write_recipe
from napari_foundseg.core.image import Image
from napari_foundseg.core.measuring.measurements import measure
from napari_foundseg.tasks import TASKS
from napari_foundseg.tasks.automatic import derive
from napari_foundseg.tasks.automatic_settings import AutomaticInputs, DecoderSettings
from napari_foundseg.tasks.notes import what_was_chosen
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.tasks.windows import volume_objects
from tests.support import toy_steps

#: Depth of a slice in pixels.
DEPTH = 3


def nuclei(count: int = 22, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Balls in a stack, some cut by its first or last slice: the picture and the truth."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((14, 200, 200), np.uint16)
    z, y, x = np.indices(truth.shape)
    placed: list[tuple[NDArray[Any], float]] = []
    while len(placed) < count:
        radius = rng.uniform(9, 14)
        centre = np.array([rng.uniform(0, 13 * DEPTH), *rng.uniform(radius, 199 - radius, 2)])
        if all(np.linalg.norm(centre - other) > radius + r + 1 for other, r in placed):
            placed.append((centre, radius))
            away = ((z * DEPTH - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2) < radius**2
            truth[away] = len(placed)
    picture = ndimage.gaussian_filter((truth > 0) * 150.0 + 20, (0, 1, 1)) + rng.normal(0, 4, truth.shape)
    return picture.clip(0, 255).astype(np.uint8), truth


@pytest.fixture(scope="module")
def stack() -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    return nuclei()


@pytest.fixture(scope="module")
def found(stack: Any) -> fs.Segmentation:
    return fs.automatic(Image(stack[0], "ZYX"))


def test_a_stack_of_22_nuclei_is_22_objects(stack: Any, found: fs.Segmentation) -> None:
    truth = stack[1]
    assert found.count_in_words == "22 objects in 14 slices, linked"
    ids = [np.bincount(found.labels[truth == label]).argmax() for label in range(1, 23)]
    assert sorted(ids) == list(range(1, 23)), "each nucleus has one id of its own"
    spacing = [3.0, 0.7, 0.7]
    volumes = measure(found.labels, "ZYX", spacing, "mm").set_index("label")["volume (mm³)"]
    expected = measure(truth, "ZYX", spacing, "mm").set_index("label")["volume (mm³)"]
    for label, own in enumerate(ids, 1):
        assert volumes[own] == pytest.approx(expected[label], rel=0.15)
    assert found.table.set_index("label")["area"][ids[0]] == (found.labels == ids[0]).sum()


def test_the_link_acts_on_the_finished_result_and_is_said(found: fs.Segmentation) -> None:
    apart = derive(found, DecoderSettings(link="none"))
    assert len(apart) > 100
    assert apart.count_in_words == f"{len(apart)} objects in 14 slices, not linked"
    assert np.array_equal(apart.labels > 0, found.labels > 0)
    again = derive(apart, DecoderSettings())
    assert np.array_equal(again.labels, found.labels)
    assert found.table["predicted_iou"].between(0, 1).all()


def test_points_in_time_are_linked_where_asked(oracle: Any, true_maps: Any) -> None:
    truth = np.zeros((3, 64, 64), np.uint8)
    for t in range(3):
        truth[t, 10 + 3 * t : 30 + 3 * t, 10:30] = 1
        truth[t, 40:55, 35:50] = 2
    movie = Image(np.stack([true_maps(plane) for plane in truth]), "TYXC", normalisation=fs.Limits(low=0, high=255))
    by_default = fs.automatic(movie, model=oracle, min_area=0)
    assert by_default.count_in_words == "6 objects in 3 slices, not linked"
    tracked = fs.automatic(movie, model=oracle, min_area=0, link="overlap in depth and time")
    assert tracked.count_in_words == "2 objects in 3 slices, linked"
    both = Image(np.stack([movie.levels[0]] * 2, 1), "TZYXC", normalisation=fs.Limits(low=0, high=255))
    deep = fs.automatic(both, model=oracle, min_area=0)
    assert deep.count_in_words == "6 objects in 6 slices, linked along Z only"
    assert np.array_equal(deep.labels[:, 0], deep.labels[:, 1])


def test_one_slice_has_nothing_to_link(oracle: Any, true_maps: Any) -> None:
    truth = np.zeros((64, 64), np.uint8)
    truth[10:30, 10:30] = 1
    planes = Image(np.stack([true_maps(truth)] * 3), "ZYXC", normalisation=fs.Limits(low=0, high=255))
    one = TASKS["automatic"].run(planes, AutomaticInputs(index=(1,)), DecoderSettings(min_area=0), oracle)
    assert one.count_in_words == "1 object"
    assert fs.automatic(Image(planes.levels[0][0], "YXC"), model=oracle, min_area=0).count_in_words == "1 object"


def test_a_batch_says_whether_a_stack_is_linked(stack: Any, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    tifffile.imwrite(tmp_path / "images" / "a.tif", stack[0][:4], imagej=True, metadata={"axes": "ZYX"})
    recipe = toy_steps.recipe(min_area=20)
    (apart,) = toy_steps.run(recipe, tmp_path)
    step = recipe.steps[0].model_copy(update={"settings": {"min_area": 20, "link": "overlap"}})
    (linked,) = toy_steps.run(recipe.model_copy(update={"steps": (step,)}), tmp_path)
    assert apart.counted == f"{apart.objects} objects in 4 slices, not linked"
    assert linked.counted == f"{linked.objects} objects in 4 slices, linked"
    assert linked.objects < apart.objects


def test_records_without_the_setting_stay_unlinked(tmp_path: Path) -> None:
    old = Recipe.model_validate(
        {"inputs": {"paths": ["a.tif"]}, "steps": [{"task": "automatic", "model": {"name": "foundseg-tiny"}}]}
    )
    assert old.steps[0].parsed_settings().link == "none"  # type: ignore[attr-defined]
    image = Image(np.zeros((3, 8, 8), np.uint8), "ZYX", source=str(tmp_path / "a.tif"))
    task = TASKS["automatic"]
    request = RunRequest("automatic", image, task.inputs(), task.settings("decoder", {}), "foundseg-tiny")
    new = recipe_of(request)
    write_recipe(tmp_path / "new.yaml", new)
    again = read_recipe(tmp_path / "new.yaml")
    assert again.steps[0].parsed_settings().link == "3d"  # type: ignore[attr-defined]
    assert "link: 3d" in (tmp_path / "new.yaml").read_text()
    unlinked = RunRequest(
        "automatic", image, task.inputs(), task.settings("decoder", {"link": "none"}), "foundseg-tiny"
    )
    assert new.digest() != recipe_of(unlinked).digest()
    step = recipe_of(unlinked).steps[0]
    less = step.model_copy(update={"settings": {k: v for k, v in step.settings.items() if k != "link"}})
    same = recipe_of(unlinked).model_copy(update={"steps": (less,)})
    assert same.digest() == recipe_of(unlinked).digest(), "results made before the setting stay current"
    provenance = {
        "task": "automatic",
        "model": {"name": "foundseg-tiny"},
        "settings": {"method": "decoder"},
        "inputs": {},
    }
    assert step_of(provenance).parsed_settings().link == "none"  # type: ignore[attr-defined]


def test_switches_of_earlier_recipes_keep_what_they_ran_with() -> None:
    """On was overlap along all slices, each with its best match; off stays off, and results of both stay current."""
    for task in ("panoptic", "text", "semantic"):
        method = next(iter(TASKS[task].methods))
        on = TASKS[task].settings_of_record(method, {"link": True})
        assert (on.link, on.link_rule) == ("overlap", "best match")  # type: ignore[attr-defined]
        assert on.linked_axes("TZYX") == "TZ"  # type: ignore[attr-defined]
        assert on.digested()["link"] is True
        for values in ({"link": False}, {}):
            off = TASKS[task].settings_of_record(method, values)
            assert off.link == "none"  # type: ignore[attr-defined]
            assert off.digested()["link"] is False
        new = TASKS[task].settings(method, {})
        assert (new.link, new.link_rule) == ("3d", "all slices")  # type: ignore[attr-defined]
        assert new.linked_axes("TZYX") == "Z", "never along time unasked"  # type: ignore[attr-defined]
    before = TASKS["automatic"].settings_of_record("decoder", {"link": "overlap"})
    assert before.link_rule == "best match"  # type: ignore[attr-defined]
    assert before.linked_axes("TZYX") == "Z"  # type: ignore[attr-defined]


def test_old_and_new_overlap_differ_where_the_old_one_cut(oracle: Any, true_maps: Any) -> None:
    """A cell that one slice shows in two: the best match alone leaves a piece."""
    truth = np.zeros((5, 64, 64), np.uint8)
    truth[:, 12:44, 12:44] = 1
    truth[2, 12:44, 31:44] = 2
    image = stack_of(true_maps, truth)
    before = TASKS["automatic"].settings_of_record("decoder", {"link": "overlap", "min_area": 0})
    run = TASKS["automatic"].run
    assert len(run(image, AutomaticInputs(), before, oracle)) == 2
    assert len(fs.automatic(image, model=oracle, min_area=0, link="overlap")) == 1
    assert len(fs.automatic(image, model=oracle, min_area=0)) == 1


def stack_of(true_maps: Any, truth: Any, axes: str = "ZYXC", **spacing: float) -> Image:
    """A picture of which the model `oracle` reads the truth."""
    maps = np.stack([true_maps(plane) for plane in truth])
    return Image(maps, axes, normalisation=fs.Limits(low=0, high=255), spacing=spacing)


def column(radii: list[int], side: int = 64) -> NDArray[np.uint8]:
    """Discs over one another."""
    y, x = np.indices((side, side)) - side // 2
    return np.stack([(y**2 + x**2 < radius**2).astype(np.uint8) for radius in radii])


@pytest.mark.parametrize("link", ["overlap", "3d"])
@pytest.mark.parametrize(
    ("radii", "count"),
    [
        ([28, 12, 5, 2], 1),
        ([2, 5, 12, 28], 1),
        ([12, 12, 12, 0, 12, 12, 12], 1),
        ([0, 12, 12, 12, 0], 1),
        ([6, 10, 12, 12, 10, 6, 2] * 5, 5),
        ([0, 0, 0], 0),
    ],
)
def test_bodies_are_one_object_each(oracle: Any, true_maps: Any, link: str, radii: list[int], count: int) -> None:
    found = fs.automatic(stack_of(true_maps, column(radii)), model=oracle, min_area=0, link=link)
    assert len(found) == count
    assert found.labels.shape == (len(radii), 64, 64)


def test_bodies_far_apart_have_two_ids(oracle: Any, true_maps: Any) -> None:
    truth = np.zeros((3, 64, 64), np.uint8)
    truth[0, 5:20, 5:20] = truth[2, 40:60, 40:60] = 1
    for link in ("overlap", "3d"):
        assert len(fs.automatic(stack_of(true_maps, truth), model=oracle, min_area=0, link=link)) == 2


def test_each_point_in_time_has_objects_of_its_own_in_3d(oracle: Any, true_maps: Any) -> None:
    truth = np.stack([column([6, 10, 12, 10, 6])] * 2)
    maps = np.stack([np.stack([true_maps(plane) for plane in volume]) for volume in truth])
    image = Image(maps, "TZYXC", normalisation=fs.Limits(low=0, high=255))
    found = fs.automatic(image, model=oracle, min_area=0)
    assert found.count_in_words == "2 objects in 10 slices, linked along Z only"
    assert found.provenance["linking"] == {"how": "3d", "planes": ["xy"]}


def test_touching_cells_that_slices_join_are_parted_in_3d_and_the_planes_are_said() -> None:
    z, y, x = np.indices((40, 80, 110)).astype(np.float32)
    truth = np.zeros(z.shape, np.uint8)
    for label, (row, column) in enumerate(((40, 35), (40, 70)), 1):
        truth[((z - 20) ** 2 + (y - row) ** 2 + (x - column) ** 2 < 18.5**2) & (truth == 0)] = label
    rng = np.random.default_rng(0)
    picture = ndimage.gaussian_filter((truth > 0) * 150.0 + 20, 1) + rng.normal(0, 6, truth.shape)
    image = Image(picture.clip(0, 255).astype(np.uint8), "ZYX", spacing={"Z": 0.5, "Y": 0.5, "X": 0.5})
    found = fs.automatic(image)
    assert found.count_in_words == "2 objects in 40 slices, linked"
    assert found.provenance["linking"] == {"how": "3d", "planes": ["xy", "xz", "yz"]}
    assert what_was_chosen(found.provenance) == [
        "Objects in 3-D: a watershed in the whole volume, from xy, xz, yz planes."
    ]
    for label in (1, 2):
        own = found.labels == np.bincount(found.labels[truth == label]).argmax()
        assert (own & (truth == label)).sum() / (own | (truth == label)).sum() > 0.85


def test_no_plane_of_an_object_is_empty_where_the_slices_alone_hold_it() -> None:
    """The maps of three views are not summed as votes: what xy shows is no less for what xz and yz do not see."""
    thresholds = {"foreground_smoothing": 0, "foreground_threshold": 0.5, "seed_smoothing": 1, "min_area": 0}
    thresholds |= {"centre_threshold": 0.5, "boundary_threshold": 0.5}
    volume = volume_objects.VolumeObjects(
        (9, 40, 40), "ZYX", "Z", (0, 0, 39, 39), 1.0, thresholds, -1.0, None, boundary_half=1.5
    )
    inside = np.hypot(*(np.mgrid[:40, :40] - 20)) < 9
    depth = ndimage.distance_transform_edt(inside)
    for z in range(9):
        maps = np.zeros((5, 40, 40))
        if 1 <= z <= 7:
            maps[0], maps[1], maps[2] = inside, 1 - inside, 1.5 / (1.5 + depth)
        # In the middle the other planes see nothing, or the opposite.
        maps[3] = inside / 2 * (z not in (3, 4))
        maps[4] = 0 if z in (3, 4) else maps[2]
        volume.add((z,), maps, maps[0])
    labels, _ = volume.objects()
    assert labels.max() == 1
    assert np.flatnonzero(labels.any((1, 2))).tolist() == list(range(1, 8))


@pytest.mark.parametrize("link", ["3d", "overlap", "none"])
def test_a_colour_stack_has_labels_without_its_channels(link: str) -> None:
    picture, _ = nuclei(3)
    stack = np.stack([picture[5:9, :96, :96] // factor for factor in (1, 2, 3)], -1)
    found = fs.automatic(stack, axes="ZYXC", link=link)
    assert found.labels.shape == (4, 96, 96)
    assert len(found) > 0
    if link == "none":
        # The limits are those of the stack.
        image = Image(stack, "ZYXC")
        low, high = fs.automatic(image, link="none").provenance["image"]["limits"]
        for z in range(4):
            alone = fs.automatic(Image(stack[z], "YXC", normalisation=fs.Limits(low=low, high=high)))
            np.testing.assert_array_equal(found.labels[z] > 0, alone.labels > 0)


def test_where_3d_is_not_possible_the_result_says_why(
    oracle: Any, true_maps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = stack_of(true_maps, column([6, 10, 12, 10, 6]))
    grid = fs.automatic(image, model=oracle, method="grid", min_area=0)
    assert len(grid) == 1
    assert what_was_chosen(grid.provenance) == [
        "Objects in 3-D: slices linked by overlap, since this method gives no depths."
    ]
    monkeypatch.setattr(volume_objects, "MOST_VOXELS", 10_000)
    large = fs.automatic(image, model=oracle, min_area=0)
    assert len(large) == 1
    assert "the watershed holds" in what_was_chosen(large.provenance)[0]
    assert what_was_chosen(fs.automatic(image, model=oracle, min_area=0, link="none").provenance) == []
