"""The dock widget *Models*: which models exist, which images they suit, and how to get them."""

from __future__ import annotations

import re
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from napari.viewer import Viewer
from qtpy.QtCore import QEvent, QTimer, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QMessageBox, QWidget

from napari_foundseg.core.errors import Cancelled, FoundsegError
from napari_foundseg.models.catalog import CatalogRow, catalog, row
from napari_foundseg.models.choosing.times import ModelTimes, remember_times
from napari_foundseg.models.downloads.model_state import ModelState
from napari_foundseg.models.onnx_networks.description import description_of
from napari_foundseg.models.store import locate
from napari_foundseg.tasks import TASKS
from napari_foundseg.tasks.task_models import tasks_for
from napari_foundseg.widgets.controls.catalogue_watch import catalogue_watch
from napari_foundseg.widgets.controls.rows import below_each_other, wrapping_label
from napari_foundseg.widgets.forms.dock import Dock
from napari_foundseg.widgets.forms.download_row import DownloadRow
from napari_foundseg.widgets.forms.open_forms import open_form
from napari_foundseg.widgets.models.hub_token import HubToken
from napari_foundseg.widgets.models.model_buttons import ModelButtons
from napari_foundseg.widgets.models.model_details import ModelDetails, times_in_words
from napari_foundseg.widgets.models.model_filters import ModelFilters
from napari_foundseg.widgets.models.model_lines import ModelLine, look_up_models, make_line
from napari_foundseg.widgets.models.model_questions import ModelQuestions
from napari_foundseg.widgets.models.model_table import ModelTable
from napari_foundseg.widgets.models.network_dialog import NetworkDialog
from napari_foundseg.widgets.models.weights_import import WeightsImport
from napari_foundseg.widgets.qt.file_thread import FileThread
from napari_foundseg.widgets.runs import run_time
from napari_foundseg.widgets.runs.model_work import model_work

__all__ = ["ModelsWidget"]

# Imported when this module is, in a background thread: the table asks each task which models it can use.
_TITLES = {name: task.title for name, task in TASKS.items()}
_NONE = "Choose a model in the table."


class ModelsWidget(Dock):
    """The models of the catalogue: search, download, import, check, remove, time, and advice."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer, "model", "import")
        self.setAcceptDrops(True)
        self._titles = {**_TITLES, **{name: task.title for name, task in TASKS.items()}}
        self._states: dict[str, ModelState] = {}
        self._times: dict[str, ModelTimes | None] = {}
        #: Name of the model that is shown below the table.
        self._shown = ""
        #: Name of the model to choose once the table is filled.
        self._wanted = ""
        #: Name of the model that a button acted on last.
        self._acted_on = ""
        #: The task that *Use* offers first.
        self._task = ""
        self._files = FileThread()
        #: Lets the window draw the form before the table is filled.
        self._filling = QTimer(self)
        self._filling.setSingleShot(True)
        self._filling.timeout.connect(self._use_first_states)
        #: Result of the first look-up, with which the table is filled.
        self._first_found: dict[str, tuple[ModelState, ModelTimes | None]] | Exception = {}
        #: Adds one part of the form in each iteration of the event loop: Qt applies the style to all controls that are
        #: shown at once. The catalogue is read after the last one.
        self._opening = QTimer(self)
        self._opening.timeout.connect(self._open_next_part)
        self._parts = self._make_parts()
        self._connect()
        self._opening.start()

    def show_models(self, task: str = "", model: str = "") -> None:
        """Show the models of a task, or of all tasks if it is empty, and choose a model."""
        self._task = task
        self.filters.show_task(task)
        if self._states and model:
            self.table.choose(model)
        self._wanted = "" if self._states else model

    # Downloads in progress.

    def unfinished(self) -> str:
        """Say how many downloads are in progress; empty if there are none."""
        count = len(model_work().names("download"))
        return f"Models: {count} download{'s' * (count > 1)} under way; the downloaded part is kept" if count else ""

    def stop_work(self) -> None:
        """Pause all downloads; the downloaded parts are kept."""
        for name in model_work().names("download"):
            model_work().stop(name)

    def release(self) -> None:
        """Stop an import; downloads continue as long as the window is open."""
        self.import_button.stop()
        self._files.leave()
        super().release()

    # Dropped files.

    def event(self, event: Any) -> bool:
        """Handle drags onto the dock itself, which a scroll area would pass to the page inside it."""
        handlers = {
            QEvent.Type.DragEnter: self.dragEnterEvent,
            QEvent.Type.DragMove: self.dragMoveEvent,
            QEvent.Type.Drop: self.dropEvent,
        }
        if event is not None and (handler := handlers.get(event.type())) is not None:
            handler(event)
            return True
        return super().event(event)

    def dragEnterEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Accept files and folders."""
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dragMoveEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Accept files and folders."""
        event.acceptProposedAction()

    def dropEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Import the dropped files and folders, one after the other."""
        paths = [url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile()]
        event.acceptProposedAction()
        self.import_button.start(paths)
        if not paths:
            self.messages["import"].say("That is a link, not a file. Download the file, then drop it here.")

    # Building.

    def _make_parts(self) -> list[QWidget]:
        """Make the controls, and return them in groups from top to bottom."""
        self.questions = ModelQuestions(self._titles)
        self.filters = ModelFilters(self._titles)
        self.search, self.task_filter, self.image_filter = self.filters.search, self.filters.task, self.filters.image
        self.table = ModelTable(self._titles)
        self.count = wrapping_label("")
        self.details = ModelDetails(self._titles)
        self.progress = DownloadRow()
        self.token = HubToken()
        self.outcome = wrapping_label("")
        self.outcome.setAccessibleName("What was done")
        self.buttons = ModelButtons(self._titles)
        self.import_button = WeightsImport()
        self._layout.addStretch(1)
        messages = self.messages
        return [
            below_each_other(self.questions, self.filters),
            below_each_other(self.table, self.count),
            below_each_other(self.buttons, self.progress, messages["model"], self.outcome, self.token, self.details),
            below_each_other(self.import_button, messages["import"], messages["run"]),
        ]

    def _open_next_part(self) -> None:
        if self._parts:
            self._layout.insertWidget(self._layout.count() - 1, self._parts.pop(0))
        else:
            self._opening.stop()
            self._list()

    def _connect(self) -> None:
        self.filters.changed.connect(self._filter)
        self.table.chosen.connect(self._show_model)
        self.table.itemActivated.connect(lambda *_: self._act())
        self.questions.wanted.connect(self.use)
        self.questions.looked_at.connect(self._look_at)
        self.buttons.download.clicked.connect(self.download)
        self.buttons.used.connect(self._use_chosen)
        self.buttons.time.clicked.connect(partial(self._start, "time"))
        self.buttons.verify.clicked.connect(partial(self._start, "verify"))
        self.buttons.remove_part.clicked.connect(partial(self._start, "remove part"))
        self.buttons.remove.clicked.connect(self.remove)
        self.buttons.folder.clicked.connect(self.show_folder)
        self.buttons.describe.clicked.connect(self.describe)
        self.import_button.asked.connect(self._clear_messages)
        self.import_button.started.connect(lambda path: self._say(f"Looking at {Path(path).name}…"))
        self.import_button.ended.connect(self._end_import)
        self.token.failed.connect(self.messages["model"].say)
        catalogue_watch().changed.connect(self._list)
        model_work().changed.connect(self._update)
        model_work().ended.connect(self._end_work)

    # The table.

    def _list(self) -> None:
        """Show the current catalogue; states are looked up in a background thread.

        The first time, the table is filled only after the states were found, so that the window draws first.
        """
        if self._states:
            self._show_rows(list(catalog().values()))
            self._files.ask(look_up_models, self._use_states)
        else:
            self._files.ask(partial(look_up_models, quick=True), self._fill)

    def _fill(self, found: dict[str, tuple[ModelState, ModelTimes | None]] | Exception) -> None:
        """Fill the table in the next event-loop iteration, then look for missing packages, which takes longer."""
        self._first_found = found
        self._filling.start()

    def _use_first_states(self) -> None:
        self._use_states(self._first_found)
        self._files.ask(look_up_models, self._use_states)

    def _use_states(self, found: dict[str, tuple[ModelState, ModelTimes | None]] | Exception) -> None:
        if isinstance(found, Exception):
            self.messages["run"].say(str(found))
            return
        self._states = {name: state for name, (state, _) in found.items()}
        self._times = {name: times for name, (_, times) in found.items()}
        # A model that was added meanwhile has no state yet, but keeps its line.
        self._show_rows(list(catalog().values()))
        if self._wanted:
            self.table.choose(self._wanted)
            self._wanted = ""
        self._show_model(self.table.name)
        self.questions.refresh()

    def _show_rows(self, rows: list[CatalogRow]) -> None:
        self.table.fill([self._line(row) for row in rows])
        self._show_count()

    def _line(self, found: CatalogRow) -> ModelLine:
        return make_line(found, self._states.get(found.name), self._times.get(found.name))

    def _filter(self) -> None:
        text, self._task, image = self.filters.values()
        self.table.filter(text, self._task, image)
        self._show_count()

    def _show_count(self) -> None:
        shown, there = len(self.table.shown()), self.table.topLevelItemCount()
        self.count.setText(f"{there} models" if shown == there else f"{shown} of {there} models")

    def _look_at(self, name: str) -> None:
        self.filters.show_task()
        self.table.choose(name)

    # The chosen model.

    def _show_model(self, name: str) -> None:
        line = self.table.line(name)
        times = self._times.get(name)
        self.details.show_model(line, times, self.viewer.theme)
        self.progress.show_model(name)
        if name != self._shown:
            self._shown = name
            self._say("")
            for part in ("model", "import"):
                self.messages[part].say("")
        self._show_buttons(name)

    def _show_buttons(self, name: str) -> None:
        line = self.table.line(name)
        state = self._states.get(name)
        under_way = model_work().of(name)
        if line is None or state is None:
            self.buttons.disable(_NONE if line is None else "The folder of models is being looked at.")
            self.token.hide()
            return
        tasks = sorted(line.tasks, key=lambda one: one != self._task)
        self.buttons.show_model(line.row, state, tasks, "" if under_way is None else under_way.kind)
        self.token.show_for(line.row, state, self.viewer.theme)

    def _act(self) -> None:
        """Act on Enter or a double-click: download a missing model, or use one that is on this computer."""
        if self.buttons.download.isEnabled():
            self.download()
        elif (line := self.table.line(self.table.name)) is not None and line.here and line.tasks:
            self.use(self._task if self._task in line.tasks else line.tasks[0], line.row.name)

    def _use_chosen(self, task: str) -> None:
        self.use(task, self.table.name)

    def use(self, task: str, name: str) -> None:
        """Open the form of a task with a model chosen."""
        form = open_form(self.viewer, task)
        form.model.refresh(name)

    def download(self) -> None:
        """Start or resume the download of the chosen model."""
        self._start("download")

    def show_folder(self) -> None:
        """Open the folder of the chosen model's weights."""
        path = locate(row(self.table.name))
        if path is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(path if path.is_dir() else path.parent)))

    def remove(self) -> None:
        """Remove the chosen model after the user has confirmed."""
        name = self.table.name
        state = self._states[name]
        question = f"Remove {row(name).title}? {state.removal}"
        answer = QMessageBox.question(
            self,
            "Remove a model",
            question,
            QMessageBox.StandardButton.Yes | QMessageBox.StandardButton.No,
            QMessageBox.StandardButton.No,
        )
        if answer == QMessageBox.StandardButton.Yes:
            self._start("remove")

    def _start(self, kind: Any) -> None:
        self._clear_messages()
        self.outcome.hide()
        name = self.table.name
        if name:
            self._acted_on = name
            model_work().start(name, kind)

    def _update(self, name: str) -> None:
        """Update the line and the buttons of a model."""
        found = catalog().get(name)
        if found is not None and self.table.line(name) is not None:
            self.table.show_line(self._line(found))
        if name == self.table.name:
            self._show_buttons(name)

    def _end_work(self, name: str, kind: str, outcome: Any) -> None:
        words = self._words_of_end(name, kind, outcome)
        self._list()
        # A removed model is no longer in the table.
        if name not in (self.table.name, self._acted_on):
            return
        if isinstance(outcome, FoundsegError) and not isinstance(outcome, Cancelled):
            self.messages["model"].say(words)
            self.ensureWidgetVisible(self.messages["model"])
        else:
            self._say(words)

    def _words_of_end(self, name: str, kind: str, outcome: Any) -> str:
        if isinstance(outcome, Cancelled):
            paused = "Paused: the downloaded part is kept, and Resume continues from there."
            return paused if kind == "download" else "Cancelled."
        if isinstance(outcome, FoundsegError):
            return str(outcome)
        if kind == "time":
            return self._keep_times(name, outcome)
        return str(outcome or "Done.")

    def _keep_times(self, name: str, times: ModelTimes) -> str:
        try:
            remember_times(name, times)
        except FoundsegError as error:
            return str(error)
        run_time.forget(name)
        return times_in_words(times, self._titles)

    # Importing.

    def _end_import(self, name: str) -> None:
        if name:
            catalogue_watch().check()
            self._list()
            self._look_at(name)
        self._say(self._words_of_import(name) if name else "")
        if name and row(name).assumed:
            # The dialog opens only for a network that can be described.
            self._describe(name)
        # The errors of all files stay visible, even if a later import succeeds.
        self.messages["import"].say("\n".join(self.import_button.errors))
        if self.import_button.errors:
            self.ensureWidgetVisible(self.messages["import"])

    def _words_of_import(self, name: str) -> str:
        new = row(name)
        forms = ", ".join(self._titles[task] for task in tasks_for(new)) or "no form"
        assumed = f" {new.assumed}." if new.assumed else ""
        what = new.title if new.title != name else f"a model of the family {new.family}"
        also = f" It is used where {new.stands_for} is named, too." if new.stands_for else ""
        return f"Recognised as {what}; imported as {name}. For: {forms}.{also}{assumed}"

    def describe(self) -> None:
        """Ask for the inputs and outputs of the chosen network, and import it again with the answers."""
        self._describe(self.table.name)

    def _describe(self, name: str) -> None:
        chosen = row(name)
        known, path = description_of(chosen), locate(chosen)
        if known is None or path is None or self.import_button.running:
            return
        dialog = NetworkDialog(name, known, self)
        dialog.accepted.connect(lambda: self.import_button.describe(str(path), name, dialog.facts()))
        dialog.open()

    def _say(self, text: str) -> None:
        # A hash cannot be wrapped, so it is shortened; the tooltip shows it in full.
        short = re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1…", text)
        self.outcome.setText(escape(short) if "<" in short else short)
        self.outcome.setToolTip(text if short != text else "")
        self.outcome.setVisible(bool(text))

    def _retheme(self, event: Any = None) -> None:
        super()._retheme(event)
        self._show_model(self.table.name)
