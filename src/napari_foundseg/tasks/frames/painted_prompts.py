"""Prompts from objects that are already painted."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_foundseg.core.errors import PromptError
from napari_foundseg.core.labels import plane_view
from napari_foundseg.core.prompts import Prompt

__all__ = ["as_prompts"]


def as_prompts(stack: Any, prompts: Any, axes: str | None) -> Any:
    """Return prompts unchanged; for a label image, return a mask prompt for each object in each of its slices."""
    if isinstance(prompts, Prompt | dict) or not (isinstance(prompts, np.ndarray) or hasattr(prompts, "__array__")):
        return prompts
    from napari_foundseg.io.image_sources import as_image

    image = as_image(stack, axes)
    labels = np.asarray(prompts)
    if labels.shape != image.shape or labels.dtype.kind not in "bui":
        raise PromptError(
            f"As prompts a label image of the stack's shape {image.shape} is expected, got {labels.dtype} of shape "
            f"{labels.shape}."
        )
    found: dict[int, list[Prompt]] = {}
    for index in image.indices():
        plane = plane_view(labels, image.label_axes, index)
        for label in np.unique(plane[plane > 0]).tolist():
            found.setdefault(int(label), []).append(Prompt(mask=plane == label, index=index))
    if not found:
        raise PromptError("The label image is empty: paint each object in one slice at least.")
    return found
