"""The button *Save labels…*, and a line that says where the labels of a layer are stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import ref

from napari.layers import Labels
from napari.utils.notifications import show_warning
from qtpy.QtCore import Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_foundseg.core.errors import ChangedError, FoundsegError
from napari_foundseg.widgets.controls.message import Message
from napari_foundseg.widgets.controls.rows import wrapping_label
from napari_foundseg.widgets.controls.usability import set_usable
from napari_foundseg.widgets.editing.label_saving import ask_path, mark_saved, saved_in_words, saving
from napari_foundseg.widgets.editing.layer_file import LayerFile, layer_file
from napari_foundseg.widgets.qt.changed_files import ask_about_change
from napari_foundseg.widgets.qt.file_thread import FileThread
from napari_foundseg.widgets.qt.widget_release import is_alive

__all__ = ["SaveRow"]


class SaveRow(QWidget):
    """A button that saves the labels of one layer, and a line that says where they are stored.

    Parameters
    ----------
    what : str, optional
        A name for the labels, such as ``classes``, in a form with several layers to save.
    """

    #: The labels were saved in a file; its `Path`.
    saved = Signal(object)

    def __init__(self, theme: str, what: str = "labels") -> None:
        super().__init__()
        self._what = what
        self._layer: ref[Labels] | None = None
        self._file: LayerFile | None = None
        self._files = FileThread()
        self._words = ""
        self.state = wrapping_label("")
        self.button = QPushButton(f"Save {what}…")
        self.button.setToolTip(
            f"Save the {what} in a file, with scale, units and colours; the properties of the objects are kept with "
            "them. (File > Save Selected Layers keeps these only with 'FoundSeg labels' as the file's type.)"
        )
        self.button.clicked.connect(lambda: self.save())
        self.message = Message(theme)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        line = QHBoxLayout()
        line.addWidget(self.state, 1)
        line.addWidget(self.button)
        layout.addLayout(line)
        layout.addWidget(self.message)
        self.follow(None)

    @property
    def layer(self) -> Labels | None:
        """The layer to save; None if there is none."""
        return None if self._layer is None else self._layer()

    def follow(self, layer: Labels | None) -> None:
        """Save another layer from now on; None for no layer."""
        if self._file is not None:
            self._file.changed.disconnect(self._show)
        self._layer = None if layer is None else ref(layer)
        self._file = None if layer is None else layer_file(layer)
        if self._file is not None:
            self._file.changed.connect(self._show)
        self.message.say("")
        self.say("")

    def forget(self, layer: Any) -> None:
        """Stop following a layer that was removed from the viewer."""
        if layer is self.layer:
            self.follow(None)

    def say(self, words: str) -> None:
        """Show the last action, above the line that says where the labels are stored."""
        self._words = words
        self._show()

    def save(self) -> None:
        """Ask for a file and save the labels in it, in a background thread."""
        layer = self.layer
        if layer is None:
            return
        self.message.say("")
        try:
            path = ask_path(self, layer)
            if path is None:
                return
            edits = layer_file(layer).edits
            work = saving(layer, path)
        except FoundsegError as error:
            self.message.say(str(error))
            return
        self._write(layer, path, edits, work)

    def _write(self, layer: Labels, path: Path, edits: int, work: Callable[[], list[str]]) -> None:
        self.button.setEnabled(False)
        self.say(f"Saving {path.name} …")
        self._files.ask(work, lambda result: self._save_done(layer, path, edits, result))

    def _save_done(self, layer: Labels, path: Path, edits: int, result: Any) -> None:
        if not isinstance(result, Exception):
            mark_saved(layer, path, edits)
        if not is_alive(self):
            _warn(layer, result)
            return
        self.button.setEnabled(self.layer is not None)
        self.say("")
        if isinstance(result, ChangedError):
            answer = ask_about_change(self, result)
            if not is_alive(self):
                _warn(layer, result)
                return
            if answer == "elsewhere":
                self.save()
                return
            if answer == "replace":
                self._write(layer, path, layer_file(layer).edits, saving(layer, path, replace=True))
                return
        if isinstance(result, Exception):
            self.message.say(f"{layer.name!r} was not saved. {result}")
            return
        self.say(saved_in_words(layer, path, result))
        self.saved.emit(path)

    def _show(self) -> None:
        file = self._file
        layer = self.layer
        set_usable(self.button, "" if layer is not None else f"There are no {self._what} to save yet.")
        self.state.setText("\n".join(filter(None, (self._words, "" if file is None else file.in_words()))))


def _warn(layer: Labels, result: Any) -> None:
    """Show a failure in napari's window, because the form was closed meanwhile."""
    if isinstance(result, Exception):
        show_warning(f"{layer.name!r} was not saved. {result}")
