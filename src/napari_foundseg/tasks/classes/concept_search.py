"""Objects of concepts from a model that outlines them itself (SAM 3), in tiles of large images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, JsonValue

from napari_foundseg.core.classes.class_table import ClassTable
from napari_foundseg.core.classes.panoptic import Panoptic, fused
from napari_foundseg.core.errors import PromptError
from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Box, Mask, intersection, iou
from napari_foundseg.core.result import Segmentation
from napari_foundseg.models.protocols.words import ConceptMasks, ConceptQuery
from napari_foundseg.tasks.classes.class_results import assembled_in, each_slice
from napari_foundseg.tasks.classes.concepts import TextInputs, check_length
from napari_foundseg.tasks.classes.searched_windows import SearchedWindows
from napari_foundseg.tasks.provenance import record
from napari_foundseg.tasks.regions import region_of, whole
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.tasks.settings import Poll, Progress, make_poll
from napari_foundseg.tasks.stack_settings import ClassStackSettings

__all__ = [
    "ConceptSettings",
    "assemble_concepts",
    "check_words",
    "derive_concepts",
    "derived_record",
    "full_note",
    "search_concepts",
    "thresholds_of",
]

_MORE: dict[str, JsonValue] = {"more": True}
#: How far thresholds can be lowered after a run.
_LIVE = 0.2
#: IoU, or share of the smaller mask, from which two masks of a concept are the same object.
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
    """Content of the label image: objects or classes. The window shows both."""
    tile: bool = Field(True, title="Full resolution (tiles)", json_schema_extra=_MORE)
    """On: the model also sees tiles at full resolution, which finds small objects and takes longer with each tile.
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
        Words, without example pictures.
    settings : ConceptSettings
        Thresholds.
    model : ConceptMasks
        The model.
    progress : callable
        Called with the share done and a text.
    cancelled : callable
        Returns whether to stop.

    Returns
    -------
    Segmentation
        Concept i is class i + 1. ``masks`` also holds objects somewhat below the thresholds, so that these act live.

    Raises
    ------
    PromptError
        If a concept has examples, or a text is too long for the model.
    """
    started = time.perf_counter()

    poll = make_poll(cancelled, "The search")
    questions = [(number, ConceptQuery(text)) for number, text in check_words(inputs, model)]
    region = region_of(image, inputs)
    floor = max(0.0, min(thresholds_of(inputs, settings.threshold)) - _LIVE)
    masks: list[Mask] = []
    full = False
    for index, share in each_slice(image, inputs, progress, "searching"):
        windows = SearchedWindows(image, index, region, model.window, tile=settings.tile)
        found, most = _objects(windows, model, [query for _, query in questions], floor, poll, share)
        full |= most
        masks += [replace(mask, index=index) for mask in _of_concepts(inputs, questions, found)]
    request = RunRequest("text", image, inputs, settings, model.name)
    told = record(request, model, started)
    if full:
        told["notes"] = [full_note(model.name, model.most_objects, "objects of a concept")]
    thresholds = thresholds_of(inputs, settings.threshold)
    return assemble_concepts(image.shape, image.label_axes, region, masks, thresholds, inputs, settings, told)


def derive_concepts(segmentation: Segmentation, settings: ConceptSettings, inputs: TextInputs) -> Segmentation:
    """Filter the objects of a result by other thresholds, without a model."""
    shape = segmentation.pixels.shape
    axes = segmentation.provenance["image"]["axes"]
    told = derived_record(segmentation, settings, inputs)
    told.pop("covered", None)
    region = tuple(told["inputs"]["region"] or whole((shape[axes.index("Y")], shape[axes.index("X")])))
    thresholds = thresholds_of(inputs, settings.threshold)
    return assemble_concepts(shape, axes, region, segmentation.masks or (), thresholds, inputs, settings, told)


def derived_record(segmentation: Segmentation, settings: Any, inputs: TextInputs) -> dict[str, Any]:
    """Return the provenance of a result with other settings, and with other thresholds and colours of its concepts."""
    known = segmentation.provenance
    return {
        **known,
        "settings": settings.model_dump(mode="json"),
        "inputs": {**known["inputs"], "concepts": inputs.model_dump(mode="json")["concepts"]},
    }


def thresholds_of(inputs: TextInputs, threshold: float) -> list[float]:
    """Return the threshold of each concept: its own, or else the one of the settings."""
    return [threshold if one.threshold is None else one.threshold for one in inputs.concepts]


def full_note(model: str, most: int, things: str) -> str:
    """Return a note that a model has returned as many things as it can for a picture."""
    return (
        f"{model} gives {most} {things} at most for a picture, and gave as many: there may be more. Choose a smaller "
        "region, or tiles at full resolution."
    )


def check_words(inputs: TextInputs, model: Any) -> list[tuple[int, str]]:
    """Return the texts to ask a model for, each with its concept's number from 1, negative for negative words.

    Raises PromptError if a concept has pictures, or if a text is too long for the model.
    """
    questions: list[tuple[int, str]] = []
    for number, concept in enumerate(inputs.concepts, 1):
        if concept.examples:
            raise PromptError(
                f"{concept.name!r} has pictures as examples, which {model.name} does not take: it takes words. Use the "
                "widget Find similar, or a model such as CLIPSeg."
            )
        other = [part.strip() for part in (concept.negative or "").split(",") if part.strip()]
        questions += [(number, word) for word in concept.words]
        questions += [(-number, word) for word in other]
    check_length((text for _, text in questions), model)
    return questions


def _objects(
    windows: SearchedWindows,
    model: ConceptMasks,
    queries: Sequence[ConceptQuery],
    floor: float,
    poll: Poll,
    share: Callable[[float], None],
) -> tuple[list[list[Mask]], bool]:
    """Return the objects of each query in pixels of the slice, and whether a window had as many as the model returns.

    Objects that a tile cuts are left to other tiles.
    """
    found: list[list[Mask]] = [[] for _ in queries]
    full = False
    for window, rgb in windows.pictures(poll, share):
        for known, masks in zip(found, model.concept_masks(rgb, queries, floor), strict=True):
            full |= len(masks) >= model.most_objects
            moved = (mask.moved(*window[:2]) for mask in masks)
            known += [mask for mask in moved if not windows.is_cut(mask.box, window)]
    return found, full


def _of_concepts(
    inputs: TextInputs, questions: Sequence[tuple[int, ConceptQuery]], found: Sequence[Sequence[Mask]]
) -> Iterator[Mask]:
    """Yield the objects of each concept once, without those that match the negative words better."""
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


def assemble_concepts(
    shape: tuple[int, ...],
    axes: str,
    region: Box,
    masks: Sequence[Mask],
    thresholds: Sequence[float],
    inputs: TextInputs,
    settings: Any,
    told: dict[str, Any],
    *,
    overlap: float = 0.5,
) -> Segmentation:
    """Make a result from the masks of concepts that are above the thresholds; ``masks`` of the result holds all masks.

    `overlap` is the share of an object that may belong to better ones. Objects with a larger share are left out, and
    counted in the provenance (``covered``).
    """
    best = [max((m.predicted_iou for m in masks if m.class_id == i + 1), default=0.0) for i in range(len(thresholds))]
    found: dict[tuple[int, ...], Panoptic] = {}
    covered = 0
    plane = np.zeros((region[2] - region[0] + 1, region[3] - region[1] + 1), np.uint8)
    for index in sorted({mask.index for mask in masks}):
        kept = [
            mask.moved(-region[0], -region[1])
            for mask in masks
            if mask.index == index
            and mask.predicted_iou > thresholds[mask.class_id - 1]
            and mask.area >= settings.min_area
        ]
        found[index] = fused(plane, kept, stuff=(), score_threshold=0, overlap_threshold=overlap)
        covered += len(kept) - len(found[index].classes)
    if covered:
        told = {**told, "covered": covered}
    classes: ClassTable = inputs.class_table()
    result = assembled_in(shape, axes, region, found, classes, told, output=settings.output, stack=settings)
    listed = [
        {"concept": concept.name, "best_score": round(score, 4), "pixels": entry.area}
        for concept, score, entry in zip(inputs.concepts, best, result.classes, strict=True)
    ]
    return replace(result, masks=tuple(masks), provenance={**result.provenance, "found": listed})
