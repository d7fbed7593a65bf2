"""Small networks in each published layout, imported by the command line and run by it, and in recipes.

That they equal their references is tested beside their families; here their files go the whole way of a command.
GLIP, MaskFormer and the decoder of CLIPSeg have such tests of their own.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

import napari_foundseg as fs
from napari_foundseg.batch.recipe import ModelOf, Step
from napari_foundseg.batch.recipe_steps import run_steps
from napari_foundseg.core.result import Segmentation
from napari_foundseg.engine.stages import StageContext
from napari_foundseg.io.writers import write_labels
from napari_foundseg.models import loading
from napari_foundseg.tasks.task_models import tasks_for
from tests.models.families.instances.test_onnx_network import blocks
from tests.models.test_family_protocols import tiny_weights
from tests.support.command_line import command, import_by_command

PHRASES = ["cell", "nucleus"]
#: Of each family: the task, and its settings.
SYSTEMS: dict[str, tuple[str, dict[str, Any]]] = {
    "grounding_dino": ("text", {"mask_model": "", "threshold": 0.0, "link": "none"}),
    "owl": ("text", {"mask_model": "", "threshold": 0.3, "link": "none"}),
    "omdet_turbo": ("text", {"mask_model": "", "threshold": 0.0, "link": "none"}),
    "clipseg": ("text", {"threshold": 0.5, "link": "none"}),
    "region_clip": ("name_masks", {}),
    "clip": ("name_masks", {}),
    "smp": ("semantic", {}),
    "openmmlab": ("semantic", {}),
    "segnet": ("semantic", {}),
    "transunet": ("semantic", {}),
    "unet_brain": ("semantic", {}),
    "yolo_seg": ("panoptic", {"method": "instances", "threshold": 0.7, "link": "none"}),
    "efficientps": ("panoptic", {"threshold": 0.0, "overlap_mask_area_threshold": 0.5, "link": "none"}),
    "maskformer": ("panoptic", {"threshold": 0.0, "link": "none"}),
    "dino": ("cluster", {"n_clusters": 3}),
    "bioimageio": ("semantic", {}),
    "onnx_network": ("semantic", {}),
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loading, "_loaded", OrderedDict())


def by_command(task: str, image: Path, model: str, settings: dict[str, Any], inputs: dict[str, Any]) -> Any:
    """Run a task by the command line and return the labels it writes."""
    out = image.with_name(f"{image.stem} {model}.tif")
    options = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    given = ["--inputs", json.dumps(inputs)] if inputs else []
    command("run", task.replace("_", "-"), str(image), "--out", str(out), "--model", model, *options, *given)
    return tifffile.imread(out)


def by_python(task: str, image: Path, model: str, settings: dict[str, Any], inputs: dict[str, Any]) -> Segmentation:
    first = {"text": ("concepts",), "name_masks": ("labels", "vocabulary")}.get(task, ())
    given = [tifffile.imread(inputs[name]) if name == "labels" else inputs[name] for name in first]
    found: Segmentation = getattr(fs, task)(image, *given, model=model, **settings)
    return found


@pytest.mark.parametrize("family", SYSTEMS)
def test_a_file_goes_the_whole_way_of_a_command(family: str, tmp_path: Path) -> None:
    task, settings = SYSTEMS[family]
    rng = np.random.default_rng(0)
    rgb = np.stack([blocks()[:64, :80]] * 3, -1) // 2 + rng.integers(0, 120, (64, 80, 3), np.uint8)
    objects = np.zeros((64, 80), np.uint16)
    objects[10:40, 10:50], objects[50:60, 60:75] = 1, 2
    ran: list[bool] = []
    (tmp_path / "weights").mkdir()
    for number, path in enumerate(tiny_weights()[family](tmp_path / "weights")):
        name = f"mine{number}"
        row = import_by_command(path, name)
        assert row.family == family
        if task not in tasks_for(row):
            continue
        labels: dict[str, Any] = {}
        for kind, pixels, axes in (("picture", rgb, "YXS"), ("stack", np.stack([rgb, rgb[::-1]]), "ZYXS")):
            image = tmp_path / f"{kind}.tif"
            tifffile.imwrite(image, pixels, photometric="rgb", metadata={"axes": axes})
            inputs: dict[str, Any] = {}
            if task == "text":
                inputs = {"concepts": PHRASES}
            elif task == "name_masks":
                own = objects if kind == "picture" else np.stack([objects, objects[::-1]])
                write_labels(tmp_path / f"{kind} objects.tif", own, axes[:-1])
                inputs = {"labels": str(tmp_path / f"{kind} objects.tif"), "vocabulary": PHRASES}
            labels[kind] = by_command(task, image, name, settings, inputs)
            assert labels[kind].shape == pixels.shape[:-1]
            if kind == "picture" or task in ("cluster", "name_masks"):
                expected = by_python(task, image, name, settings, inputs)
                assert np.array_equal(labels[kind], expected.labels)
                if task == "name_masks":
                    table = pd.read_csv(tmp_path / f"{kind} {name}.csv")
                    assert table["class_name"].tolist() == expected.table["class_name"].tolist()
        if task != "cluster":  # a stack's slices share their clusters
            assert np.array_equal(labels["stack"][0], labels["picture"])
        ran.append(labels["stack"].any())
        if task != "name_masks":  # which has no labels without an earlier step
            step = Step(task=task, model=ModelOf(name=name), inputs=inputs, settings=settings)
            (found, *_) = run_steps((step,), fs.Image(rgb, "YXC"), StageContext(None, lambda *_: None, bool))
            assert np.array_equal(found, labels["picture"])
    assert any(ran), "none of its files finds anything in this task"
