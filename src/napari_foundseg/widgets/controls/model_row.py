"""The model of a form with its state, a link to its source, and *Import…*."""

from __future__ import annotations

from html import escape
from pathlib import Path

from napari.components import ViewerModel
from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtGui import QAction  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QApplication, QMenu, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_foundseg.core.errors import FoundsegError
from napari_foundseg.models.catalog import CatalogRow, damaged_rows, row
from napari_foundseg.models.downloads.size_text import size_text
from napari_foundseg.models.store import addresses, locate
from napari_foundseg.models.unsupported import IN_WORDS
from napari_foundseg.tasks import TASKS, Task
from napari_foundseg.tasks.task_models import tasks_for
from napari_foundseg.widgets.controls.catalogue_watch import catalogue_watch
from napari_foundseg.widgets.controls.colours import theme_colour
from napari_foundseg.widgets.controls.model_choice import ModelChoice
from napari_foundseg.widgets.controls.model_import import ModelImport, choose_weights_file, choose_weights_folder
from napari_foundseg.widgets.controls.rows import labelled_row, link_html, wrapping_label

__all__ = ["ModelRow"]

#: Greatest length of an address that is shown in full.
_WHOLE = 64


class ModelRow(QWidget):
    """The choice of a model, *Import…*, and the state of the chosen model."""

    #: An import has failed; its FoundsegError.
    failed = Signal(object)
    #: An import has begun.
    started = Signal()

    def __init__(self, viewer: ViewerModel, task: Task, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._task = task
        self.choice = ModelChoice(task)
        self.state = wrapping_label("")
        self.state.setAccessibleName("State of the model")
        self.state.setTextFormat(Qt.TextFormat.RichText)
        self.state.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        self.state.setOpenExternalLinks(True)
        self.words = wrapping_label("")
        self.words.setAccessibleName("Import of a model")
        self.words.setTextFormat(Qt.TextFormat.PlainText)
        self.words.hide()
        #: Imported models that cannot be read.
        self.damaged = wrapping_label("")
        self.damaged.setAccessibleName("Models that cannot be read")
        self.damaged.setTextFormat(Qt.TextFormat.PlainText)
        self.damaged.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.import_button = QPushButton("Import…")
        self.import_button.setToolTip("Add a model of which you have the weights: a file, or a folder of transformers.")
        self.import_button.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self._add_menu()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(labelled_row("Model", self.choice, self.import_button))
        for label in (self.state, self.words, self.damaged):
            label.setContentsMargins(70, 0, 0, 0)
            layout.addWidget(label)
        self._import = ModelImport(self)
        self._import.ended.connect(self._end_import)
        self.choice.activated.connect(lambda _at: self._say(""))
        self.choice.gone.connect(self._say_gone)
        catalogue_watch().changed.connect(self._show_damaged)
        self._show_damaged()

    def show_state(self, own_settings: str) -> None:
        """Show the state of the chosen model; `own_settings` lists the settings for which it has its own defaults."""
        chosen = row(str(self.choice.currentData()))
        own = f" Its own settings: {escape(own_settings)}." if own_settings else ""
        missing = locate(chosen) is None
        self._copy.setEnabled(missing and bool(addresses(chosen)))
        if missing and addresses(chosen):
            self.state.setText(f"{self._where_to_get(chosen)}{own}")
            return
        self.state.setText(f"{escape(self.choice.state())}.{own}" if own else escape(self.choice.state()))

    def import_weights(self, path: str) -> None:
        """Import a file or folder in a separate process, without blocking the window."""
        if self._import.running or not path:
            return
        self.started.emit()
        self.import_button.setEnabled(False)
        self._say(f"Importing {Path(path).name}…")
        self._import.start(path)

    def release(self) -> None:
        """Stop a running import, because the form is being closed."""
        self._import.stop()

    def _add_menu(self) -> None:
        menu = QMenu(self.import_button)
        for text, choose in (("Weights file…", self._choose_file), ("Folder of weights…", self._choose_folder)):
            action = QAction(text, menu)
            action.triggered.connect(choose)
            menu.addAction(action)
        self._copy = QAction("Copy address of the chosen model", menu)
        self._copy.triggered.connect(self._copy_address)
        # Listed here because this is where users look for them.
        unsupported = QAction(IN_WORDS, menu)
        unsupported.setEnabled(False)
        for action in (self._copy, unsupported):
            menu.addSeparator()
            menu.addAction(action)
        self.import_button.setMenu(menu)

    def _choose_file(self) -> None:
        self.import_weights(choose_weights_file(self))

    def _choose_folder(self) -> None:
        self.import_weights(choose_weights_folder(self))

    def _copy_address(self) -> None:
        clipboard = QApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(" ".join(addresses(row(str(self.choice.currentData())))))

    def _end_import(self, outcome: str | FoundsegError) -> None:
        self.import_button.setEnabled(True)
        if isinstance(outcome, FoundsegError):
            self._say("")
            self.failed.emit(outcome)
            return
        # All open forms list it.
        catalogue_watch().check()
        new = row(outcome)
        also = f" It is used where {new.stands_for} is named, too." if new.stands_for else ""
        also += f" {new.assumed}." if new.assumed else ""
        if self._task.name in tasks_for(new):
            self.choice.refresh(new.name)
            self._say(f"Imported as {new.name}.{also}")
        else:
            forms = ", ".join(TASKS[name].title for name in tasks_for(new))
            self._say(f"Imported as {new.name}.{also} It is not for {self._task.title}, but for: {forms}.")

    def _say_gone(self, name: str) -> None:
        self._say(f"{name} is no longer in the list; {self.choice.currentData()} is chosen.")

    def _say(self, text: str) -> None:
        self.words.setText(text)
        self.words.setVisible(bool(text))

    def _show_damaged(self) -> None:
        """List the imported models that cannot be read, with the reasons."""
        left_out = damaged_rows()
        self.damaged.setText("\n".join(
            f"{Path(path).stem} is left out: {Path(path).name} cannot be read ({_shortened_reason(reason)}). "
            "Import the model again."
            for path, reason in left_out.items()
        ))  # fmt: skip
        self.damaged.setToolTip("\n".join(f"{path}: {reason}" for path, reason in left_out.items()))
        self.damaged.setVisible(bool(left_out))

    def _where_to_get(self, model: CatalogRow) -> str:
        colour = theme_colour(self._viewer.theme, "text")
        links = " and ".join(link_html(link, colour, _WHOLE) for link in addresses(model))
        facts = [size_text(model.size_mb), f"licence of the weights: {escape(model.weights_licence)}"]
        if model.gated:
            facts.append("asks for your consent")
        if model.source.startswith("hf:"):
            facts.append("all its files, in one folder")
        elif model.beside:
            facts.append(f"in one folder called {escape(model.file)}")
        return (
            f"Not on this computer. A run asks to download it from {links} ({'; '.join(facts)}); Import… adds a file "
            "that you have."
        )


def _shortened_reason(reason: str) -> str:
    return reason if len(reason) <= _WHOLE else f"{reason[:_WHOLE]}…"
