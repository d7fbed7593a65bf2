"""Text: classes and objects that match words or examples, from heat maps that the result keeps.

A model makes one heat map for each concept. Thresholds, smoothing, a minimum size and an overlap rule turn these into
classes and objects (`core.classes.concept_maps`). That needs no model, so the settings can be changed afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, JsonValue

from napari_foundseg.core.classes.class_table import ClassTable
from napari_foundseg.core.classes.concept_maps import ConceptOverlap, concept_components, smoothed
from napari_foundseg.core.classes.panoptic import Panoptic
from napari_foundseg.core.errors import PromptError
from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Box
from napari_foundseg.core.result import Segmentation
from napari_foundseg.models.protocols.words import TextMaps
from napari_foundseg.tasks.classes.box_search import BoxSettings, derive_boxes, search_boxes
from napari_foundseg.tasks.classes.class_results import assembled_in, each_slice
from napari_foundseg.tasks.classes.concept_search import (
    ConceptSettings,
    derive_concepts,
    derived_record,
    search_concepts,
)
from napari_foundseg.tasks.classes.concepts import TextInputs, prompts_of
from napari_foundseg.tasks.classes.refining import Refiner
from napari_foundseg.tasks.provenance import record
from napari_foundseg.tasks.regions import region_of, slices, whole
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.tasks.settings import Progress, Task, make_poll
from napari_foundseg.tasks.stack_settings import ClassStackSettings
from napari_foundseg.tasks.windows.heat_maps import blended_maps

__all__ = ["TASK", "TextSettings", "derive", "not_found", "run"]

_MORE: dict[str, JsonValue] = {"more": True}
#: Bytes of heat maps that a result keeps: five concepts on 2048 × 2048 pixels need 42 MB.
_KEPT_MAPS = 256 << 20


class TextSettings(ClassStackSettings):
    """Heat maps of words and examples (CLIPSeg)."""

    method: Literal["heat maps"] = "heat maps"
    threshold: float = Field(
        0.4, ge=0, le=1, title="Minimum score", json_schema_extra={"step": 0.01, "elsewhere": True}
    )
    """Higher values give smaller areas. For concepts without a threshold of their own."""
    smoothing: float = Field(0.0, ge=0, le=50, json_schema_extra={"unit": "pixels", "step": 0.5, "live": True})
    """Higher values smooth the heat maps more: fewer and rounder parts, less detail (standard deviation)."""
    min_area: int = Field(0, ge=0, json_schema_extra={"unit": "pixels", "area": True, "live": True})
    """Connected parts smaller than this are removed: higher values remove more."""
    overlap: ConceptOverlap = Field("highest score", title="Overlapping concepts", json_schema_extra={"live": True})
    """Which concept gets a pixel where several exceed their thresholds."""
    output: Literal["objects", "classes"] = Field("objects", title="Result", json_schema_extra={"elsewhere": True})
    """Content of the label image: objects (connected parts) or classes. The window shows both."""
    scales: int = Field(2, ge=1, le=8, title="Magnification levels", json_schema_extra=_MORE)
    """1 shows the model the whole image at once. Each further level doubles the magnification, finds smaller things and
    takes longer."""
    refine_model: str = Field("", title="Refine outlines with", json_schema_extra={"model": "Promptable", **_MORE})
    """A promptable model, such as foundseg-tiny, that outlines each object again from its bounding box. None keeps the
    outlines."""


def run(
    image: Image,
    inputs: TextInputs,
    settings: TextSettings | ConceptSettings | BoxSettings,
    model: Any,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Segmentation:
    """Find the objects that match words or examples.

    Concept i is class i + 1 in the result, and the `predicted_iou` of an object is the best score of its concept.
    ``maps`` holds a heat map for each concept, then one for each negative. The provenance holds the best score of each
    concept (``found``).
    """
    if isinstance(settings, BoxSettings):
        return search_boxes(image, inputs, settings, model, progress, cancelled)
    if inputs.boxes is not None:
        raise PromptError(
            f"Boxes are given, which the method {settings.method!r} does not take: use a model that finds boxes, such "
            "as OWLv2."
        )
    if isinstance(settings, ConceptSettings):
        return search_concepts(image, inputs, settings, model, progress, cancelled)
    return _search_maps(image, inputs, settings, model, progress, cancelled)


def _search_maps(
    image: Image,
    inputs: TextInputs,
    settings: TextSettings,
    model: TextMaps,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Segmentation:
    """Find objects and classes that match words or examples by heat maps."""
    started = time.perf_counter()

    poll = make_poll(cancelled, "The search")
    prompts = prompts_of(inputs, model)
    region = region_of(image, inputs)
    size = 2 * len(prompts.groups) * (region[2] - region[0] + 1) * (region[3] - region[1] + 1)
    keep = size * len(slices(image, inputs)) <= _KEPT_MAPS
    maker = _Maker(inputs, settings, prompts.negatives)
    refine = _refiner(image, settings, inputs, model.device, region, poll)
    found: dict[tuple[int, ...], Panoptic] = {}
    maps: dict[tuple[int, ...], NDArray[Any]] = {}
    for index, share in each_slice(image, inputs, progress, "searching"):
        answers = blended_maps(image, index, region, model, prompts.asked, poll, share, most_scales=settings.scales)
        own = prompts.joined(answers)
        found[index] = refine(index, maker.panoptic(own))
        if keep:
            maps[index] = own
    request = RunRequest("text", image, inputs, settings, model.name)
    told = record(request, model, started)
    return _result(image.shape, image.label_axes, region, found, maker, told, settings, maps or None)


def derive(
    segmentation: Segmentation,
    settings: TextSettings | ConceptSettings | BoxSettings,
    inputs: TextInputs | None = None,
) -> Segmentation:
    """Make classes and objects again with other thresholds, without a model and without refinement.

    Parameters
    ----------
    segmentation : Segmentation
        A result of `run` that keeps its heat maps, or its masks (`concepts`) or boxes (`boxes`).
    settings : TextSettings or ConceptSettings or BoxSettings
        Settings of the same method: threshold, smoothing, minimum size and overlap rule. Parts are not refined.
    inputs : TextInputs, optional
        The same concepts with other thresholds or colours.

    Returns
    -------
    Segmentation
        The result that `run` would return with these settings.

    Raises
    ------
    ValueError
        If the result keeps no heat maps.
    """
    known = segmentation.provenance
    inputs = inputs or TextInputs.parse(known["inputs"])
    if isinstance(settings, ConceptSettings):
        return derive_concepts(segmentation, settings, inputs)
    if isinstance(settings, BoxSettings):
        return derive_boxes(segmentation, settings, inputs)
    if segmentation.maps is None:
        raise ValueError("the result holds no heat maps: run the task again")
    shape = segmentation.pixels.shape
    axes = known["image"]["axes"]
    plane = (shape[axes.index("Y")], shape[axes.index("X")])
    region = tuple(known["inputs"]["region"] or whole(plane))
    count = len(inputs.concepts)
    negatives: list[int | None] = []
    for concept in inputs.concepts:
        negatives.append(count + sum(n is not None for n in negatives) if concept.negative else None)
    maker = _Maker(inputs, settings, negatives)
    found = {index: maker.panoptic(own) for index, own in segmentation.maps.items()}
    told = derived_record(segmentation, settings, inputs)
    return _result(shape, axes, region, found, maker, told, settings, segmentation.maps)


def not_found(segmentation: Segmentation) -> list[str]:
    """Return a sentence for each concept of which nothing was found.

    Parameters
    ----------
    segmentation : Segmentation
        A result of this task.

    Returns
    -------
    list of str
        Sentences such as ``Nothing found for nucleus (best score 0.12).``
    """
    return [
        f"Nothing found for {entry['concept']} (best score {entry['best_score']:.2f})."
        for entry in segmentation.provenance["found"]
        if not entry["pixels"] and not entry.get("boxes")
    ]


#: The maps that were smoothed last; thresholds change more often than the smoothing.
_last_smoothed: tuple[Any, float, Any] | None = None


def _smoothed(maps: NDArray[np.float16], sigma: float) -> NDArray[np.float16]:
    global _last_smoothed
    if not sigma:
        return maps
    last = _last_smoothed
    if last is None or last[0] is not maps or last[1] != sigma:
        last = _last_smoothed = (maps, sigma, smoothed(maps, sigma))
    found: NDArray[np.float16] = last[2]
    return found


class _Maker:
    """Maker of classes and objects from heat maps; it keeps the best score of each concept."""

    def __init__(self, inputs: TextInputs, settings: TextSettings, negatives: list[int | None]) -> None:
        self.inputs = inputs
        self.settings = settings
        self.negatives = negatives
        self.classes: ClassTable = inputs.class_table()
        self.best = np.zeros(len(inputs.concepts))
        self._thresholds = [
            settings.threshold if concept.threshold is None else concept.threshold for concept in inputs.concepts
        ]

    def panoptic(self, maps: NDArray[np.float16]) -> Panoptic:
        count = len(self._thresholds)
        own = _smoothed(maps, self.settings.smoothing)
        self.best = np.maximum(self.best, [float(part.view(np.uint16).max().view(np.float16)) for part in own[:count]])
        stuff = tuple(entry.id for entry in self.classes if entry.kind == "stuff")
        parts = concept_components(
            own,
            self._thresholds,
            negatives=self.negatives,
            overlap=self.settings.overlap,
            min_area=self.settings.min_area,
            stuff=stuff,
        )
        scores = self.best[parts.classes - 1] if len(parts.classes) else np.empty(0)
        return Panoptic(parts.labels, parts.semantic, parts.classes, scores, parts.boxes, parts.areas)


def _result(
    shape: tuple[int, ...],
    axes: str,
    region: Box,
    found: dict[tuple[int, ...], Panoptic],
    maker: _Maker,
    told: dict[str, Any],
    settings: TextSettings,
    maps: dict[tuple[int, ...], NDArray[Any]] | None,
) -> Segmentation:
    result = assembled_in(
        shape, axes, region, found, maker.classes, told, output=settings.output, stack=settings, maps=maps
    )
    listed = [
        {"concept": concept.name, "best_score": round(float(best), 4), "pixels": entry.area}
        for concept, best, entry in zip(maker.inputs.concepts, maker.best, result.classes, strict=True)
    ]
    return replace(result, provenance={**result.provenance, "found": listed})


def _refiner(
    image: Image, settings: TextSettings, inputs: TextInputs, device: str, region: Box, poll: Callable[[], None]
) -> Callable[[tuple[int, ...], Panoptic], Panoptic]:
    """Return a function that outlines each part again; without a refinement model it returns parts unchanged."""
    if not settings.refine_model:
        return lambda _index, found: found
    stuff = [entry.id for entry in inputs.class_table() if entry.kind == "stuff"]
    refiner = Refiner(image, settings.refine_model, device, region, stuff)

    def refine(index: tuple[int, ...], found: Panoptic) -> Panoptic:
        poll()
        return refiner.refined(index, found)

    return refine


TASK = Task(
    name="text",
    title="Text",
    inputs=TextInputs,
    methods={"heat maps": TextSettings, "concepts": ConceptSettings, "boxes": BoxSettings},
    protocols={"heat maps": "TextMaps", "concepts": "ConceptMasks", "boxes": "Grounded"},
    function=run,
    slices=slices,
    menus=("segment",),
)
