"""The import of weights in the dock *Models*: a button with a menu, and a queue of files and folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qtpy.QtCore import Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QMenu, QPushButton

from napari_foundseg.core.errors import FoundsegError
from napari_foundseg.widgets.controls.model_import import ModelImport, choose_weights_file, choose_weights_folder
from napari_foundseg.widgets.controls.usability import set_usable

__all__ = ["WeightsImport"]


class WeightsImport(QPushButton):
    """A button that imports files and folders, one after the other."""

    #: The user has requested imports; the next one has not begun yet.
    asked = Signal()
    #: An import has begun; its path.
    started = Signal(str)
    #: An import has ended; the name of the new model, empty if it failed.
    ended = Signal(str)

    def __init__(self) -> None:
        super().__init__("Import file or folder…")
        self.setToolTip(
            "Add a model of which you have the weights. Or drop a file or a folder of weights on this dock."
        )
        #: Reasons why files were not imported.
        self.errors: list[str] = []
        self._waiting: list[str] = []
        self._import = ModelImport(self)
        self._import.ended.connect(self._end)
        menu = QMenu(self)
        for text, act in (("Weights file…", self._choose_file), ("Folder of weights…", self._choose_folder)):
            action = menu.addAction(text)
            assert action is not None
            action.triggered.connect(act)
        self.setMenu(menu)

    def start(self, paths: Sequence[str]) -> None:
        """Import files and folders in a separate process; they wait while another import is running."""
        self.asked.emit()
        if not self._import.running:
            self.errors = []
        self._waiting += [path for path in paths if path]
        self._begin_next()

    def describe(self, path: str, name: str, facts: Mapping[str, str]) -> None:
        """Import a network again under its name, with the facts that the user has entered."""
        self.asked.emit()
        self.errors = []
        set_usable(self, "An import is under way.")
        self.started.emit(path)
        said = [part for fact, value in facts.items() for part in ("--set", f"{fact}={value}")]
        self._import.start(path, "--name", name, *said)

    @property
    def running(self) -> bool:
        """Whether an import is in progress."""
        return self._import.running

    def stop(self) -> None:
        """Stop the current import and drop those that wait."""
        self._waiting = []
        self._import.stop()

    def _choose_file(self) -> None:
        self.start([choose_weights_file(self)])

    def _choose_folder(self) -> None:
        self.start([choose_weights_folder(self)])

    def _begin_next(self) -> None:
        if not self._waiting or self._import.running:
            return
        path = self._waiting.pop(0)
        set_usable(self, "An import is under way.")
        self.started.emit(path)
        self._import.start(path)

    def _end(self, outcome: str | FoundsegError) -> None:
        set_usable(self, "")
        if isinstance(outcome, FoundsegError):
            self.errors.append(str(outcome))
        self.ended.emit("" if isinstance(outcome, FoundsegError) else outcome)
        self._begin_next()
