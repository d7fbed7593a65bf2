"""Running the steps of a recipe on one image, one after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.batch.recipe import Step
from napari_foundseg.core.classes.class_table import OBJECT
from napari_foundseg.core.image import Image
from napari_foundseg.core.labels import Overlap, label_dtype
from napari_foundseg.core.object_table import named_classes, object_table
from napari_foundseg.core.result import Segmentation
from napari_foundseg.engine.stages import StageContext
from napari_foundseg.tasks import TASKS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["run_steps"]


def run_steps(
    steps: Sequence[Step], image: Image, context: StageContext
) -> tuple[NDArray[Any], pd.DataFrame, tuple[dict[str, Any], ...]]:
    """Return labels, a table with one row per object (area 0: all pixels overwritten), and each step's provenance."""
    labels: NDArray[Any] | None = None
    table: pd.DataFrame | None = None
    classes = OBJECT
    provenance = []
    for i, step in enumerate(steps):

        def share(part: float, words: str, *, i: int = i) -> None:
            context.progress((i + part) / len(steps), words)

        model = context.model(step.model.name, step.protocol)
        task = TASKS[step.task]
        inputs = step.parsed_inputs()
        step_inputs = inputs if labels is None else inputs.with_labels(labels)
        found = task.run(image, step_inputs, step.parsed_settings(), model, share, context.cancelled)
        record = {**found.provenance, "rule": step.rule} if i else found.provenance
        # Labels from earlier steps are not repeated in the provenance.
        provenance.append(record if step_inputs is inputs else {**record, "inputs": inputs.model_dump(mode="json")})
        if labels is None or table is None or step_inputs is not inputs:
            labels = found.labels
            table = found.table
            classes = found.classes
        else:
            classes, numbers = classes.joined(found.classes)
            labels, table = _add_objects(labels, table, found, numbers, image.label_axes, step.rule)
            table = named_classes(table, classes) if classes.ids != OBJECT.ids else table
    assert labels is not None
    assert table is not None
    provenance[-1] = {**provenance[-1], "classes": classes.measured(None, table["class"]).to_json()}
    return labels, table, tuple(provenance)


def _add_objects(
    labels: NDArray[Any],
    table: pd.DataFrame,
    found: Segmentation,
    numbers: Mapping[int, int],
    axes: str,
    rule: Overlap,
) -> tuple[NDArray[Any], pd.DataFrame]:
    """Add a step's objects to those of earlier steps, numbered after them."""
    count = len(table)
    labels = _renumber(labels, table)
    added = _renumber(found.labels, found.table)
    taken = added > 0
    if rule != "overwrite":
        taken &= labels == 0
    labels = labels.astype(np.promote_types(labels.dtype, label_dtype(count + len(found.table))))
    np.add(added, count, out=labels, where=taken, dtype=labels.dtype, casting="unsafe")
    scores = {name: np.concatenate([table[name], found.table[name]]) for name in ("predicted_iou", "stability_score")}
    classes = np.concatenate([table["class"], [numbers.get(number, number) for number in found.table["class"]]])
    return labels, object_table(labels, axes, **scores, classes=classes.astype(np.int64))


def _renumber(labels: NDArray[Any], table: pd.DataFrame) -> NDArray[Any]:
    """Renumber labels, such as panoptic ids, to 1 … n in the order of the table."""
    ids = table["label"].to_numpy(np.int64)
    if not len(ids) or ids.max() == len(ids):
        return labels
    lookup = np.zeros(ids.max() + 1, label_dtype(len(ids)))
    lookup[ids] = np.arange(1, len(ids) + 1)
    dense: NDArray[Any] = lookup[labels]
    return dense
