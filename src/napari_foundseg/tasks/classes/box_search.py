"""Objects of concepts in boxes that a model finds from words; a promptable model makes a mask in each box."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, JsonValue

from napari_foundseg.core.errors import AxesError, PromptError
from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Box, Mask
from napari_foundseg.core.result import Segmentation
from napari_foundseg.core.suppression import suppress
from napari_foundseg.models.protocols.words import Grounded
from napari_foundseg.tasks.classes.class_results import each_slice
from napari_foundseg.tasks.classes.concept_search import (
    assemble_concepts,
    check_words,
    derived_record,
    full_note,
    thresholds_of,
)
from napari_foundseg.tasks.classes.concepts import NamedBox, TextInputs
from napari_foundseg.tasks.classes.refining import inside, masks_in_boxes
from napari_foundseg.tasks.classes.searched_windows import SearchedWindows
from napari_foundseg.tasks.provenance import record
from napari_foundseg.tasks.regions import region_of, whole
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.tasks.settings import Poll, Progress, make_poll
from napari_foundseg.tasks.stack_settings import ClassStackSettings

__all__ = ["BoxSettings", "boxes_above", "derive_boxes", "search_boxes", "without_repeats"]

_MORE: dict[str, JsonValue] = {"more": True}
#: Share of the thresholds above which boxes are kept, so that thresholds can be lowered after a run.
_LIVE = 0.5
#: IoU above which two boxes are of one object.
_SAME = 0.5
#: Most boxes that are kept in each slice.
_MOST = 2000
#: Distance in pixels from the border of a tile within which a box counts as cut; other tiles show more of it.
_MARGIN = 2
#: Share of the progress bar for finding boxes, if masks are made as well.
_FINDING = 0.6


class BoxSettings(ClassStackSettings):
    """Boxes of what the words name, each filled with a mask by a promptable model (Grounding DINO, OWLv2)."""

    first_speed: ClassVar[float] = 30.0
    method: Literal["boxes"] = Field("boxes", title="Boxes, then masks")
    threshold: float = Field(
        0.3, ge=0, le=1, title="Minimum score", json_schema_extra={"step": 0.01, "elsewhere": True}
    )
    """Higher values keep fewer boxes. For concepts without a threshold of their own."""
    mask_model: str = Field("foundseg-tiny", title="Make masks with", json_schema_extra={"model": "Promptable"})
    """The promptable model that outlines the object in each box. None: the box itself, filled."""
    one_name: bool = Field(True, title="One name an object", json_schema_extra={"live": True})
    """On: if boxes of several concepts nearly coincide, only the one with the best score is kept. Off: all are kept."""
    min_area: int = Field(0, ge=0, json_schema_extra={"unit": "pixels", "area": True, "live": True})
    """Smaller objects are removed."""
    output: Literal["objects", "classes"] = Field("objects", title="Result", json_schema_extra={"elsewhere": True})
    """Content of the label image: objects or classes. The window shows both."""
    phrases: Literal["together", "one by one"] = Field("together", title="Search phrases", json_schema_extra=_MORE)
    """Together: the model gets as many phrases at once as it takes, in their order, which is faster; with some models,
    one phrase then changes the results of another. One by one: each phrase on its own."""
    tile: bool = Field(True, title="Full resolution (tiles)", json_schema_extra=_MORE)
    """On: the model also sees tiles at full resolution, which finds small objects and takes longer with each tile.
    Off: it sees the whole image once, shrunk."""
    masks: bool = Field(True, title="Make masks", json_schema_extra={"elsewhere": True})
    """Off: only the boxes are found (`provenance["boxes"]`), to be edited and passed back as the input boxes."""


def search_boxes(
    image: Image,
    inputs: TextInputs,
    settings: BoxSettings,
    model: Grounded,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Segmentation:
    """Find boxes of concepts, unless the inputs already have boxes, and make masks in them.

    Parameters
    ----------
    image : Image
        The image.
    inputs : TextInputs
        Words, without example pictures; or boxes.
    settings : BoxSettings
        Thresholds, and the name of the model that makes masks.
    model : Grounded
        The model that finds boxes.
    progress : callable
        Called with the share done and a text.
    cancelled : callable
        Returns whether to stop.

    Returns
    -------
    Segmentation
        Concept i is class i + 1, and the `predicted_iou` of an object is the score of its box. The provenance holds all
        boxes, including those somewhat below the thresholds.

    Raises
    ------
    PromptError
        If a concept has examples, a text is too long for the model, or a box is outside the image.
    """
    started = time.perf_counter()
    poll = make_poll(cancelled, "The search")
    notes: list[str] = []
    if inputs.boxes is None:
        share = _FINDING if settings.masks else 1.0
        region = region_of(image, inputs)
        found = _found(image, inputs, settings, model, poll, lambda part, words: progress(share * part, words), notes)
        kept = boxes_above(found, inputs, settings)
    else:
        share = 0.0
        region = whole(image.plane_shape)
        found = kept = _checked(image, inputs)
    masks: list[Mask] = []
    if settings.masks:

        def drawing(part: float, _words: str = "") -> None:
            progress(share + (1 - share) * part, "making masks")

        masks = _masks(image, kept, inputs, settings, model.device, region, drawing, cancelled)
        empty = len(kept) - len(masks)
        notes += [f"In {empty} of {len(kept)} boxes the model found no object."] if empty else []
    request = RunRequest("text", image, inputs, settings, model.name)
    told = {**record(request, model, started), "boxes": [box.model_dump(mode="json") for box in found]}
    told |= {"notes": notes} if notes else {}
    if inputs.boxes is None and not found:
        told["nothing_found"] = ["No box was found: lower the minimum score, or use other words."]
    return _result(image.shape, image.label_axes, region, masks, found, kept, inputs, settings, told)


def derive_boxes(segmentation: Segmentation, settings: BoxSettings, inputs: TextInputs) -> Segmentation:
    """Filter a result by other thresholds, without a model; only boxes above the thresholds of the run have masks."""
    shape = segmentation.pixels.shape
    axes = segmentation.provenance["image"]["axes"]
    told = derived_record(segmentation, settings, inputs)
    given = told["inputs"].get("boxes") is not None
    plane = whole((shape[axes.index("Y")], shape[axes.index("X")]))
    region = plane if given else tuple(told["inputs"]["region"] or plane)
    found = [NamedBox.model_validate(box) for box in told["boxes"]]
    kept = found if given else boxes_above(found, inputs, settings)
    masks = list(segmentation.masks or ())
    return _result(shape, axes, region, masks, found, kept, inputs, settings, told, given=given)


def boxes_above(boxes: Sequence[NamedBox], inputs: TextInputs, settings: BoxSettings) -> list[NamedBox]:
    """Return the boxes above the thresholds, best first; with `one_name`, only the best of nearly equal boxes."""
    names = [concept.name for concept in inputs.concepts]
    least = dict(zip(names, thresholds_of(inputs, settings.threshold), strict=True))
    above = sorted((box for box in boxes if box.score > least[box.concept]), key=lambda box: -box.score)
    if not settings.one_name:
        return above
    kept: list[NamedBox] = []
    for index in sorted({box.index for box in above}):
        here = [box for box in above if box.index == index]
        kept += [here[i] for i in without_repeats([box.box for box in here], [box.score for box in here])]
    return sorted(kept, key=lambda box: -box.score)


def without_repeats(
    boxes: Sequence[Sequence[float]] | NDArray[Any], scores: Sequence[float] | NDArray[Any], most: float = _SAME
) -> list[int]:
    """Return the indices of the boxes, best first, without boxes whose IoU with a better one is above `most`."""
    y0, x0, y1, x1 = np.asarray(boxes, np.float32).reshape(-1, 4).T
    return suppress(np.stack([x0, y0, x1 + 1, y1 + 1], axis=1), np.asarray(scores), most)


def _found(
    image: Image,
    inputs: TextInputs,
    settings: BoxSettings,
    model: Grounded,
    poll: Poll,
    progress: Progress,
    notes: list[str],
) -> list[NamedBox]:
    """Return the boxes of all concepts, one per object and concept; append messages for the user to `notes`."""
    questions = check_words(inputs, model)
    region = region_of(image, inputs)
    floor = _LIVE * min(thresholds_of(inputs, settings.threshold))
    found: list[NamedBox] = []
    full = left_out = False
    for index, share in each_slice(image, inputs, progress, "finding boxes"):
        windows = SearchedWindows(image, index, region, model.window, tile=settings.tile)
        boxes, scores, asked, most = _in_windows(windows, settings, model, questions, floor, poll, share)
        full |= most
        own = _of_concepts(inputs, index, boxes, scores, np.array([number for number, _ in questions])[asked])
        left_out |= len(own) > _MOST
        found += own[:_MOST]
    if full:
        notes.append(full_note(model.name, model.most_boxes, "boxes"))
    if left_out:
        notes.append(f"Of a slice the {_MOST:,} best boxes were kept; a higher minimum score leaves fewer.")
    return found


def _in_windows(
    windows: SearchedWindows,
    settings: BoxSettings,
    model: Grounded,
    questions: Sequence[tuple[int, str]],
    floor: float,
    poll: Poll,
    share: Callable[[float], None],
) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.int64], bool]:
    """Return boxes in pixels of the slice, their scores, the indices of their texts, and whether a window was full."""
    texts = [text for _, text in questions]
    groups = [(0, texts)] if settings.phrases == "together" else [(i, [text]) for i, text in enumerate(texts)]
    parts = [(np.empty((0, 4)), np.empty(0, np.float32), np.empty(0, np.int64))]
    full = False
    for window, rgb in windows.pictures(poll, share):
        for first, group in groups:
            poll()
            boxes, scores, phrases = model.ground(rgb, group, floor)
            full |= len(boxes) >= model.most_boxes
            boxes = boxes + np.tile(window[:2], 2)
            whole_ones = [not windows.is_cut(box, window, _MARGIN) for box in boxes.tolist()]
            kept = np.array(whole_ones, bool)
            parts.append((boxes[kept], scores[kept], phrases[kept] + first))
    boxes, scores, asked = (np.concatenate(column) for column in zip(*parts, strict=True))
    return boxes, scores, asked, full


def _of_concepts(
    inputs: TextInputs,
    index: tuple[int, ...],
    boxes: NDArray[np.float64],
    scores: NDArray[np.float32],
    numbers: NDArray[Any],
) -> list[NamedBox]:
    """Return the boxes of each concept, one per object, without those that match the negative words better.

    `numbers` holds the number of each box's concept, from 1; it is negative for boxes of negative words.
    """
    out: list[NamedBox] = []
    for number, concept in enumerate(inputs.concepts, 1):
        own = np.flatnonzero(np.abs(numbers) == number)
        kept = own[without_repeats(boxes[own], scores[own])]
        out += [
            NamedBox(
                concept=concept.name,
                box=tuple(boxes[i].round(2).tolist()),
                index=index,
                score=min(1.0, round(float(scores[i]), 4)),
            )
            for i in kept
            if numbers[i] > 0
        ]
    return sorted(out, key=lambda box: -box.score)


def _checked(image: Image, inputs: TextInputs) -> list[NamedBox]:
    """Return the user's boxes, cropped to the image and with the concepts' names; error messages name the box."""
    names = {concept.name.casefold(): concept.name for concept in inputs.concepts}
    height, width = image.plane_shape
    out = []
    for number, box in enumerate(inputs.boxes or (), 1):
        shape = image.slice_shape
        if len(box.index) != len(shape) or not all(0 <= i < n for i, n in zip(box.index, shape, strict=True)):
            raise AxesError(f"Box {number} is in slice {box.index}: axes {image.slice_axes!r} have {shape} slices.")
        y0, x0, y1, x1 = box.box
        if y0 > height - 0.5 or x0 > width - 0.5 or y1 < -0.5 or x1 < -0.5:
            raise PromptError(
                f"Box {number} ({box.concept}), {tuple(round(v) for v in box.box)}, lies outside the image of {height} "
                f"by {width} pixels: move or delete it."
            )
        cut = (max(y0, 0.0), max(x0, 0.0), min(y1, height - 1.0), min(x1, width - 1.0))
        cut = (min(cut[0], cut[2]), min(cut[1], cut[3]), cut[2], cut[3])
        out.append(box.model_copy(update={"box": cut, "concept": names[box.concept.casefold()]}))
    return out


def _masks(
    image: Image,
    boxes: Sequence[NamedBox],
    inputs: TextInputs,
    settings: BoxSettings,
    device: str,
    region: Box,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> list[Mask]:
    """Return the mask in each box that has one, with the score of the box, cropped to the region."""
    if settings.mask_model:
        from napari_foundseg.models.loading import load_model

        outliner = load_model(settings.mask_model, device=device, protocol="Promptable")
        drawn = masks_in_boxes(image, [(box.index, box.box) for box in boxes], outliner, progress, cancelled)
    else:
        drawn = [_filled(box) for box in boxes]
    numbers = {concept.name: number for number, concept in enumerate(inputs.concepts, 1)}
    shape = (region[2] - region[0] + 1, region[3] - region[1] + 1)
    out = []
    for box, mask in zip(boxes, drawn, strict=True):
        own = inside(mask.moved(-region[0], -region[1]), shape) if mask.area else None
        if own is not None and own.area:
            scored = replace(own, predicted_iou=box.score, class_id=numbers[box.concept], index=box.index, label=0)
            out.append(scored.moved(*region[:2]))
    return out


def _filled(box: NamedBox) -> Mask:
    y0, x0, y1, x1 = (round(v) for v in box.box)
    return Mask((y0, x0, y1, x1), np.ones((y1 - y0 + 1, x1 - x0 + 1), bool))


def _result(
    shape: tuple[int, ...],
    axes: str,
    region: Box,
    masks: Sequence[Mask],
    found: Sequence[NamedBox],
    kept: Sequence[NamedBox],
    inputs: TextInputs,
    settings: BoxSettings,
    told: dict[str, Any],
    *,
    given: bool | None = None,
) -> Segmentation:
    """Make a result from masks and record the best score and the number of boxes of each concept."""
    given = inputs.boxes is not None if given is None else given
    # Boxes of the user count whatever their scores.
    thresholds = [-1.0] * len(inputs.concepts) if given else thresholds_of(inputs, settings.threshold)
    told = {name: value for name, value in told.items() if name != "covered"}
    result = assemble_concepts(shape, axes, region, masks, thresholds, inputs, settings, told, overlap=1.0)
    best = {box.concept: box.score for box in sorted(found, key=lambda box: box.score)}
    listed = [
        {
            **entry,
            "best_score": round(best.get(entry["concept"], 0.0), 4),
            "boxes": sum(box.concept == entry["concept"] for box in kept),
        }
        for entry in result.provenance["found"]
    ]
    return replace(result, provenance={**result.provenance, "found": listed})
