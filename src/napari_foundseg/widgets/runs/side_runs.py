"""Runs beside the one that a form shows, such as saving while its result stays where it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, Qt, Signal  # type: ignore[attr-defined] # qtpy adds it

from napari_foundseg.core.result import Segmentation
from napari_foundseg.widgets.runs.run import Run

__all__ = ["Beside"]


class Beside(QObject):
    """Starts runs and hands each one's result to whoever asked for it."""

    #: How far a run is, or how it ended, in words.
    said = Signal(str)
    #: A `FoundsegError`.
    failed = Signal(object)
    #: Whether anything runs.
    busy = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        self._asked: dict[Run, tuple[float, Callable[[Segmentation], None]]] = {}

    def start(self, run: Run, use: Callable[[Segmentation], None]) -> None:
        """Start a run.

        Parameters
        ----------
        run : Run
            What is to be run.
        use : callable
            Given the result, in the window's thread.
        """
        self._asked[run] = time.perf_counter(), use
        self.said.emit("working")
        self.busy.emit(True)
        run.progressed.connect(self._progress, Qt.ConnectionType.QueuedConnection)
        run.ended.connect(self._end, Qt.ConnectionType.QueuedConnection)
        run.start()

    def cancel(self) -> None:
        """Stop what runs; results that come late are dropped."""
        asked, self._asked = self._asked, {}
        for run in asked:
            run.cancel()
        if asked:
            self.said.emit("cancelled")
            self.busy.emit(False)

    def _progress(self, _share: float, words: str) -> None:
        if self.sender() in self._asked:
            self.said.emit(words)

    def _end(self, run: Run, job: Any) -> None:
        if run not in self._asked:
            return
        started, use = self._asked.pop(run)
        self.busy.emit(bool(self._asked))
        if job.state == "done":
            use(job.result)
            self.said.emit(f"done in {time.perf_counter() - started:.1f} s")
            return
        self.said.emit("")
        if job.state == "failed":
            self.failed.emit(job.error)
