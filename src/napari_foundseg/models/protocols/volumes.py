"""The protocol of models that segment one object in a whole volume, from prompts anywhere in it."""

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
#: Boxes in a slice are one slice thick. A mask covers the whole object in a slice; a scribble is a stroke on it.
VolumePromptKind = Literal["point", "box in a slice", "box", "scribble", "mask"]


@dataclass(frozen=True, eq=False)
class VolumePrompt:
    """One point, box, scribble or mask in a volume.

    Parameters
    ----------
    kind : {'point', 'box in a slice', 'box', 'scribble', 'mask'}
        The kind of prompt.
    box : tuple of int
        The voxels that it covers, (z0, y0, x0, z1, y1, x1), both ends included. For a point, its voxel twice.
    mask : (D, M, N) ndarray of bool, optional
        For a scribble or a mask: the marked voxels of the box.
    positive : bool
        True if the prompt is on the object, False if it is on the background.
    """

    kind: VolumePromptKind
    box: Box3
    mask: NDArray[np.bool_] | None = None
    positive: bool = True


class ChangedBox(NamedTuple):
    """A part of the object's mask that has changed."""

    box: Box3
    """Its place in the volume."""
    mask: NDArray[np.bool_]
    """The mask in the box after the change, (D, M, N)."""


class Server(NamedTuple):
    """Address and timeout of the server that a model runs on."""

    address: str
    """Address, such as ``http://localhost:1527``."""
    timeout: float
    """Seconds to wait for an answer."""


class PromptableVolume(Model, Protocol):
    """Segments one object in a volume, and updates its mask after each prompt.

    A session has one volume and the prompts of one object. Methods that wait call `poll`, which may raise to stop.
    After that the session cannot be used any more.
    """

    def begin(
        self,
        volume: NDArray[np.float32],
        spacing: tuple[float, float, float],
        server: Server | None,
        poll: Callable[[], None],
    ) -> Any:
        """Open a session for a volume.

        Parameters
        ----------
        volume : (D, M, N) ndarray of float32
            Grey values of the file, unchanged; the model normalises and resamples them itself.
        spacing : tuple of float
            Size of a voxel along Z, Y and X.
        server : Server, optional
            For models that run on a server.
        poll : callable
            See `PromptableVolume`.

        Returns
        -------
        session
            Any object; it is passed to the other methods.

        Raises
        ------
        FoundsegError
            If the volume or the server causes an error; the subclass says which.
        """

    def prompt_kinds(self, session: Any) -> frozenset[VolumePromptKind]:
        """Return the kinds of prompts that the model accepts.

        Parameters
        ----------
        session : session
            Result of `begin`.

        Returns
        -------
        frozenset of str
            Kinds of `VolumePrompt`.
        """

    def describe(self, session: Any) -> str:
        """Describe the model, the place where it runs, and the licence of its weights.

        Parameters
        ----------
        session : session
            Result of `begin`.

        Returns
        -------
        str
            A sentence.
        """

    def add(self, session: Any, prompt: VolumePrompt, poll: Callable[[], None]) -> ChangedBox | None:
        """Add a prompt for the object.

        Parameters
        ----------
        session : session
            Result of `begin`.
        prompt : VolumePrompt
            The prompt.
        poll : callable
            See `PromptableVolume`.

        Returns
        -------
        ChangedBox or None
            The part of the object's mask that has changed; None if nothing has.

        Raises
        ------
        FoundsegError
            If the prompt or the server causes an error; the subclass says which.
        """

    def reset(self, session: Any, poll: Callable[[], None]) -> None:
        """Clear all prompts and the mask. The next prompt starts another object.

        Parameters
        ----------
        session : session
            Result of `begin`.
        poll : callable
            See `PromptableVolume`.
        """
