"""Downloads, checks and timings of models: they run in the engine's process, and all forms of the window show them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from qtpy.QtCore import QObject, Qt, Signal  # type: ignore[attr-defined] # qtpy adds it

from napari_foundseg.core.errors import Cancelled, FoundsegError
from napari_foundseg.widgets.controls.catalogue_watch import catalogue_watch
from napari_foundseg.widgets.runs.shared_engine import files_engine, shared_engine

if TYPE_CHECKING:
    from napari_foundseg.engine.client import BackgroundWork
    from napari_foundseg.engine.stages import Stage

__all__ = ["Kind", "ModelWork", "UnderWay", "model_work"]

Kind = Literal["download", "verify", "remove", "remove part", "time", "token"]
#: Kinds that only use files: they run on this computer, even if models run elsewhere.
_OF_FILES = ("download", "verify", "remove", "remove part", "token")


@dataclass(frozen=True)
class UnderWay:
    """Work on a model that is in progress.

    Parameters
    ----------
    kind : str
        Kind of the work.
    share : float
        Share that is done, 0 to 1.
    words : str
        The current step in words.
    stopping : bool
        Whether the work was asked to stop.
    discard : bool
        Whether the downloaded part is deleted after the download has stopped.
    """

    kind: Kind
    share: float = 0.0
    words: str = "starting"
    stopping: bool = False
    discard: bool = False


class ModelWork(QObject):
    """All work on models in progress, at most one kind per model."""

    #: Work on a model started, progressed or ended; the model's name.
    changed = Signal(str)
    #: Name, kind, and the result or the FoundsegError; `Cancelled` if the work was stopped.
    ended = Signal(str, str, object)

    _reported = Signal(str, float, str)
    _done = Signal(str, object)

    def __init__(self) -> None:
        super().__init__()
        self._under_way: dict[str, UnderWay] = {}
        self._works: dict[str, BackgroundWork] = {}
        self._reported.connect(self._show, Qt.ConnectionType.QueuedConnection)
        self._done.connect(self._end, Qt.ConnectionType.QueuedConnection)

    def of(self, name: str) -> UnderWay | None:
        """Return the work in progress on a model, or None."""
        return self._under_way.get(name)

    def names(self, kind: Kind) -> list[str]:
        """Return the models with work of a kind in progress."""
        return [name for name, one in self._under_way.items() if one.kind == kind]

    def start(self, name: str, kind: Kind, argument: Any = None) -> None:
        """Start work on a model; nothing happens if there is already work in progress on it."""
        if name in self._under_way:
            return
        self._under_way[name] = UnderWay(kind)
        self.changed.emit(name)
        engine = files_engine() if kind in _OF_FILES else shared_engine()
        try:
            self._works[name] = engine.work(
                _function(kind),
                name if argument is None else (name, argument),
                computes=kind == "time",
                progress=lambda share, words: self._reported.emit(name, float(share), words),
                done=lambda work: self._done.emit(name, work),
            )
        except FoundsegError as error:
            self._finish(name, error)

    def stop(self, name: str) -> None:
        """Ask the work on a model to stop; the downloaded part is kept, and the next download continues from it."""
        if name in self._works:
            self._under_way[name] = replace(self._under_way[name], stopping=True, words="stopping")
            self._works[name].cancel()
            self.changed.emit(name)

    def discard(self, name: str) -> None:
        """Stop a download and delete the downloaded part."""
        if name in self._works:
            self._under_way[name] = replace(self._under_way[name], discard=True)
            self.stop(name)

    def _show(self, name: str, share: float, words: str) -> None:
        now = self._under_way.get(name)
        if now is not None and not now.stopping:
            self._under_way[name] = replace(now, share=share, words=words)
            self.changed.emit(name)

    def _end(self, name: str, work: BackgroundWork) -> None:
        if self._works.get(name) is work:
            self._finish(name, work.result if work.error is None else work.error)

    def _finish(self, name: str, outcome: Any) -> None:
        self._works.pop(name, None)
        ended = self._under_way.pop(name, None)
        if ended is None:
            return
        if not isinstance(outcome, Cancelled) and ended.kind != "time":
            # All open forms list the installed models.
            catalogue_watch().check()
        self.changed.emit(name)
        self.ended.emit(name, ended.kind, outcome)
        if ended.discard and isinstance(outcome, Cancelled):
            self.start(name, "remove part")


@cache
def model_work() -> ModelWork:
    """Return the window's work on models."""
    return ModelWork()


def _function(kind: Kind) -> Stage:
    # Not at the top: the engine's modules are imported in a background thread when the first form opens.
    from napari_foundseg.engine import model_work as functions

    table: dict[str, Callable[[Any, Any], Any]] = {
        "download": functions.download,
        "verify": functions.verify,
        "remove": functions.remove,
        "remove part": functions.remove_part,
        "time": functions.measure,
        "token": functions.keep_token,
    }
    return table[kind]
