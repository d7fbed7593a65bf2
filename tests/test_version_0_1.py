"""What version 0.1 wrote opens and replays today."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import tifffile

import napari_foundseg as fs
from napari_foundseg.batch import item_stages, ledger
from napari_foundseg.batch.items import list_items
from napari_foundseg.batch.recipe import read_recipe
from napari_foundseg.batch.sidecar import read_sidecar
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
def test_a_recipe_runs(tmp_path: Path, batch: Path, path: Path) -> None:
    recipe = read_recipe(path)
    folder = ledger.open_folder(tmp_path / "results")
    (item,) = list_items(recipe, batch, tmp_path / "results")
    outcome = item_stages.run_item_here(item_stages.Order(recipe.model_dump_json(), item, folder))
    assert outcome.state == "done", outcome
    assert tifffile.imread(folder.path / "nuclei_labels.tif").any()


def test_a_result_is_known_as_done_and_replays(batch: Path) -> None:
    labels = batch / "results" / "nuclei_labels.tif"
    content = labels.read_bytes()
    assert read_sidecar(labels.with_suffix(".json")).objects == 3
    recipe = read_recipe(batch / "recipe.yaml")
    folder = ledger.open_folder(batch / "results")
    (item,) = list_items(recipe, batch, folder.path)
    outcome = item_stages.run_item_here(item_stages.Order(recipe.model_dump_json(), item, folder))
    assert outcome.state == "already done"
    assert labels.read_bytes() == content
    again = fs.replay(labels, batch / "images" / "nuclei.tif").labels
    # Another processor's sums differ in their last digits: at most single pixels at the border of an object.
    assert np.mean(again != tifffile.imread(labels)) < 1e-3
    assert set(np.unique(again)) == set(np.unique(tifffile.imread(labels)))


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
    row.write_text(text.replace("/home/user/models/my-model.safetensors", Path(str(weights)).as_posix()))
    assert catalog.row("my-model").family == "tiny"
    assert {"automatic", "prompt", "panoptic", "cluster"} <= {
        task for task in TASKS if any(found.name == "my-model" for found in models_for(task))
    }
    assert loading.load_model("my-model").name == "my-model"
