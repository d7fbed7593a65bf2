from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import PIL.Image
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL.PngImagePlugin import PngInfo

from napari_foundseg.core.errors import AxesError, OutputError
from napari_foundseg.io.readers import read_image, read_labels
from napari_foundseg.io.writers import replace_labels, write_labels, write_overlay, write_table

FORMATS = ["a.tif", "a.ome.tif", "a.ome.zarr", "a.png"]
UNITS = {"Z": "µm", "Y": "µm", "X": "µm", "T": "s"}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@given(
    name=st.sampled_from(["a.tif", "a.TIFF", "a.ome.tif", "a.ome.zarr", "a.png"]),
    dtype=st.sampled_from(["u2", "u4"]),
    axes=st.sampled_from(["YX", "ZYX", "TYX", "TZYX"]),
    sizes=st.lists(st.integers(2, 9), min_size=4, max_size=4),
    pixel=st.floats(1e-3, 1e3),
    seed=st.integers(0, 99),
)
def test_labels_come_back_with_ids_axes_spacing_and_units(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    dtype: str,
    axes: str,
    sizes: list[int],
    pixel: float,
    seed: int,
) -> None:
    path = tmp_path_factory.getbasetemp() / name
    axes, dtype = ("YX", "u2") if name == "a.png" else (axes, dtype)
    labels = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, sizes[: len(axes)], dtype, endpoint=True)
    spacing = {axis: pixel * (1 + i) for i, axis in enumerate(axes)}
    units = {axis: UNITS[axis] for axis in axes}
    write_labels(path, labels, axes, spacing, units)
    image = read_image(path)
    assert np.array_equal(image.levels[0], labels)
    assert (image.axes, image.dtype) == (axes, labels.dtype)
    assert dict(image.spacing) == pytest.approx(spacing, rel=1e-4)
    assert dict(image.units) == units


COLOURS = {2: (255, 128, 0, 255), 1: (0, 1, 2, 77), 65535: (9, 9, 9, 0)}


@pytest.mark.parametrize(("name", "dtype"), [(n, "u2") for n in FORMATS] + [("a.tif", "u4"), ("a.ome.tif", "u4")])
def test_every_format_keeps_labels_spacing_units_and_colours(tmp_path: Path, name: str, dtype: str) -> None:
    labels = np.arange(30 * 40, dtype=dtype).reshape(30, 40)
    spacing, units = {"Y": 0.25, "X": 0.5}, {"Y": "µm", "X": "µm"}
    write_labels(tmp_path / name, labels, "YX", spacing, units, COLOURS)
    back = read_labels(tmp_path / name)
    assert np.array_equal(back.data, labels)
    assert (back.axes, back.units, back.colours) == ("YX", units, COLOURS)
    assert back.spacing == pytest.approx(spacing, rel=1e-6)


def test_colours_stand_where_the_formats_readers_look(tmp_path: Path) -> None:
    labels = np.arange(12, dtype=np.uint16).reshape(3, 4)
    for name in FORMATS:
        write_labels(tmp_path / name, labels, colours=COLOURS)
    texts = {"1": "#0001024d", "2": "#ff8000ff", "65535": "#09090900"}
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        annotation = tifffile.xml2dict(file.ome_metadata)["OME"]["StructuredAnnotations"]["MapAnnotation"]
        assert {str(row["K"]): row["value"] for row in annotation["Value"]["M"]} == texts
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert json.loads(file.imagej_metadata["label_colours"]) == texts
    with PIL.Image.open(tmp_path / "a.png") as picture:
        assert json.loads(picture.text["napari-foundseg"])["colours"] == texts


@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif", "a.png"])
def test_properties_that_a_format_cannot_hold_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=r"properties.*\.csv"):
        write_labels(tmp_path / name, np.zeros((3, 4), np.uint16), properties=pd.DataFrame({"label": [1]}))
    assert not names(tmp_path)


@pytest.mark.parametrize(
    "note", ["no JSON", "[]", '{"spacing": 3}', '{"spacing": {}, "units": {}, "colours": {"a": 1}}']
)
def test_a_note_of_another_program_is_none(tmp_path: Path, note: str) -> None:
    info = PngInfo()
    info.add_text("napari-foundseg", note)
    PIL.Image.new("L", (4, 3)).save(tmp_path / "a.png", pnginfo=info)
    assert read_labels(tmp_path / "a.png").colours == {}
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 4), np.uint8), metadata={"label_colours": note})
    assert read_labels(tmp_path / "a.tif").colours == {}


def test_a_table_is_read_by_a_spreadsheet_and_by_pandas(tmp_path: Path) -> None:
    table = pd.DataFrame({"label": [1, 2], "area": [0.1 + 0.2, np.nan], "note": ["groß, und", ""]})
    write_table(tmp_path / "a.csv", table)
    content = (tmp_path / "a.csv").read_bytes()
    assert content.decode("utf-8-sig") == 'label,area,note\n1,0.30000000000000004,"groß, und"\n2,,\n'
    assert content.startswith(b"\xef\xbb\xbf"), "a spreadsheet would not know that this is UTF-8"
    back = pd.read_csv(tmp_path / "a.csv", keep_default_na=False, na_values={"area": ""})
    pd.testing.assert_frame_equal(back, table)


@pytest.mark.parametrize("axes", ["XY", "YXZ", "QYX"])
def test_any_order_of_axes_comes_back_from_a_tiff(tmp_path: Path, axes: str) -> None:
    labels = np.arange(2 * 3 * 4, dtype=np.uint16).reshape(2, 3, 4)[: 2 if len(axes) == 3 else 0]
    labels = labels if len(axes) == 3 else np.arange(6, dtype=np.uint16).reshape(2, 3)
    write_labels(tmp_path / "a.tif", labels, axes)
    assert np.array_equal(read_image(tmp_path / "a.tif", axes).levels[0], labels)
    assert tifffile.imread(tmp_path / "a.tif").shape == labels.shape


@pytest.mark.parametrize("name", FORMATS[:2] + FORMATS[3:])
def test_equal_labels_give_equal_bytes(tmp_path: Path, name: str) -> None:
    labels = np.arange(30 * 40, dtype=np.uint16).reshape(30, 40)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_labels(tmp_path / folder / name, labels, "YX", {"Y": 0.5, "X": 0.5}, {"Y": "µm", "X": "µm"}, COLOURS)
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("layout", ["fortran", "strided", "flipped", "read-only", "big-endian", "memory map", "dask"])
def test_the_memory_layout_of_labels_changes_nothing(tmp_path: Path, name: str, layout: str) -> None:
    labels = np.arange(30 * 40, dtype=np.uint16).reshape(30, 40)
    other = {
        "fortran": np.asfortranarray,
        "strided": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
        "flipped": lambda a: np.flip(np.flip(a).copy()),
        "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
        "big-endian": lambda a: a.astype(">u2"),
        "memory map": lambda a: np.memmap(tmp_path / "map", a.dtype, "w+", 0, a.shape),
        "dask": lambda a: np.asarray(da.from_array(a, chunks=7)),
    }[layout](labels)
    if layout == "memory map":
        other[:] = labels
    write_labels(tmp_path / name, other)
    back = read_labels(tmp_path / name).data
    assert np.array_equal(back, labels)
    assert back.dtype == np.uint16


@pytest.mark.skipif(os.name != "posix", reason="POSIX names")
@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("stem", ["new\nline", "näme ☃", "a:b", "..", "x" * 200, " ", "a.b"])
def test_names_that_are_odd_but_legal(tmp_path: Path, ending: str, stem: str) -> None:
    labels = np.arange(12, dtype=np.uint16).reshape(3, 4)
    path = tmp_path / f"{stem}{ending[1:]}"
    write_labels(path, labels)
    assert names(tmp_path) == [path.name]
    assert np.array_equal(read_labels(path).data, labels)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("folder", "reason"), [("absent", "folder does not exist"), ("file", "folder"), ("lone\ud800", "no such letters")]
)
def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path, name: str, folder: str, reason: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=reason) as caught:
        write_labels(tmp_path / folder / name, np.zeros((3, 4), np.uint16))
    assert repr(str(tmp_path / folder / name)) in str(caught.value)
    assert names(tmp_path) == ["file"]


def test_imagej_reads_uint16_labels(tmp_path: Path) -> None:
    write_labels(tmp_path / "a.tif", np.zeros((3, 4, 5), np.uint16), "ZYX", {"Z": 2.0}, {})
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.is_imagej
        assert file.imagej_metadata["slices"] == 3


@pytest.mark.parametrize("largest", [256, 65536, 2**31 + 5, 2**32 - 1])
def test_large_ids_are_kept(tmp_path: Path, largest: int) -> None:
    labels = np.zeros((4, 4), np.uint32)
    labels[1, 2] = largest
    for name in FORMATS[: 3 if largest < 2**32 else 1]:
        write_labels(tmp_path / name, labels)
        assert np.array_equal(read_labels(tmp_path / name).data, labels)


def test_a_png_holds_16_bits_of_one_slice(tmp_path: Path) -> None:
    labels = np.zeros((4, 4), np.uint32)
    labels[0, 0] = 65535
    write_labels(tmp_path / "a.png", labels)
    assert np.array_equal(read_image(tmp_path / "a.png").levels[0], labels)
    labels[0, 0] = 65536
    with pytest.raises(OutputError, match=r"65536.*\.tif"):
        write_labels(tmp_path / "b.png", labels)
    with pytest.raises(OutputError, match="one slice"):
        write_labels(tmp_path / "b.png", np.zeros((2, 4, 4), np.uint16), "ZYX")
    assert names(tmp_path) == ["a.png"]


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    labels = np.zeros((4, 4), np.uint16)
    with pytest.raises(OutputError, match=r"\.tif, \.ome\.tif, \.ome\.zarr or \.png"):
        write_labels(tmp_path / "a.jpg", labels)
    with pytest.raises(OutputError, match="folder does not exist"):
        write_labels(tmp_path / "absent" / "a.tif", labels)
    with pytest.raises(OutputError, match="OME-TIFF"):
        write_labels(tmp_path / "a.ome.tif", labels.astype(np.uint64))
    with pytest.raises(AxesError, match="3 axes"):
        write_labels(tmp_path / "a.tif", labels, "ZYX")
    assert not names(tmp_path)


@pytest.mark.parametrize("name", FORMATS)
def test_a_full_disk_keeps_the_old_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    old = np.ones((4, 4), np.uint16)
    write_labels(tmp_path / name, old)

    def full(descriptor: int) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="disk is full"):
        write_labels(tmp_path / name, old + 1)
    assert np.array_equal(read_image(tmp_path / name).levels[0], old)
    assert names(tmp_path) == [name]


def test_an_overlay_colours_objects_and_leaves_the_background(tmp_path: Path) -> None:
    rgb = np.full((40, 60, 3), 90, np.uint8)
    labels = np.zeros((40, 60), np.uint16)
    labels[5:20, 5:20], labels[5:20, 20:35] = 1, 2
    write_overlay(tmp_path / "a.png", rgb, labels)
    picture = np.asarray(PIL.Image.open(tmp_path / "a.png"))
    assert (picture[labels == 0] == 90).all()
    assert (picture[labels > 0] != 90).any(axis=-1).all()
    outline, inside = picture[5, 5].astype(int), picture[12, 12].astype(int)
    assert np.abs(outline - 90).sum() > np.abs(inside - 90).sum(), "the outline is stronger than the fill"
    assert (picture[12, 12] != picture[12, 28]).any(), "touching objects differ in colour"


def test_an_overlay_of_nothing_is_the_image(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (8, 9, 3), np.uint8)
    write_overlay(tmp_path / "a.png", rgb, np.zeros((8, 9), np.uint16))
    assert np.array_equal(np.asarray(PIL.Image.open(tmp_path / "a.png")), rgb)


def test_nothing_stays_of_an_ome_zarr_that_a_full_disk_cuts_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zarr.storage import _local

    put = _local._put
    chunks: list[str] = []
    ended: list[str] = []

    def full(path: Path, *values: Any, **options: Any) -> Any:
        if path.name == "zarr.json":
            return put(path, *values, **options)
        chunks.append(path.name)
        try:
            if len(chunks) == 1:
                raise OSError(errno.ENOSPC, "No space left on device")
            # Still under way when the first has failed.
            time.sleep(0.2)
            return put(path, *values, **options)
        finally:
            ended.append(path.name)

    monkeypatch.setattr(_local, "_put", full)
    labels = np.ones((40, 64, 64), np.uint16)
    with pytest.raises(OutputError, match="the disk is full"):
        replace_labels(tmp_path / "a.ome.zarr", labels, "ZYX")
    while len(ended) < len(chunks):
        time.sleep(0.01)
    assert list(tmp_path.iterdir()) == []
