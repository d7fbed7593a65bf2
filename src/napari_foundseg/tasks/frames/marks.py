"""Marks: objects in the slices of their prompts, from which they are followed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Box, Mask
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.models.protocols.objects import Promptable
from napari_foundseg.tasks.frames.found import Found
from napari_foundseg.tasks.frames.range_of_slices import Way
from napari_foundseg.tasks.frames.sharing import in_window, looks_like, share_pixels
from napari_foundseg.tasks.windows.looking import Looking
from napari_foundseg.tasks.windows.looks import disobeyed

__all__ = ["decoded_marks", "given_mask", "kept"]

#: Largest distance, in slices, between the marks of two objects for one to limit the other.
_NEAR = 8
#: Logit of a mask that the user has drawn.
_CERTAIN = 60.0
#: Logit of a mask of predicted IoU 1 that comes without logits.
_SURE = 10.0


def given_mask(prompts: Sequence[Prompt]) -> np.ndarray | None:
    """Return the union of the masks if all prompts of an object in a slice are plain masks; otherwise None."""
    masks = [prompt.mask for prompt in prompts if not prompt.points and prompt.box is None]
    return np.logical_or.reduce(masks) if len(masks) == len(prompts) else None


def decoded_marks(
    image: Image, model: Promptable, way: Way, poll: Callable[[float], None]
) -> dict[int, dict[int, Found]]:
    """Return each object in its marked slices: the user's mask, or else the mask that the model decodes."""
    looking = Looking(image, model, poll, tile=True, output="auto")
    places = [(label, at) for label, slices in way.prompts.items() for at in sorted(slices)]
    wanted = [
        (label, at, prompt)
        for label, at in places
        if given_mask(way.prompts[label][at]) is None
        for prompt in way.prompts[label][at]
    ]
    looks = looking.at([_in_stack(prompt, way.index(at), image) for _, at, prompt in wanted]) if wanted else []
    masks: dict[tuple[int, int], list[Mask]] = {}
    for (label, at, _), found in zip(wanted, looks, strict=True):
        masks.setdefault((label, at), []).append(_apart(image, looking, way, label, at, found[0].masks[0]))
    marks: dict[int, dict[int, Found]] = {}
    for label, at in places:
        given = given_mask(way.prompts[label][at])
        index = way.index(at)
        if given is not None:
            one = kept(image, index, given)
        else:
            one = _measured(image, _united(masks[label, at], index, image.plane_shape))
        marks.setdefault(label, {})[at] = one
    return {label: {at: _shared(image, way, marks, label, at) for at in slices} for label, slices in marks.items()}


def _shared(image: Image, way: Way, marks: Mapping[int, Mapping[int, Found]], label: int, at: int) -> Found:
    """Return an object in a marked slice, after dividing pixels between it and objects that touch it."""
    one = marks[label][at]
    others = [
        found.mask
        for other, slices in marks.items()
        if other != label
        for near, found in slices.items()
        if abs(near - at) <= _NEAR and found.mask.area
    ]
    if one.kept or not one.mask.area or not others:
        return one
    window, grey = _surroundings(image, one.mask)
    own = in_window(one.mask, window)
    sure = np.where(own, _SURE, -_SURE).astype(np.float32)
    shared = share_pixels(sure, own, [in_window(other, window) for other in others], grey, looks_like(one.grey, grey))
    parts, _ = ndimage.label((shared > 0) | own)
    joined = (shared > 0) & np.isin(parts, np.unique(parts[own]))
    mask = Mask.from_array(
        joined, window[:2], predicted_iou=one.mask.predicted_iou, stability_score=one.mask.stability_score,
        index=one.mask.index,
    )  # fmt: skip
    prompts = way.prompts[label][at]
    if not mask.area or sum(disobeyed(mask, p) for p in prompts) > sum(disobeyed(one.mask, p) for p in prompts):
        return one
    return _measured(image, mask)


def kept(image: Image, index: tuple[int, ...], mask: np.ndarray) -> Found:
    """Return an object that the user has drawn; other objects take no pixels of it."""
    found = _measured(image, Mask.from_array(mask, index=index))
    return replace(found, logits=np.full(found.mask.crop.shape, _CERTAIN, np.float16), kept=True)


def _apart(image: Image, looking: Looking, way: Way, label: int, at: int, mask: Mask) -> Mask:
    """Return a mask without other marked objects: if it covers several, only the part nearest to its own mark."""
    own = _places(way.prompts[label][at])
    others = [
        place
        for other, slices in way.prompts.items()
        if other != label
        for near, prompts in slices.items()
        if abs(near - at) <= _NEAR
        for place in _places(prompts)
    ]
    others = [place for place in others if _holds(mask, place)]
    if not own or not others:
        return mask
    y0, x0, y1, x1 = mask.box
    rows, columns = np.mgrid[y0 : y1 + 1, x0 : x1 + 1]
    mine, theirs = (np.min([np.hypot(rows - y, columns - x) for y, x in some], axis=0) for some in (own, others))
    nearest = mask.crop & (mine < theirs)
    part = Mask.from_array(nearest, (y0, x0))
    if not part.area:
        return mask
    index = way.index(at)
    found = looking.at([_in_stack(Prompt(box=part.box), index, image)])[0][0].masks[0]
    full = np.zeros(image.plane_shape, bool)
    if found.area:
        full[found.box[0] : found.box[2] + 1, found.box[1] : found.box[3] + 1] = found.crop
    full[y0 : y1 + 1, x0 : x1 + 1] &= mine < theirs
    return Mask.from_array(full, index=index, predicted_iou=found.predicted_iou, stability_score=found.stability_score)


def _places(prompts: Sequence[Prompt]) -> list[tuple[float, float]]:
    """Return places of an object in one slice from its prompts: its positive points and the centres of its boxes."""
    points = [
        (float(p[0]), float(p[1])) for one in prompts for p, on in zip(one.points, one.labels or (), strict=True) if on
    ]
    boxes = [one.box for one in prompts if one.box is not None]
    return [*points, *(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for box in boxes)]


def _holds(mask: Mask, place: tuple[float, float]) -> bool:
    y = round(place[0]) - mask.box[0]
    x = round(place[1]) - mask.box[1]
    return 0 <= y < mask.crop.shape[0] and 0 <= x < mask.crop.shape[1] and bool(mask.crop[y, x])


def _in_stack(prompt: Prompt, index: tuple[int, ...], image: Image) -> Prompt:
    """Return a prompt of a slice as a prompt of the stack, with one coordinate for each axis."""
    at = dict(zip(image.slice_axes, index, strict=True))

    def place(y: float, x: float) -> list[float]:
        full = {**at, "Y": y, "X": x}
        return [float(full[axis]) for axis in image.label_axes]

    box = None if prompt.box is None else [*place(*prompt.box[:2]), *place(*prompt.box[2:])]
    return Prompt([place(*point) for point in prompt.points], prompt.labels, box, prompt.mask, index)


def _united(masks: Sequence[Mask], index: tuple[int, ...], shape: tuple[int, int]) -> Mask:
    if len(masks) == 1:
        return masks[0]
    full = np.zeros(shape, bool)
    for mask in masks:
        if mask.area:
            full[mask.box[0] : mask.box[2] + 1, mask.box[1] : mask.box[3] + 1] |= mask.crop
    return Mask.from_array(
        full,
        index=index,
        predicted_iou=float(np.mean([mask.predicted_iou for mask in masks])),
        stability_score=float(np.mean([mask.stability_score for mask in masks])),
    )


def _measured(image: Image, mask: Mask) -> Found:
    """Return a mask with its evidence, measured in a window of about three times its size."""
    if not mask.area:
        return Found.nothing(mask.index)
    window, grey = _surroundings(image, mask)
    full = in_window(mask, window)
    logits = np.full(grey.shape, _SURE * mask.predicted_iou, np.float32)
    found = Found.measured(mask.index, full, logits, window, mask.predicted_iou, grey, full)
    return replace(found, mask=replace(mask, label=0))


def _surroundings(image: Image, mask: Mask) -> tuple[Box, np.ndarray]:
    """Return a window of about three times a mask's size, and its grey values as the model sees them."""
    height, width = image.plane_shape
    y0, x0, y1, x1 = mask.box
    by = max(y1 - y0, x1 - x0) + 16
    window = max(0, y0 - by), max(0, x0 - by), min(height - 1, y1 + by), min(width - 1, x1 + by)
    return window, image.rgb(mask.index, window).mean(2, dtype=np.float32)
