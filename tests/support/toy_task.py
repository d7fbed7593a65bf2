"""A task that marks bright parts, as another package would write it."""

from __future__ import annotations

import time
from typing import Any, Literal

import numpy as np
from pydantic import Field
from scipy import ndimage

from napari_foundseg.core.labels import plane_view
from napari_foundseg.core.object_table import object_table
from napari_foundseg.core.result import Segmentation
from napari_foundseg.tasks import Settings, Task
from napari_foundseg.tasks.provenance import record
from napari_foundseg.tasks.regions import Region, slices
from napari_foundseg.tasks.run_request import RunRequest


class ToySettings(Settings):
    """Parts brighter than a threshold."""

    method: Literal["bright"] = "bright"
    level: float = Field(0.5, ge=0, le=1, title="Brightness")
    """Pixels brighter than this fraction of the brightest become objects."""


def run(image: Any, inputs: Region, settings: ToySettings, model: Any, progress: Any, cancelled: Any) -> Segmentation:
    started = time.perf_counter()
    labels = np.zeros(image.shape, np.uint16)
    count = 0
    for index in slices(image, inputs):
        pixels = np.asarray(image.rgb(index), float).max(-1)
        found, number = ndimage.label(pixels > settings.level * pixels.max())
        plane_view(labels, image.label_axes, index)[:] = np.where(found, found + count, 0)
        count += number
        progress(1.0, "marking")
    table = object_table(labels, image.label_axes, predicted_iou=np.ones(count), stability_score=np.ones(count))
    request = RunRequest("toy", image, inputs, settings, model.name)
    return Segmentation(labels, table, provenance=record(request, model, started))


TASK = Task(
    name="toy",
    title="Toy",
    inputs=Region,
    methods={"bright": ToySettings},
    protocols={"bright": "Promptable"},
    function=run,
    slices=slices,
    menus=("segment",),
)
