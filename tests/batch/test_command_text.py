"""A run as a command, and what a command makes of it."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from skimage.io import imread
from typer.testing import CliRunner

import napari_foundseg as fs
from napari_foundseg.batch.command_text import as_command, image_of, inputs_of
from napari_foundseg.batch.replay import compare
from napari_foundseg.cli import app
from napari_foundseg.core.contrast import Limits, Percentile
from napari_foundseg.core.errors import AxesError, SettingsError
from napari_foundseg.io.samples import sample
from napari_foundseg.tasks import TASKS
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.tasks.similar.examples import Example

POSIX = pytest.mark.skipif(os.name != "posix", reason="the line is for this system's shell")


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    plane = imread(sample("nuclei"))[:90, :100]
    path = tmp_path / "my stack $HOME 'µ'.tif"
    channels = np.stack([np.stack([plane, 255 - plane]), np.stack([plane[::-1], plane])])
    tifffile.imwrite(path, channels, imagej=True, metadata={"axes": "ZCYX"})
    return path


CASES: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "as it comes": ("automatic", "decoder", {}, {}),
    "a stack, seen otherwise": (
        "automatic",
        "decoder",
        {"min_area": 3, "tile": False, "foreground_threshold": 0.123456789, "diameter": 5.5, "diameter_unit": "µm"},
        {"axes": "TCYX", "channels": 1, "normalisation": Percentile(low=1, high=99)},
    ),
    "one slice": ("automatic", "decoder", {"inputs": {"index": (1,), "region": (3, 4, 80, 90)}}, {}),
    "prompts": (
        "prompt",
        "sam",
        {
            "inputs": {"prompts": [fs.Prompt([(1, 40.1, 60)], [1]), fs.Prompt(box=(0, 9, 9, 0, 60, 60))]},
            "output": "single",
        },
        {"channels": (1, 0), "normalisation": Limits(low=10, high=200.5)},
    ),
}


@POSIX
@pytest.mark.parametrize("name", CASES)
def test_copy_as_command_gives_the_same_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stack: Path, name: str
) -> None:
    task, method, values, seen = CASES[name]
    monkeypatch.chdir(tmp_path)
    size = {"Z": 2.0, "Y": 0.5, "X": 0.5}
    image = fs.Image(
        tifffile.imread(stack),
        **({"axes": "ZCYX"} | seen),
        spacing=size,
        units={"Y": "µm", "X": "µm"},
        source=str(stack),
    )
    row = TASKS[task]
    values = dict(values)
    inputs = row.inputs.parse(values.pop("inputs", {}))
    settings = row.settings(method, values)
    words = shlex.split(as_command(RunRequest(task, image, inputs, settings, "foundseg-tiny"), "layer"))
    assert words[:3] == ["napari-foundseg", "run", task]
    done = CliRunner().invoke(app, words[1:], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    keywords = settings.model_dump(exclude={"method"})
    if task == "prompt":
        expected = fs.prompt(image, inputs.prompts, **keywords)
    else:
        from napari_foundseg.tasks.running import run

        expected = run(task, image, inputs.model_dump(), model="foundseg-tiny", method=method, **keywords)
    assert expected.labels.any()
    assert np.array_equal(tifffile.imread(tmp_path / "labels.tif"), expected.labels)
    again = fs.replay(tmp_path / "labels.tif")
    assert compare(tmp_path / "labels.tif", again).equal is True


def test_a_layer_that_came_from_no_file_is_named_in_its_place() -> None:
    row = TASKS["automatic"]
    text = as_command(
        RunRequest("automatic", fs.Image(np.zeros((9, 9))), row.inputs(), row.settings("decoder", {}), "foundseg-tiny"),
        "my layer",
    )
    assert "'my layer.tif'" in text or '"my layer.tif"' in text


def test_inputs_come_as_json_or_in_a_file(tmp_path: Path) -> None:
    given = {"region": [0, 0, 9, 9]}
    (tmp_path / "in.json").write_text(json.dumps(given))
    assert inputs_of(json.dumps(given)) == inputs_of(str(tmp_path / "in.json")) == given


def test_long_inputs_are_in_a_file_that_the_line_names(tmp_path: Path) -> None:
    """Pictures of examples make a line that no shell takes and nobody reads."""
    pixels = np.random.default_rng(0).integers(0, 255, (200, 200), np.uint8)
    image = fs.Image(pixels)
    examples = [Example.cut(image, fs.Prompt(box=(at, at, at + 40, at + 40))) for at in (20, 80, 140)]
    row = TASKS["find_similar"]
    inputs = row.inputs.parse({"examples": examples})
    request = RunRequest("find_similar", image, inputs, row.settings("features", {}), "foundseg-tiny")
    words = shlex.split(as_command(request, "cells", folder=tmp_path / "commands"))
    assert len(" ".join(words)) < 1500
    path = Path(words[words.index("--inputs") + 1])
    assert row.inputs.parse(inputs_of(str(path))).model_dump(mode="json") == inputs.model_dump(mode="json")
    assert shlex.split(as_command(request, "cells", folder=tmp_path / "commands")) == words
    assert list((tmp_path / "commands").iterdir()) == [path]
    assert len(as_command(request, "cells")) > 5000, "without a folder the line holds them"


@pytest.mark.parametrize("text", ["{", "nowhere.json", "{]}", "[]", "5", ""])
def test_inputs_that_are_neither_are_named(text: str) -> None:
    with pytest.raises(SettingsError, match="inputs = "):
        inputs_of(text)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"channels": "red"}, AxesError, "no channel is named 'red'"),
        ({"channels": "7"}, AxesError, "channels"),
        ({"normalisation": "auto"}, SettingsError, "normalisation = 'auto'"),
        ({"normalisation": '{"kind": "percentile", "low": 99, "high": 1}'}, SettingsError, "below high"),
        ({"spacing": '{"Y": 0.5}'}, SettingsError, "spacing"),
        ({"axes": "ABC"}, AxesError, "ABC"),
    ],
)
def test_an_option_that_means_nothing_is_named(
    stack: Path, options: dict[str, str], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        image_of(stack, options)
