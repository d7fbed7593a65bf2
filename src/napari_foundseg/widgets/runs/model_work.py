"""Downloads, checks and timings of models: in the engine's process, seen by all forms of the window."""

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
#: Kinds that only touch files: they are done on this computer, wherever models run.
_OF_FILES = ("download", "verify", "remove", "remove part", "token")


@dataclass(frozen=True)
class UnderWay:
    """What is done with a model at present.

    Parameters
    ----------
    kind : str
        What it is.
    share : float
        How much is done, 0 to 1.
    words : str
        The step in words.
    stopping : bool
        Whether it was asked to stop.
    discard : bool
        Whether the part of a download is deleted when it has stopped.
    """

    kind: Kind
    share: float = 0.0
    words: str = "starting"
    stopping: bool = False
    discard: bool = False


class ModelWork(QObject):
    """What is under way with models, at most one thing with each."""

    #: Name of a model of which something began, went on or ended.
    changed = Signal(str)
    #: Name, kind, and the result or the FoundsegError; `Cancelled` where it was stopped.
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
        """Return what is under way with a model."""
        return self._under_way.get(name)

    def names(self, kind: Kind) -> list[str]:
        """Return the models with which something of a kind is under way."""
        return [name for name, one in self._under_way.items() if one.kind == kind]

    def start(self, name: str, kind: Kind, argument: Any = None) -> None:
        """Begin something with a model; nothing happens where something is under way with it already."""
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
        """Ask what is under way with a model to stop; of a download the part stays, and the next one goes on there."""
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
            # All open forms list what is here.
            catalogue_watch().check()
        self.changed.emit(name)
        self.ended.emit(name, ended.kind, outcome)
        if ended.discard and isinstance(outcome, Cancelled):
            self.start(name, "remove part")


@cache
def model_work() -> ModelWork:
    """Return the work of this window."""
    return ModelWork()


def _function(kind: Kind) -> Stage:
    # Not at the top: the engine's modules are imported in the background when the first form opens.
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
