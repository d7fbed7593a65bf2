"""The dock widget *Models*: what there is, what it is good for, and how to get it."""

from __future__ import annotations

from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from napari.viewer import Viewer
from qtpy.QtCore import QEvent, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QGridLayout,
    QLineEdit,
    QMenu,
    QMessageBox,
    QPushButton,
    QWidget,
)

from napari_foundseg.core.errors import Cancelled, FoundsegError
from napari_foundseg.models.catalog import CatalogRow, catalog, row
from napari_foundseg.models.choosing.advice import MODALITIES, size_text
from napari_foundseg.models.choosing.times import ModelTimes, recall_times, remember_times, seconds_text
from napari_foundseg.models.downloads.model_state import ModelState, model_state
from napari_foundseg.models.store import locate
from napari_foundseg.tasks import TASKS
from napari_foundseg.tasks.task_models import tasks_for
from napari_foundseg.widgets.controls.catalogue_watch import catalogue_watch
from napari_foundseg.widgets.controls.elided_combo import ElidedCombo
from napari_foundseg.widgets.controls.model_import import ModelImport
from napari_foundseg.widgets.controls.rows import side_by_side, wrapping_label
from napari_foundseg.widgets.controls.usability import set_usable
from napari_foundseg.widgets.forms.dock import Dock
from napari_foundseg.widgets.forms.download_row import DownloadRow
from napari_foundseg.widgets.forms.open_forms import open_form
from napari_foundseg.widgets.models.hub_token import HubToken
from napari_foundseg.widgets.models.model_details import ModelDetails, times_in_words
from napari_foundseg.widgets.models.model_questions import ModelQuestions
from napari_foundseg.widgets.models.model_table import ModelLine, ModelTable
from napari_foundseg.widgets.qt.file_thread import FileThread
from napari_foundseg.widgets.runs import run_time
from napari_foundseg.widgets.runs.model_work import model_work

__all__ = ["ModelsWidget"]

# Imported here, in the background: the table asks each task which models it can use.
_TITLES = {name: task.title for name, task in TASKS.items()}
_FILES = "Weights (*.pth *.pt *.ckpt *.bin *.pkl *.safetensors *.json *.h5);;All files (*)"
_NONE = "Choose a model in the table."
_DROP = "Or drop a file or a folder of weights on this dock."


class ModelsWidget(Dock):
    """The models of the catalogue: search, download, import, check, remove, time, and advice."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer, "model", "import")
        self.setAcceptDrops(True)
        self._titles = {**_TITLES, **{name: task.title for name, task in TASKS.items()}}
        self._states: dict[str, ModelState] = {}
        self._times: dict[str, ModelTimes | None] = {}
        self._waiting: list[str] = []
        #: Why dropped or chosen files were not imported.
        self._wrong: list[str] = []
        #: Name of the model that is shown below the table.
        self._shown = ""
        #: Name of the model to choose once the table is filled.
        self._wanted = ""
        #: Name of the model that a button acted on last.
        self._acted_on = ""
        #: The task that *Use* offers first.
        self._task = ""
        self._files = FileThread()
        self._import = ModelImport(self)
        self._import.ended.connect(self._end_import)
        self._add_controls()
        self._connect()
        self._list()

    def show_models(self, task: str = "", model: str = "") -> None:
        """Show the models of a task, all for an empty one, and choose one of them."""
        self._task = task
        self.search.clear()
        self.image_filter.setCurrentIndex(0)
        self.task_filter.setCurrentIndex(max(0, self.task_filter.findData(task)))
        if self._states and model:
            self.table.choose(model)
        self._wanted = "" if self._states else model

    # What is under way.

    def unfinished(self) -> str:
        """Return how many downloads are under way."""
        count = len(model_work().names("download"))
        return f"Models: {count} download{'s' * (count > 1)} under way; what is here stays" if count else ""

    def stop_work(self) -> None:
        """Pause all downloads; their parts stay."""
        for name in model_work().names("download"):
            model_work().stop(name)

    def release(self) -> None:
        """Leave the downloads to the window, and end an import."""
        self._import.stop()
        self._files.leave()
        super().release()

    # Dropped files.

    def event(self, event: Any) -> bool:
        """Take what is dragged to the dock itself, which scroll areas leave to the page in them."""
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
        """Take files and folders."""
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dragMoveEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Take files and folders."""
        event.acceptProposedAction()

    def dropEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Import what was dropped, one after the other."""
        paths = [url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile()]
        event.acceptProposedAction()
        self._forget_wrong()
        if not paths:
            self.messages["import"].say("That is a link, no file. Download its file, then drop that here.")
        for path in paths:
            self.import_weights(path)

    def import_weights(self, path: str) -> None:
        """Import a file or folder in a process of its own; others wait their turn."""
        if not path:
            return
        if self._import.running:
            self._waiting.append(path)
            return
        set_usable(self.import_button, "An import is under way.")
        self._say(f"Looking at {Path(path).name}…")
        self._import.start(path)

    # Building.

    def _add_controls(self) -> None:
        self.questions = ModelQuestions(self._titles)
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search models")
        self.search.setAccessibleName("Search models")
        self.search.setToolTip("Words in names, titles, what models are good for, licences; all must be found.")
        self.search.setClearButtonEnabled(True)
        # Files are dropped on the dock, not written into the field.
        self.search.setAcceptDrops(False)
        self.task_filter = _filter("Task of models", "All tasks", self._titles)
        self.image_filter = _filter("Images of models", "All images", MODALITIES)
        self.table = ModelTable(self._titles)
        self.count = wrapping_label("")
        self.details = ModelDetails(self._titles)
        self.progress = DownloadRow()
        self.token = HubToken()
        self.outcome = wrapping_label("")
        self.outcome.setAccessibleName("What was done")
        self._add_buttons()
        for widget in (
            self.questions,
            self.search,
            side_by_side(self.task_filter, self.image_filter),
            self.table,
            self.count,
            self._actions,
            self.progress,
            self.messages["model"],
            self.outcome,
            self.token,
            self.details,
            self.import_button,
            self.messages["import"],
            self.messages["run"],
        ):
            self._layout.addWidget(widget)
        self._layout.addStretch(1)

    def _add_buttons(self) -> None:
        self.download_button = QPushButton("Download")
        self.use_button = QPushButton("Use in…")
        self.use_button.setToolTip("Open a form with the chosen model.")
        self._use_menu = QMenu(self.use_button)
        self.use_button.setMenu(self._use_menu)
        self.time_button = QPushButton("Time it")
        self.time_button.setToolTip(
            "Measure on a standard picture, on each device of this computer: encoding, a click, a whole run. Estimates "
            "of the forms use it."
        )
        self.verify_button = QPushButton("Verify")
        self.verify_button.setToolTip("Read all its weights and compare them with the recorded hash.")
        self.remove_button = QPushButton("Remove…")
        self.remove_button.setToolTip("Remove the model; it asks before.")
        self.folder_button = QPushButton("Show in folder")
        self.folder_button.setToolTip("Open the folder of its weights.")
        self.part_button = QPushButton("Remove part")
        self.part_button.setToolTip("Delete what is here of an unfinished download.")
        self._actions = QWidget()
        grid = QGridLayout(self._actions)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.addWidget(self.download_button, 0, 0, 1, 2)
        grid.addWidget(self.use_button, 0, 2)
        for column, button in enumerate((self.time_button, self.verify_button, self.folder_button)):
            grid.addWidget(button, 1, column)
        grid.addWidget(self.remove_button, 2, 0)
        grid.addWidget(self.part_button, 2, 1)
        for column in range(3):
            grid.setColumnStretch(column, 1)
        self.import_button = QPushButton("Import file or folder…")
        self.import_button.setToolTip(f"Add a model of which you have the weights. {_DROP}")
        menu = QMenu(self.import_button)
        for text, act in (("Weights file…", self._choose_file), ("Folder of weights…", self._choose_folder)):
            action = menu.addAction(text)
            assert action is not None
            action.triggered.connect(act)
        self.import_button.setMenu(menu)

    def _connect(self) -> None:
        self.search.textChanged.connect(self._filter)
        for choice in (self.task_filter, self.image_filter):
            choice.currentIndexChanged.connect(self._filter)
        self.table.chosen.connect(self._show_model)
        self.table.itemActivated.connect(lambda *_: self._act())
        self.questions.wanted.connect(self.use)
        self.questions.looked_at.connect(self._look_at)
        self.download_button.clicked.connect(self.download)
        self.time_button.clicked.connect(partial(self._start, "time"))
        self.verify_button.clicked.connect(partial(self._start, "verify"))
        self.part_button.clicked.connect(partial(self._start, "remove part"))
        self.remove_button.clicked.connect(self.remove)
        self.folder_button.clicked.connect(self.show_folder)
        self.token.failed.connect(self.messages["model"].say)
        catalogue_watch().changed.connect(self._list)
        model_work().changed.connect(self._update)
        model_work().ended.connect(self._end_work)

    # The table.

    def _list(self) -> None:
        """Show the catalogue as it is now; states are looked up in the background, and at first the window draws."""
        rows = list(catalog().values())
        if self._states:
            self._show_rows(rows)
        self._files.ask(lambda: {row.name: (model_state(row), recall_times(row)) for row in rows}, self._use_states)

    def _use_states(self, found: dict[str, tuple[ModelState, ModelTimes | None]] | Exception) -> None:
        if isinstance(found, Exception):
            self.messages["run"].say(str(found))
            return
        self._states = {name: state for name, (state, _) in found.items()}
        self._times = {name: times for name, (_, times) in found.items()}
        self._show_rows([row for row in catalog().values() if row.name in found])
        if self._wanted:
            self.table.choose(self._wanted)
            self._wanted = ""
        self._show_model(self.table.name)
        self.questions.refresh()

    def _show_rows(self, rows: list[CatalogRow]) -> None:
        self.table.fill([self._line(row) for row in rows])
        self._show_count()

    def _line(self, found: CatalogRow) -> ModelLine:
        state = self._states.get(found.name)
        under_way = model_work().of(found.name)
        words = "…" if state is None else state.words.partition(",")[0]
        if under_way is not None:
            words = f"{under_way.kind} {100 * under_way.share:.0f} %"
        times = self._times.get(found.name)
        return ModelLine(
            found,
            tuple(tasks_for(found)),
            words,
            "" if state is None else _explanation(state),
            "" if times is None else _times_in_short(times),
            state is not None and state.here,
        )

    def _filter(self) -> None:
        self._task = str(self.task_filter.currentData() or "")
        self.table.filter(self.search.text(), self._task, str(self.image_filter.currentData() or ""))
        self._show_count()

    def _show_count(self) -> None:
        shown, there = len(self.table.shown()), self.table.topLevelItemCount()
        self.count.setText(f"{there} models" if shown == there else f"{shown} of {there} models")

    def _look_at(self, name: str) -> None:
        self.search.clear()
        self.task_filter.setCurrentIndex(0)
        self.image_filter.setCurrentIndex(0)
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
        busy = f"Its {under_way.kind} is under way." if under_way is not None else ""
        if line is None or state is None:
            why = _NONE if line is None else "The folder of models is being looked at."
            for button in (self.download_button, self.use_button, self.time_button, self.verify_button,
                           self.remove_button, self.folder_button):  # fmt: skip
                set_usable(button, why)
            self.part_button.hide()
            self.token.hide()
            return
        found = line.row
        here = "" if state.here else "Its weights are not on this computer."
        self.download_button.setText(
            f"Resume ({_part_text(state)})" if state.part_bytes else f"Download {size_text(found.size_mb)}"
        )
        self.download_button.setToolTip(
            f"{size_text(found.size_mb)}. Licence of the code: {found.code_licence}; of the weights: "
            f"{found.weights_licence}."
        )
        set_usable(self.download_button, busy or state.why_no_download)
        set_usable(self.use_button, "" if line.tasks else "No form can use it.")
        set_usable(self.time_button, busy or here or state.problem)
        set_usable(self.verify_button, busy or here)
        set_usable(self.folder_button, here)
        set_usable(self.remove_button, busy or state.why_no_removal)
        self.part_button.setVisible(bool(state.part_bytes) and under_way is None)
        self.token.show_for(found, state, self.viewer.theme)
        self._use_menu.clear()
        for task in sorted(line.tasks, key=lambda one: one != self._task):
            action = self._use_menu.addAction(self._titles[task])
            assert action is not None
            action.triggered.connect(partial(self._use_chosen, task))

    def _act(self) -> None:
        """Act on Enter or a double-click: download what is not here, use what is."""
        if self.download_button.isEnabled():
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
        """Begin the download of the chosen model, or go on with it."""
        self._start("download")

    def show_folder(self) -> None:
        """Open the folder of the chosen model's weights."""
        path = locate(row(self.table.name))
        if path is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(path if path.is_dir() else path.parent)))

    def remove(self) -> None:
        """Remove the chosen model, after a question."""
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
        """Show what has changed of a model."""
        found = catalog().get(name)
        if found is not None and self.table.line(name) is not None:
            self.table.show_line(self._line(found))
        if name == self.table.name:
            self._show_buttons(name)

    def _end_work(self, name: str, kind: str, outcome: Any) -> None:
        words = self._words_of_end(name, kind, outcome)
        self._list()
        # A removed model has left the table.
        if name not in (self.table.name, self._acted_on):
            return
        if isinstance(outcome, FoundsegError) and not isinstance(outcome, Cancelled):
            self.messages["model"].say(words)
            self.ensureWidgetVisible(self.messages["model"])
        else:
            self._say(words)

    def _words_of_end(self, name: str, kind: str, outcome: Any) -> str:
        if isinstance(outcome, Cancelled):
            return "Stopped." if kind == "download" else "Cancelled."
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

    def _forget_wrong(self) -> None:
        self._clear_messages()
        if not self._import.running:
            self._wrong = []

    def _choose_file(self) -> None:
        self._forget_wrong()
        self.import_weights(
            QFileDialog.getOpenFileName(self, "Import a model: weights file", str(Path.home()), _FILES)[0]
        )

    def _choose_folder(self) -> None:
        self._forget_wrong()
        self.import_weights(
            QFileDialog.getExistingDirectory(self, "Import a model: folder of weights", str(Path.home()))
        )

    def _end_import(self, outcome: str | FoundsegError) -> None:
        set_usable(self.import_button, "")
        if isinstance(outcome, FoundsegError):
            self._say("")
            self._wrong.append(str(outcome))
        else:
            catalogue_watch().check()
            self._list()
            self._look_at(outcome)
            self._say(self._words_of_import(outcome))
        # What was wrong with several files stays, whatever is chosen then.
        self.messages["import"].say("\n".join(self._wrong))
        if self._wrong:
            self.ensureWidgetVisible(self.messages["import"])
        if self._waiting:
            self.import_weights(self._waiting.pop(0))

    def _words_of_import(self, name: str) -> str:
        new = row(name)
        forms = ", ".join(self._titles[task] for task in tasks_for(new)) or "no form"
        what = new.title if new.title != name else f"a model of the family {new.family}"
        also = f" It is used where {new.stands_for} is named, too." if new.stands_for else ""
        return f"Recognised as {what}; imported as {name}. For: {forms}.{also}"

    def _say(self, text: str) -> None:
        self.outcome.setText(escape(text) if "<" in text else text)
        self.outcome.setVisible(bool(text))

    def _retheme(self, event: Any = None) -> None:
        super()._retheme(event)
        self._show_model(self.table.name)


def _filter(name: str, all_of_them: str, entries: Any) -> QComboBox:
    choice = ElidedCombo(least=8)
    choice.setAccessibleName(name)
    choice.setToolTip(
        f"Show only models of one {name.lower()}." if name == "Task" else "Show only models for such images."
    )
    choice.addItem(all_of_them, "")
    for key, text in entries.items():
        choice.addItem(text, key)
    return choice


def _explanation(state: ModelState) -> str:
    """Return the state in sentences; where to get weights, and what to accept, is said by links beside it."""
    if state.kind in ("to download", "gated"):
        return f"Not on this computer. {state.problem}".strip()
    return state.explanation


def _part_text(state: ModelState) -> str:
    """Return how much of a download is here, such as ``120 of 375 MB``."""
    here = f"{state.part_bytes / 1e6:.0f}"
    return f"{here} of {state.total_bytes / 1e6:.0f} MB" if state.total_bytes else f"{here} MB"


def _times_in_short(times: ModelTimes) -> str:
    """Return encoding and click, or else a run, on the device that is chosen by itself."""
    one = times.on("auto") or next(iter(times.devices.values()), None)
    if one is None:
        return ""
    if one.encode is not None and one.click is not None:
        return f"{seconds_text(one.encode)} + {seconds_text(one.click)}"
    return next((seconds_text(seconds) for seconds in one.runs.values()), "")
