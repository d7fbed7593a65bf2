"""The last run of a form as Python, as a command, or as a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import napari
from qtpy.QtCore import Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QApplication, QFileDialog, QHBoxLayout, QToolButton, QVBoxLayout, QWidget

from napari_foundseg.core.errors import ChangedError, FoundsegError, RecipeError
from napari_foundseg.io.files.known_files import KnownFiles
from napari_foundseg.io.naming import folder_of
from napari_foundseg.io.output_paths import refuse_inputs
from napari_foundseg.widgets.controls.usability import set_usable
from napari_foundseg.widgets.layers.input_files import find_input_files
from napari_foundseg.widgets.qt.changed_files import ask_about_change
from napari_foundseg.widgets.qt.file_thread import FileThread
from napari_foundseg.widgets.runs.diagnostics import diagnostics
from napari_foundseg.widgets.runs.run_record import RunRecord, forget_run, inputs_folder, set_latest_run
from napari_foundseg.widgets.saved.form_memory import recall, remember

__all__ = ["RECIPES", "LastRun"]

#: File filter of the dialogs.
RECIPES = "Recipes (*.yaml *.yml *.json)"


class LastRun(QWidget):
    """Buttons that export the last run of a form."""

    #: An export has succeeded; a message.
    said = Signal(str)
    #: An export has failed; the error.
    failed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.record: RunRecord | None = None
        self._files = FileThread()
        #: The recipes that were saved here.
        self._known = KnownFiles()
        python = ("Copy as Python", "Copy Python code that gives the same result without the window.")
        command = ("Copy as command", "Copy a shell command that writes the same labels without the window.")
        recipe = (
            "Save as recipe…",
            "Save the last run as a recipe, to run it on many images in Batch or on the command line.",
        )
        self.python_button, self.command_button, self.recipe_button = map(_make_button, (python, command, recipe))
        self.diagnostics_button = _make_button(
            ("Copy diagnostics", "Copy versions, device and state of the engine for a bug report.")
        )
        self.python_button.clicked.connect(lambda: self._copy_text(RunRecord.as_python))
        self.command_button.clicked.connect(lambda: self._copy_text(RunRecord.as_command))
        self.recipe_button.clicked.connect(lambda: self.save_recipe())
        self.diagnostics_button.clicked.connect(self._copy_diagnostics)
        page = QVBoxLayout(self)
        page.setContentsMargins(0, 0, 0, 0)
        for *buttons, last in ((self.python_button, self.command_button, None),
                               (self.recipe_button, self.diagnostics_button)):  # fmt: skip
            line = QHBoxLayout()
            for button in buttons:
                line.addWidget(button)
            line.addStretch(1)
            if last is not None:
                line.addWidget(last)
            page.addLayout(line)
        self._enable_buttons()

    def keep(self, record: RunRecord) -> None:
        """Set the run to export."""
        self.record = record
        set_latest_run(record)
        self._enable_buttons()

    def ask_file(self, name: str) -> str:
        """Ask the user where to save; empty if the user cancels."""
        return QFileDialog.getSaveFileName(self, "Save as recipe", name, RECIPES)[0]

    def save_recipe(self) -> None:
        """Save the last run as a recipe."""
        from napari_foundseg.batch.recipe_text import chosen_path

        record = self.record
        if record is None:
            return
        before = recall("batch").get("recipe")
        folder = folder_of(Path(record.request.image.source or before or "recipe"))
        chosen = self.ask_file(str(folder / f"{record.request.task}.yaml"))
        if not chosen:
            return
        try:
            path = chosen_path(chosen)
            refuse_inputs([path], find_input_files(napari.current_viewer()))
        except FoundsegError as error:
            self.failed.emit(error)
            return
        self._write_recipe(path, record)

    def _write_recipe(self, path: Path, record: RunRecord, *, replace: bool = False) -> None:
        from napari_foundseg.batch.recipe import write_recipe

        def write() -> None:
            recipe = record.as_recipe(path.parent)
            if not replace:
                self._known.refuse_changed(path)
            write_recipe(path, recipe)
            self._known.note(path)

        def written(ended: Any) -> None:
            if isinstance(ended, ChangedError) and ask_about_change(self, ended, elsewhere=False) == "replace":
                self._write_recipe(path, record, replace=True)
            else:
                self._recipe_saved(path, ended)

        self._files.ask(write, written)

    def release(self) -> None:
        """Forget the run, and wait until recipes are saved."""
        forget_run(self.record)
        self._files.finish()

    def _recipe_saved(self, path: Path, ended: Any) -> None:
        if isinstance(ended, Exception):
            known = isinstance(ended, FoundsegError)
            self.failed.emit(ended if known else RecipeError(f"{type(ended).__name__}: {ended}"))
            return
        remember("batch", recall("batch") | {"recipe": str(path)})
        record = self.record
        from_file = record is None or record.request.image.source
        named = "" if from_file else " This image does not come from a file: choose the images in Batch."
        self.said.emit(f"Saved {path.name}.{named}")

    def _copy_text(self, text: Any) -> None:
        if self.record is None:
            return
        try:
            words = text(self.record)
        except FoundsegError as error:
            self.failed.emit(error)
            return
        _to_clipboard(words)
        in_file = str(inputs_folder()) in words
        self.said.emit("Copied. Its inputs are in a file that it names." if in_file else "Copied.")

    def _copy_diagnostics(self) -> None:
        _to_clipboard(diagnostics())
        self.said.emit("Diagnostics copied.")

    def _enable_buttons(self) -> None:
        for button in (self.python_button, self.command_button, self.recipe_button):
            set_usable(button, "" if self.record is not None else "Nothing has been run in this form yet.")


def _make_button(words: tuple[str, str]) -> QToolButton:
    button = QToolButton()
    button.setText(words[0])
    button.setToolTip(words[1])
    return button


def _to_clipboard(text: str) -> None:
    clipboard = QApplication.clipboard()
    if clipboard is not None:
        clipboard.setText(text)
