"""Measurements in the tables of batches, of the command line and of Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml
from typer.testing import CliRunner

import napari_foundseg as fs
from napari_foundseg.batch import item_stages
from napari_foundseg.batch.recipe import Outputs, read_recipe, write_recipe
from napari_foundseg.cli import app
from napari_foundseg.core.errors import AxesError, RecipeError
from napari_foundseg.io.files.object_cells import pixel_sizes
from napari_foundseg.io.writers import write_labels
from tests.support import toy_steps


def read_table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, encoding="utf-8-sig")


def image_file(path: Path) -> Path:
    """Two channels with names, pixels of 0.5 µm."""
    values = np.zeros((2, 64, 64), np.uint16)
    values[0, 10:30, 10:30], values[1, 10:30, 10:30] = 3000, 40000
    values[0, 40:50, 40:60] = 2000
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP"]}, "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm",
                "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm"}  # fmt: skip
    tifffile.imwrite(path, values, ome=True, metadata=metadata)
    return path


@pytest.mark.parametrize("measure", [True, False])
def test_the_table_of_a_batch_has_what_objects_measures_where_the_recipe_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, measure: bool
) -> None:
    monkeypatch.setattr(
        item_stages,
        "run_steps",
        lambda steps, image, context: toy_steps.steps_without_model(
            steps, fs.Image(np.asarray(image.levels[0])[0], "YX"), context
        ),
    )
    path = image_file(tmp_path / "images" / "a.ome.tif")
    recipe = toy_steps.recipe().model_copy(update={"outputs": Outputs(measure=measure)})
    assert [outcome.state for outcome in toy_steps.run(recipe, tmp_path)] == ["done"]
    table = read_table(tmp_path / "results" / "a_labels.csv")
    expected = fs.measure(tmp_path / "results" / "a_labels.tif", path)
    assert {"area (µm²)", "perimeter (µm)", "circularity", "solidity", "sum intensity DAPI",
            "std intensity GFP"} <= set(expected)  # fmt: skip
    assert (set(expected) <= set(table)) is measure
    assert {"label", "class", "predicted_iou", "stability_score", "area", "y0"} <= set(table), "as ever"
    if measure:
        pd.testing.assert_frame_equal(table[list(expected)], expected, check_exact=True)
        assert table["area (µm²)"].tolist() == (table["area"] / 4).tolist()


def test_a_recipe_that_does_not_say_it_does_not_measure(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    write_recipe(path, toy_steps.recipe())
    content = yaml.safe_load(path.read_text())
    assert content["outputs"].pop("measure") is False
    path.write_text(yaml.safe_dump(content))
    old = read_recipe(path)
    assert old.outputs.measure is False
    assert old.digest() == toy_steps.recipe().digest()
    content["outputs"]["measure"] = True
    path.write_text(yaml.safe_dump(content))
    assert read_recipe(path).outputs.measure
    assert read_recipe(path).digest() != old.digest(), "the table has to be written"
    content["outputs"]["table"] = False
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(RecipeError, match="measure needs table: true"):
        read_recipe(path)


def test_run_measures_into_the_table_beside_the_labels(tmp_path: Path) -> None:
    path = image_file(tmp_path / "a.ome.tif")
    out = tmp_path / "labels.tif"
    found = CliRunner().invoke(app, ["run", "automatic", str(path), "--out", str(out), "--measure", "--channels", "0"])
    assert found.exit_code == 0, found.output
    table = read_table(tmp_path / "labels.csv")
    assert len(table) > 0
    assert table["area (µm²)"].tolist() == (table["pixels"] / 4).tolist()
    assert {"circularity", "mean intensity DAPI", "mean intensity GFP"} <= set(table)


def test_batch_takes_the_option(tmp_path: Path) -> None:
    image_file(tmp_path / "images" / "a.ome.tif")
    recipe = tmp_path / "recipe.yaml"
    write_recipe(recipe, toy_steps.recipe().model_copy(update={"outputs": Outputs(table=False)}))
    found = CliRunner().invoke(app, ["batch", str(recipe), "--measure", "--dry-run"])
    assert found.exit_code == 2
    write_recipe(recipe, toy_steps.recipe())
    found = CliRunner().invoke(app, ["batch", str(recipe), "--measure"])
    assert found.exit_code in (0, 3), found.output
    assert "solidity" in read_table(tmp_path / "results" / "a_labels.csv")


def test_python_measures_arrays_files_and_results(tmp_path: Path) -> None:
    labels = np.zeros((4, 20, 20), np.uint16)
    labels[1:3, 2:8, 2:12] = 7
    assert fs.measure(labels)["volume (px³)"].tolist() == [120]
    image = fs.Image(
        labels * 3.0, "ZYX", spacing={"Z": 2000, "Y": 0.5, "X": 0.5}, units={"Z": "nm", "Y": "µm", "X": "um"}
    )
    row = fs.measure(labels, image).iloc[0]
    assert row["volume (µm³)"] == pytest.approx(60)
    assert row["sum intensity"] == 7 * 3 * 120
    write_labels(tmp_path / "a_labels.tif", labels, "ZYX", {"Z": 3, "Y": 1.5, "X": 1.5}, dict.fromkeys("ZYX", "mm"))
    row = fs.measure(tmp_path / "a_labels.tif").iloc[0]
    assert row["volume (mm³)"] == pytest.approx(120 * 6.75)
    in_time = fs.measure(labels, labels, axes="TYX")
    assert in_time[["label", "t", "pixels"]].to_numpy().tolist() == [[7, 1, 60], [7, 2, 60]]
    with pytest.raises(AxesError, match=r"\(4, 20, 20\).*made of"):
        fs.measure(labels, np.zeros((4, 20, 21)))
    assert len(fs.measure(np.zeros((5, 5), np.uint8))) == 0


def test_the_unit_of_an_image_is_that_of_its_last_axis() -> None:
    sizes: Any = {"T": 5, "Z": 2000, "Y": 0.5, "X": 0.5}
    assert pixel_sizes("TZYX", sizes, {"Z": "nm", "Y": "µm", "X": "micrometer"}) == (
        [None, pytest.approx(2.0), 0.5, 0.5],
        "µm",
    )
    assert pixel_sizes("YX", {}, {}) == ([1, 1], "px")
    assert pixel_sizes("YX", {"Y": 2, "X": 2}, {"Y": "pixel", "X": "pixel"}) == ([2, 2], "scaled px")


def test_an_object_that_lost_all_its_pixels_keeps_its_row(tmp_path: Path) -> None:
    values = np.zeros((60, 60))
    values[10:30, 10:30] = 1
    point = fs.Prompt(points=((20, 20),))
    result = fs.prompt(values, [point, point])
    table = fs.measure(result, values)
    assert table["label"].tolist() == [1, 2]
    assert sorted(table["pixels"] > 0) == [False, True]
    assert table["solidity"].isna().sum() == 1
    assert table["area"].sum() == table["pixels"].sum()


def test_each_slice_of_an_object_is_measured_by_itself() -> None:
    labels = np.zeros((4, 20, 30), np.uint16)
    labels[0, 2:6, 3:8] = 5
    labels[1, 2:8, 3:13] = 5
    labels[3, 10:12, 20:22] = 5
    labels[1, 15:18, 1:4] = 9
    image = fs.Image(labels * 10, "ZYX", spacing={"Z": 3, "Y": 0.5, "X": 0.5}, units=dict.fromkeys("ZYX", "µm"))
    table = fs.measure(labels, image, by_slice=True)
    assert table[["label", "z", "pixels"]].to_numpy().tolist() == [[5, 0, 20], [5, 1, 60], [5, 3, 4], [9, 1, 9]]
    assert table["area (µm²)"].tolist() == [5, 15, 1, 2.25]
    assert table["mean intensity"].tolist() == [50, 50, 50, 90]
    whole = fs.measure(labels, image)
    assert whole["volume (µm³)"].tolist() == [21 * 3, 2.25 * 3]
