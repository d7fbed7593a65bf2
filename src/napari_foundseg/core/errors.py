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

    It is not a `RuntimeError`, since Qt's generator workers swallow those.
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
    """Pixels of a dtype that has no grey values."""


class PromptError(FoundsegError, ValueError):
    """A prompt that is empty, malformed or outside the image."""


class SettingsError(FoundsegError, ValueError):
    """A setting that is unknown, out of range or belongs to another method."""


class ModelNotFoundError(FoundsegError, LookupError):
    """A model that is not in the catalogue, or that cannot do the task."""


class CheckpointError(FoundsegError, ValueError):
    """A weights file that is damaged, has another layout or is not the expected one."""


class CodeNotAllowedError(CheckpointError):
    """A model that runs its own Python code, which the user has not allowed; the window asks."""


class DownloadError(FoundsegError):
    """Weights that cannot be downloaded. The downloaded part is kept, unless the message says otherwise."""


class OfflineError(DownloadError):
    """A download that needs the network while the user has switched it off."""


class ModelInUseError(FoundsegError):
    """Weights that cannot be removed because other models need them."""


class PackageError(FoundsegError, ImportError):
    """A package that a model needs and that is missing or too old."""


class OutputError(FoundsegError, OSError):
    """A file that cannot be written, for example: a missing folder, no permission, a full disk, ids that do not fit."""


class FolderLostError(OutputError):
    """A folder of results that is gone or has been replaced by another of the same name."""


class InputReplacedError(OutputError):
    """An output that is an input, is inside one, or would replace one. No option allows it."""


class KeptError(OutputError):
    """An output whose path holds a file of the user or a result that was edited since. The file was not replaced."""


class ChangedError(KeptError):
    """A file that another window or program has written since it was opened here; the window asks."""


class WorklistError(FoundsegError, ValueError):
    """A worklist that cannot be read, or labels that do not belong to their image."""


class RecipeError(FoundsegError, ValueError):
    """A recipe that cannot be read, matches no image, or refers to something that does not exist."""


class ReplayError(FoundsegError, ValueError):
    """A result whose record is too incomplete to make it again."""


class EngineError(FoundsegError):
    """A model process that failed, ran out of memory or cannot be reached."""


class EngineStartError(EngineError):
    """A batch none of whose workers can be started."""


class FilesNotSharedError(EngineStartError):
    """A worker that does not find the files of a batch under the paths that they have here."""


class ServerError(FoundsegError):
    """A model server that cannot be reached, was lost, is too slow, has another version, or sends an invalid answer."""


class NoFreeWorkerError(EngineError):
    """A scheduler without a free worker."""


class WorkerLostError(EngineError):
    """A worker of a batch that ended before its work was done."""


class Cancelled(FoundsegError):  # noqa: N818 - a cancelled run is not an error
    """A run that the user cancelled."""
