"""Merged prompts, for networks that take one prompt per object and frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_foundseg.core.errors import PromptError
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.models.protocols.frames import FramePrompt

__all__ = ["merged_prompts", "stands_alone"]


def merged_prompts(prompts: Sequence[FramePrompt], first: int, last: int, count: int) -> dict[int, dict[int, Prompt]]:
    """Merge all prompts for the same object in the same frame.

    Parameters
    ----------
    prompts : sequence of FramePrompt
        In any order.
    first, last : int
        First and last frame to process, both included.
    count : int
        Total number of frames.

    Returns
    -------
    dict of int to dict of int to Prompt
        By object, then by frame: all points, the smallest box around all boxes, and the union of the masks.

    Raises
    ------
    PromptError
        If there are no prompts, one is outside the frames, or an object has negative points only.
    """
    if not 0 <= first <= last < count:
        raise PromptError(f"Frames {first} to {last} of {count} (0 to {count - 1}) are not a range of frames.")
    if not prompts:
        raise PromptError("There is no prompt: show an object in a frame by a point, a box or a mask.")
    grouped: dict[int, dict[int, list[Prompt]]] = {}
    for one in prompts:
        if not first <= one.frame <= last:
            raise PromptError(
                f"The prompt of object {one.object_id} is in frame {one.frame}, outside the frames {first} to {last}."
            )
        grouped.setdefault(one.object_id, {}).setdefault(one.frame, []).append(one.prompt)
    found = {
        number: {frame: _together(some) for frame, some in sorted(of_frames.items())}
        for number, of_frames in sorted(grouped.items())
    }
    for number, of_frames in found.items():
        if not any(stands_alone(prompt) for prompt in of_frames.values()):
            raise PromptError(
                f"Object {number} has points beside it only; show where it is by a point on it, a box or a mask."
            )
    return found


def stands_alone(prompt: Prompt) -> bool:
    """Return whether a prompt shows an object without help from other prompts; negative points alone do not."""
    return prompt.box is not None or prompt.mask is not None or 1 in (prompt.labels or ())


def _together(prompts: Sequence[Prompt]) -> Prompt:
    if len(prompts) == 1:
        return prompts[0]
    boxes = np.array([prompt.box for prompt in prompts if prompt.box is not None])
    masks = [prompt.mask for prompt in prompts if prompt.mask is not None]
    return Prompt(
        points=[point for prompt in prompts for point in prompt.points],
        labels=[label for prompt in prompts for label in prompt.labels or ()],
        box=[*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)] if len(boxes) else None,
        mask=np.logical_or.reduce(masks) if masks else None,
    )
