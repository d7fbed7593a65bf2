"""The errors of the package: each failure that a user can cause or fix has a class.

A message names the value, the expected values and the remedy.
"""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "AxesError",
    "BadImageError",
    "Cancelled",
    "ChangedError",
    "CheckpointError",
    "CodeNotAllowedError",
    "DTypeError",
    "DownloadError",
    "EngineError",
    "EngineStartError",
    "FilesNotSharedError",
    "FolderLostError",
    "FoundsegError",
    "InputReplacedError",
    "KeptError",
    "ModelInUseError",
    "ModelNotFoundError",
    "NoFreeWorkerError",
    "OfflineError",
    "OutputError",
    "PackageError",
    "PromptError",
    "RecipeError",
    "ReplayError",
    "ServerError",
    "SettingsError",
    "WorkerLostError",
    "WorklistError",
]


class FoundsegError(Exception):
    """Root of all errors of this package.

    Not a `RuntimeError`: Qt's generator workers swallow those.
    """


class BadImageError(FoundsegError, ValueError):
    """An image that cannot be read or has no pixels.

    Parameters
    ----------
    path : str or Path or None
        The file; None for an array.
    reason : str
        The problem and its remedy.
    """

    def __init__(self, path: str | Path | None, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return self.reason if self.path is None else f"{self.path}: {self.reason}"


class AxesError(FoundsegError, ValueError):
    """Axes that do not fit the image."""


class DTypeError(FoundsegError, TypeError):
    """Pixels of a type that has no grey values."""


class PromptError(FoundsegError, ValueError):
    """A prompt that is empty, malformed or outside the image."""


class SettingsError(FoundsegError, ValueError):
    """A setting that is unknown, out of range or belongs to another method."""


class ModelNotFoundError(FoundsegError, LookupError):
    """A model name that is not in the catalogue, or a model that cannot do the task."""


class CheckpointError(FoundsegError, ValueError):
    """A weights file that is damaged, of another layout or not the one expected."""


class CodeNotAllowedError(CheckpointError):
    """A model that runs Python of its own, to which the user has not agreed; the window asks."""


class DownloadError(FoundsegError):
    """Weights that cannot be downloaded, and why; the downloaded part is kept, unless the message says otherwise."""


class OfflineError(DownloadError):
    """The network is wanted while the user has switched it off."""


class ModelInUseError(FoundsegError):
    """Weights that cannot be removed, since others need them."""


class PackageError(FoundsegError, ImportError):
    """A package that a model needs and that is missing or too old."""


class OutputError(FoundsegError, OSError):
    """A file that cannot be written: a missing folder, no permission, a full disk, ids that do not fit."""


class FolderLostError(OutputError):
    """A folder of results that is gone, or whose name another has."""


class InputReplacedError(OutputError):
    """An output that is an input, is inside one, or would take its place. No option allows it."""


class KeptError(OutputError):
    """A file of the user, or a result that was edited since, is in the place of an output; it was not replaced."""


class ChangedError(KeptError):
    """A file that another window or program has written since it was opened here; the window asks."""


class WorklistError(FoundsegError, ValueError):
    """A worklist that cannot be read, or labels that do not belong to their image."""


class RecipeError(FoundsegError, ValueError):
    """A recipe cannot be read, matches no image, or refers to something that does not exist."""


class ReplayError(FoundsegError, ValueError):
    """A result of which too little was written down to make it again."""


class EngineError(FoundsegError):
    """The process that runs the models failed, ran out of memory or cannot be reached."""


class EngineStartError(EngineError):
    """No worker of a batch can be started."""


class FilesNotSharedError(EngineStartError):
    """A worker does not see the files of a batch under the paths that they have here."""


class ServerError(FoundsegError):
    """A server that runs a model cannot be reached, is lost, too slow, of another version, or answers nonsense."""


class NoFreeWorkerError(EngineError):
    """A scheduler has no worker that is not in use."""


class WorkerLostError(EngineError):
    """A worker of a batch ended before the work that it had been given."""


class Cancelled(FoundsegError):  # noqa: N818 - a cancelled run is not an error
    """The user cancelled the run."""
