from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage.io import imread
from skimage.segmentation import relabel_sequential

import napari_foundseg as fs
from napari_foundseg.core.contrast import Limits
from napari_foundseg.core.errors import Cancelled, SettingsError
from napari_foundseg.core.image import Image
from napari_foundseg.tasks import TASKS
from napari_foundseg.tasks.automatic import derive
from napari_foundseg.tasks.automatic_settings import AutomaticInputs, DecoderSettings, GridSettings

Maps = Callable[[NDArray[Any]], NDArray[np.uint8]]


def touching_cells(shape: tuple[int, int], seed: int) -> NDArray[np.int64]:
    """Discs about random centres, each pixel to the nearest one: many touch."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0, shape, (shape[0] * shape[1] // 900, 2))
    away = np.full(shape, np.inf)
    labels = np.zeros(shape, np.int64)
    rows, columns = np.indices(shape)
    for i, (y, x) in enumerate(centres, 1):
        d = np.hypot(rows - y, columns - x)
        labels[d < away] = i
        away = np.minimum(away, d)
    labels[away > 13] = 0
    # No corner sharper than three pixels: its tip would be as near to the neighbour as to its own inside.
    for i, part in enumerate(ndimage.find_objects(labels), 1):
        mask = labels[part] == i
        rounded = ndimage.binary_opening(np.pad(mask, 1), np.ones((3, 3)))[1:-1, 1:-1]
        parts, _ = ndimage.label(rounded, np.ones((3, 3)))
        rounded = parts == np.bincount(parts[rounded]).argmax() if rounded.any() else rounded
        thin = ndimage.distance_transform_edt(np.pad(rounded, 1)).max() < 4
        labels[part][mask & (thin | ~rounded)] = 0
    return relabel_sequential(labels)[0]


def same(a: NDArray[np.integer], b: NDArray[np.integer]) -> bool:
    """Whether two label images are equal but for the ids."""
    pairs = np.unique(np.stack([a.ravel().astype(np.int64), b.ravel().astype(np.int64)]), axis=1)
    return len(np.unique(pairs[0])) == pairs.shape[1] == len(np.unique(pairs[1]))


@pytest.mark.parametrize("seed", range(3))
def test_tiling_returns_the_truth_exactly(oracle: Any, true_maps: Maps, seed: int) -> None:
    truth = touching_cells((430, 517), seed)
    image = Image(true_maps(truth), normalisation=Limits(low=0, high=255))
    found = fs.automatic(image, model=oracle, min_area=0)
    assert len(oracle.seen) > 12
    assert same(found.labels, truth)
    assert np.array_equal(found.labels, fs.automatic(image, model=oracle, min_area=0, tile=False).labels)


def test_real_touching_nuclei_come_back_through_tiles(oracle: Any, true_maps: Maps, dsb: list[dict[str, str]]) -> None:
    """Whole images against windows, on the truth of real images of every size."""
    for row in dsb[::12]:
        truth = imread(row["labels"]).astype(np.int64)
        image = Image(true_maps(truth), normalisation=Limits(low=0, high=255))
        once = {"min_area": 0, "diameter": 30}  # as they are, and no second look
        tiled = fs.automatic(image, model=oracle, **once).labels
        assert np.array_equal(tiled, fs.automatic(image, model=oracle, **once, tile=False).labels)


def test_the_grid_cuts_and_doubles_nothing(oracle: Any, true_maps: Maps) -> None:
    truth = np.zeros((400, 500), np.uint8)
    truth[20:370, 30:250] = 1  # larger than a window
    truth[5:15, 280:490] = 2  # crosses window borders
    for k in range(5):
        truth[60 + 60 * k : 90 + 60 * k, 300:330] = 3 + k
    image = Image(
        np.repeat((truth > 0)[..., None], 3, -1).astype(np.uint8) * 255, normalisation=Limits(low=0, high=255)
    )
    found = fs.automatic(image, model=oracle, method="grid")
    assert same(found.labels, truth)
    assert found.table["predicted_iou"].eq(0.9).all()


def test_ids_go_on_through_a_stack(oracle: Any, true_maps: Maps) -> None:
    truth = touching_cells((130, 140), 0)
    stack = np.stack([true_maps(truth)] * 3)
    image = Image(stack, "ZYXC", normalisation=Limits(low=0, high=255))
    found = fs.automatic(image, model=oracle, min_area=0, link="none")
    n = truth.max()
    assert found.labels.shape == (3, 130, 140)
    assert found.labels.max() == len(found.table) == 3 * n
    assert found.table["z"].value_counts().to_dict() == {0: n, 1: n, 2: n}
    boxes = found.table.set_index("label")
    z, y, x = (found.labels == n + 1).nonzero()
    assert boxes.loc[n + 1, ["y0", "x0", "y1", "x1"]].tolist() == [y.min(), x.min(), y.max(), x.max()]
    assert boxes.loc[n + 1, "area"] == len(z)


def test_a_region_of_one_slice(oracle: Any, true_maps: Maps) -> None:
    truth = touching_cells((200, 220), 1)
    image = Image(np.stack([true_maps(truth)] * 2), "ZYXC", normalisation=Limits(low=0, high=255))
    task = TASKS["automatic"]
    inputs = AutomaticInputs(index=(1,), region=(50, 60, 149, 199))
    found = task.run(image, inputs, DecoderSettings(min_area=0), oracle)
    assert not found.labels[0].any()
    inside = np.zeros(truth.shape, bool)
    inside[50:150, 60:200] = True
    assert not found.labels[1][~inside].any()
    # What lies beyond the region is looked at too, so that even the objects at its edge are cut out exactly.
    assert same(found.labels[1][inside], truth[inside])
    again = derive(found, DecoderSettings(min_area=0))
    assert np.array_equal(again.labels, found.labels)


@pytest.mark.parametrize(("given", "seen"), [({"diameter": 60}, 0.5), ({"diameter": 15}, 2), ({}, 1)])
def test_objects_are_shown_to_the_model_at_the_size_it_knows(
    oracle: Any, true_maps: Maps, given: dict[str, Any], seen: float
) -> None:
    truth = touching_cells((200, 220), 1)
    found = fs.automatic(Image(true_maps(truth), normalisation=Limits(low=0, high=255)), model=oracle, **given)
    looked = sum(h * w for h, w in oracle.seen)
    assert 0.9 * seen**2 <= looked / truth.size <= 4.5 * seen**2
    assert found.labels.shape == truth.shape
    if seen >= 1:
        assert 0.9 <= len(found) / truth.max() <= 1.1
        assert ((found.labels > 0) != (truth > 0)).mean() < 0.05


@pytest.mark.parametrize(("diameter", "looks"), [(11, 1 + 2**2), (25, 1), (61, 1 + 0.7**2)])
def test_small_and_large_objects_are_looked_at_twice(oracle: Any, true_maps: Maps, diameter: int, looks: float) -> None:
    disc = np.hypot(*(np.indices((diameter + 5,) * 2) - diameter // 2 - 2)) <= diameter / 2
    truth = ndimage.label(np.tile(disc, (-(-260 // len(disc)),) * 2))[0]
    image = Image(true_maps(truth), normalisation=Limits(low=0, high=255))
    found = fs.automatic(image, model=oracle, find_diameter="second look")
    looked = sum(h * w for h, w in oracle.seen) / truth.size
    assert looks <= looked <= 4 * looks  # windows overlap
    assert len(found) == truth.max()
    oracle.seen.clear()
    fs.automatic(image, model=oracle, diameter=30)
    assert sum(h * w for h, w in oracle.seen) / truth.size < (looked if looks > 1 else 1.01 * looked)
    # Where windows take seconds one look is all there is.
    oracle.seen.clear()
    oracle.maps_window = 1024
    fs.automatic(image, model=oracle, find_diameter="second look")
    assert len(oracle.seen) == 1


def test_a_diameter_in_micrometres_wants_a_known_pixel_size(oracle: Any, true_maps: Maps) -> None:
    maps = true_maps(touching_cells((120, 130), 1))
    image = Image(maps, normalisation=Limits(low=0, high=255))
    with pytest.raises(SettingsError, match="size of the image's pixels is not known"):
        fs.automatic(image, model=oracle, diameter=10, diameter_unit="µm")
    known = Image(
        maps, normalisation=Limits(low=0, high=255), spacing={"Y": 0.5, "X": 0.5}, units={"Y": "µm", "X": "µm"}
    )
    in_micrometres = fs.automatic(known, model=oracle, diameter=10, diameter_unit="µm")
    assert np.array_equal(in_micrometres.labels, fs.automatic(image, model=oracle, diameter=20).labels)


@pytest.mark.parametrize("method", ["decoder", "grid"])
def test_thresholds_act_again_without_a_model(oracle: Any, true_maps: Maps, method: str) -> None:
    truth = touching_cells((150, 150), 2)
    image = Image(true_maps(truth), normalisation=Limits(low=0, high=255))
    kind = {"decoder": DecoderSettings, "grid": GridSettings}[method]
    found = fs.automatic(image, model=oracle, method=method, min_area=0)
    least = int(found.table["area"].median()) + 1
    direct = fs.automatic(image, model=oracle, method=method, min_area=least)
    derived = derive(found, kind(min_area=least))
    assert 0 < len(direct) < len(found)
    assert np.array_equal(derived.labels, direct.labels)
    assert derived.provenance["settings"]["min_area"] == least


@pytest.mark.parametrize("method", ["decoder", "grid"])
def test_cancel_stops_within_a_window(oracle: Any, true_maps: Maps, method: str) -> None:
    image = Image(np.zeros((600, 600, 3), np.uint8))
    task = TASKS["automatic"]
    with pytest.raises(Cancelled):
        task.run(image, AutomaticInputs(), task.settings(method, {}), oracle, cancelled=lambda: len(oracle.seen) >= 2)
    assert len(oracle.seen) == 2


def test_progress_rises_to_one(oracle: Any, true_maps: Maps) -> None:
    told: list[float] = []
    image = Image(np.zeros((3, 300, 300), np.uint8))
    task = TASKS["automatic"]
    task.run(image, AutomaticInputs(), DecoderSettings(), oracle, progress=lambda share, _: told.append(share))
    assert told == sorted(told)
    assert told[-1] == 1


def test_more_than_65535_objects_do_not_wrap(oracle: Any, true_maps: Maps) -> None:
    dot = np.zeros((4, 4), np.int64)
    dot[:3, :3] = 1
    truth = np.tile(dot, (70, 70))
    truth = np.where(truth > 0, ndimage.label(truth)[0], 0)
    image = Image(np.stack([true_maps(truth)] * 14), "ZYXC", normalisation=Limits(low=0, high=255))
    given = {"min_area": 0, "boundary_threshold": 1, "centre_threshold": 1, "link": "none"}
    found = fs.automatic(image, model=oracle, find_diameter="second look", **given)
    assert found.labels.dtype == np.uint32
    assert found.labels.max() == len(found) == 14 * 4900


def test_an_image_of_nothing_gives_no_object(oracle: Any, true_maps: Maps) -> None:
    found = fs.automatic(np.zeros((50, 60), np.uint16), model=oracle)
    assert len(found) == 0
    assert found.labels.shape == (50, 60)
    assert found.labels.dtype == np.uint16
