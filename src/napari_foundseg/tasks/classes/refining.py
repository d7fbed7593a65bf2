"""Outlines made again by a promptable model, with the bounding box of each object as its prompt."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

import numpy as np

from napari_foundseg.core.classes.panoptic import Panoptic, fused
from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Box, Mask
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.tasks import prompt as prompting

__all__ = ["Refiner"]


class Refiner:
    """A promptable model that outlines the objects of an image's slices again.

    Parameters
    ----------
    image : Image
        The image.
    name : str
        The model's name in the catalogue.
    device : str
        Where it is to run, as torch writes it.
    region : tuple of int
        (y0, x0, y1, x1), both included: where the objects' own pixels lie in the image.
    stuff : collection of int
        Classes that have no objects and stay as they are.

    Raises
    ------
    ModelNotFoundError
        If there is no such model, or it takes no prompts.
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
            Its objects, with the shape of the region.
        cancelled : callable
            Asked now and then; True stops.

        Returns
        -------
        Panoptic
            Objects of the same classes; what has no box stays as it is.
        """
        if not len(found.classes) or found.boxes is None:
            return found
        top, left = self._region[:2]
        boxes = found.boxes + np.array([top, left, top, left])
        prompts = tuple(Prompt(box=tuple(map(float, box)), index=index) for box in boxes)
        inputs = prompting.PromptInputs(prompts=prompts)
        settings = prompting.PromptSettings()
        drawn = prompting.TASK.run(self._image, inputs, settings, self._model, cancelled=cancelled)
        best = {mask.label: mask for mask in reversed(drawn.masks or ())}
        masks = []
        for i, class_id in enumerate(found.classes):
            mask = _inside(best[i + 1].moved(-top, -left), found.labels.shape)
            if mask is not None:
                masks.append(replace(mask, class_id=int(class_id)))
        return fused(found.semantic, masks, stuff=self._stuff, score_threshold=0, overlap_threshold=1, stuff_area=0)


def _inside(mask: Mask, shape: tuple[int, ...]) -> Mask | None:
    """Cut off what a refined mask has outside the region."""
    y0, x0, y1, x1 = mask.box
    top = max(y0, 0)
    left = max(x0, 0)
    bottom = min(y1, shape[0] - 1)
    right = min(x1, shape[1] - 1)
    if top > bottom or left > right:
        return None
    crop = mask.crop[top - y0 : bottom - y0 + 1, left - x0 : right - x0 + 1]
    return replace(mask, box=(top, left, bottom, right), crop=crop)
