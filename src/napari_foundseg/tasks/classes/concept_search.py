"""Objects of concepts, by a model that outlines them itself (SAM 3), in tiles of large images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, JsonValue

from napari_foundseg.core.classes.class_table import ClassTable
from napari_foundseg.core.classes.panoptic import Panoptic, fused
from napari_foundseg.core.errors import Cancelled, PromptError
from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Box, Mask, intersection, iou
from napari_foundseg.core.result import Segmentation
from napari_foundseg.models.class_protocols import ConceptMasks, ConceptQuery
from napari_foundseg.tasks.classes.class_results import assembled_in, each_slice
from napari_foundseg.tasks.classes.concepts import TextInputs
from napari_foundseg.tasks.provenance import record
from napari_foundseg.tasks.regions import region_of, whole
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.tasks.settings import Progress
from napari_foundseg.tasks.stack_settings import ClassStackSettings
from napari_foundseg.tasks.windows import tiling

__all__ = ["ConceptSettings", "derive_concepts", "search_concepts"]

_MORE: dict[str, JsonValue] = {"more": True}
#: By how much thresholds can be lowered after a run.
_LIVE = 0.2
#: IoU, or share of the smaller one, from which two masks of a concept are of one object.
_SAME = 0.5
_WITHIN = 0.8


class ConceptSettings(ClassStackSettings):
    """Objects of a concept, each outlined by the model (SAM 3). On a processor without a GPU a tile takes minutes."""

    first_speed: ClassVar[float] = 120.0
    method: Literal["concepts"] = Field("concepts", title="Concept objects")
    threshold: float = Field(
        0.3, ge=0, le=1, title="Minimum score", json_schema_extra={"step": 0.01, "elsewhere": True}
    )
    """Higher values keep fewer objects. For concepts without a threshold of their own."""
    min_area: int = Field(0, ge=0, json_schema_extra={"unit": "pixels", "area": True, "live": True})
    """Smaller objects are removed."""
    output: Literal["objects", "classes"] = Field("objects", title="Result", json_schema_extra={"elsewhere": True})
    """What the label image holds: objects or classes. The window shows both."""
    tile: bool = Field(True, title="Full resolution (tiles)", json_schema_extra=_MORE)
    """On: the model also sees tiles at full resolution, which finds small objects and takes its time for each tile.
    Off: it sees the whole image once, shrunk."""


def search_concepts(
    image: Image,
    inputs: TextInputs,
    settings: ConceptSettings,
    model: ConceptMasks,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Segmentation:
    """Find the objects of concepts.

    Parameters
    ----------
    image : Image
        The image.
    inputs : TextInputs
        Words, without pictures as examples.
    settings : ConceptSettings
        Thresholds.
    model : ConceptMasks
        The model.
    progress : callable
        Told the share done and words.
    cancelled : callable
        Whether to stop.

    Returns
    -------
    Segmentation
        Concept i is class i + 1. ``masks`` holds objects somewhat below the thresholds too, so that these act live.

    Raises
    ------
    PromptError
        If a concept has examples, or a text is too long for the model.
    """
    started = time.perf_counter()

    def poll() -> None:
        if cancelled():
            raise Cancelled("The search was cancelled.")

    questions = _questions(inputs, model)
    region = region_of(image, inputs)
    floor = max(0.0, min(_thresholds(inputs, settings)) - _LIVE)
    masks: list[Mask] = []
    full = False
    for index, share in each_slice(image, inputs, progress, "searching"):
        search = _Search(image, index, region, model, settings.tile)
        found = search.objects([query for _, query in questions], floor, poll, share)
        full |= search.full
        masks += [replace(mask, index=index) for mask in _of_concepts(inputs, questions, found)]
    request = RunRequest("text", image, inputs, settings, model.name)
    told = record(request, model, started)
    if full:
        limit = f"{model.name} gives {model.most_objects} objects of a concept at most for a picture, and gave as many"
        told["notes"] = [f"{limit}: there may be more. Choose a smaller region, or tiles at full resolution."]
    return _assembled(image.shape, image.label_axes, region, masks, inputs, settings, told)


def derive_concepts(segmentation: Segmentation, settings: ConceptSettings, inputs: TextInputs) -> Segmentation:
    """Keep the objects of a result that are above other thresholds, without a model."""
    known = segmentation.provenance
    shape = segmentation.pixels.shape
    axes = known["image"]["axes"]
    region = tuple(known["inputs"]["region"] or whole((shape[axes.index("Y")], shape[axes.index("X")])))
    told = {
        **known,
        "settings": settings.model_dump(mode="json"),
        "inputs": {**known["inputs"], "concepts": inputs.model_dump(mode="json")["concepts"]},
    }
    return _assembled(shape, axes, region, list(segmentation.masks or ()), inputs, settings, told)


def _thresholds(inputs: TextInputs, settings: ConceptSettings) -> list[float]:
    return [settings.threshold if one.threshold is None else one.threshold for one in inputs.concepts]


def _questions(inputs: TextInputs, model: ConceptMasks) -> list[tuple[int, ConceptQuery]]:
    """Return the model's questions, each with the number of its concept; below 0 that of what it is not."""
    questions = []
    for number, concept in enumerate(inputs.concepts, 1):
        if concept.examples:
            raise PromptError(
                f"{concept.name!r} has pictures as examples, which {model.name} does not take: it takes words. Use the "
                "widget Find similar, or a model such as CLIPSeg."
            )
        other = [part.strip() for part in (concept.negative or "").split(",") if part.strip()]
        questions += [(number, ConceptQuery(word)) for word in concept.words]
        questions += [(-number, ConceptQuery(word)) for word in other]
    for _, query in questions:
        if (count := model.token_count(query.text)) > model.longest_text:
            raise PromptError(
                f"{query.text[:60]!r}… has {count} tokens; {model.name} takes {model.longest_text} at most. "
                "Say it shorter."
            )
    return questions


class _Search:
    """The windows of a region in which concepts are looked for: all of it, and tiles at full resolution."""

    def __init__(self, image: Image, index: tuple[int, ...], region: Box, model: ConceptMasks, tile: bool) -> None:
        self._image = image
        self._index = index
        self._region = region
        self._model = model
        self._shape = (region[2] - region[0] + 1, region[3] - region[1] + 1)
        self._windows = [(0, 0, self._shape[0] - 1, self._shape[1] - 1)]
        side = model.window
        if tile and max(self._shape) > side:
            self._windows += [box for box, _ in tiling.cover(self._shape, (side, side), side // 2)]
        #: Whether a window held as many objects as the model can return.
        self.full = False

    def objects(
        self,
        queries: Sequence[ConceptQuery],
        floor: float,
        poll: Callable[[], None],
        share: Callable[[float], None],
    ) -> list[list[Mask]]:
        """Return the objects of each query in pixels of the slice; those cut by a tile are left to others."""
        found: list[list[Mask]] = [[] for _ in queries]
        for i, window in enumerate(self._windows):
            poll()
            rgb = self._image.rgb(self._index, tiling.shifted(window, self._region[:2]))
            answers = self._model.concept_masks(rgb, queries, floor)
            for known, masks in zip(found, answers, strict=True):
                self.full |= len(masks) >= self._model.most_objects
                moved = (mask.moved(*window[:2]) for mask in masks)
                known += [m.moved(*self._region[:2]) for m in moved if not tiling.touches(m.box, window, self._shape)]
            share((i + 1) / len(self._windows))
        return found


def _of_concepts(
    inputs: TextInputs, questions: Sequence[tuple[int, ConceptQuery]], found: Sequence[Sequence[Mask]]
) -> Iterator[Mask]:
    """Yield the objects of each concept once, without those that are rather what it is not."""
    for number in range(1, len(inputs.concepts) + 1):
        own, other = (
            [mask for (of, _), masks in zip(questions, found, strict=True) if of == wanted for mask in masks]
            for wanted in (number, -number)
        )
        kept: list[Mask] = []
        for mask in sorted(own, key=lambda one: -one.predicted_iou):
            better = [one for one in other if one.predicted_iou > mask.predicted_iou]
            if not any(_same(mask, one) for one in (*kept, *better)):
                kept.append(replace(mask, class_id=number))
        yield from kept


def _same(a: Mask, b: Mask) -> bool:
    return iou(a, b) >= _SAME or intersection(a, b) >= _WITHIN * min(a.area, b.area)


def _assembled(
    shape: tuple[int, ...],
    axes: str,
    region: Box,
    masks: list[Mask],
    inputs: TextInputs,
    settings: ConceptSettings,
    told: dict[str, Any],
) -> Segmentation:
    thresholds = _thresholds(inputs, settings)
    best = [max((m.predicted_iou for m in masks if m.class_id == i + 1), default=0.0) for i in range(len(thresholds))]
    found: dict[tuple[int, ...], Panoptic] = {}
    plane = np.zeros((region[2] - region[0] + 1, region[3] - region[1] + 1), np.uint8)
    for index in sorted({mask.index for mask in masks}):
        kept = [
            mask.moved(-region[0], -region[1])
            for mask in masks
            if mask.index == index
            and mask.predicted_iou > thresholds[mask.class_id - 1]
            and mask.area >= settings.min_area
        ]
        found[index] = fused(plane, kept, stuff=(), score_threshold=0)
    classes: ClassTable = inputs.class_table()
    result = assembled_in(shape, axes, region, found, classes, told, output=settings.output, stack=settings)
    listed = [
        {"concept": concept.name, "best_score": round(score, 4), "pixels": entry.area}
        for concept, score, entry in zip(inputs.concepts, best, result.classes, strict=True)
    ]
    return replace(result, masks=tuple(masks), provenance={**result.provenance, "found": listed})
