"""The protocol of models that see a volume whole: prompts anywhere in it become a mask in 3-D."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.models.protocols.objects import Model

__all__ = ["Box3", "ChangedBox", "PromptableVolume", "Server", "VolumePrompt", "VolumePromptKind"]

#: First and last slice, row and column, (z0, y0, x0, z1, y1, x1), all included.
Box3 = tuple[int, int, int, int, int, int]
#: Boxes in a slice are one slice thick. A mask is all of the object in a slice, a scribble is a stroke on it.
VolumePromptKind = Literal["point", "box in a slice", "box", "scribble", "mask"]


@dataclass(frozen=True, eq=False)
class VolumePrompt:
    """One point, box, scribble or mask in a volume.

    Parameters
    ----------
    kind : {'point', 'box in a slice', 'box', 'scribble', 'mask'}
        What it is.
    box : tuple of int
        The voxels that it covers, (z0, y0, x0, z1, y1, x1), both ends included; of a point its voxel twice.
    mask : (D, M, N) ndarray of bool, optional
        Of a scribble or a mask: which voxels of the box are marked.
    positive : bool
        Whether it is on the object.
    """

    kind: VolumePromptKind
    box: Box3
    mask: NDArray[np.bool_] | None = None
    positive: bool = True


class ChangedBox(NamedTuple):
    """A part of the object's mask that has changed."""

    box: Box3
    """Where it is in the volume."""
    mask: NDArray[np.bool_]
    """(D, M, N) the mask there, as it is now."""


class Server(NamedTuple):
    """Where a model runs that is on a server."""

    address: str
    """Such as ``http://localhost:1527``."""
    timeout: float
    """Seconds to wait for an answer."""


class PromptableVolume(Model, Protocol):
    """Turns prompts in a volume into the mask of one object, prompt by prompt.

    A session holds one volume and the prompts of one object. `poll` is called while one waits, and may raise to stop;
    the session is of no use then.
    """

    def begin(
        self,
        volume: NDArray[np.float32],
        spacing: tuple[float, float, float],
        server: Server | None,
        poll: Callable[[], None],
    ) -> Any:
        """Return a session for a volume.

        Parameters
        ----------
        volume : (D, M, N) ndarray of float32
            Grey values as they are in the file; the model normalises and resamples them itself.
        spacing : tuple of float
            Size of a voxel along Z, Y and X.
        server : Server, optional
            For models that run on one.
        poll : callable
            See above.

        Returns
        -------
        session
            Anything that the other methods take.

        Raises
        ------
        FoundsegError
            Of a kind that names what is wrong with the volume or the server.
        """

    def prompt_kinds(self, session: Any) -> frozenset[VolumePromptKind]:
        """Return the kinds of prompts that the model takes.

        Parameters
        ----------
        session : session
            What `begin` returned.

        Returns
        -------
        frozenset of str
            Kinds of `VolumePrompt`.
        """

    def describe(self, session: Any) -> str:
        """Say what runs where, and the licence of its weights.

        Parameters
        ----------
        session : session
            What `begin` returned.

        Returns
        -------
        str
            A sentence.
        """

    def add(self, session: Any, prompt: VolumePrompt, poll: Callable[[], None]) -> ChangedBox | None:
        """Add a prompt of the object.

        Parameters
        ----------
        session : session
            What `begin` returned.
        prompt : VolumePrompt
            The prompt.
        poll : callable
            See above.

        Returns
        -------
        ChangedBox or None
            Where the object's mask has changed; None if nowhere.

        Raises
        ------
        FoundsegError
            Of a kind that names what is wrong with the prompt or the server.
        """

    def reset(self, session: Any, poll: Callable[[], None]) -> None:
        """Forget all prompts and the mask: the next prompt is of another object.

        Parameters
        ----------
        session : session
            What `begin` returned.
        poll : callable
            See above.
        """
