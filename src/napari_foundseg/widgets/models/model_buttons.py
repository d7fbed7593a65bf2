"""The buttons that act on the chosen model in the dock *Models*."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QGridLayout, QMenu, QPushButton, QWidget

from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.downloads.model_state import ModelState
from napari_foundseg.models.downloads.size_text import bytes_text, size_text
from napari_foundseg.models.onnx_networks.description import description_of
from napari_foundseg.widgets.controls.usability import set_usable

__all__ = ["ModelButtons"]


class ModelButtons(QWidget):
    """Download, use, time, verify, show in folder, describe, and remove.

    Parameters
    ----------
    titles : mapping of str to str
        Titles of the tasks, by name.
    """

    #: The user wants to use the model in a task; the task's name.
    used = Signal(str)

    def __init__(self, titles: Mapping[str, str]) -> None:
        super().__init__()
        self._titles = titles
        self.download = QPushButton("Download")
        self.use = QPushButton("Use in…")
        self.use.setToolTip("Open a form with the chosen model.")
        self._use_menu = QMenu(self.use)
        self.use.setMenu(self._use_menu)
        self.time = QPushButton("Time it")
        self.time.setToolTip(
            "Measure on a standard picture, on each device of this computer: encoding, a click, a whole run. Estimates "
            "of the forms use it."
        )
        self.verify = QPushButton("Verify")
        self.verify.setToolTip("Read all its weights and compare them with the recorded hash.")
        self.remove = QPushButton("Remove…")
        self.remove.setToolTip("Remove the model; it asks before.")
        self.folder = QPushButton("Show in folder")
        self.folder.setToolTip("Open the folder of its weights.")
        self.describe = QPushButton("Describe…")
        self.describe.setToolTip("Describe the network's inputs and outputs, which the file describes only in part.")
        self.remove_part = QPushButton("Remove part")
        self.remove_part.setToolTip("Delete the downloaded part of an unfinished download.")
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.addWidget(self.download, 0, 0, 1, 2)
        grid.addWidget(self.use, 0, 2)
        for column, button in enumerate((self.time, self.verify, self.folder)):
            grid.addWidget(button, 1, column)
        grid.addWidget(self.remove, 2, 0)
        grid.addWidget(self.remove_part, 2, 1)
        grid.addWidget(self.describe, 2, 2)
        for column in range(3):
            grid.setColumnStretch(column, 1)

    def disable(self, why: str) -> None:
        """Disable all buttons and give the reason."""
        for button in (self.download, self.use, self.time, self.verify, self.remove, self.folder):
            set_usable(button, why)
        self.remove_part.hide()
        self.describe.hide()

    def show_model(self, row: CatalogRow, state: ModelState, tasks: list[str], work: str) -> None:
        """Enable the buttons that apply to a model.

        `tasks` holds the names of the tasks that can use it, in the order of the menu. `work` is the action that is
        running on it, such as ``download``, or empty.
        """
        busy = f"Its {work} is under way." if work else ""
        here = "" if state.here else "Its weights are not on this computer."
        size = size_text(row.size_mb)
        part = bytes_text(state.part_bytes, state.total_bytes)
        resumed = f"Resume ({part})" if state.part_bytes else f"Download {size}"
        self.download.setText("Built in" if state.kind == "built in" else "On this computer" if state.here else resumed)
        self.download.setToolTip(
            f"{size}. Licence of the code: {row.code_licence}; of the weights: {row.weights_licence}."
        )
        set_usable(self.download, busy or state.why_no_download)
        set_usable(self.use, "" if tasks else "No form can use it.")
        set_usable(self.time, busy or here or state.problem)
        set_usable(self.verify, busy or here)
        set_usable(self.folder, here)
        set_usable(self.remove, busy or state.why_no_removal)
        self.remove_part.setVisible(bool(state.part_bytes) and not work)
        self.describe.setVisible(description_of(row) is not None)
        set_usable(self.describe, busy or here)
        self._use_menu.clear()
        for task in tasks:
            action = self._use_menu.addAction(self._titles[task])
            assert action is not None
            action.triggered.connect(lambda _checked=False, name=task: self.used.emit(name))
