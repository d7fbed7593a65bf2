"""Steps of a recipe that need no model: bright parts are objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from napari_foundseg.batch import item_stages, ledger
from napari_foundseg.batch.items import list_items, output_folder
from napari_foundseg.batch.recipe import ModelOf, Outputs, Recipe, Sources, Step
from napari_foundseg.core.image import Image
from napari_foundseg.core.object_table import object_table
from napari_foundseg.io.writers import write_labels


def steps_without_model(steps: Any, image: Image, context: Any) -> Any:
    labels = ndimage.label(np.asarray(image.levels[0]) >= 128)[0].astype(np.uint16)
    # A setting that changes the result, as settings do.
    smallest = steps[0].parsed_settings().min_area
    for i, n in enumerate(np.bincount(labels.ravel())):
        if i and n < smallest:
            labels[labels == i] = 0
    scores = np.ones(int(labels.max()))
    table = object_table(labels, image.label_axes, predicted_iou=scores, stability_score=scores)
    return labels, table, ({"task": "automatic", "source": image.source},)


def picture_file(path: Path, seed: int = 0, shape: tuple[int, ...] = (24, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    random = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 1.5)
    write_labels(path, np.where(random > np.median(random), 200, 20).astype(np.uint16), "TZYX"[-len(shape) :])
    return path


def recipe(*paths: str, min_area: int = 0, labels: Any = ".tif", **options: Any) -> Recipe:
    step = Step(
        task="automatic", method="decoder", model=ModelOf(name="foundseg-tiny"), settings={"min_area": min_area}
    )
    return Recipe(inputs=Sources(paths=paths or ("images",), **options), steps=(step,), outputs=Outputs(labels=labels))


def orders(what: Recipe, folder: Path, out: Path | None = None) -> list[item_stages.Order]:
    results = ledger.open_folder(output_folder(what, folder, out))
    return [item_stages.Order(what.model_dump_json(), item, results) for item in list_items(what, folder, out)]


def run(what: Recipe, folder: Path, out: Path | None = None) -> list[item_stages.ItemOutcome]:
    return [item_stages.run_item_here(order) for order in orders(what, folder, out)]
