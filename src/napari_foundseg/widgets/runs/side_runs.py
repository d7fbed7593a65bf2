"""Runs that do not change a form's result, such as saving clusters."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined] # qtpy adds it

from napari_foundseg.core.result import Segmentation
from napari_foundseg.widgets.runs.run import Run
from napari_foundseg.widgets.runs.run_follower import RunFollower

__all__ = ["SideRuns"]


class SideRuns(QObject):
    """Starts runs, and calls a separate function with each result."""

    #: Progress or outcome in words.
    said = Signal(str)
    #: A `FoundsegError`.
    failed = Signal(object)
    #: Whether any run is in progress.
    busy = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        self._followers: set[RunFollower] = set()

    @property
    def running(self) -> bool:
        """Whether any run is in progress."""
        return bool(self._followers)

    def start(self, run: Run, use: Callable[[Segmentation], None]) -> None:
        """Start a run; `use` is called with its result, in the window's thread."""
        follower = RunFollower(self)

        def finish(_run: Run, result: Segmentation) -> None:
            seconds = follower.seconds
            self._forget(follower)
            use(result)
            self.said.emit(f"done in {seconds:.1f} s")

        def fail(error: Exception) -> None:
            self._forget(follower)
            self.said.emit("")
            self.failed.emit(error)

        def stop() -> None:
            self._forget(follower)
            self.said.emit("")

        follower.progressed.connect(lambda _share, words: self.said.emit(words))
        follower.done.connect(finish)
        follower.failed.connect(fail)
        follower.cancelled.connect(stop)
        self._followers.add(follower)
        self.said.emit("working")
        self.busy.emit(True)
        follower.start(run)

    def cancel(self) -> None:
        """Cancel all runs; late results are ignored."""
        followers = self._followers
        self._followers = set()
        for follower in followers:
            follower.cancel()
            follower.deleteLater()
        if followers:
            self.said.emit("cancelled")
            self.busy.emit(False)

    def _forget(self, follower: RunFollower) -> None:
        self._followers.discard(follower)
        # Its connections refer to it, and only Qt can break that cycle.
        follower.deleteLater()
        self.busy.emit(self.running)
