from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import npe2
import numpy as np
import pandas as pd
import pytest
from napari.layers import Labels, Layer
from numpy.typing import NDArray

import napari_foundseg as fs
from napari_foundseg.core.errors import BadImageError, KeptError, OutputError
from napari_foundseg.io.layer_files import labels_reader, read_layer, write_layer
from napari_foundseg.io.readers import read_image
from napari_foundseg.io.writers import write_labels, write_table

FORMATS = [".tif", ".ome.tif", ".ome.zarr", ".png"]
COLOURS = {None: (0, 0, 0, 0), 0: (0, 0, 0, 0), 1: (1, 0.6, 0, 1), 2: (0.2, 0.4, 0.6, 0.8)}
FEATURES = pd.DataFrame({"index": [1, 2], "area": [12.5, np.nan], "note": ["groß", ""]})


@pytest.fixture(autouse=True)
def plugin(npe2pm: Any) -> None:
    npe2pm.register(npe2.PluginManifest.from_distribution("napari-foundseg"))


def objects(*shape: int) -> np.ndarray[Any, Any]:
    labels = np.zeros(shape, np.uint16)
    labels[..., :3, :4], labels[..., 4:, 2:] = 1, 2
    return labels


def save(layer: Layer, path: Path) -> list[str]:
    return npe2.write(str(path), [layer.as_layer_data_tuple()], plugin_name="napari-foundseg")


def load(path: Path) -> Labels:
    ((data, attributes, kind),) = npe2.read([str(path)], plugin_name="napari-foundseg", stack=False)
    layer = Layer.create(data, attributes, kind)
    assert isinstance(layer, Labels)
    return layer


def colours(layer: Labels) -> dict[int, list[float]]:
    return {int(i): np.round(layer.get_color(int(i)), 6).tolist() for i in np.unique(layer.data) if i}


@pytest.mark.parametrize("ending", FORMATS)
def test_a_layer_comes_back_as_it_was_saved(tmp_path: Path, ending: str) -> None:
    layer = Labels(
        objects(8, 9),
        scale=(0.5, 0.25),
        units=("um", "um"),
        axis_labels=("y", "x"),
        features=FEATURES,
        colormap=dict(COLOURS),
    )
    path = tmp_path / f"cells_labels{ending}"
    written = save(layer, path)
    table = [] if ending == ".ome.zarr" else [str(tmp_path / "cells_labels.csv")]
    assert written == [str(path), *table]
    back = load(path)
    assert back.name == "cells_labels"
    np.testing.assert_array_equal(back.data, layer.data)
    np.testing.assert_allclose(back.scale, layer.scale)
    assert back.units == layer.units
    assert back.axis_labels == ("y", "x")
    assert colours(back) == colours(layer)
    pd.testing.assert_frame_equal(back.features, FEATURES, check_dtype=False)


@pytest.mark.parametrize("ending", FORMATS[:3])
def test_a_stack_comes_back_with_its_axes(tmp_path: Path, ending: str) -> None:
    layer = Labels(objects(2, 3, 8, 9), scale=(30, 2, 0.5, 0.5), units=("s", "um", "um", "um"), axis_labels=[*"tzyx"])
    save(layer, tmp_path / f"a_labels{ending}")
    back = load(tmp_path / f"a_labels{ending}")
    np.testing.assert_array_equal(back.data, layer.data)
    assert (back.axis_labels, back.units) == (("t", "z", "y", "x"), layer.units)
    np.testing.assert_allclose(back.scale, layer.scale)
    assert type(back.colormap) is type(layer.colormap), "napari's own colours became somebody's choice"


def test_axes_without_names_are_taken_from_the_right(tmp_path: Path) -> None:
    save(Labels(objects(3, 8, 9), scale=(2, 1, 1)), tmp_path / "a_labels.tif")
    assert load(tmp_path / "a_labels.tif").axis_labels == ("z", "y", "x")


def test_an_axis_of_channels_one_pixel_long_is_left_out(tmp_path: Path) -> None:
    layer = Labels(objects(2, 1, 8, 9), scale=(5, 3, 1, 1), axis_labels=("z", "c", "y", "x"))
    save(layer, tmp_path / "a_labels.tif")
    image = read_image(tmp_path / "a_labels.tif")
    assert (image.axes, image.shape, image.spacing["Z"]) == ("ZYX", (2, 8, 9), 5.0)


@pytest.mark.parametrize("dtype", ["u1", "i4", "i8", "u8", bool])
def test_ids_of_any_type_are_saved(tmp_path: Path, dtype: Any) -> None:
    layer = Labels(objects(8, 9).astype(dtype))
    save(layer, tmp_path / "a_labels.tif")
    np.testing.assert_array_equal(load(tmp_path / "a_labels.tif").data, layer.data)


def test_negative_ids_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="negative, got -3"):
        save(Labels(np.full((4, 5), -3)), tmp_path / "a_labels.tif")
    assert not list(tmp_path.iterdir())


def test_the_finest_level_of_a_pyramid_is_saved(tmp_path: Path) -> None:
    labels = objects(8, 9)
    save(Labels([labels, labels[::2, ::2]], multiscale=True), tmp_path / "a_labels.tif")
    np.testing.assert_array_equal(load(tmp_path / "a_labels.tif").data, labels)


def test_features_with_a_row_for_each_id_lose_the_background(tmp_path: Path) -> None:
    layer = Labels(objects(8, 9), features=pd.DataFrame({"area": [40, 12, 28]}))
    save(layer, tmp_path / "a_labels.tif")
    expected = pd.DataFrame({"index": [1, 2], "area": [12, 28]})
    pd.testing.assert_frame_equal(load(tmp_path / "a_labels.tif").features, expected)


def test_an_id_of_a_result_has_its_features(tmp_path: Path) -> None:
    write_labels(tmp_path / "a_labels.tif", objects(8, 9))
    write_table(tmp_path / "a_labels.csv", pd.DataFrame({"label": [2, 1], "area": [28, 12]}))
    layer = load(tmp_path / "a_labels.tif")
    assert "area: 28" in layer.get_status((7, 8), world=True)["value"]


@pytest.mark.parametrize("pixels", [np.zeros((40, 50), np.uint16), np.zeros((3, 40, 50), np.uint16)])
def test_an_empty_result_is_opened_without_a_warning(tmp_path: Path, pixels: NDArray[Any]) -> None:
    found = fs.automatic(pixels)
    assert not len(found)
    write_labels(tmp_path / "a_labels.tif", found.labels, "ZYX"[-pixels.ndim :])
    write_table(tmp_path / "a_labels.csv", found.table)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ((labels, attributes, _),) = read_layer(str(tmp_path / "a_labels.tif"))
    assert not labels.any()
    assert list(attributes["features"]["index"]) == []


@pytest.mark.parametrize(
    "content", [b"", b"name,area\n1,2\n", b"label,area\n1,2\n1,3\n", b"label\nx\n", b"\xff\xfe\0", b'label\n"1\n']
)
def test_a_table_that_is_none_is_left_out_and_said(tmp_path: Path, content: bytes) -> None:
    write_labels(tmp_path / "a_labels.tif", objects(8, 9))
    (tmp_path / "a_labels.csv").write_bytes(content)
    with pytest.warns(UserWarning, match=r"a_labels\.csv.*was not read"):
        ((_, attributes, _),) = read_layer(str(tmp_path / "a_labels.tif"))
    assert "features" not in attributes


@pytest.mark.parametrize("ending", FORMATS)
def test_what_made_a_file_stands_in_the_layers_metadata(tmp_path: Path, ending: str) -> None:
    write_labels(tmp_path / f"a_labels{ending}", objects(8, 9))
    (tmp_path / "a_labels.json").write_text('{"format": "foundseg-result 1"}')
    layer = load(tmp_path / f"a_labels{ending}")
    assert layer.metadata["napari-foundseg"] == {"format": "foundseg-result 1"}
    save(layer, tmp_path / f"b_labels{ending}")
    assert json.loads((tmp_path / "b_labels.json").read_text()) == {"format": "foundseg-result 1"}


@pytest.mark.parametrize("content", ["", "[]", "{", "[" * 100_000])
def test_a_sidecar_that_is_damaged_is_left_out_and_said(tmp_path: Path, content: str) -> None:
    write_labels(tmp_path / "a_labels.tif", objects(8, 9))
    (tmp_path / "a_labels.json").write_text(content)
    with pytest.warns(UserWarning, match=r"a_labels\.json.*was not read"):
        assert load(tmp_path / "a_labels.tif").metadata == {}


def test_the_provenance_of_a_run_is_saved_beside_and_replaces_nothing(tmp_path: Path) -> None:
    layer = Labels(objects(8, 9), metadata={"foundseg": {"task": "automatic"}})
    assert save(layer, tmp_path / "a_labels.tif")[-1] == str(tmp_path / "a_labels.json")
    assert json.loads((tmp_path / "a_labels.json").read_text()) == {"task": "automatic"}
    (tmp_path / "a_labels.json").write_text("another's")
    save(layer, tmp_path / "a_labels.tif")
    assert (tmp_path / "a_labels.json").read_text() == "another's"


def test_another_table_of_that_name_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "cells.csv").write_text("well,drug\nA1,none\n")
    layer = Labels(objects(8, 9), features=FEATURES)
    with pytest.raises(OutputError, match=r"cells\.csv.*not a table of labels"):
        write_layer(str(tmp_path / "cells.tif"), *layer.as_layer_data_tuple()[:2])
    assert [path.name for path in tmp_path.iterdir()] == ["cells.csv"]
    assert (tmp_path / "cells.csv").read_text() == "well,drug\nA1,none\n"
    for _ in range(2):
        save(layer, tmp_path / "b.tif")
    assert (tmp_path / "b.csv").read_text(encoding="utf-8-sig").startswith("label,area,note")


def test_a_unit_that_napari_does_not_know_does_not_keep_labels_from_opening(tmp_path: Path) -> None:
    write_labels(tmp_path / "a_labels.ome.tif", objects(8, 9), "YX", {"Y": 2.0, "X": 2.0}, {"Y": "blah", "X": "µm"})
    layer = load(tmp_path / "a_labels.ome.tif")
    np.testing.assert_allclose(layer.scale, (2.0, 2.0))
    assert [str(unit) for unit in layer.units] == ["pixel", "micrometer"]


def test_only_labels_are_ours_to_open(tmp_path: Path) -> None:
    assert labels_reader(str(tmp_path / "a.tif")) is None
    assert labels_reader(str(tmp_path)) is None
    assert labels_reader([str(tmp_path / "a_labels.tif"), str(tmp_path / "b_labels.tif")]) is None
    assert labels_reader(str(tmp_path / "A_Labels.TIF")) is read_layer


@pytest.mark.parametrize(
    "array", [np.ones((4, 5), np.float32), np.full((4, 5), -1, np.int16), np.ones((4, 5, 3), "u1")]
)
def test_an_image_that_is_named_like_labels_is_said_to_be_one(tmp_path: Path, array: np.ndarray[Any, Any]) -> None:
    import tifffile

    tifffile.imwrite(tmp_path / "a_labels.tif", array)
    with pytest.raises(BadImageError, match="not ids of objects"):
        read_layer(str(tmp_path / "a_labels.tif"))


def test_a_table_that_was_edited_in_another_program_is_kept_until_it_is_read_again(tmp_path: Path) -> None:
    layer = Labels(objects(8, 9), features=FEATURES)
    path = tmp_path / "cells_labels.tif"
    table = tmp_path / "cells_labels.csv"
    save(layer, path)
    save(layer, path)
    table.write_text("label,area,grade\n1,12.5,good\n2,,bad\n")
    pixels = path.read_bytes()
    with pytest.raises(KeptError, match=r"edited in another program.*Rename the table"):
        save(layer, path)
    assert "grade" in table.read_text()
    assert path.read_bytes() == pixels
    # A layer that has the changes may be saved.
    save(load(path), path)
    assert pd.read_csv(table)["grade"].tolist() == ["good", "bad"]
