"""The dock widget *Batch*: run a recipe on many images."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image as ImageLayer
from napari.viewer import Viewer
from qtpy.QtCore import QCoreApplication
from qtpy.QtWidgets import QCheckBox, QComboBox, QFileDialog, QProgressBar, QPushButton, QSpinBox, QWidget

from napari_foundseg.batch.recipe_text import chosen_path
from napari_foundseg.core.errors import BadImageError, FoundsegError, RecipeError
from napari_foundseg.io.formats.table import image_endings
from napari_foundseg.io.naming import folder_of
from napari_foundseg.io.output_paths import refuse_inputs
from napari_foundseg.tasks import find_task
from napari_foundseg.widgets.batch.batch_session import BatchSession
from napari_foundseg.widgets.batch.batch_table import BatchTable, read_picture
from napari_foundseg.widgets.controls.rows import labelled_row, side_by_side, wrapping_label
from napari_foundseg.widgets.controls.usability import set_usable
from napari_foundseg.widgets.forms.dock import Dock
from napari_foundseg.widgets.layers.file_facts import settle_facts
from napari_foundseg.widgets.layers.input_files import find_input_files
from napari_foundseg.widgets.layers.layer_axes import displayed_axes
from napari_foundseg.widgets.layers.layer_conversion import image_from_layer
from napari_foundseg.widgets.layers.layer_tags import TOOL
from napari_foundseg.widgets.layers.shown_channel import channels_in_view
from napari_foundseg.widgets.layers.shown_slab import shown_slab, slab_words
from napari_foundseg.widgets.qt.changed_files import ask_about_change
from napari_foundseg.widgets.runs.last_run import RECIPES
from napari_foundseg.widgets.runs.run_record import latest_run
from napari_foundseg.widgets.saved.form_memory import recall, remember
from napari_foundseg.widgets.worklist.worklist_dock import WorklistWidget

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["BatchWidget"]

#: Maximum number of failures that are listed below the table.
_REASONS = 4
_RECIPES_PLACE = "As in the recipe"
_ELSEWHERE = "In another folder…"
_WHOLE = "One result per stack"
_SLICES = "One result per slice"


class BatchWidget(Dock):
    """Run a recipe on many images."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer, "recipe", "image", "results")
        self.session = BatchSession()
        self.session.ask_about_change = partial(ask_about_change, self, elsewhere=False)
        self._add_controls()
        self.session.working.connect(self._show_working)
        self.session.listed.connect(self._show_items)
        self.session.changed.connect(self._update_rows)
        self.session.settled.connect(self._update_controls)
        self.session.failed.connect(self._show_error)
        self._application = QCoreApplication.instance()
        if self._application is not None:
            # Runs before Qt destroys any widget.
            self._application.aboutToQuit.connect(self.release)
        self._update_controls()
        before = Path(recall("batch").get("recipe") or "-")
        if before.is_file():
            self.session.open_recipe(before)

    # Choices.

    def ask_path(self, kind: str) -> list[str]:
        """Ask for paths in a dialog; empty if the user cancels."""
        here = str(self.session.request.folder)
        if kind == "recipe":
            chosen = [QFileDialog.getOpenFileName(self, "Open a recipe", here, RECIPES)[0]]
        elif kind == "save":
            chosen = [QFileDialog.getSaveFileName(self, "Save the recipe", f"{here}/recipe.yaml", RECIPES)[0]]
        elif kind == "files":
            patterns = " ".join(f"*{ending}" for ending in image_endings())
            chosen = QFileDialog.getOpenFileNames(self, "Images", here, f"Images ({patterns})")[0]
        else:
            title = "Folder of images" if kind == "folder" else "Folder of the results"
            chosen = [QFileDialog.getExistingDirectory(self, title, here)]
        return [path for path in chosen if path]

    def open_recipe(self) -> None:
        """Open a recipe file."""
        self._clear_messages()
        for path in self.ask_path("recipe"):
            self.session.open_recipe(Path(path))
            remember("batch", recall("batch") | {"recipe": str(Path(path).absolute())})

    def use_last_run(self) -> None:
        """Use the last run of this session as the recipe."""
        self._clear_messages()
        record = latest_run()
        if record is None:
            self._show_error("recipe", RecipeError("There is no run yet. Run Automatic masks, or open a recipe."))
            return
        source = record.request.image.source
        folder = folder_of(Path(source).absolute()) if source else Path.home()
        if not source and not self.session.request.paths:
            # Listing already saves the image to that folder.
            if self.session.request.out is None and not self.choose_results(1):
                words = f"The image of {record.layer!r} is in no file: choose a folder for the results."
                self._show_error("recipe", RecipeError(words))
                return
            self.session.choose(layers=((record.layer, record.request.image),))
        self.session.use(lambda: record.as_recipe(folder), folder, f"Last run, of {record.layer}")

    def save_recipe(self) -> None:
        """Save the recipe with the choices of the form."""
        self._clear_messages()
        for path in self.ask_path("save"):
            try:
                recipe = chosen_path(path)
                refuse_inputs([recipe], find_input_files(self.viewer))
            except FoundsegError as error:
                self._show_error("recipe", error)
                return
            self.session.save_recipe(recipe)

    def choose_images(self, kind: str) -> None:
        """Choose a folder of images, or files, instead of the images of the recipe."""
        self._clear_messages()
        if chosen := self.ask_path(kind):
            self.session.choose(paths=tuple(chosen), layers=())
            self._update_controls()

    def choose_layers(self) -> None:
        """Use the image layers of the viewer, with their axes, channels and projections as displayed."""
        self._clear_messages()
        try:
            chosen = [one for one in self.viewer.layers if type(one) is ImageLayer and TOOL not in one.metadata]
            for layer in chosen:
                settle_facts(self.viewer, layer)
            found = tuple(
                (
                    layer.name,
                    image_from_layer(
                        layer,
                        channels=channels_in_view(self.viewer, layer),
                        displayed=displayed_axes(self.viewer, layer),
                        slab=shown_slab(self.viewer, layer),
                    ),
                )
                for layer in chosen
            )
            if not found:
                raise BadImageError(None, "There is no image layer. Open an image first, or choose files.")
        except FoundsegError as error:
            self._show_error("image", error)
            return
        self.session.choose(_projections_in_words(self.viewer, chosen), paths=(), layers=found)
        self._update_controls()

    def choose_recipes_images(self) -> None:
        """Use the images of the recipe."""
        self._clear_messages()
        self.session.choose(paths=(), layers=())

    def choose_results(self, choice: int) -> bool:
        """Set the folder of results: 0 the recipe's, 1 one that the user chooses; return whether they chose one."""
        self._clear_messages()
        chosen = self.ask_path("results") if choice else []
        if chosen or not choice:
            self.session.choose(out=Path(chosen[0]) if chosen else None)
        self._update_controls()
        return bool(chosen)

    def open_item(self, row: int) -> None:
        """Open an image and its result in *Worklist*, for correction."""
        self._clear_messages()
        docked = self.viewer.window.dock_widgets.values()
        worklist = next((widget for widget in docked if isinstance(widget, WorklistWidget)), None)
        if worklist is None:
            # As a tab: both widgets need the height.
            _, worklist = self.viewer.window.add_plugin_dock_widget("napari-foundseg", "Worklist", tabify=True)
        dock = worklist.parentWidget()
        assert dock is not None
        dock.show()
        dock.raise_()
        worklist.open_results(self.session.results(), row)

    def unfinished(self) -> str:
        """Return a sentence with the progress of the run; empty if none is running."""
        return f"Batch: {self.session.ended} of {len(self.session.lines)} done" if self.session.running else ""

    def stop_work(self) -> None:
        """Stop the run; finished items are kept, and *Continue* runs the rest."""
        self.session.stop()

    def release(self) -> None:
        """Disconnect from the viewer; a run is stopped without losing results."""
        if self._application is None:
            return
        self._application.aboutToQuit.disconnect(self.release)
        self._application = None
        self.session.release()
        super().release()

    # Building the form.

    def _add_controls(self) -> None:
        self.source = wrapping_label("")
        self.projection = wrapping_label("")
        self.projection.setToolTip(
            "What models see of stacks: projections of several slices, where the recipe names them, or where napari "
            "showed them when Layers was pressed."
        )
        self.place_label = wrapping_label("")
        self.reason = wrapping_label("")
        self.engine_label = wrapping_label("")
        self.recipe_label = wrapping_label("")
        self.state = wrapping_label("")
        self.table = BatchTable()
        self.table.wanted.connect(self.open_item)
        self.table.pictures_wanted.connect(self._show_pictures)
        self.table.currentItemChanged.connect(lambda *_: self._show_reason())
        self.bar = QProgressBar()
        self.bar.hide()
        for widget in (*self._input_controls(), self.table, self.reason, self.bar, self.state, *self._run_buttons(),
                       self.messages["run"]):  # fmt: skip
            self._layout.addWidget(widget)
        self._layout.setStretchFactor(self.table, 1)

    def _input_controls(self) -> list[QWidget]:
        button = self._make_button
        self.recipe_button = button("Open…", "Open a recipe that was saved with Save as recipe.", self.open_recipe)
        self.last_button = button("Last run", "Use the last run of this session as the recipe.", self.use_last_run)
        self.save_button = button(
            "Save…", "Save the recipe with the images and the folder chosen below.", self.save_recipe
        )
        self.folder_button = button("Folder…", "Use all images of a folder.", lambda: self.choose_images("folder"))
        self.files_button = button("Files…", "Use single image files.", lambda: self.choose_images("files"))
        self.layers_button = button(
            "Layers", "Use the image layers of the viewer, as they are displayed.", self.choose_layers
        )
        self.recipes_button = button(
            "Use the recipe's images", "Use the images of the recipe again.", self.choose_recipes_images
        )
        self.stacks, self.place, self.workers = QComboBox(), QComboBox(), QSpinBox()
        self.stacks.addItems([_WHOLE, _SLICES])
        self.stacks.setAccessibleName("Stacks")
        self.stacks.setToolTip("Write one labels file for a stack (T or Z), or one for each slice.")
        self.stacks.activated.connect(lambda at: self.session.choose(stacks="slices" if at else "whole"))
        self.measure = QCheckBox("Measure objects")
        self.measure.setToolTip(
            "Write size, shape and intensities of each object into the table (CSV) beside its labels: the columns of "
            "Objects."
        )
        self.measure.clicked.connect(lambda on: self.session.choose(measure=on))
        self.place.addItems([_RECIPES_PLACE, _ELSEWHERE])
        self.place.setAccessibleName("Where results are written")
        self.place.setToolTip("The folder for labels, tables and the report: the recipe's, or another.")
        self.place.activated.connect(self.choose_results)
        self.workers.setRange(1, max(1, os.cpu_count() or 1))
        self.workers.setKeyboardTracking(False)
        self.workers.setToolTip(
            "Number of parallel processes, which share the CPU cores. With an engine address in the preferences: the "
            "greatest number of workers of that scheduler to use."
        )
        self.workers.setAccessibleName("Workers")
        self.workers.valueChanged.connect(lambda count: self.session.choose(workers=count))
        self._inputs = [
            self.recipe_button, self.last_button, self.folder_button, self.files_button, self.layers_button,
            self.recipes_button, self.stacks, self.measure, self.place, self.workers,
        ]  # fmt: skip
        return [
            labelled_row("Recipe", self.recipe_button, self.last_button, self.save_button),
            self.recipe_label, self.messages["recipe"],
            labelled_row("Images", self.folder_button, self.files_button, self.layers_button),
            self.source, self.projection, self.recipes_button, self.messages["image"],
            labelled_row("Stacks", self.stacks), self.measure,
            labelled_row("Results", self.place), self.place_label, self.messages["results"],
            labelled_row("Workers", self.workers), self.engine_label,
        ]  # fmt: skip

    def _run_buttons(self) -> list[QWidget]:
        self.start_button = self._make_button(
            "Start", "Run the recipe on all images that are not done yet.", self._start_run
        )
        self.pause_button = self._make_button(
            "Pause", "Start no further images; those under way are finished.", self.session.pause
        )
        self.stop_button = self._make_button(
            "Stop", "Stop within seconds. Finished results are kept; Continue does the rest.", self.session.stop
        )
        self.retry_button = self._make_button("Retry failed", "Try the failed images again.", self._retry_failed)
        return [
            side_by_side(self.start_button, self.pause_button),
            side_by_side(self.stop_button, self.retry_button),
        ]

    def _make_button(self, text: str, help_text: str, act: Callable[[], Any]) -> QPushButton:
        button = QPushButton(text)
        button.setToolTip(help_text)
        button.clicked.connect(lambda _checked=False: act())
        return button

    # Signals of the session.

    def _start_run(self) -> None:
        self._clear_messages()
        self.session.start()

    def _retry_failed(self) -> None:
        self._clear_messages()
        self.session.retry()

    def _show_working(self, words: str) -> None:
        self.state.setText(words)

    def _show_error(self, part: str, error: FoundsegError) -> None:
        self.messages[part].say(str(error))
        self.ensureWidgetVisible(self.messages[part])

    def _show_items(self) -> None:
        self.table.fill(self.session.lines)
        self._show_reason()

    def _update_rows(self, rows: Any) -> None:
        self.table.update_rows(rows)
        self._show_reason()
        self._show_progress()

    def _show_pictures(self, rows: Any) -> None:
        self.session.ask_pictures(rows, self.table.show_picture, read_picture)

    def _show_reason(self) -> None:
        """Show why the selected item failed or was kept; without a reason, list why items failed."""
        lines = self.session.lines
        row = self.table.indexOfTopLevelItem(self.table.currentItem()) if self.table.currentItem() else -1
        reason = lines[row].reason if 0 <= row < len(lines) else ""
        if not reason:
            failed = [f"{line.shown} failed: {line.reason}" for line in lines if line.state == "failed"]
            more = len(failed) - _REASONS
            rest = [f"{more} more failed; select one to see why."] if more > 0 else []
            reason = "\n".join(failed[:_REASONS] + rest)
        self.reason.setText(reason)
        self.reason.setVisible(bool(reason))

    def _show_progress(self) -> None:
        session = self.session
        if not session.running:
            return
        self.bar.setMaximum(len(session.lines))
        self.bar.setValue(session.ended)
        left = session.seconds_left
        told = f", about {timedelta(seconds=round(left))} left" if left else ""
        paused = "Paused; images under way are finished. " if session.paused else ""
        self.state.setText(f"{paused}{session.in_words()}{told}.")

    def _update_controls(self) -> None:
        session = self.session
        request = self.session.request
        free = not session.running and not session.preparing
        for control in self._inputs:
            control.setEnabled(free)
        ready = session.runner is not None and bool(session.lines)
        stopped = session.report is not None and bool(session.report.stopped)
        busy = "" if free else "The images are being listed." if session.preparing else "The batch is running."
        nothing = "" if ready else "There is nothing to run: choose a recipe and images first."
        not_running = "" if session.running else "The batch is not running."
        set_usable(self.save_button, "" if request.recipe is not None else "There is no recipe to save.")
        set_usable(self.start_button, busy or nothing)
        self.start_button.setText("Continue" if stopped else "Start")
        set_usable(self.pause_button, not_running)
        self.pause_button.setText("Resume" if session.paused else "Pause")
        set_usable(self.stop_button, not_running)
        failed = not session.preparing and session.failures > 0
        set_usable(self.retry_button, "" if failed else "Nothing has failed.")
        self.bar.setVisible(session.running)
        self._show_choice()
        if session.running:
            self._show_progress()
        elif session.report is not None:
            why = f" ({session.report.stopped})" if stopped else ""
            self.state.setText(f"{session.in_words()}{why}. The report is in {session.report.folder}.")
        elif not session.preparing:
            hint = "Open a recipe, or run a task and press 'Last run'."
            count = "1 item" if len(session.lines) == 1 else f"{len(session.lines)} items"
            self.state.setText(f"{count}: {session.in_words()}." if ready else hint)

    def _show_choice(self) -> None:
        session = self.session
        request = self.session.request
        recipe = request.recipe
        steps = (
            ", ".join(f"{find_task(step.task).title} with {step.model.name}" for step in recipe.steps) if recipe else ""
        )
        self.recipe_label.setText(f"{session.recipe_name}: {steps}" if recipe else "No recipe.")
        own = bool(request.paths or request.layers)
        paths = request.paths or (recipe.inputs.paths if recipe else ())
        named = (
            f"{request.folder / paths[0]}{f' and {len(paths) - 1} more' if len(paths) > 1 else ''}"
            if paths
            else "No images."
        )
        layers = [name for name, _ in request.layers]
        self.source.setText(f"Layer{'' if len(layers) == 1 else 's'} {', '.join(layers)}" if layers else named)
        self.projection.setText(session.projections)
        self.projection.setVisible(bool(session.projections))
        self.recipes_button.setVisible(own and recipe is not None)
        stacks = (request.stacks or recipe.inputs.stacks) if recipe else "whole"
        self.stacks.setCurrentIndex(int(stacks == "slices"))
        measured = recipe.outputs.measure if recipe and request.measure is None else request.measure
        self.measure.setChecked(measured is not False)
        self.measure.setEnabled(self.stacks.isEnabled() and (recipe is None or recipe.outputs.table))
        self.place.setCurrentIndex(int(request.out is not None))
        self.place_label.setText(str(request.results) if recipe else "")
        self.engine_label.setText(f"Runs {session.place}." if session.place else "")
        self.engine_label.setVisible(bool(session.place))


def _projections_in_words(viewer: ViewerModel, layers: Sequence[ImageLayer]) -> str:
    """Return a text on the projections that the viewer shows of layers; empty if it shows single slices."""
    words = {layer.name: slab_words(viewer, layer) for layer in layers}
    if not any(words.values()):
        return ""
    if len(set(words.values())) == 1:
        return next(iter(words.values()))
    return "\n".join(f"{name}: {seen or 'single slices'}" for name, seen in words.items())
