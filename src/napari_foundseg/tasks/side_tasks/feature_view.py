"""Features of a model, shown as colours."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

import numpy as np
from pydantic import Field

from napari_foundseg.core.errors import Cancelled
from napari_foundseg.core.image import Image
from napari_foundseg.core.object_table import object_table
from napari_foundseg.core.result import Segmentation
from napari_foundseg.models.protocols.objects import FeatureExtractor
from napari_foundseg.tasks.provenance import record
from napari_foundseg.tasks.regions import Region, slices
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.tasks.settings import Progress, Settings, Task
from napari_foundseg.tasks.windows.features import feature_rgb

__all__ = ["TASK", "CodeSettings", "ViewSettings"]


class ViewSettings(Settings):
    """Three principal components of the features as red, green and blue."""

    method: Literal["components"] = "components"
    context: int = Field(0, ge=0, le=512, title="Averaging window", json_schema_extra={"unit": "pixels"})
    """Higher values average the features over a larger square."""


class CodeSettings(Settings):
    """Three principal components of a fitted model's codes, whose features are averaged as they were for the fit."""

    method: Literal["codes"] = "codes"


def run(
    image: Image,
    inputs: Region,
    settings: ViewSettings | CodeSettings,
    model: FeatureExtractor,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Segmentation:
    """Show the features of slices as colours.

    The result has no objects; `maps` holds (3, M, N) arrays of uint8 by slice.
    """
    started = time.perf_counter()

    def poll() -> None:
        if cancelled():
            raise Cancelled("The run was cancelled.")

    planes = slices(image, inputs)
    maps = {}
    context = settings.context if isinstance(settings, ViewSettings) else 0
    for i, index in enumerate(planes):
        progress(i / len(planes), "computing features")
        maps[index] = np.moveaxis(feature_rgb(image, model, index, context, poll), -1, 0)
    labels = np.zeros(image.shape, np.uint16)
    table = object_table(labels, image.label_axes, predicted_iou=[], stability_score=[])
    return Segmentation(
        labels,
        table,
        provenance=record(RunRequest("features", image, inputs, settings, model.name), model, started),
        maps=maps,
    )


TASK = Task(
    name="features",
    title="Features",
    inputs=Region,
    methods={"codes": CodeSettings, "components": ViewSettings},
    protocols={"codes": "Clustering", "components": "FeatureExtractor"},
    function=run,
    slices=slices,
    finds_objects=False,
)
