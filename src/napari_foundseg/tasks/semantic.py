"""Semantic segmentation: every pixel gets a class."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_foundseg.core.classes.components import components
from napari_foundseg.core.classes.panoptic import Panoptic
from napari_foundseg.core.errors import Cancelled
from napari_foundseg.core.image import Image
from napari_foundseg.core.result import Segmentation
from napari_foundseg.models.protocols.classes import SemanticClasses, View, ViewClasses
from napari_foundseg.tasks.classes.class_results import assembled, each_slice, in_windows, of_classes
from napari_foundseg.tasks.provenance import record
from napari_foundseg.tasks.regions import Region, region_of, slices
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.tasks.settings import Progress, Task
from napari_foundseg.tasks.stack_settings import ClassStackSettings

__all__ = ["TASK", "SemanticInputs", "SemanticSettings", "run"]


class SemanticInputs(Region):
    """Slice and region to segment."""


class SemanticSettings(ClassStackSettings):
    """The class of each pixel (U-Net, SegFormer, UperNet, FCN, DeepLabV3 and others)."""

    method: Literal["classes"] = "classes"
    output: Literal["classes", "objects"] = Field("classes", title="Result")
    """Content of the label image: classes, or each connected part of a class as an object."""
    min_area: int = Field(0, ge=0, json_schema_extra={"unit": "pixels", "area": True})
    """Connected parts smaller than this are removed: higher values remove more."""
    tile: bool = Field(True, title="Full resolution (tiles)", json_schema_extra={"more": True})
    """On: process a large image at full resolution in overlapping tiles. Off: shrink the whole image to the model's
    input, which is faster but loses small parts."""


def run(
    image: Image,
    inputs: SemanticInputs,
    settings: SemanticSettings,
    model: SemanticClasses,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Segmentation:
    """Assign a class to every pixel.

    The labels of the result are class ids or connected parts; `semantic` holds the classes in either case. With a model
    that recognises views, only the classes of a slice's view occur, and the provenance names the view.
    """
    started = time.perf_counter()

    def poll() -> None:
        if cancelled():
            raise Cancelled("The semantic run was cancelled.")

    side = model.window if settings.tile else None
    region = region_of(image, inputs)
    results = {}
    views = []
    for index, share in each_slice(image, inputs, progress, "segmenting"):
        poll()
        view = model.view(image.rgb(index, region)) if isinstance(model, ViewClasses) else None
        if view is not None:
            named = [entry.name for entry in model.classes if entry.id in view.classes]
            views.append({"index": list(index), "name": view.name, "score": view.score, "classes": named})

        def predict(rgb: NDArray[np.uint8], view: View | None = view) -> Panoptic:
            if view is not None and isinstance(model, ViewClasses):
                return of_classes(model.semantic_in(rgb, view))
            return of_classes(model.semantic(rgb))

        found = in_windows(image, index, region, predict, poll, share, side=side)
        if settings.output == "objects" or settings.min_area:
            parts = components(found.semantic, min_area=settings.min_area)
            found = Panoptic(parts.labels, parts.semantic, parts.classes, np.ones(len(parts.classes)))
        results[index] = found
    request = RunRequest("semantic", image, inputs, settings, model.name)
    told = record(request, model, started) | ({"views": views} if views else {})
    return assembled(image, inputs, results, model.classes, told, output=settings.output, stack=settings)


TASK = Task(
    name="semantic",
    title="Semantic",
    inputs=SemanticInputs,
    methods={"classes": SemanticSettings},
    protocols={"classes": "SemanticClasses"},
    function=run,
    slices=slices,
    menus=("segment",),
)
