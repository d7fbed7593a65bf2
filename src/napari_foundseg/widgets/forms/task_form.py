"""The five-part form that every task's widget is: image, model, settings, run, result."""

from __future__ import annotations

import time
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QProgressBar, QPushButton, QWidget

from napari_foundseg.core.errors import Cancelled, FoundsegError
from napari_foundseg.core.image import Image
from napari_foundseg.core.result import Segmentation
from napari_foundseg.models.catalog import row
from napari_foundseg.tasks import Inputs, Settings, Task
from napari_foundseg.widgets.controls.image_choice import ImageChoice
from napari_foundseg.widgets.controls.model_choice import ModelChoice
from napari_foundseg.widgets.controls.rows import labelled, quiet_label
from napari_foundseg.widgets.forms.dock import Dock
from napari_foundseg.widgets.forms.settings_form import SettingsForm
from napari_foundseg.widgets.runs import run_time
from napari_foundseg.widgets.runs.last_run import LastRun
from napari_foundseg.widgets.runs.run import Run
from napari_foundseg.widgets.runs.run_record import RunRecord
from napari_foundseg.widgets.runs.shared_engine import start_engine

__all__ = ["TaskForm"]


class TaskForm(Dock):
    """The form of a task. What differs between tasks is what subclasses fill in.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    task : Task
        The task.
    """

    run_text = "Run"
    run_help = "Run on the chosen image (the result becomes a new layer)."

    def __init__(self, viewer: ViewerModel, task: Task) -> None:
        super().__init__(viewer, "image", "model", "settings", "inputs")
        self.task = task
        self.current: Run | None = None
        self._job_layer: ImageLayer | None = None
        self._started = 0.0
        self._build()
        self._change_method()
        self._idle("")
        self.image_changed()
        start_engine()

    # What a task's own widget fills in.

    def inputs(self, layer: ImageLayer, image: Image) -> Inputs:
        """Return the task's inputs as the form stands.

        Parameters
        ----------
        layer : napari.layers.Image
            The chosen layer.
        image : Image
            The layer as an image.

        Returns
        -------
        Inputs
            Of the task's type.
        """
        raise NotImplementedError

    def deliver(self, layer: ImageLayer, run: Run, segmentation: Segmentation, seconds: float) -> str:
        """Show a result.

        Parameters
        ----------
        layer : napari.layers.Image
            The image's layer, which may have left the viewer.
        run : Run
            The run.
        segmentation : Segmentation
            Its result.
        seconds : float
            How long it took.

        Returns
        -------
        str
            The result in words.
        """
        raise NotImplementedError

    def chosen_image(self) -> Image:
        """Return the chosen layer as an image.

        Returns
        -------
        Image
            As it is now.
        """
        return self.image.image()

    def _wanted_pixel(self, layer: ImageLayer, image: Image) -> float:  # noqa: ARG002 - for subclasses
        """Return how many of the finest pixels of a pyramid may become one."""
        return 1.0

    def input_rows(self) -> list[QWidget]:
        """Return the controls of the task's inputs, shown above the settings.

        Returns
        -------
        list of QWidget
            From top to bottom.
        """
        return []

    def input_layers(self) -> dict[str, str]:
        """Return which of the task's inputs are the pixels of a layer; what is copied as Python names that layer.

        Returns
        -------
        dict of str to str
            Names of layers by input.
        """
        return {}

    def result_rows(self) -> list[QWidget]:
        """Return the task's own controls below the result.

        Returns
        -------
        list of QWidget
            From top to bottom.
        """
        return []

    # Running.

    @property
    def settings(self) -> Settings:
        """The settings as the form stands."""
        method = self.method.currentText()
        return self.task.settings(method, self.forms[method].values())

    def run(self, replace: str | None = None) -> None:
        """Start a run with what the form shows; what is wrong is said beside the control it is about.

        Parameters
        ----------
        replace : str, optional
            Of waiting runs of one such name only the latest is done; without it a second run is refused.
        """
        if self.current is not None and replace is None:
            self.messages["run"].say("A run is under way. Wait for its result or press Cancel first.")
            return
        self._clear_messages()
        try:
            request = self._request()
        except FoundsegError as error:
            self.fail(error)
            return
        layer, image, inputs, settings, model = request
        self._job_layer, self._started = layer, time.perf_counter()
        level = self.image.level(image, self._wanted_pixel(layer, image))
        self.last_run.keep(
            RunRecord(self.task.name, image, inputs, settings, model, layer.name, level, self.input_layers())
        )
        self.forms[self.method.currentText()].remember()
        self.current = Run(self.task.name, image, inputs, settings, model, replace, level)
        self.current.progressed.connect(self._progress, Qt.ConnectionType.QueuedConnection)
        self.current.ended.connect(self._end, Qt.ConnectionType.QueuedConnection)
        self._busy()
        self.current.start()

    def cancel(self) -> None:
        """Stop the run; the window is idle at once."""
        if self.current is not None:
            run, self.current = self.current, None
            run.cancel()
            self._idle("Cancelled; no layer was changed.")

    def release(self) -> None:
        """Let go of the viewer and the engine: the form is being closed."""
        if self.current is not None:
            run, self.current = self.current, None
            run.cancel()
        self.image.disconnect_viewer()
        self.last_run.release()
        super().release()

    def update_estimate(self) -> None:
        """Say how long a run will take."""
        if self.current is not None:
            return
        try:
            layer, image, inputs, settings, model = self._request()
            if (level := self.image.level(image, self._wanted_pixel(layer, image))) is not None:
                image = level.image
                inputs = inputs.at_level(level)
                settings = settings.at_level(level)
            text = run_time.in_words(run_time.estimate(image, inputs, settings, model))
        except FoundsegError:
            text = ""
        self.words.setText(text)

    def _request(self) -> tuple[ImageLayer, Image, Inputs, Settings, str]:
        image, layer = self.chosen_image(), self.image.layer
        assert layer is not None
        return layer, image, self.inputs(layer, image), self.settings, str(self.model.currentData())

    def _progress(self, share: float, words: str) -> None:
        if self.sender() is not self.current:
            return
        self.bar.setValue(round(100 * share))
        spent = time.perf_counter() - self._started
        left = f", {run_time.in_words(spent * (1 - share) / share)} left" if share > 0.05 and spent > 1 else ""
        self.words.setText(f"{words}{left}")

    def _end(self, run: Run, job: Any) -> None:
        if run is not self.current:
            return
        self.current = None
        seconds = time.perf_counter() - self._started
        if job.state != "done":
            self._idle("")
            if not isinstance(job.error, Cancelled):
                self.fail(job.error)
            return
        layer = self._job_layer
        assert layer is not None
        self._idle(self.deliver(layer, run, job.result, seconds))
        if not self.task.learns_time:
            return
        run_time.learn(
            run.image if run.level is None else run.level.image, run.inputs, run.settings, run.model, seconds
        )
        self.update_estimate()

    # Building.

    def _build(self) -> None:
        self.image = ImageChoice(self.viewer)
        self.image.changed.connect(self.image_changed)
        self._part("Image", self.image, "image")
        self.model = ModelChoice(self.task)
        self.model.currentIndexChanged.connect(self._change_model)
        self._model_state = quiet_label(self.model.state())
        self._part("Model", self.model, "model")
        self._model_state.setContentsMargins(70, 0, 0, 0)
        self._layout.insertWidget(self._layout.count() - 1, self._model_state)
        for widget in self.input_rows():
            self._layout.addWidget(widget)
        self._layout.addWidget(self.messages["inputs"])
        self._build_settings()
        self._build_run()
        self._build_result()
        self._layout.addStretch(1)

    def image_changed(self) -> None:
        """Act on another chosen image."""
        self.update_estimate_soon()

    def update_estimate_soon(self) -> None:
        """Say how long a run will take, once the form is complete."""
        if hasattr(self, "words"):
            self.update_estimate()

    def _part(self, title: str, widget: QWidget, message: str) -> None:
        self._layout.addWidget(labelled(title, widget))
        self._layout.addWidget(self.messages[message])

    def _change_model(self) -> None:
        self._model_state.setText(self.model.state())
        self._offer_methods()
        self.update_estimate_soon()

    def _offer_methods(self) -> None:
        """Offer the methods that the chosen model can do."""
        known = row(str(self.model.currentData())).protocols
        usable = [name for name, protocol in self.task.protocols.items() if protocol in known]
        if usable == [self.method.itemText(i) for i in range(self.method.count())]:
            return
        # Not told while the list is empty: there is no method then.
        self.method.blockSignals(True)
        self.method.clear()
        self.method.addItems(usable)
        for i, name in enumerate(usable):
            help_text = (self.task.methods[name].__doc__ or "").strip()
            self.method.setItemData(i, help_text, Qt.ItemDataRole.ToolTipRole)
        self.method.blockSignals(False)
        self._method_row.setVisible(len(usable) > 1)
        if hasattr(self, "words"):
            self._change_method()

    def _build_settings(self) -> None:
        self.method = QComboBox()
        self.method.setAccessibleName("Method")
        self._method_row = labelled("Method", self.method)
        self._layout.addWidget(self._method_row)
        self.forms: dict[str, SettingsForm] = {}
        for name in self.task.methods:
            self.forms[name] = SettingsForm(self.task.methods[name], f"{self.task.name}.{name}")
            self.forms[name].changed.connect(self.setting_changed)
            self._layout.addWidget(self.forms[name])
        self._layout.addWidget(self.messages["settings"])
        self._offer_methods()
        self.method.currentTextChanged.connect(self._change_method)

    def setting_changed(self, name: str) -> None:  # noqa: ARG002 - for subclasses
        """Act on a changed setting.

        Parameters
        ----------
        name : str
            The field.
        """
        self.update_estimate_soon()

    def _change_method(self) -> None:
        chosen = self.method.currentText()
        for name, form in self.forms.items():
            form.setVisible(name == chosen)
        self.method.setToolTip((self.task.methods[chosen].__doc__ or "").strip() if chosen else "")
        self.update_estimate_soon()

    def _build_run(self) -> None:
        line = QHBoxLayout()
        self.run_button = QPushButton(self.run_text)
        self.run_button.setToolTip(self.run_help)
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setToolTip("Stop the run; no layer is changed.")
        self.run_button.clicked.connect(lambda: self.run())
        self.cancel_button.clicked.connect(self.cancel)
        line.addWidget(self.run_button, 2)
        line.addWidget(self.cancel_button, 1)
        self._layout.addLayout(line)
        self.bar = QProgressBar()
        self.bar.setRange(0, 100)
        self.words = QLabel()
        self.words.setWordWrap(True)
        for widget in (self.bar, self.words, self.messages["run"]):
            self._layout.addWidget(widget)

    def _build_result(self) -> None:
        self.result = QLabel()
        self.result.setWordWrap(True)
        self.result.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._layout.addWidget(self.result)
        for widget in self.result_rows():
            self._layout.addWidget(widget)
        self.last_run = LastRun()
        self.last_run.said.connect(self.words.setText)
        self.last_run.failed.connect(self.fail)
        self._layout.addWidget(self.last_run)

    def _busy(self) -> None:
        self.run_button.setEnabled(False)
        self.cancel_button.setEnabled(True)
        self.bar.setValue(0)
        self.bar.show()
        self.words.setText("starting")

    def _idle(self, result: str) -> None:
        self.run_button.setEnabled(True)
        self.cancel_button.setEnabled(False)
        self.bar.hide()
        self.result.setText(result)
        self.result.setVisible(bool(result))
        self.update_estimate()
