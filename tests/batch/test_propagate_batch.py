"""A batch with a Propagate step: stacks are followed, a flat image among them is named, and the others are done."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from skimage.draw import disk

from napari_foundseg.batch.recipe import Recipe
from napari_foundseg.batch.runner import Runner


def stack(first: int, last: int) -> np.ndarray:
    rows, columns = disk((40, 40), 12)
    made = np.random.default_rng(0).normal(50, 8, (6, 96, 96))
    made[first : last + 1, rows, columns] += 120
    return np.clip(made, 0, 255).astype(np.uint8)


def test_stacks_are_followed_and_a_flat_image_is_named(tmp_path: Path) -> None:
    for name, (first, last) in {"a": (1, 4), "b": (0, 3)}.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", stack(first, last), metadata={"axes": "ZYX"}, imagej=True)
    tifffile.imwrite(tmp_path / "flat.tif", stack(1, 4)[2])
    step = {
        "task": "propagate",
        "model": {"name": "foundseg-tiny"},
        "settings": {"method": "projection"},
        "inputs": {"prompts": {"3": [{"points": [[2, 40, 40]], "labels": [1]}]}},
    }
    recipe = Recipe.model_validate({"inputs": {"paths": [str(tmp_path)]}, "steps": [step]})
    runner = Runner(recipe, tmp_path, tmp_path / "out")
    report = runner.run()
    outcomes = {Path(item.name).stem: item for item in report.items}
    assert {name: outcome.state for name, outcome in outcomes.items()} == {"a": "done", "b": "done", "flat": "failed"}
    assert "no slices" in outcomes["flat"].reason or "coordinates" in outcomes["flat"].reason
    for name, slices in {"a": [1, 2, 3, 4], "b": [0, 1, 2, 3]}.items():
        item = next(item for item in runner.items if item.path.stem == name)
        labels = tifffile.imread(runner.labels_path(item))
        assert np.flatnonzero((labels == 3).any((1, 2))).tolist() == slices
