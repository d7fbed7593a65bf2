"""TIFFs that hold several images, that are several files, or of which something is missing."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import napari_foundseg as fs
from napari_foundseg.batch.items import list_items
from napari_foundseg.batch.recipe import ModelOf, Recipe, Sources, Step
from napari_foundseg.core.errors import BadImageError
from napari_foundseg.io.image_layers import IMAGE_PATH, read_image_layer
from napari_foundseg.io.image_listing import images_of, list_images
from napari_foundseg.io.image_sources import as_images
from napari_foundseg.io.readers import read_image
from napari_foundseg.io.worklist import Record, items_of_folder, write_record
from tests.support.plates import field
from tests.support.tiffs import write_data_set, write_pages, write_positions


def recipe(*paths: str, **options: object) -> Recipe:
    step = Step(task="automatic", model=ModelOf(name="foundseg-tiny"))
    return Recipe(inputs=Sources.model_validate({"paths": paths, **options}), steps=(step,))


SMALL = field(9, (16, 16)).astype(np.uint8)


def test_a_preview_that_comes_first_is_left_out_and_named(tmp_path: Path) -> None:
    write_pages(tmp_path / "a.tif", SMALL, field(1, (128, 96)), SMALL[:8])
    image = read_image(tmp_path / "a.tif")
    assert np.array_equal(image.raw(), field(1, (128, 96)))
    assert image.source == str(tmp_path / "a.tif" / "1")
    (note,) = image.notes
    assert "3 images" in note
    assert "/0 (16 by 16 uint8), /2 (8 by 16 uint8)" in note
    assert np.array_equal(read_image(tmp_path / "a.tif" / "0").raw(), SMALL)
    assert read_image(tmp_path / "a.tif" / "0").notes == ()
    (item,) = list_items(recipe("a.tif"), tmp_path)
    assert (item.name, item.stem, item.path) == ("a.tif", "a", tmp_path / "a.tif" / "1")
    assert "/0 (16 by 16 uint8)" in item.note


def test_positions_are_items_each(tmp_path: Path) -> None:
    positions = [field(i, (4, 40, 50)) for i in range(3)]
    write_positions(tmp_path / "a.ome.tif", positions)
    found = list_items(recipe("."), tmp_path)
    assert [(item.name, item.stem) for item in found] == [(f"a.ome.tif/{i}", f"a_{i}") for i in range(3)]
    for i, (item, pixels) in enumerate(zip(found, positions, strict=True)):
        image = read_image(item.path)
        assert np.array_equal(image.levels[0], pixels)
        assert image.spacing["X"] == pytest.approx(0.5 * (i + 1))
    assert [item.name for item in items_of_folder(tmp_path, tmp_path)] == [f"a.ome.tif/{i}" for i in range(3)]
    assert len(as_images(tmp_path / "a.ome.tif")) == 3
    image = read_image(tmp_path / "a.ome.tif")
    assert np.array_equal(image.levels[0], positions[0])
    assert "holds 3 images" in image.notes[0]
    assert "/1 (Pos1, 4 by 40 by 50 uint16)" in image.notes[0]


def test_positions_and_a_label_of_the_slide(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        file.write(np.zeros((60, 60, 3), np.uint8), photometric="rgb", metadata={"axes": "YXS", "Name": "label image"})
        for i in range(2):
            file.write(field(i), photometric="minisblack", metadata={"axes": "YX", "Name": f"Pos{i}"})
    found = images_of(tmp_path / "a.ome.tif")
    assert [path.name for path in found.paths] == ["1", "2"]
    assert found.left_out == "/0 (label image, 60 by 60 by 3 uint8)"


def test_pages_of_one_size_are_slices_and_levels_of_a_pyramid_are_no_images(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", field(0, (5, 40, 50)), photometric="minisblack")
    with tifffile.TiffWriter(tmp_path / "pyramid.ome.tif", ome=True) as file:
        file.write(field(0, (256, 256)), subifds=2, metadata={"axes": "YX"})
        for step in (2, 4):
            file.write(field(0, (256, 256))[::step, ::step], subfiletype=1)
    for name in ("stack.tif", "pyramid.ome.tif"):
        assert images_of(tmp_path / name).paths == (tmp_path / name,)
        assert read_image(tmp_path / name).notes == ()


@pytest.mark.parametrize("name", ["3", "x", "0/1", "-1"])
def test_an_image_that_is_not_in_the_file_is_named(tmp_path: Path, name: str) -> None:
    write_positions(tmp_path / "a.ome.tif", [field(0), field(1)])
    with pytest.raises(BadImageError):
        read_image(tmp_path / "a.ome.tif" / name)
    with pytest.raises(BadImageError, match=r"holds /0 \(Pos0, 40 by 50 uint16\), /1"):
        read_image(tmp_path / "a.ome.tif" / "3")
    tifffile.imwrite(tmp_path / "one.tif", field(0))
    with pytest.raises(BadImageError, match="one image only"):
        read_image(tmp_path / "one.tif" / "3")


def test_a_run_over_a_position_is_replayed(tmp_path: Path) -> None:
    from napari_foundseg.batch.replay import compare, replay
    from napari_foundseg.batch.result_file import write_result

    write_positions(tmp_path / "a.ome.tif", [field(i, (64, 64)) for i in range(2)])
    image = read_image(tmp_path / "a.ome.tif" / "1")
    write_result(tmp_path / "out.tif", image, fs.automatic(image))
    assert compare(tmp_path / "out.tif", replay(tmp_path / "out.tif")).equal
    # As an earlier version has written it, which took the first image.
    first = read_image(tmp_path / "a.ome.tif" / "0")
    known = fs.automatic(first).provenance
    known["image"]["source"] = str(tmp_path / "a.ome.tif")
    assert replay(known).labels.shape == (64, 64)


def test_the_first_position_keeps_what_the_worklist_of_an_earlier_version_knows(tmp_path: Path) -> None:
    write_positions(tmp_path / "a.ome.tif", [field(0), field(1)])
    write_record(tmp_path, "a.ome.tif", Record("a_labels.tif", "done", 3))
    found = items_of_folder(tmp_path, tmp_path)
    assert [(item.name, item.record.state) for item in found] == [("a.ome.tif", "done"), ("a.ome.tif/1", "new")]
    assert found[0].path == tmp_path / "a.ome.tif" / "0"


WAYS = pytest.mark.parametrize("how", ["full", "first", "companion"])


@WAYS
def test_a_data_set_of_several_files_is_one_image(tmp_path: Path, how: str) -> None:
    planes = field(0, (4, 40, 50))
    paths = write_data_set(tmp_path, planes, how)
    assert list_images(tmp_path) == [paths[0]]
    assert [item.path for item in list_items(recipe(".", str(paths[2]), "*.tif"), tmp_path)] == [paths[0]]
    for path in paths:
        image = read_image(path)
        assert np.array_equal(image.levels[0], planes)
        assert (image.axes, image.spacing["X"], image.channel_names) == ("ZYX", 0.5, ("DAPI",))


@WAYS
@pytest.mark.parametrize("gone", [0, 2, 3])
def test_files_of_a_data_set_that_are_missing_are_named(tmp_path: Path, how: str, gone: int) -> None:
    paths = write_data_set(tmp_path, field(0, (4, 40, 50)), how)
    if how == "first" and gone == 0:
        pytest.skip("without the metadata, the others are files of their own")
    paths[gone].unlink()
    there = [path for path in paths if path.exists()]
    with pytest.raises(BadImageError, match=rf"1 of the 4 files of this data set are missing: set_z{gone}\.ome\.tif"):
        read_image(there[0])
    assert list_images(tmp_path) == [there[0]]


def test_planes_that_were_never_recorded_are_named(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", field(0, (3, 40, 50)), photometric="minisblack", metadata={"axes": "TYX"})
    data = (tmp_path / "a.ome.tif").read_bytes()
    (tmp_path / "a.ome.tif").write_bytes(data.replace(b'SizeT="3"', b'SizeT="7"'))
    with pytest.raises(BadImageError, match=r"4 of the 7 planes .* \(numbers 4, 5, 6, 7\)"):
        read_image(tmp_path / "a.ome.tif")


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}, {"rowsperstrip": 8}])
@pytest.mark.parametrize("pages", [1, 3])
def test_pixels_behind_the_end_of_the_file_are_no_pixels(tmp_path: Path, options: dict[str, Any], pages: int) -> None:
    tifffile.imwrite(tmp_path / "a.tif", field(0, (pages, 64, 64)), photometric="minisblack", metadata=None, **options)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:
        page = file.pages[pages - 1]
        tag = page.tags["TileOffsets" if "tile" in options else "StripOffsets"]
        value = tag.value if isinstance(tag.value, tuple) else (tag.value,)
        tag.overwrite((*value[:-1], file.filehandle.size - 3))
    with pytest.raises(BadImageError, match="the file is truncated"):
        read_image(tmp_path / "a.tif")


def test_tiles_that_are_left_out_are_said(tmp_path: Path) -> None:
    for name, count in (("some.tif", 1), ("all.tif", 4)):
        tifffile.imwrite(tmp_path / name, field(0, (32, 32)), tile=(16, 16), compression="zlib")
        with tifffile.TiffFile(tmp_path / name, mode="r+b") as file:
            for name_of_tag in ("TileByteCounts", "TileOffsets"):
                tag = file.pages[0].tags[name_of_tag]
                tag.overwrite((*([0] * count), *tag.value[count:]))
    assert (
        "1 of its 4 strips or tiles are not in the file and are read as 0." in read_image(tmp_path / "some.tif").notes
    )
    with pytest.raises(BadImageError, match="page 1 has no pixels"):
        read_image(tmp_path / "all.tif")


def test_an_image_behind_a_page_that_is_damaged_is_an_item_that_fails(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"II*\0" + struct.pack("<I", 8) + b"\xff\xff" * 20)
    assert [item.name for item in list_items(recipe("."), tmp_path)] == ["a.tif"]


def test_positions_are_opened_as_layers_and_what_is_left_out_is_said(tmp_path: Path) -> None:
    write_positions(tmp_path / "a.ome.tif", [field(i) for i in range(3)])
    layers = read_image_layer(str(tmp_path / "a.ome.tif"))
    assert [attributes["name"] for _, attributes, _ in layers] == ["a_0", "a_1", "a_2"]
    assert [attributes["metadata"][IMAGE_PATH] for _, attributes, _ in layers] == [
        str(tmp_path / "a.ome.tif" / str(i)) for i in range(3)
    ]
    assert all(np.array_equal(layer[0], field(i)) for i, layer in enumerate(layers))
    write_pages(tmp_path / "b.tif", SMALL, field(1, (128, 96)))
    with pytest.warns(UserWarning, match=r"b\.tif: Left out: /0 \(16 by 16 uint8\)"):
        ((pixels, attributes, _),) = read_image_layer(str(tmp_path / "b.tif"))
    assert np.array_equal(pixels, field(1, (128, 96)))
    assert attributes["name"] == "b_1"
