"""What an image is: one rule for batch, worklist, fits and folders that Python is given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

import napari_foundseg as fs
from napari_foundseg.batch.items import list_items
from napari_foundseg.batch.recipe import ModelOf, Recipe, Sources, Step
from napari_foundseg.batch.result_file import write_result
from napari_foundseg.core.errors import BadImageError
from napari_foundseg.io.image_listing import list_images
from napari_foundseg.io.image_sources import as_images, read_folder
from napari_foundseg.io.readers import read_image
from napari_foundseg.io.worklist import Record, items_of_folder, write_record
from napari_foundseg.io.writers import write_labels
from tests.support.plates import field, write_image, write_plate, write_series


def recipe(*paths: str, **options: object) -> Recipe:
    step = Step(task="automatic", model=ModelOf(name="foundseg-tiny"))
    return Recipe(inputs=Sources.model_validate({"paths": paths, **options}), steps=(step,))


def by_batch(folder: Path) -> list[str]:
    return [item.name for item in list_items(recipe("."), folder)]


def by_pattern(folder: Path) -> list[str]:
    return [item.name for item in list_items(recipe("*"), folder)]


def by_worklist(folder: Path) -> list[str]:
    return [item.name for item in items_of_folder(folder, folder)]


def by_folder(folder: Path) -> list[str]:
    return [Path(str(image.source)).relative_to(folder).as_posix() for image in read_folder(folder)]


def by_python(folder: Path) -> list[str]:
    return [Path(str(image.source)).relative_to(folder).as_posix() for image in as_images(folder)]


WAYS = pytest.mark.parametrize("way", [by_batch, by_pattern, by_worklist, by_folder, by_python])
Way = Callable[[Path], list[str]]


@WAYS
def test_every_way_in_lists_the_same_images(tmp_path: Path, way: Way) -> None:
    pixels = field(0, (64, 64))
    for name in ("b10.tif", "b9.tif", "c.png", "own_labels.tif", "mask.tif"):
        tifffile.imwrite(tmp_path / name, pixels)
    image = read_image(tmp_path / "b9.tif")
    result = fs.automatic(image)
    write_result(tmp_path / "b9_labels.tif", image, result)
    write_result(tmp_path / "another name.tif", image, result)
    ids = np.zeros((64, 64), np.uint16)
    ids[8:20, 8:20] = 3
    for name in ("b10_labels.tif", "orphan_labels.tif", "c_mask.png", "b10_cp_masks.tif"):
        write_labels(tmp_path / name, ids)
    for name in ("._b9.tif", ".DS_Store", "Thumbs.db", "desktop.ini", "b9.csv", "recipe.yaml", "notes.txt"):
        (tmp_path / name).write_bytes(b"\0\5\26\7")
    (tmp_path / "folder.tif").mkdir()
    write_image(tmp_path / "z.ome.zarr", pixels)
    assert way(tmp_path) == ["b9.tif", "b10.tif", "c.png", "mask.tif", "own_labels.tif", "z.ome.zarr"]


def test_a_fit_goes_over_images_alone(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", field(0))
    write_labels(tmp_path / "a_labels.tif", np.ones((40, 50), np.uint16))
    (tmp_path / "._a.tif").write_bytes(b"\0\5\26\7")
    assert [Path(str(image.source)).name for image in as_images(tmp_path)] == ["a.tif"]
    fs.fit_stego(tmp_path, name="over-a-folder", steps=1)


@WAYS
@pytest.mark.parametrize("version", [2, 3])
def test_each_field_of_a_plate_is_an_image(tmp_path: Path, way: Way, version: int) -> None:
    fields = {name: field(i) for i, name in enumerate(("A/2/0", "A/2/1", "B/10/0"))}
    write_plate(tmp_path / "plate.ome.zarr", fields, version)
    found = way(tmp_path)
    assert found == [f"plate.ome.zarr/{name}" for name in fields]
    for name, pixels in fields.items():
        assert np.array_equal(read_image(tmp_path / "plate.ome.zarr" / name).raw(), pixels)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (["plate.ome.zarr"], ["A/2/0", "A/2/1", "B/10/0"]),
        (["plate.ome.zarr/A"], ["A/2/0", "A/2/1"]),
        (["plate.ome.zarr/A/2"], ["A/2/0", "A/2/1"]),
        (["plate.ome.zarr/A/2/0"], ["A/2/0"]),
        (["plate.ome.zarr/*/*/0"], ["A/2/0", "B/10/0"]),
        (["plate.ome.zarr/B/10/0", "plate.ome.zarr", "list.txt"], ["B/10/0", "A/2/0", "A/2/1"]),
        (["list.txt"], ["A/2/1"]),
    ],
)
def test_a_recipe_names_a_plate_or_parts_of_it(tmp_path: Path, entries: list[str], expected: list[str]) -> None:
    write_plate(tmp_path / "plate.ome.zarr", {name: field(0) for name in ("A/2/0", "A/2/1", "B/10/0")})
    (tmp_path / "list.txt").write_text("plate.ome.zarr/A/2/1\n")
    found = list_items(recipe(*entries), tmp_path)
    assert [item.name for item in found] == [f"plate.ome.zarr/{name}" for name in expected]
    assert [item.stem for item in found] == [f"plate_{name.replace('/', '_')}" for name in expected]
    assert all(item.path == tmp_path / item.name for item in found)


def test_fields_of_plates_of_one_name_have_results_of_their_own(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        write_plate(tmp_path / folder / "plate.zarr", {"A/1/0": field(0)})
    found = list_items(recipe("x", "y"), tmp_path)
    assert len({item.stem for item in found}) == len(found) == 2


def test_a_field_that_is_gone_is_an_item_that_will_fail(tmp_path: Path) -> None:
    write_plate(tmp_path / "plate.zarr", {"A/1/0": field(0)})
    found = list_items(recipe("plate.zarr/A/1/0", "plate.zarr/H/12/0"), tmp_path)
    assert [item.name for item in found] == ["plate.zarr/A/1/0", "plate.zarr/H/12/0"]
    with pytest.raises(BadImageError):
        read_image(found[1].path)


def test_a_folder_may_be_a_plate_in_the_worklist(tmp_path: Path) -> None:
    write_plate(tmp_path / "plate.zarr", {"A/1/0": field(0), "A/1/1": field(1)})
    found = items_of_folder(tmp_path / "plate.zarr", tmp_path)
    assert [item.name for item in found] == ["plate.zarr/A/1/0", "plate.zarr/A/1/1"]
    assert [item.labels.name for item in found] == ["plate_A_1_0_labels.tif", "plate_A_1_1_labels.tif"]
    assert not any(item.missing for item in found)
    for item in found:
        write_record(tmp_path, item.name, Record(item.labels.name, "done", 2))
    again = items_of_folder(tmp_path, tmp_path)
    assert [(item.name, item.record.state) for item in again] == [(item.name, "done") for item in found]


def test_series_of_bioformats2raw_are_images_and_its_previews_are_none(tmp_path: Path) -> None:
    small = np.zeros((3, 10, 12), np.uint8)
    write_series(tmp_path / "x.zarr", [small, field(1), field(2), small], ("", "", "", "label image"))
    found = list_items(recipe("x.zarr"), tmp_path)
    assert [(item.name, item.stem) for item in found] == [("x.zarr/1", "x_1"), ("x.zarr/2", "x_2")]
    assert "/0 (3 by 10 by 12 uint8), /3 (label image, 3 by 10 by 12 uint8)" in found[0].note
    image = read_image(tmp_path / "x.zarr")
    assert np.array_equal(image.raw(), field(1))
    assert image.source == str(tmp_path / "x.zarr" / "1")
    assert "holds 4 images: /1 (40 by 50 uint16) is read. Left out: /0 (3 by 10 by 12 uint8), /2" in image.notes[0]


@pytest.mark.parametrize("rest", ["[" * 100_000, "1]", "{}}", '{"outputs": 5, "previous": []}'])
def test_a_record_that_is_none_takes_no_image_away(tmp_path: Path, rest: str) -> None:
    tifffile.imwrite(tmp_path / "cells.tif", field(1))
    (tmp_path / "cells.json").write_text(f'{{"format": "foundseg-result 1", "a": {rest}')
    assert by_batch(tmp_path) == ["cells.tif"]


def test_chunks_that_nobody_would_read_are_named(tmp_path: Path) -> None:
    """zarr takes a chunk whose name it does not know for one that is not there, and reads the fill value."""
    write_image(tmp_path / "a.zarr", field(1))
    metadata = tmp_path / "a.zarr" / "0" / ".zarray"
    metadata.write_text(metadata.read_text().replace('"dimension_separator": "."', '"dimension_separator": "/"'))
    assert '"/"' in metadata.read_text()
    with pytest.raises(BadImageError, match=r"chunks are files such as '0\.0', but its metadata name them '0/0'"):
        read_image(tmp_path / "a.zarr")
    (tmp_path / "a.zarr" / "0" / "0.0").unlink()
    assert read_image(tmp_path / "a.zarr").notes == (
        "None of its chunks is on the disk: every pixel is the fill value.",
    )
    for version in (2, 3):
        write_image(tmp_path / f"b{version}.zarr", field(1), version=version)
        assert read_image(tmp_path / f"b{version}.zarr").notes == ()


def test_the_largest_of_several_multiscale_images_is_read(tmp_path: Path) -> None:
    write_image(tmp_path / "a.zarr", field(1))
    group = zarr.open_group(tmp_path / "a.zarr")
    group.create_array("small", shape=(8, 8), dtype="u2")[...] = 1
    (own,) = group.attrs["multiscales"]
    group.attrs["multiscales"] = [{**own, "datasets": [{**own["datasets"][0], "path": "small"}]}, own]
    image = read_image(tmp_path / "a.zarr")
    assert np.array_equal(image.raw(), field(1))
    assert image.notes == ("The group holds 2 multiscale images; the largest is read. Left out: 8 by 8.",)


def test_one_series_of_bioformats2raw_is_the_file(tmp_path: Path) -> None:
    write_series(tmp_path / "x.zarr", [field(1)])
    assert [item.name for item in list_items(recipe("x.zarr"), tmp_path)] == ["x.zarr"]
    assert list_images(tmp_path) == [tmp_path / "x.zarr"]


def test_a_recipe_from_before_runs_over_the_first_series_under_the_name_of_the_file(tmp_path: Path) -> None:
    write_series(tmp_path / "x.zarr", [field(1), field(2)])
    found = list_items(recipe("x.zarr", inside="first"), tmp_path)
    assert [(item.name, item.stem, item.path) for item in found] == [("x.zarr", "x", tmp_path / "x.zarr" / "0")]
    assert "holds 1 more images, which this recipe leaves out" in found[0].note
