"""Tracks of results and of labels from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

import napari_foundseg as fs
from napari_foundseg.core.image import Image
from napari_foundseg.tasks import TASKS
from napari_foundseg.tasks.automatic import derive
from napari_foundseg.tasks.automatic_settings import DecoderSettings
from napari_foundseg.tasks.notes import what_was_chosen
from napari_foundseg.tasks.stack_settings import ClassStackSettings
from tests.support.drawn_films import Film, division_f1, draw_film, tra


@pytest.fixture(scope="module")
def film() -> Film:
    return draw_film(7, 8, 2, 5.0, seed=4, side=128)


@pytest.fixture(scope="module")
def found(film: Film) -> fs.Segmentation:
    return fs.automatic(Image(film.frames, "TYX"), link="tracks", diameter=18)


def parents(seg: fs.Segmentation) -> dict[int, int]:
    return {int(a): int(b) for a, b in seg.table[["label", "parent"]].to_numpy() if b}


def test_automatic_masks_of_a_film_are_tracks_with_parents(film: Film, found: fs.Segmentation) -> None:
    assert tra(film.truth, film.parents, found.labels, parents(found)) > 0.95
    assert division_f1(film.truth, film.parents, found.labels, parents(found)) == 1
    assert found.provenance["linked"] == "T"
    for label, first, last in found.table[["label", "first_frame", "last_frame"]].to_numpy():
        inside = np.flatnonzero((found.labels == label).any((1, 2)))
        assert (inside[0], inside[-1]) == (first, last)
    assert found.table["predicted_iou"].between(0, 1).all()
    [told] = [words for words in what_was_chosen(found.provenance) if words.startswith("Tracks")]
    assert "2 divisions" in told
    assert "found from the film" in told
    assert found.count_in_words == f"{len(found)} objects in 7 slices, linked"


def test_the_link_acts_on_the_finished_film(film: Film, found: fs.Segmentation) -> None:
    apart = derive(found, DecoderSettings(link="none"))
    assert len(apart) > 50
    assert "tracking" not in apart.provenance
    assert "parent" not in apart.table
    again = derive(apart, DecoderSettings(link="tracks"))
    assert np.array_equal(again.labels, found.labels)
    without = derive(apart, DecoderSettings(link="tracks", divisions=False, max_movement=9.0))
    assert parents(without) == {}
    assert any("9 pixels" in words and "as set" in words for words in what_was_chosen(without.provenance))


def test_each_volume_of_a_film_is_bodies_and_they_are_tracks() -> None:
    zyx = np.indices((6, 64, 64)).astype(float)
    frames = []
    for t in range(3):
        balls = [((2.5, 20 + 4 * t, 20), 9), ((2.5, 44, 44 - 4 * t), 9)]
        inside = [sum((zyx[i] - c[i]) ** 2 * (4 if i == 0 else 1) for i in range(3)) < r**2 for c, r in balls]
        frames.append(np.where(np.any(inside, 0), 180, 20))
    stack = np.array(frames, np.uint8)
    image = Image(stack, "TZYX", spacing={"Z": 2.0, "Y": 1.0, "X": 1.0})
    found = fs.automatic(image, link="tracks", diameter=18)
    assert found.provenance["linking"]["how"] == "3d"
    assert found.provenance["linked"] == "ZT"
    assert len(found) == 2
    assert found.table[["first_frame", "last_frame"]].to_numpy().tolist() == [[0, 2], [0, 2]]
    each_apart = fs.automatic(image, diameter=18)
    assert len(each_apart) == 6, "by default each point in time has objects of its own"


def test_a_stack_without_time_says_that_nothing_was_tracked(film: Film) -> None:
    found = fs.automatic(Image(film.frames[:2], "ZYX"), link="tracks", diameter=18)
    [words] = [words for words in what_was_chosen(found.provenance) if "tracked" in words]
    assert "no time axis" in words
    assert "parent" not in found.table


def test_objects_of_classes_are_tracked_within_their_class(film: Film) -> None:
    from napari_foundseg.core.classes.class_table import ClassTable
    from napari_foundseg.core.classes.panoptic import Panoptic
    from napari_foundseg.tasks.classes.class_results import assembled_in

    truth = film.truth[:3, :64, :64]
    planes = {}
    for t, plane in enumerate(truth):
        ids, own = np.unique(plane, return_inverse=True)
        own = own.reshape(plane.shape).astype(np.uint16)
        count = len(ids) - 1
        # One object changes its class in the last frame.
        classes = np.array([2 if t == 2 and label == ids[1] else 1 for label in ids[1:]], np.int64)
        planes[t,] = Panoptic(own, np.concatenate([[0], classes])[own], classes, np.ones(count))
    stack = ClassStackSettings.parse({"link": "tracks"})
    known = {"image": {"axes": "TYX"}}
    table = ClassTable.of(["a", "b"])
    found = assembled_in(truth.shape, "TYX", (0, 0, 63, 63), planes, table, known, stack=stack)
    assert found.table["class"].tolist().count(2) == 1
    alone = found.table[found.table["class"] == 2].iloc[0]
    assert (alone["first_frame"], alone["last_frame"], alone["class_name"]) == (2, 2, "b")
    same = assembled_in(truth.shape, "TYX", (0, 0, 63, 63), planes, table, known, stack=stack, output="classes")
    assert sorted(same.table["label"]) == [1, 2]


def test_labels_from_elsewhere_are_tracked(film: Film, tmp_path: Path) -> None:
    seen: list[float] = []
    found = fs.track(film.truth, progress=lambda share, _words: seen.append(share))
    assert tra(film.truth, film.parents, found.labels, parents(found)) == 1
    assert seen == sorted(seen)
    assert len(seen) == 14
    turned = fs.track(film.truth.transpose(1, 2, 0), axes="YXT")
    assert np.array_equal(turned.labels, found.labels.transpose(1, 2, 0))
    fs.write_labels(tmp_path / "a_labels.ome.tif", film.truth, "TYX", {"T": 60.0, "Y": 0.5, "X": 0.5}, {"X": "µm"})
    of_file = fs.track(tmp_path / "a_labels.ome.tif")
    assert np.array_equal(of_file.labels, found.labels)
    assert of_file.provenance["image"]["spacing"]["X"] == 0.5
    of_result = fs.track(fs.automatic(Image(film.frames, "TYX"), diameter=18))
    assert of_result.provenance["tracking"]["divisions"] == 2
    assert of_result.table["predicted_iou"].notna().all()


def test_lazy_labels_are_tracked(film: Film) -> None:
    import dask.array as da

    lazy = da.from_array(film.truth, chunks=(1, 64, 64))
    assert np.array_equal(fs.track(lazy).labels, fs.track(film.truth).labels)


def test_labels_that_are_no_film_are_named(film: Film, tmp_path: Path) -> None:
    with pytest.raises(fs.AxesError, match="a film is"):
        fs.track(film.truth[0])
    with pytest.raises(fs.AxesError, match="no axis T"):
        fs.track(film.truth, axes="ZYX")
    with pytest.raises(fs.DTypeError, match="whole numbers"):
        fs.track(film.truth.astype(np.float32))
    with pytest.raises(fs.FoundsegError, match="max_gap"):
        fs.track(film.truth, max_gap=-1)
    tifffile.imwrite(tmp_path / "stack.tif", film.truth, imagej=True, metadata={"axes": "ZYX"})
    with pytest.raises(fs.AxesError, match="no axis T"):
        fs.track(tmp_path / "stack.tif")
    assert len(fs.track(tmp_path / "stack.tif", axes="TYX")) > 0


def test_objects_that_are_nowhere_near_are_tracks_of_one_frame() -> None:
    labels = np.zeros((3, 60, 60), np.uint8)
    for t, at in enumerate([(0, 0), (50, 50), (0, 50)]):
        labels[t, at[0] : at[0] + 6, at[1] : at[1] + 6] = 1
    found = fs.track(labels, max_movement=5.0)
    assert len(found) == 3
    assert any("No object goes on" in words for words in what_was_chosen(found.provenance))


def test_records_of_before_keep_what_they_ran_with() -> None:
    task = TASKS["automatic"]
    old: dict[str, Any] = {"method": "decoder", "min_area": 10}
    settings: Any = task.settings_of_record("decoder", old)
    assert settings.link == "none"
    assert settings.track_rule is None
    new: Any = task.settings("decoder", {})
    assert not {"max_movement", "divisions", "max_gap"} & set(new.digested())
    tracks: Any = task.settings("decoder", {"link": "tracks", "max_gap": 2})
    assert tracks.digested()["max_gap"] == 2


def test_a_recipe_tracks_the_films_of_a_folder(film: Film, tmp_path: Path) -> None:
    from napari_foundseg.batch.recipe import read_recipe
    from napari_foundseg.batch.runner import Runner
    from napari_foundseg.io.tracks.track_files import parents_of_table

    tifffile.imwrite(tmp_path / "a.tif", film.frames, imagej=True, metadata={"axes": "TYX"})
    (tmp_path / "recipe.yaml").write_text(
        """
format: foundseg-recipe 1
inputs: {paths: [a.tif]}
steps:
  - task: automatic
    method: decoder
    model: {name: foundseg-tiny}
    settings: {link: tracks, diameter: 18}
outputs: {folder: out, table: true}
""",
        "utf-8",
    )
    assert Runner(read_recipe(tmp_path / "recipe.yaml"), tmp_path).run().complete
    labels = tifffile.imread(tmp_path / "out" / "a_labels.tif")
    [path] = (tmp_path / "out").glob("a*.csv")
    table = pd.read_csv(path)
    assert table["last_frame"].max() == 6
    of_child = parents_of_table(table)
    assert tra(film.truth, film.parents, labels, of_child) > 0.95
    assert division_f1(film.truth, film.parents, labels, of_child) == 1
