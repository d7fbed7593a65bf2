"""Text, names, classes and panoptic models on the command line and in recipes give what Python gives."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from skimage.io import imread
from typer.testing import CliRunner

import napari_foundseg as fs
from napari_foundseg.batch.command_text import as_command
from napari_foundseg.batch.recipe import ModelOf, Recipe, Sources, Step
from napari_foundseg.batch.recipe_steps import run_steps
from napari_foundseg.batch.replay import compare
from napari_foundseg.cli import app
from napari_foundseg.core.errors import PromptError, SettingsError
from napari_foundseg.core.result import Segmentation
from napari_foundseg.engine.stages import StageContext
from napari_foundseg.io.samples import sample
from napari_foundseg.io.writers import write_labels
from napari_foundseg.models import loading
from napari_foundseg.models.importing import import_model
from napari_foundseg.tasks import TASKS
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.widgets.runs.python_text import as_python
from tests.models.families.language.test_region_clip import write_weights
from tests.support import tiny_checkpoints

LABELS = np.zeros((64, 64), np.uint16)
LABELS[5:20, 5:30], LABELS[40:60, 30:50] = 3, 8


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loading, "_loaded", OrderedDict())


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A stack of two slices, in colours."""
    rgb = np.ascontiguousarray(imread(sample("tissue"))[:64, :64, :3])
    tifffile.imwrite(tmp_path / "image.tif", np.stack([rgb, rgb[::-1]]), photometric="rgb", metadata={"axes": "ZYXS"})
    return tmp_path / "image.tif"


def model(tmp_path: Path, architecture: str) -> str:
    return import_model(tiny_checkpoints.write(architecture, tmp_path / architecture.lower())).name


def command(*words: str) -> None:
    done = CliRunner().invoke(app, ["run", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output


def written(folder: Path, expected: Segmentation) -> None:
    """Compare the files of a command with a result."""
    labels = tifffile.imread(folder / "labels.tif")
    assert labels.any()
    assert np.array_equal(labels, expected.labels)
    table = pd.read_csv(folder / "labels.csv")
    assert table["class_name"].tolist() == expected.table["class_name"].tolist()
    assert compare(folder / "labels.tif", fs.replay(folder / "labels.tif")).equal is True


def outputs(folder: Path) -> list[str]:
    return ["--out", str(folder / "labels.tif"), "--table", str(folder / "labels.csv")]


def test_text(tmp_path: Path, image: Path) -> None:
    name = model(tmp_path, "CLIPSegForImageSegmentation")
    concepts = [{"text": "nucleus, nuclei", "negative": "debris", "threshold": 0.45}, "background"]
    given = json.dumps({"concepts": concepts})
    command("text", str(image), *outputs(tmp_path), "--model", name, "--inputs", given, "--threshold", "0.5")
    written(tmp_path, fs.text(image, concepts, model=name, threshold=0.5))


def test_name_masks(tmp_path: Path, image: Path) -> None:
    name = model(tmp_path, "CLIPModel")
    labels = np.stack([LABELS, LABELS[::-1]])
    write_labels(tmp_path / "objects.tif", labels, "ZYX")
    given = json.dumps({"labels": str(tmp_path / "objects.tif"), "vocabulary": "cell, a living cell; debris"})
    # The names stand in the table alone, so it is written unasked.
    out = str(tmp_path / "labels.tif")
    command("name-masks", str(image), "--out", out, "--model", name, "--inputs", given, "--top-k", "2")
    expected = fs.name_masks(image, labels, ["cell, a living cell", "debris"], model=name, top_k=2)
    written(tmp_path, expected)
    table = pd.read_csv(tmp_path / "labels.csv")
    assert table["probability_2"].to_numpy() == pytest.approx(expected.table["probability_2"].to_numpy())


def test_semantic(tmp_path: Path, image: Path) -> None:
    name = model(tmp_path, "SegformerForSemanticSegmentation")
    command("semantic", str(image), *outputs(tmp_path), "--model", name)
    written(tmp_path, fs.semantic(image, model=name))
    command(
        "semantic",
        str(image),
        *outputs(tmp_path),
        "--model",
        name,
        "--output",
        "objects",
        "--min-area",
        "9",
        "--overwrite",
    )
    written(tmp_path, fs.semantic(image, model=name, output="objects", min_area=9))


def test_panoptic(tmp_path: Path, image: Path) -> None:
    name = model(tmp_path, "Mask2FormerForUniversalSegmentation")
    options = {"threshold": 0.05, "mask_threshold": 0.0, "overlap_mask_area_threshold": 0.0}
    words = [word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    command("panoptic", str(image), *outputs(tmp_path), "--model", name, "--link", "overlap", *words)
    written(tmp_path, fs.panoptic(image, model=name, link="overlap", **options))


def test_a_recipe_finds_objects_and_names_them(tmp_path: Path) -> None:
    """The labels to be named are those of the step before, whatever the image."""
    name = model(tmp_path, "CLIPModel")
    steps = (
        Step(task="automatic", model=ModelOf(name="foundseg-tiny")),
        Step(task="name_masks", model=ModelOf(name=name), inputs={"vocabulary": ["cell", "debris"]}),
    )
    picture = fs.Image(imread(sample("tissue"))[:64, :64, :3], "YXC")
    context = StageContext(None, lambda *_: None, bool)
    labels, table, provenance = run_steps(steps, picture, context)
    objects = fs.automatic(picture).labels
    expected = fs.name_masks(picture, objects, ["cell", "debris"], model=name)
    assert len(table) > 0
    assert np.array_equal(labels, objects)
    assert table["class_name"].tolist() == expected.table["class_name"].tolist()
    assert provenance[-1]["inputs"]["labels"] is None, "what the step before made is not written down again"
    with pytest.raises(PromptError, match="add an earlier step that makes one"):
        run_steps(steps[1:], picture, context)
    with pytest.raises(ValueError, match="the first step, name_masks, needs objects"):
        Recipe(inputs=Sources(paths=("a.tif",)), steps=steps[1:])


def test_copied_names_run_again_with_the_layers_of_the_viewer(tmp_path: Path) -> None:
    name = model(tmp_path, "CLIPModel")
    picture = fs.Image(imread(sample("tissue"))[:64, :64, :3], "YXC")
    task = TASKS["name_masks"]
    inputs = task.inputs.parse({"labels": LABELS, "vocabulary": ["cell", "debris"]})
    settings, layers = task.settings("crops", {"top_k": 2}), {"labels": "my objects"}
    text = as_python(RunRequest("name_masks", picture, inputs, settings, name), "cells", layers)
    assert "viewer.layers['my objects'].data" in text
    assert len(text) < 1000
    viewer = SimpleNamespace(
        layers={"cells": SimpleNamespace(data=picture.data), "my objects": SimpleNamespace(data=LABELS[None])}
    )
    names: dict[str, Any] = {"viewer": viewer}
    exec(text, names)
    expected = fs.name_masks(picture, LABELS, ["cell", "debris"], model=name, top_k=2)
    assert names["seg"].table.equals(expected.table)
    line = as_command(RunRequest("name_masks", picture, inputs, settings, name), "cells", layers)
    assert '"labels": "my objects.tif"' in line
    assert len(line) < 600


def test_panoptic_names_its_objects_with_words_of_the_user_in_one_step(tmp_path: Path, image: Path) -> None:
    name = model(tmp_path, "CLIPModel")
    words = "cell, a living cell; debris"
    plain = fs.panoptic(image)
    found = fs.panoptic(image, words=words, crops_model=name)
    named = fs.name_masks(image, plain.labels, ["cell, a living cell", "debris"], model=name)
    assert plain.labels.max() > 1
    assert np.array_equal(found.labels, plain.labels)
    assert [entry.name for entry in found.classes] == ["cell", "debris", "background"]
    assert found.table["class_name"].tolist() == named.table["class_name"].tolist()
    assert found.table["probability_1"].tolist() == named.table["probability_1"].tolist()
    assert found.table["predicted_iou"].tolist() == plain.table["predicted_iou"].tolist()
    inside = found.labels > 0
    assert found.semantic is not None
    assert named.semantic is not None
    assert np.array_equal(found.semantic[inside], named.semantic[inside])
    assert set(np.unique(found.semantic[~inside])) == {3}
    assert found.provenance["words"]["model"]["name"] == name
    # The whole way of a command, and from its record once more.
    command("panoptic", str(image), *outputs(tmp_path), "--words", words, "--crops-model", name)
    written(tmp_path, found)
    step = Step(
        task="panoptic", model=ModelOf(name="foundseg-tiny"),
        settings={"words": words, "crops_model": name, "output": "classes"},
    )  # fmt: skip
    picture = fs.Image(imread(sample("tissue"))[:64, :64, :3], "YXC")
    _, table, provenance = run_steps((step,), picture, StageContext(None, lambda *_: None, bool))
    assert set(table["class_name"]) <= {"cell", "debris", "background"}
    assert provenance[0]["settings"]["output"] == "classes"
    classes = fs.panoptic(picture, words=words, crops_model=name, output="classes")
    assert np.array_equal(classes.pixels, fs.panoptic(picture, words=words, crops_model=name).semantic)


def test_words_of_panoptic_are_compared_with_places_and_with_both(tmp_path: Path) -> None:
    picture = fs.Image(imread(sample("tissue"))[:64, :64, :3], "YXC")
    places = import_model(write_weights(tmp_path)[0], "places").name
    objects = fs.panoptic(picture).labels
    for second in ("", "clip"):
        found = fs.panoptic(picture, words="cell; debris", regions_model=places, crops_model=second)
        named = fs.name_masks(
            picture, objects, ["cell", "debris"], model=places, method="regions", crops_model=second
        )  # fmt: skip
        assert found.table["probability_1"].tolist() == named.table["probability_1"].tolist()
        assert ("crops_model" in found.provenance["words"]) == bool(second)
    with pytest.raises(SettingsError, match="no model to compare them with"):
        fs.panoptic(picture, words="cell")
    with pytest.raises(SettingsError, match="words is empty"):
        fs.panoptic(picture, crops_model="clip")
