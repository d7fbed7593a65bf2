"""The steps of a recipe, one after the other, on one image."""

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
    """Run the steps of a recipe on an image.

    Parameters
    ----------
    steps : sequence of Step
        The steps.
    image : Image
        The image.
    context : StageContext
        Gives models, is told the progress, says whether to stop.

    Returns
    -------
    labels : ndarray of unsigned int
        Of the image's shape without channels.
    table : pandas.DataFrame
        A row an object; one that lost all its pixels to another keeps its row with area 0.
    provenance : tuple of dict
        Of each step; that of the last has the classes of the whole.

    Raises
    ------
    FoundsegError
        What a step fails with.
    """
    labels: NDArray[Any] | None = None
    table: pd.DataFrame | None = None
    classes = OBJECT
    provenance = []
    for i, step in enumerate(steps):

        def share(part: float, words: str, i: int = i) -> None:
            context.progress((i + part) / len(steps), words)

        model = context.model(step.model.name, step.protocol)
        task, inputs = TASKS[step.task], step.parsed_inputs()
        given = inputs if labels is None else inputs.with_labels(labels)
        found = task.run(image, given, step.parsed_settings(), model, share, context.cancelled)
        told = {**found.provenance, "rule": step.rule} if i else found.provenance
        # What the steps before have made is not written down again.
        provenance.append(told if given is inputs else {**told, "inputs": inputs.model_dump(mode="json")})
        if labels is None or table is None or given is not inputs:
            labels, table, classes = found.labels, found.table, found.classes
        else:
            classes, numbers = classes.joined(found.classes)
            labels, table = _added(labels, table, found, numbers, image.label_axes, step.rule)
            table = named_classes(table, classes) if classes.ids != OBJECT.ids else table
    assert labels is not None
    assert table is not None
    provenance[-1] = {**provenance[-1], "classes": classes.measured(None, table["class"]).to_json()}
    return labels, table, tuple(provenance)


def _added(
    labels: NDArray[Any],
    table: pd.DataFrame,
    found: Segmentation,
    numbers: Mapping[int, int],
    axes: str,
    rule: Overlap,
) -> tuple[NDArray[Any], pd.DataFrame]:
    """Add a step's objects to those that are there; their ids go on."""
    count = len(table)
    labels = _dense(labels, table)
    added = _dense(found.labels, found.table)
    taken = added > 0
    if rule != "overwrite":
        taken &= labels == 0
    labels = labels.astype(np.promote_types(labels.dtype, label_dtype(count + len(found.table))))
    np.add(added, count, out=labels, where=taken, dtype=labels.dtype, casting="unsafe")
    scores = {name: np.concatenate([table[name], found.table[name]]) for name in ("predicted_iou", "stability_score")}
    classes = np.concatenate([table["class"], [numbers.get(number, number) for number in found.table["class"]]])
    return labels, object_table(labels, axes, **scores, classes=classes.astype(np.int64))


def _dense(labels: NDArray[Any], table: pd.DataFrame) -> NDArray[Any]:
    """Give labels with other numbers, such as panoptic ids, the numbers 1 to n in the order of the table."""
    ids = table["label"].to_numpy(np.int64)
    if not len(ids) or ids.max() == len(ids):
        return labels
    lookup = np.zeros(ids.max() + 1, label_dtype(len(ids)))
    lookup[ids] = np.arange(1, len(ids) + 1)
    dense: NDArray[Any] = lookup[labels]
    return dense
