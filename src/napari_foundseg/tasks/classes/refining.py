"""Outlines refined by a promptable model, with the bounding box of each object as its prompt."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from napari_foundseg.core.classes.panoptic import Panoptic, fused
from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Box, Mask
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.tasks import prompt as prompting
from napari_foundseg.tasks.settings import Progress, ignore_progress

__all__ = ["Refiner", "inside", "masks_in_boxes"]


class Refiner:
    """A promptable model that outlines the objects of an image's slices again.

    Parameters
    ----------
    image : Image
        The image.
    name : str
        The model's name in the catalogue.
    device : str
        Device to run on, as torch writes it.
    region : tuple of int
        Region of the image that the objects are in, (y0, x0, y1, x1), both included.
    stuff : collection of int
        Classes without objects, which stay unchanged.

    Raises
    ------
    ModelNotFoundError
        If there is no such model, or if it takes no prompts.
    """

    def __init__(self, image: Image, name: str, device: str, region: Box, stuff: Collection[int] = ()) -> None:
        from napari_foundseg.models.loading import load_model

        self._model = load_model(name, device=device, protocol="Promptable")
        self._image = image
        self._region = region
        self._stuff = stuff

    def refined(self, index: tuple[int, ...], found: Panoptic, cancelled: Callable[[], bool] = bool) -> Panoptic:
        """Outline the objects of a slice again.

        Parameters
        ----------
        index : tuple of int
            The slice.
        found : Panoptic
            Objects of the slice, with the shape of the region.
        cancelled : callable
            Called repeatedly; True stops.

        Returns
        -------
        Panoptic
            Objects of the same classes; the same result if it has no boxes.
        """
        if not len(found.classes) or found.boxes is None:
            return found
        top, left = self._region[:2]
        boxes = [(index, box) for box in (found.boxes + np.array([top, left, top, left])).tolist()]
        drawn = masks_in_boxes(self._image, boxes, self._model, cancelled=cancelled)
        masks = []
        for class_id, own in zip(found.classes, drawn, strict=True):
            mask = inside(own.moved(-top, -left), found.labels.shape)
            if mask is not None:
                masks.append(replace(mask, class_id=int(class_id)))
        return fused(found.semantic, masks, stuff=self._stuff, score_threshold=0, overlap_threshold=1, stuff_area=0)


def masks_in_boxes(
    image: Image,
    boxes: Sequence[tuple[tuple[int, ...], Sequence[float]]],
    model: Any,
    progress: Progress = ignore_progress,
    cancelled: Callable[[], bool] = bool,
) -> list[Mask]:
    """Return the mask of the object in each box; an empty mask if the model finds none.

    `boxes` holds the slice and (y0, x0, y1, x1), both ends included, of each box; `model` takes prompts.
    """
    if not boxes:
        return []
    prompts = tuple(Prompt(box=(*_corner(image, at, *box[:2]), *_corner(image, at, *box[2:]))) for at, box in boxes)
    inputs = prompting.PromptInputs(prompts=prompts)
    drawn = prompting.TASK.run(image, inputs, prompting.PromptSettings(), model, progress, cancelled)
    best = {mask.label: mask for mask in reversed(drawn.masks or ())}
    return [best[i + 1] for i in range(len(boxes))]


def _corner(image: Image, index: tuple[int, ...], y: float, x: float) -> list[float]:
    """Return a point of a slice as coordinates in the order of the image's axes."""
    at = {**dict(zip(image.slice_axes, index, strict=True)), "Y": y, "X": x}
    return [float(at[axis]) for axis in image.label_axes]


def inside(mask: Mask, shape: tuple[int, ...]) -> Mask | None:
    """Crop a mask to a region; None if nothing is left."""
    y0, x0, y1, x1 = mask.box
    top = max(y0, 0)
    left = max(x0, 0)
    bottom = min(y1, shape[0] - 1)
    right = min(x1, shape[1] - 1)
    if top > bottom or left > right:
        return None
    crop = mask.crop[top - y0 : bottom - y0 + 1, left - x0 : right - x0 + 1]
    return replace(mask, box=(top, left, bottom, right), crop=crop)
