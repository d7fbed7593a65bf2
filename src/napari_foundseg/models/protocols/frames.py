"""The protocol of models that follow objects through the frames of a film or the slices of a stack."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.prompts import Prompt
from napari_foundseg.models.protocols.objects import Model

__all__ = ["FrameMasks", "FramePrompt", "Propagating"]


@dataclass(frozen=True, eq=False)
class FramePrompt:
    """A prompt for one object in one frame.

    Parameters
    ----------
    frame : int
        The frame, counted from 0 in the order of the axis that is followed.
    object_id : int
        The object, from 1; several prompts, in the same or in further frames, may show the same object.
    prompt : Prompt
        Points and a box, or a mask, in pixels (y, x) of the frame.
    """

    frame: int
    object_id: int
    prompt: Prompt


class FrameMasks(NamedTuple):
    """The masks of all objects in one frame."""

    frame: int
    """The frame."""
    object_ids: NDArray[np.int64]
    """Ids of the objects, (K,)."""
    logits: NDArray[np.float32]
    """Logits, (K, M, N), positive inside, at the frame's size."""
    presence: NDArray[np.float32]
    """Probability that the object is in this frame, (K,), 0 to 1."""


class Propagating(Model, Protocol):
    """Follows objects from the frames with prompts to all other frames, with a memory of the frames before."""

    def propagate(
        self,
        frames: Sequence[NDArray[np.uint8]],
        prompts: Sequence[FramePrompt],
        first: int,
        last: int,
        poll: Callable[[], None],
    ) -> Iterator[FrameMasks]:
        """Follow objects through frames.

        Parameters
        ----------
        frames : sequence of (M, N, 3) ndarray of uint8
            All frames have the same size. The sequence is lazy: few frames are in memory at a time.
        prompts : sequence of FramePrompt
            At least one, all in the frames `first` to `last`. Prompts for the same object in later frames correct it.
        first, last : int
            First and last frame, both included.
        poll : callable
            Called before every frame; may raise to stop.

        Yields
        ------
        FrameMasks
            Each frame from `first` to `last` once, with all objects: onward from the earliest prompt, then backward.
        """
