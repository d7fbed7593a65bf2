"""The colour of RGB files: one answer by every way in, said, written down and replayed; older records keep RGB."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from skimage.io import imread, imsave
from typer.testing import CliRunner

import napari_foundseg as fs
from napari_foundseg.batch.recipe import Recipe, read_recipe, recipe_of, write_recipe
from napari_foundseg.batch.replay import compare
from napari_foundseg.batch.runner import Runner
from napari_foundseg.cli import app
from napari_foundseg.core.image import Image
from napari_foundseg.io.samples import sample
from napari_foundseg.tasks import TASKS
from napari_foundseg.tasks.run_request import RunRequest

USED = "blue only, as grey"


def blue(height: int = 128, width: int = 160) -> NDArray[np.uint8]:
    grey = np.asarray(imread(sample("nuclei")))[:height, :width]
    return np.stack([np.zeros_like(grey), np.zeros_like(grey), grey], -1)


def recipe(path: Path, **inputs: Any) -> Recipe:
    step = {"task": "automatic", "model": {"name": "foundseg-tiny"}, "settings": {"find_diameter": "once"}}
    return Recipe.model_validate({"inputs": {"paths": [str(path)], **inputs}, "steps": [step]})


def run_batch(folder: Path, path: Path, **inputs: Any) -> tuple[Any, list[NDArray[Any]]]:
    runner = Runner(recipe(path, **inputs), folder, folder / "out")
    report = runner.run()
    return report, [tifffile.imread(runner.labels_path(item)) for item in runner.items]


def test_every_way_in_uses_the_same_colour_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "dapi.png"
    imsave(path, blue(), check_contrast=False)
    expected = fs.automatic(blue()[..., 2])
    assert len(expected) > 1
    by_array = fs.automatic(blue())
    by_file = fs.automatic(path)
    for result in (by_array, by_file):
        assert np.array_equal(result.labels, expected.labels)
        assert result.channel_choice == USED
        assert result.provenance["image"]["channels"] == [2]
        assert "One colour, blue" in result.provenance["image"]["colour"]["why"]
    told = CliRunner().invoke(app, ["run", "automatic", str(path), "--out", str(tmp_path / "masks.tif")])
    assert told.exit_code == 0, told.output
    assert f"Used {USED}." in told.output
    assert "One colour, blue" in told.output
    assert np.array_equal(tifffile.imread(tmp_path / "masks.tif"), expected.labels)
    report, labels = run_batch(tmp_path, path)
    assert np.array_equal(labels[0], expected.labels)
    assert report.channels() == {USED: 1}
    assert report.items[0].diameter == by_file.provenance["size"]["diameter"] > 0
    assert report.diameters() == f"Diameter of the objects: {report.items[0].diameter:.3g} pixels."
    assert report.items[0].reason == "", "an export of one colour is nothing to look at"
    assert compare(tmp_path / "masks.tif", fs.replay(tmp_path / "masks.tif")).equal


def test_slices_of_a_stack_have_the_colour_of_the_stack(tmp_path: Path) -> None:
    stack = np.stack([blue(), blue() // 4, np.zeros_like(blue())])
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="rgb", metadata={"axes": "ZYXS"})
    report, labels = run_batch(tmp_path, tmp_path / "stack.tif", stacks="slices")
    assert report.channels() == {USED: 3}
    grey = fs.automatic(fs.Image(stack[..., 2], "ZYX"), link="none")
    assert [int(plane.max()) for plane in labels] == [len(np.unique(plane)) - 1 for plane in grey.labels]
    assert labels[0].max() > 1


def test_a_recipe_saved_before_keeps_to_rgb_and_a_new_one_is_automatic(tmp_path: Path) -> None:
    path = tmp_path / "dapi.png"
    imsave(path, blue(), check_contrast=False)
    write_recipe(tmp_path / "new.yaml", recipe(path))
    assert "colour: automatic" in (tmp_path / "new.yaml").read_text()
    text = (tmp_path / "new.yaml").read_text().replace("  colour: automatic\n", "")
    (tmp_path / "old.yaml").write_text(text)
    old, new = read_recipe(tmp_path / "old.yaml"), read_recipe(tmp_path / "new.yaml")
    assert (old.inputs.colour, new.inputs.colour) == ("RGB", "automatic")
    assert old.digest() != new.digest()
    runner = Runner(old, tmp_path, tmp_path / "old")
    assert runner.run().channels() == {}
    rgb = fs.automatic(fs.Image(blue(), channels=(0, 1, 2)))
    assert np.array_equal(tifffile.imread(runner.labels_path(runner.items[0])), rgb.labels)


def test_a_result_written_before_is_replayed_with_rgb(tmp_path: Path) -> None:
    path = tmp_path / "dapi.png"
    imsave(path, blue(), check_contrast=False)
    result = fs.automatic(fs.Image(blue(), channels=(0, 1, 2), source=str(path)))
    record = json.loads(json.dumps(result.provenance))
    assert "colour" not in record["image"]
    again = fs.replay(record)
    assert again.provenance["image"]["channels"] == [0, 1, 2]
    assert np.array_equal(again.labels, result.labels)


def test_the_recipe_of_a_run_names_what_was_chosen_not_what_was_found() -> None:
    task = TASKS["automatic"]

    def sources(image: Image) -> Any:
        request = RunRequest("automatic", image, task.inputs(), task.settings("decoder", {}), "foundseg-tiny")
        return recipe_of(request, ("a.png",)).inputs

    assert (sources(Image(blue())).channels, sources(Image(blue())).colour) == (None, "automatic")
    assert sources(Image(blue(), channels="blue")).channels == (2,)
    chosen = sources(Image(blue(), channels=(0, 1, 2)))
    assert (chosen.channels, chosen.colour) == (None, "RGB")


@pytest.mark.parametrize("channels", ["blue", "2", "Blue"])
def test_a_colour_can_be_named_on_the_command_line(tmp_path: Path, channels: str) -> None:
    path = tmp_path / "dapi.png"
    imsave(path, blue(48, 64), check_contrast=False)
    arguments = ["run", "automatic", str(path), "--out", str(tmp_path / "m.tif"), "--channels", channels]
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 0, told.output
    assert "Used channel 3 of 3 (blue)." in told.output


def test_a_wholly_transparent_picture_is_said_to_be(tmp_path: Path) -> None:
    clear = np.dstack([blue(), np.zeros(blue().shape[:2], np.uint8)])
    result = fs.automatic(clear)
    assert np.array_equal(result.labels, fs.automatic(blue()).labels)
    assert "wholly transparent" in result.provenance["image"]["colour"]["hidden"]
