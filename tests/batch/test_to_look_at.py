"""A batch over files of which each has something odd: right objects, or a reason in report and words, exit code 3."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

import napari_foundseg as fs
from napari_foundseg.batch.recipe import ModelOf, Outputs, Recipe, Sources, Step, read_recipe, write_recipe
from napari_foundseg.batch.report import Report, read_report
from napari_foundseg.cli import app
from napari_foundseg.io.readers import read_image, read_labels
from napari_foundseg.io.samples import sample
from tests.support.tiffs import write_data_set, write_pages


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one file of each kind, and a recipe."""
    folder = tmp_path_factory.mktemp("odd")
    images = folder / "images"
    images.mkdir()
    cells = read_image(sample("nuclei")).raw()[:200, :200]
    tissue = read_image(sample("tissue")).raw()[:160, :160]
    grey = {"photometric": "minisblack", "metadata": None}
    few = np.zeros((600, 600), np.uint16)
    yy, xx = np.mgrid[-9:10, -9:10]
    for y, x in ((100, 120), (300, 420), (500, 200), (420, 500)):
        few[y - 9 : y + 10, x - 9 : x + 10][yy**2 + xx**2 <= 81] = 900
    tifffile.imwrite(images / "11 few.tif", few, **grey)
    tifffile.imwrite(images / "15 turned.tif", cells, compression="lzw", extratags=[(274, "H", 1, 6, True)], **grey)
    write_pages(images / "16 preview.tif", cells[::8, ::8], cells)
    parts = write_data_set(images, np.stack([cells] * 3))
    parts[1].unlink()
    planar = np.ascontiguousarray(np.moveaxis(tissue, -1, 0))
    tifffile.imwrite(images / "18 planar.tif", planar, photometric="rgb", planarconfig="separate", metadata=None)
    tifffile.imwrite(images / "black.tif", np.zeros((64, 64), np.uint16), **grey)
    tifffile.imwrite(images / "plain.tif", cells, **grey)
    step = Step(task="automatic", model=ModelOf(name="foundseg-tiny"))
    write_recipe(folder / "recipe.yaml", Recipe(inputs=Sources(paths=("images",)), steps=(step,), outputs=Outputs()))
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> tuple[int, str, Report]:
    """Exit code, words and report of `batch`."""
    ended = CliRunner().invoke(app, ["batch", str(folder / "recipe.yaml")])
    report = read_report(folder / "results")
    assert report is not None
    return ended.exit_code, ended.output, report


def test_what_is_odd_has_a_reason_and_what_is_missing_fails(run: tuple[int, str, Report]) -> None:
    code, words, report = run
    items = {item.name.removeprefix("images/"): item for item in report.items}
    assert {name: item.state for name, item in items.items()} == {
        "11 few.tif": "done",
        "15 turned.tif": "done",
        "16 preview.tif": "done",
        "18 planar.tif": "done",
        "black.tif": "done",
        "plain.tif": "done",
        "set_z0.ome.tif": "failed",
    }
    assert code == 1
    assert "1 of the 3 files of this data set are missing: set_z1.ome.tif" in items["set_z0.ome.tif"].reason
    assert "/0 (25 by 25" in items["16 preview.tif"].reason
    assert items["11 few.tif"].reason
    assert items["black.tif"].reason
    assert items["black.tif"].objects == 0
    assert items["plain.tif"].reason == items["18 planar.tif"].reason == ""
    for name, item in items.items():
        assert not item.reason or item.reason in " ".join(words.split("\n")), name


def test_the_right_objects_are_found_whatever_the_file_is_like(folder: Path, run: tuple[int, str, Report]) -> None:
    results = folder / "results"
    plain = read_labels(results / "plain_labels.tif").data
    assert plain.max() > 3
    for name in ("15 turned", "16 preview"):
        assert np.array_equal(read_labels(results / f"{name}_labels.tif").data, plain), name
    tissue = read_image(sample("tissue")).raw()[:160, :160]
    found = read_labels(results / "18 planar_labels.tif").data
    recipe = read_recipe(folder / "recipe.yaml")
    expected = fs.automatic(fs.Image(tissue, "YXC", normalisation=recipe.inputs.normalisation)).labels
    assert np.array_equal(found, expected)


def test_without_failures_the_exit_code_says_that_there_is_something_to_look_at(
    folder: Path, run: tuple[int, str, Report]
) -> None:
    """Also where an earlier run has done it."""
    for path in (folder / "images").glob("set_*"):
        path.unlink()
    ended = CliRunner().invoke(app, ["batch", str(folder / "recipe.yaml")])
    report = read_report(folder / "results")
    assert report is not None
    assert {item.state for item in report.items} == {"already done"}
    before = {item.name: item.reason for item in run[2].items}
    assert all(item.reason == before[item.name] for item in report.items)
    assert ended.exit_code == 3
    assert "to look at" in ended.output
    for name in ("11 few", "15 turned", "16 preview", "black"):
        (folder / "images" / f"{name}.tif").unlink()
    assert CliRunner().invoke(app, ["batch", str(folder / "recipe.yaml")]).exit_code == 0
