"""Objects followed by a model with a memory of earlier frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import overload

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Mask
from napari_foundseg.models.protocols.frames import FramePrompt, Propagating
from napari_foundseg.tasks.frames.following import Part, put_all
from napari_foundseg.tasks.frames.found import Found
from napari_foundseg.tasks.frames.marks import given_mask, kept
from napari_foundseg.tasks.frames.range_of_slices import Way

__all__ = ["follow_with_memory"]


class _Frames(Sequence[NDArray[np.uint8]]):
    """Slices of a way as frames, read on demand."""

    def __init__(self, image: Image, way: Way) -> None:
        self._image = image
        self._way = way

    def __len__(self) -> int:
        return int(self._image.slice_shape[self._way.position])

    @overload
    def __getitem__(self, at: int) -> NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[NDArray[np.uint8]]: ...
    def __getitem__(self, at: int | slice) -> NDArray[np.uint8] | Sequence[NDArray[np.uint8]]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        if not -len(self) <= at < len(self):
            raise IndexError(at)
        return self._image.rgb(self._way.index(at % len(self)))


def follow_with_memory(
    image: Image,
    model: Propagating,
    way: Way,
    poll: Callable[[], None],
    emit: Callable[[Part], None],
    *,
    min_presence: float,
    largest_part: bool,
) -> dict[int, dict[int, Found]]:
    """Follow the objects of a way; return the objects in each slice, by id."""
    prompts = [
        FramePrompt(at, label, prompt)
        for label, slices in way.prompts.items()
        for at, some in slices.items()
        for prompt in some
    ]
    found: dict[int, dict[int, Found]] = {}
    for frame, ids, logits, presence in model.propagate(_Frames(image, way), prompts, way.first, way.last, poll):
        index = way.index(frame)
        new: dict[int, Found] = {}
        for label, one, there in zip(ids.tolist(), logits, presence.tolist(), strict=True):
            given = given_mask(way.prompts[label].get(frame, ())) if frame in way.prompts[label] else None
            if given is not None:
                new[label] = kept(image, index, given)
            elif there >= min_presence and (seen := _seen(index, one, there, largest_part=largest_part)) is not None:
                new[label] = seen
        put_all(found, frame, new, emit)
    return found


def _seen(index: tuple[int, ...], logits: NDArray[np.float32], there: float, *, largest_part: bool) -> Found | None:
    mask = logits > 0
    if largest_part and mask.any():
        parts, _ = ndimage.label(mask)
        mask = parts == np.bincount(parts[mask]).argmax()
    if not mask.any():
        return None
    made = Mask.from_array(mask, index=index, predicted_iou=float(there))
    y0, x0, y1, x1 = made.box
    crop = np.clip(logits[y0 : y1 + 1, x0 : x1 + 1], -60, 60).astype(np.float16)
    return replace(Found.nothing(index), mask=made, logits=crop)
