"""What version 0.1 wrote opens and replays today."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import tifffile

import napari_foundseg as fs
from napari_foundseg.batch import item_stages, ledger
from napari_foundseg.batch.items import list_items
from napari_foundseg.batch.recipe import ModelOf, Recipe, read_recipe
from napari_foundseg.batch.sidecar import read_sidecar
from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.io.journal import kept_journals, read_journal
from napari_foundseg.models import catalog, loading
from napari_foundseg.tasks import TASKS
from napari_foundseg.tasks.task_models import models_for
from tests.support import ROOT

KEPT = ROOT / "tests" / "data" / "version_0_1"
RECIPES = sorted((KEPT / "recipes").glob("*.yaml"))
#: Those whose model comes with the package.
RUN = [path for path in RECIPES if path.stem not in {"text", "semantic", "name_masks"}]


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    return Path(shutil.copytree(KEPT / "batch", tmp_path / "batch"))


def unpinned(path: Path) -> Recipe:
    """Read a recipe as a user changes it who wants the weights of today."""
    recipe = read_recipe(path)
    free = [step.model_copy(update={"model": ModelOf(name=step.model.name)}) for step in recipe.steps]
    return recipe.model_copy(update={"steps": tuple(free)})


def test_there_is_a_recipe_of_every_task() -> None:
    # Tasks that came after version 0.1 are not among them.
    tasks = {step.task for path in RECIPES for step in read_recipe(path).steps}
    assert tasks == {"automatic", "prompt", "text", "semantic", "panoptic", "name_masks", "cluster"}
    assert tasks <= set(TASKS)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_opens_with_its_values(path: Path) -> None:
    recipe = read_recipe(path)
    written = json.loads(recipe.model_dump_json())
    import yaml

    for step, as_written in zip(written["steps"], yaml.safe_load(path.read_text())["steps"], strict=True):
        for name, value in as_written["settings"].items():
            assert step["settings"][name] == value
        assert step["inputs"] == as_written["inputs"]
    for step in recipe.steps:
        step.parsed_settings()


@pytest.mark.parametrize("path", RUN, ids=lambda path: path.stem)
def test_a_recipe_runs_with_the_weights_of_today(tmp_path: Path, batch: Path, path: Path) -> None:
    recipe = unpinned(path)
    folder = ledger.open_folder(tmp_path / "results")
    (item,) = list_items(recipe, batch, tmp_path / "results")
    outcome = item_stages.run_item_here(item_stages.Order(recipe.model_dump_json(), item, folder))
    assert outcome.state == "done", outcome
    assert tifffile.imread(folder.path / "nuclei_labels.tif").any()


def test_a_recipe_of_other_weights_says_which_it_needs(tmp_path: Path, batch: Path) -> None:
    with pytest.raises(CheckpointError, match=r"Revision 4 of foundseg-tiny is wanted .* take revision and sha256 out"):
        read_recipe(RUN[0]).steps[0].model.check()
    labels = batch / "results" / "nuclei_labels.tif"
    assert read_sidecar(labels.with_suffix(".json")).objects == 3
    with pytest.raises(CheckpointError, match="Install the napari-foundseg that it comes with"):
        fs.replay(labels, batch / "images" / "nuclei.tif")


def test_a_result_is_known_as_done_while_its_weights_are_here(monkeypatch: pytest.MonkeyPatch, batch: Path) -> None:
    labels = batch / "results" / "nuclei_labels.tif"
    content = labels.read_bytes()
    recipe = read_recipe(batch / "recipe.yaml")
    # As if the weights here were those of then.
    then = recipe.steps[0].model
    row = replace(catalog.row("foundseg-tiny"), revision=then.revision, sha256=then.sha256)
    monkeypatch.setitem(catalog._adopted, row.name, row)
    folder = ledger.open_folder(batch / "results")
    (item,) = list_items(recipe, batch, folder.path)
    outcome = item_stages.run_item_here(item_stages.Order(recipe.model_dump_json(), item, folder))
    assert outcome.state == "already done"
    assert labels.read_bytes() == content


def test_an_interrupted_journal_is_found_and_read(tmp_path: Path) -> None:
    shutil.copytree(KEPT / "journal", tmp_path, dirs_exist_ok=True)
    image = fs.read_image(KEPT / "batch" / "images" / "nuclei.tif")
    (kept,) = kept_journals(tmp_path, image.fingerprint())
    assert kept.lost
    with np.load(KEPT / "journal" / "labels.npz") as expected:
        np.testing.assert_array_equal(read_journal(kept.path).labels, expected["labels"])


def test_an_imported_model_is_in_the_catalogue_and_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path))
    monkeypatch.setattr(loading, "_loaded", type(loading._loaded)())
    weights = files("napari_foundseg.models").joinpath("weights", "foundseg-tiny.safetensors")
    text = (KEPT / "models" / "my-model.toml").read_text()
    (tmp_path / "models").mkdir()
    row = tmp_path / "models" / "my-model.toml"
    then, now = "28abeb86dd222d791d0936229361778a11bb4c0d622ab8cbd55d4dac22a99b10", catalog.row("foundseg-tiny").sha256
    text = text.replace("/home/user/models/my-model.safetensors", Path(str(weights)).as_posix())
    row.write_text(text.replace(then, now))
    assert catalog.row("my-model").family == "tiny"
    assert {"automatic", "prompt", "panoptic", "cluster"} <= {
        task for task in TASKS if any(found.name == "my-model" for found in models_for(task))
    }
    assert loading.load_model("my-model").name == "my-model"
