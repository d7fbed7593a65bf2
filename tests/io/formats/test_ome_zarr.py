from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from napari_foundseg.core.errors import AxesError, BadImageError, FoundsegError, OutputError
from napari_foundseg.io.formats import content, ome_zarr_writer
from napari_foundseg.io.readers import read_image, read_labels
from napari_foundseg.io.writers import write_labels

RANDOM = np.random.default_rng(0)
TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
UNITS = {"T": "s", "Z": "nm", "Y": "µm", "X": "µm"}


def store(
    path: Path,
    levels: list[np.ndarray[Any, Any]],
    axes: list[dict[str, str]] | str,
    version: str = "0.4",
    **more: Any,
) -> Path:
    """Write an image as other programs do, 0.4 in zarr's format 2 and 0.5 in 3."""
    if isinstance(axes, str):
        axes = [{"name": name, "type": TYPES[name]} for name in axes]
    datasets = [{"path": f"s{i}"} for i in range(len(levels))]
    for i, dataset in enumerate(datasets):
        scale = [2.0**i * (0.25 if axis["type"] == "space" else 1.0) for axis in axes]
        dataset["coordinateTransformations"] = [{"type": "scale", "scale": scale}]  # type: ignore[assignment]
    multiscale = {"axes": axes, "datasets": datasets, **more.pop("multiscale", {})}
    if version == "0.4":
        group = zarr.create_group(path, zarr_format=2)
        group.attrs.update({"multiscales": [multiscale | {"version": version}], **more})
    else:
        group = zarr.create_group(path, zarr_format=3)
        group.attrs["ome"] = {"version": version, "multiscales": [multiscale], **more}
    for i, level in enumerate(levels):
        chunks = tuple(min(n, 16) for n in level.shape)
        group.create_array(f"s{i}", shape=level.shape, dtype=level.dtype, chunks=chunks)[...] = level
    return path


def noise(*shape: int) -> np.ndarray[Any, Any]:
    return RANDOM.integers(0, 60000, shape, np.uint16)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_pyramid_of_another_program(tmp_path: Path, version: str) -> None:
    array = noise(2, 3, 64, 48)
    units = [{"name": "t", "type": "time", "unit": "second"}, {"name": "c", "type": "channel"}]
    axes = [*units, *({"name": name, "type": "space", "unit": "micrometer"} for name in "yx")]
    omero = {"channels": [{"label": name, "color": "FF0000"} for name in ("DAPI", "GFP", "RFP")]}
    path = store(tmp_path / "a.ome.zarr", [array, array[..., ::2, ::2]], axes, version, omero=omero)
    image = read_image(path)
    assert image.channel_names == ("DAPI", "GFP", "RFP")
    assert image.axes == "TCYX"
    assert [level.shape for level in image.levels] == [array.shape, (2, 3, 32, 24)]
    assert dict(image.spacing) == {"T": 1.0, "Y": 0.25, "X": 0.25}
    assert dict(image.units) == {"T": "s", "Y": "µm", "X": "µm"}
    assert np.array_equal(image.raw((1,), (10, 5, 40, 30)), array[1, 0, 10:41, 5:31])
    assert image.source == str(path)


def test_only_the_asked_chunks_are_read(tmp_path: Path) -> None:
    array = noise(4, 64, 64)
    path = store(tmp_path / "a.zarr", [array], "zyx", "0.5")
    for chunk in (file for file in path.glob("s0/c/*/*/*") if not file.match("c/0/0/1")):
        chunk.write_bytes(b"damaged")
    assert np.array_equal(read_image(path).raw((1,), (2, 20, 9, 30)), array[1, 2:10, 20:31])


@pytest.mark.parametrize(
    ("names", "shape", "expected"),
    [
        ("yx", (8, 9), "YX"),
        ("zyx", (1, 8, 9), "YX"),
        ("tczyx", (2, 3, 4, 8, 9), "TCZYX"),
        ("tczyx", (1, 1, 1, 1, 9), "YX"),
        ("cyx", (3, 8, 9), "CYX"),
    ],
)
def test_axes(tmp_path: Path, names: str, shape: tuple[int, ...], expected: str) -> None:
    assert read_image(store(tmp_path / "a.zarr", [noise(*shape)], names)).axes == expected


def test_axes_of_other_names_go_by_type_and_order(tmp_path: Path) -> None:
    kinds = {"frame": "time", "angle": "other", "plane": "space", "row": "space", "column": "space"}
    axes = [{"name": name, "type": kind} for name, kind in kinds.items()]
    assert read_image(store(tmp_path / "a.zarr", [noise(2, 3, 4, 8, 9)], axes)).axes == "TQZYX"


def test_axes_that_cannot_be_told_apart_are_named(tmp_path: Path) -> None:
    axes = [{"name": name, "type": "other" if name in "ab" else "space"} for name in "abyx"]
    with pytest.raises(AxesError, match=r"a, b, y, x"):
        read_image(store(tmp_path / "a.zarr", [noise(2, 3, 8, 9)], axes))


def test_a_person_may_name_the_axes(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr", [noise(3, 8, 9)], "zyx")
    assert read_image(path, axes="tyx").axes == "TYX"
    with pytest.raises(AxesError, match="2 axes"):
        read_image(path, axes="YX")


def test_levels_that_lose_slices_are_left_out(tmp_path: Path) -> None:
    array = noise(8, 64, 64)
    image = read_image(store(tmp_path / "a.zarr", [array, array[:, ::2, ::2], array[::2, ::4, ::4]], "zyx"))
    assert [level.shape for level in image.levels] == [(8, 64, 64), (8, 32, 32)]
    assert np.array_equal(image.raw((7,)), array[7])


def test_the_transformation_of_all_levels_counts_too(tmp_path: Path) -> None:
    whole = {"coordinateTransformations": [{"type": "scale", "scale": [30.0, 1.0, 1.0]}]}
    image = read_image(store(tmp_path / "a.zarr", [noise(2, 8, 9)], "tyx", multiscale=whole))
    assert dict(image.spacing) == {"T": 30.0, "Y": 0.25, "X": 0.25}


def test_the_first_series_of_bioformats2raw_is_read(tmp_path: Path) -> None:
    zarr.create_group(tmp_path / "a.zarr", zarr_format=2, attributes={"bioformats2raw.layout": 3})
    array = noise(8, 9)
    store(tmp_path / "a.zarr" / "0", [array], "yx")
    assert np.array_equal(read_image(tmp_path / "a.zarr").raw(), array)


def test_an_image_inside_is_read_by_its_folder(tmp_path: Path) -> None:
    wells = {"plate": {"wells": [{"path": "A/1"}, {"path": "B/2"}]}}
    zarr.create_group(tmp_path / "a.zarr", zarr_format=2, attributes=wells)
    zarr.create_group(tmp_path / "a.zarr/A/1", zarr_format=2, attributes={"well": {"images": [{"path": "0"}]}})
    array = noise(8, 9)
    store(tmp_path / "a.zarr/A/1/0", [array], "yx")
    zarr.create_group(tmp_path / "a.zarr/A/1/0/labels", zarr_format=2, attributes={"labels": ["nuclei"]})
    assert np.array_equal(read_image(tmp_path / "a.zarr/A/1/0").raw(), array)
    for folder, reason in {
        "": "plate of 2 wells; give one field of it, such as the folder A/1/0",
        "A/1": "well of 1 fields.*folder 0",
        "A/1/0/labels": "group of labels.*folder nuclei",
        "A/1/0/s0": "array of an OME-Zarr image",
    }.items():
        with pytest.raises(BadImageError, match=reason):
            read_image(tmp_path / "a.zarr" / folder)


@pytest.mark.parametrize("version", ["0.1", "0.6"])
def test_another_version_is_named(tmp_path: Path, version: str) -> None:
    path = store(tmp_path / "a.zarr", [noise(8, 9)], "yx", "0.5" if version > "0.5" else "0.4")
    name = "zarr.json" if version > "0.5" else ".zattrs"
    text = (path / name).read_text()
    for old in ("0.4", "0.5"):
        text = text.replace(f'"{old}"', f'"{version}"')
    (path / name).write_text(text)
    with pytest.raises(BadImageError, match=rf"OME-Zarr {version}, and 0\.4 and 0\.5 are read"):
        read_image(path)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("damage", ["metadata cut", "no arrays", "array cut", "no pixels", "axes missing", "not OME"])
def test_damage_found_on_opening(tmp_path: Path, version: str, damage: str) -> None:
    path = store(tmp_path / "a.zarr", [noise(0, 9) if damage == "no pixels" else noise(8, 9)], "yx", version)
    metadata = path / (".zattrs" if version == "0.4" else "zarr.json")
    if damage == "metadata cut":
        _cut(metadata)
    elif damage == "no arrays":
        shutil.rmtree(path / "s0")
    elif damage == "array cut":
        _cut(path / "s0" / (".zarray" if version == "0.4" else "zarr.json"))
    elif damage == "axes missing":
        metadata.write_text(metadata.read_text().replace('"axes"', '"axis"'))
    elif damage == "not OME":
        metadata.write_text(metadata.read_text().replace('"multiscales"', '"other"'))
    with pytest.raises(BadImageError, match=r"a\.zarr: "):
        read_image(path)


def test_a_chunk_that_is_cut_short_is_named_when_it_is_read(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr", [noise(32, 32)], "yx", "0.5")
    _cut(path / "s0/c/1/1")
    image = read_image(path)
    image.raw((), (0, 0, 15, 15))
    with pytest.raises(BadImageError, match=r"a\.zarr: .*damaged"):
        image.raw()
    with pytest.raises(BadImageError, match=r"a\.zarr: .*damaged"):
        read_labels(path)


def test_a_folder_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(BadImageError, match="only folders of OME-Zarr"):
        read_image(tmp_path / "a.zarr")


@pytest.mark.parametrize("reader", [read_image, read_labels])
def test_metadata_that_claim_a_huge_image_are_refused_before_allocation(tmp_path: Path, reader: Any) -> None:
    path = store(tmp_path / "a.zarr", [noise(8, 9)], "yx", "0.5")
    described = path / "s0" / "zarr.json"
    values = json.loads(described.read_text())
    values["shape"] = [1_000_000, 1_000_000]
    described.write_text(json.dumps(values))
    with pytest.raises(BadImageError, match=r"1000000 by 1000000.*memory"):
        reader(path)


def test_paths_that_lead_out_are_refused(tmp_path: Path) -> None:
    store(tmp_path / "secret.zarr", [noise(8, 9)], "yx")
    path = store(tmp_path / "a.zarr", [noise(8, 9)], "yx")
    metadata = path / ".zattrs"
    metadata.write_text(metadata.read_text().replace('"s0"', '"../secret.zarr/s0"'))
    with pytest.raises(BadImageError, match=r"a\.zarr: "):
        read_image(path)


@given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8))
@pytest.mark.filterwarnings("ignore::Warning")
@pytest.mark.parametrize("name", ["zarr.json", "s0/zarr.json", "s0/c/0/0"])
def test_whatever_the_damage_an_image_or_a_named_error(
    tmp_path_factory: pytest.TempPathFactory, name: str, flips: list[tuple[float, int]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "flipped.zarr"
    shutil.rmtree(path, ignore_errors=True)
    store(path, [np.arange(12 * 16, dtype=np.uint16).reshape(12, 16)], "yx", "0.5")
    content = bytearray((path / name).read_bytes())
    for place, value in flips:
        content[int(place * len(content))] = value
    (path / name).write_bytes(content)
    try:
        image = read_image(path)
        image.rgb(tuple(0 for _ in image.slice_axes))
    except FoundsegError:
        pass


def files(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def objects(*shape: int) -> np.ndarray[Any, Any]:
    return np.where(RANDOM.uniform(size=shape) < 0.5, RANDOM.integers(1, 9, shape), 0).astype(np.uint16)


PROPERTIES = pd.DataFrame({"label": [3, 7], "area": [1.5, np.nan], "note": ["ein", "größer"], "count": [1, 2]})


def test_labels_are_what_the_formats_own_readers_expect(tmp_path: Path) -> None:
    yaozarrs = pytest.importorskip("yaozarrs")
    labels = objects(2, 3, 40, 50)
    spacing = {"T": 30.0, "Z": 200.0, "Y": 0.5, "X": 0.25}
    for name, more in {"bare": (), "full": (spacing, UNITS, {7: (255, 0, 8, 128)}, PROPERTIES)}.items():
        write_labels(tmp_path / f"{name}.ome.zarr", labels, "TZYX", *more)
        yaozarrs.validate_zarr_store(str(tmp_path / f"{name}.ome.zarr"))
    found = yaozarrs.open_group(str(tmp_path / "full.ome.zarr")).ome_metadata()
    assert [(axis.name, axis.type, axis.unit) for axis in found.multiscales[0].axes] == [
        ("t", "time", "second"),
        ("z", "space", "nanometer"),
        ("y", "space", "micrometer"),
        ("x", "space", "micrometer"),
    ]
    assert found.multiscales[0].datasets[0].coordinateTransformations[0].scale == [30.0, 200.0, 0.5, 0.25]
    assert [(c.label_value, c.rgba) for c in found.image_label.colors] == [(7, [255, 0, 8, 128])]
    assert [p.label_value for p in found.image_label.properties] == [3, 7]
    assert np.array_equal(zarr.open_group(tmp_path / "full.ome.zarr", mode="r")["0"][...], labels)


def test_labels_come_back_with_colours_and_properties(tmp_path: Path) -> None:
    labels = objects(40, 50)
    colours = {7: (255, 0, 8, 128), 3: (1, 2, 3, 255)}
    write_labels(tmp_path / "a.ome.zarr", labels, "YX", {"Y": 0.5}, {"Y": "mm"}, colours, PROPERTIES)
    back = read_labels(tmp_path / "a.ome.zarr")
    assert np.array_equal(back.data, labels)
    assert (back.axes, back.spacing, back.units, back.colours) == ("YX", {"Y": 0.5}, {"Y": "mm"}, colours)
    pd.testing.assert_frame_equal(back.properties, PROPERTIES)


@pytest.mark.parametrize("dtype", ["u2", "u4", "u8"])
def test_ids_of_every_width_are_kept(tmp_path: Path, dtype: str) -> None:
    labels = np.array([[0, np.iinfo(dtype).max]], dtype)
    write_labels(tmp_path / "a.ome.zarr", labels)
    assert np.array_equal(read_labels(tmp_path / "a.ome.zarr").data, labels)


def test_axes_are_written_in_the_formats_order(tmp_path: Path) -> None:
    labels = objects(2, 3, 4, 5, 6)
    write_labels(tmp_path / "a.ome.zarr", labels, "XZQYT")
    back = read_labels(tmp_path / "a.ome.zarr")
    assert back.axes == "TQZYX"
    assert np.array_equal(back.data, labels.transpose(4, 2, 1, 3, 0))


def test_large_labels_have_a_pyramid_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ome_zarr_writer, "CHUNK", 16)
    labels = objects(2, 50, 33)
    write_labels(tmp_path / "a.ome.zarr", labels, "ZYX", {"Y": 0.5, "X": 0.5, "Z": 2.0})
    levels = read_image(tmp_path / "a.ome.zarr").levels
    assert [level.shape for level in levels] == [(2, 50, 33), (2, 25, 17), (2, 13, 9)]
    assert np.array_equal(levels[2][...], labels[:, ::4, ::4])
    written = json.loads((tmp_path / "a.ome.zarr" / "zarr.json").read_text())["attributes"]["ome"]["multiscales"][0]
    scales = [dataset["coordinateTransformations"][0]["scale"] for dataset in written["datasets"]]
    assert scales == [[2.0, 0.5, 0.5], [2.0, 1.0, 1.0], [2.0, 2.0, 2.0]]


def test_equal_labels_give_equal_bytes_and_replace_what_was_there(tmp_path: Path) -> None:
    labels = objects(40, 50)
    write_labels(tmp_path / "one.ome.zarr", labels)
    write_labels(tmp_path / "two.ome.zarr", objects(2, 64, 64), "ZYX", {"Z": 3.0})
    write_labels(tmp_path / "two.ome.zarr", np.asfortranarray(labels))
    assert files(tmp_path / "one.ome.zarr") == files(tmp_path / "two.ome.zarr")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.ome.zarr", "two.ome.zarr"]


def test_a_folder_with_other_things_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "thesis.doc").touch()
    with pytest.raises(OutputError, match="other things"):
        write_labels(tmp_path / "a.zarr", objects(4, 5))
    assert (tmp_path / "a.zarr" / "thesis.doc").exists()


def test_a_full_memory_is_asked_before_labels_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_labels(tmp_path / "a.ome.zarr", objects(40, 40, 50), "ZYX")
    monkeypatch.setattr(content, "available_memory", lambda: 100_000)
    read_image(tmp_path / "a.ome.zarr").raw((3,))
    with pytest.raises(BadImageError, match=r"40 by 40 by 50.*memory"):
        read_labels(tmp_path / "a.ome.zarr")
