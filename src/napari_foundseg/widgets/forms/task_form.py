"""The form of a task, with five parts: image, model, settings, run, result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QWidget

from napari_foundseg.core.errors import CheckpointError, FoundsegError
from napari_foundseg.core.result import Segmentation
from napari_foundseg.models.catalog import catalog, row
from napari_foundseg.models.store import addresses, check_here
from napari_foundseg.tasks import Inputs, Settings, Task
from napari_foundseg.tasks.notes import notes_of, what_was_chosen
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.tasks.task_models import colour_rule, expectation, model_defaults
from napari_foundseg.widgets.controls.image_choice import NO_IMAGE, ImageChoice
from napari_foundseg.widgets.controls.model_row import ModelRow
from napari_foundseg.widgets.controls.rows import labelled_row, wrapping_label
from napari_foundseg.widgets.controls.usability import set_usable
from napari_foundseg.widgets.forms.dock import Dock
from napari_foundseg.widgets.forms.download_offer import DownloadOffer
from napari_foundseg.widgets.forms.method_choice import MethodChoice
from napari_foundseg.widgets.forms.open_forms import open_models
from napari_foundseg.widgets.forms.run_row import RunRow
from napari_foundseg.widgets.forms.settings_form import SettingsForm
from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer
from napari_foundseg.widgets.runs import run_time
from napari_foundseg.widgets.runs.last_run import LastRun
from napari_foundseg.widgets.runs.run import Run
from napari_foundseg.widgets.runs.run_follower import RunFollower
from napari_foundseg.widgets.runs.run_image import RunImage
from napari_foundseg.widgets.runs.run_record import RunRecord
from napari_foundseg.widgets.runs.shared_engine import start_engine

__all__ = ["TaskForm"]


class TaskForm(Dock):
    """The base class of the forms of tasks.

    The constructor of a subclass calls `super().__init__`, sets its own attributes, and finally calls `build`, because
    `build` calls methods that subclasses override.
    """

    run_text = "Run"
    run_help = "Run on the chosen image (the result becomes a new layer)."
    #: The end of the message about a result whose image has changed during the run.
    outdated_result = "the result belongs to the image as it was when the run began, and is a layer of its own."

    def __init__(self, viewer: ViewerModel, task: Task) -> None:
        super().__init__(viewer, "image", "model", "settings", "inputs")
        self.task = task
        self._follower = RunFollower(self)
        self._run_image: RunImage | None = None
        #: The change of the image during the run whose result is shown, such as "'cells' was removed".
        self.image_change = ""

    def build(self) -> None:
        """Add and connect all controls, and show the initial state; call it once."""
        self._add_image_and_model()
        for widget in self.input_rows():
            self._layout.addWidget(widget)
        self._layout.addWidget(self.messages["inputs"])
        self._add_settings()
        self._add_run()
        self._add_result()
        self._layout.addStretch(1)
        self.connect_controls()
        self._offer_methods()
        self._change_method()
        self._show_row()
        self._show_idle("")
        self.image_changed()
        start_engine()

    # Overridden by the forms of tasks.

    def inputs(self, target: ImageOnLayer) -> Inputs:
        """Return the task's inputs from the controls of the form.

        Raises
        ------
        FoundsegError
            If the inputs are incomplete or do not fit the image.
        """
        raise NotImplementedError

    def show_result(self, target: ImageOnLayer, run: Run, segmentation: Segmentation, seconds: float) -> str:
        """Show a result and return a description of it; the image's layer may no longer be in the viewer."""
        raise NotImplementedError

    def chosen_target(self) -> ImageOnLayer:
        """Return the chosen image with its layer.

        Raises
        ------
        FoundsegError
            If no image layer is chosen, or it cannot be segmented.
        """
        return self.image.target()

    def coarsest_pixel(self, target: ImageOnLayer) -> float:  # noqa: ARG002 - for subclasses
        """Return the greatest acceptable pixel width of a coarser level, in pixels of the finest level."""
        return 1.0

    def input_rows(self) -> list[QWidget]:
        """Return the controls of the task's inputs, from top to bottom; they are shown above the settings."""
        return []

    def input_layers(self) -> dict[str, str]:
        """Return, for each input that is read from a layer, the layer's name; used by *Copy as Python*."""
        return {}

    def result_rows(self) -> list[QWidget]:
        """Return the task's own controls, from top to bottom; they are shown below the result."""
        return []

    def why_not_usable(self) -> str:
        """Return the reason why the form cannot run now, such as that there is no layer; empty if it can."""
        return NO_IMAGE if self.image.layer is None else ""

    def show_usability(self) -> None:
        """Enable the controls that can be used, and show a message if there is no image."""
        busy = "A run is under way." if self.current is not None else ""
        set_usable(self.run_button, busy or self.why_not_usable())
        message = self.messages["image"]
        if self.image.layer is None and not message.text():
            message.say(NO_IMAGE)
        elif self.image.layer is not None and message.text() == NO_IMAGE:
            message.say("")

    # Running.

    @property
    def current(self) -> Run | None:
        """The run in progress; None if there is none."""
        return self._follower.run

    @property
    def method_name(self) -> str:
        """Name of the chosen method, as used in recipes."""
        return self._method_choice.name

    @property
    def settings(self) -> Settings:
        """The settings of the chosen method, from the controls of the form."""
        method = self.method_name
        return self.task.settings(method, self.forms[method].values())

    def run(self, replace: str | None = None) -> None:
        """Start a run with the values of the form; errors are shown next to the control to which they refer."""
        if self.current is not None and replace is None:
            self.messages["run"].say("A run is under way. Wait for its result or press Cancel first.")
            return
        if self.offer_download(lambda: self.run(replace)):
            return
        self.image.wait_for_file()
        self.notes.hide()
        try:
            target = self.chosen_target()
            request = self.request(target, self.inputs(target))
        except FoundsegError as error:
            self.fail(error)
            return
        self._run_image = RunImage(target)
        self.last_run.keep(RunRecord(request, target.name, self.input_layers()))
        self.forms[self.method_name].remember()
        self._show_busy()
        self._follower.start(Run(request, replace))

    def cancel(self) -> None:
        """Cancel the run; the form becomes idle at once."""
        if self._follower.cancel() is not None:
            self._show_idle("Cancelled; no layer was changed.")

    def unfinished(self) -> str:
        """Describe the run in progress and how far it is; empty if there is none."""
        return "" if self.current is None else f"{self.task.title}: {self.words.text() or 'running'}"

    def stop_work(self) -> None:
        """Cancel the run."""
        self.cancel()

    def release(self) -> None:
        """Disconnect from the viewer and cancel the run, because the form is being closed."""
        self._follower.cancel()
        self.model_row.release()
        self.image.disconnect_viewer()
        self.last_run.release()
        super().release()

    def update_estimate(self) -> None:
        """Show the estimated duration of a run."""
        if self.current is not None:
            return
        try:
            target = self.chosen_target()
            text = run_time.in_words(run_time.estimate(self.request(target, self.inputs(target)).at_level()))
        except FoundsegError:
            text = ""
        self.words.setText(text)

    def request(self, target: ImageOnLayer, inputs: Inputs) -> RunRequest:
        """Return a run on an image with the form's model, settings and level.

        Raises
        ------
        CheckpointError
            If the weights of the model are not on this computer.
        """
        check_here(row(str(self.model.currentData())))
        level = self.image.level(target.image, self.coarsest_pixel(target))
        return RunRequest(self.task.name, target.image, inputs, self.settings, str(self.model.currentData()), level)

    def offer_download(self, then: Callable[[], None], model: str = "") -> bool:
        """Return whether a model, by default the chosen one, is missing on this computer.

        Messages are cleared. If the model is missing, the form offers to download it and to call `then` afterwards. If
        the model has no download address, the form shows an error instead.
        """
        self._clear_messages()
        self.offer.withdraw()
        wanted = row(model or str(self.model.currentData()))
        try:
            check_here(wanted)
        except CheckpointError as error:
            if not addresses(wanted):
                self.fail(error)
                return True
            self.offer.offer(wanted, then)
            self.ensureWidgetVisible(self.offer)
            return True
        return False

    def _show_progress(self, share: float, words: str) -> None:
        self.bar.setValue(round(100 * share))
        spent = self._follower.seconds
        left = f", {run_time.in_words(spent * (1 - share) / share)} left" if share > 0.05 and spent > 1 else ""
        self.words.setText(f"{words}{left}")

    def _run_done(self, run: Run, segmentation: Segmentation) -> None:
        seconds = self._follower.seconds
        run_image = self._run_image
        assert run_image is not None
        self.image_change = run_image.describe_change(self.viewer)
        self._show_idle(self.show_result(run_image.target, run, segmentation, seconds))
        self.show_notes(segmentation.provenance)
        if self.image_change:
            self.messages["image"].say(f"{self.image_change}: {self.outdated_result}")
        if not self.task.learns_time:
            return
        run_time.learn(run.request.at_level(), seconds)
        self.update_estimate()

    def _run_cancelled(self) -> None:
        self._show_idle("")

    def _run_failed(self, error: FoundsegError) -> None:
        self._show_idle("")
        self.fail(error)

    # Building.

    def connect_controls(self) -> None:
        """Connect the signals of the controls, after all controls exist."""
        self.image.changed.connect(self.image_changed)
        self.model.currentIndexChanged.connect(self._change_model)
        self.model_row.started.connect(self._clear_messages)
        self.model_row.failed.connect(self._fail_import)
        self.model.get_models.connect(lambda: open_models(self.viewer, self.task.name))
        self.offer.more.connect(lambda name: open_models(self.viewer, self.task.name, name))
        self.offer.failed.connect(self._fail_import)
        self.method.currentIndexChanged.connect(self._change_method)
        for form in self.forms.values():
            form.changed.connect(self.setting_changed)
        self.run_button.clicked.connect(lambda: self.run())
        self.cancel_button.clicked.connect(self.cancel)
        self._follower.progressed.connect(self._show_progress)
        self._follower.done.connect(self._run_done)
        self._follower.failed.connect(self._run_failed)
        self._follower.cancelled.connect(self._run_cancelled)
        self.last_run.said.connect(self.words.setText)
        self.last_run.failed.connect(self.fail)

    def image_changed(self) -> None:
        """Update the form after another image was chosen."""
        self.show_usability()
        self._show_linking()
        self.update_estimate()
        self.name_result()

    def _show_linking(self) -> None:
        """Offer to link slices if the chosen image has several."""
        try:
            has_slices = max(self.chosen_target().image.slice_shape, default=1) > 1
        except FoundsegError:
            # Without an image, the number of slices is unknown.
            has_slices = True
        for form in self.forms.values():
            form.set_usable("link", "" if has_slices else "The image has one slice, so there is nothing to link.")

    def name_result(self) -> None:
        """Name the image of the result, if another image is chosen by now."""
        run_image = self._run_image
        layer = None if run_image is None else run_image.target.layer
        other = layer is not None and layer is not self.image.layer and not self.result.isHidden()
        self.result_image.setText(f"Result of {layer.name!r}:" if layer is not None else "")
        self.result_image.setVisible(other)

    def _add_image_and_model(self) -> None:
        self.image = ImageChoice(self.viewer)
        self._add_part("Image", self.image, "image")
        self.model_row = ModelRow(self.viewer, self.task)
        self.model = self.model_row.choice
        self.offer = DownloadOffer()
        for widget in (self.model_row, self.messages["model"], self.offer):
            self._layout.addWidget(widget)

    def _add_part(self, title: str, widget: QWidget, message: str) -> None:
        self._layout.addWidget(labelled_row(title, widget))
        self._layout.addWidget(self.messages[message])

    def _change_model(self) -> None:
        if self.model.currentData() not in catalog():
            # It was removed just now; the list is read again once that is noticed.
            return
        if str(self.model.currentData()) != self.offer.name:
            self.offer.withdraw()
        if self._offer_methods():
            self._change_method()
        self._show_row()
        self.update_estimate()

    def _show_row(self) -> None:
        """Show the chosen model's state, its own defaults, and the grey values and colours that it expects."""
        model = str(self.model.currentData())
        for name, form in self.forms.items():
            form.use_defaults(model_defaults(model, self.task.name, name))
        self._show_expected()
        self._show_state()

    def _show_expected(self) -> None:
        """Show the grey values and colours that the chosen model and method expect."""
        model = str(self.model.currentData())
        method = self.task.methods.get(self.method_name)
        self.image.expect(expectation(model), "RGB" if method is None else colour_rule(model, method))

    def _show_state(self) -> None:
        own = self.forms[self.method_name].defaults_in_words() if self.method_name else ""
        self.model_row.show_state(own)

    def _retheme(self, event: Any = None) -> None:
        super()._retheme(event)
        self._show_state()

    def show_notes(self, provenance: Mapping[str, Any]) -> None:
        """Show the colour that was used, changes of the contrast, and reasons why nothing was found."""
        notes = [*what_was_chosen(provenance), *notes_of(provenance)]
        self.notes.setText("\n".join(notes))
        self.notes.setVisible(bool(notes))

    def _fail_import(self, error: FoundsegError) -> None:
        self.messages["model"].say(str(error))
        self.ensureWidgetVisible(self.messages["model"])

    def _offer_methods(self) -> bool:
        """List the methods that the chosen model supports; return whether the list has changed."""
        return self._method_choice.offer(row(str(self.model.currentData())).protocols)

    def _add_settings(self) -> None:
        self._method_choice = MethodChoice(self.task)
        self.method = self._method_choice.list
        self._layout.addWidget(self._method_choice)
        self.forms: dict[str, SettingsForm] = {}
        for name in self.task.methods:
            self.forms[name] = SettingsForm(self.task.methods[name], f"{self.task.name}.{name}")
            self._layout.addWidget(self.forms[name])
        self._layout.addWidget(self.messages["settings"])

    def setting_changed(self, name: str) -> None:  # noqa: ARG002 - for subclasses
        """React to a setting that the user has changed; `name` is its field."""
        self._show_state()
        self.update_estimate()

    def _change_method(self) -> None:
        chosen = self.method_name
        for name, form in self.forms.items():
            form.setVisible(name == chosen)
        self._method_choice.show_help()
        self._show_expected()
        self._show_state()
        self.update_estimate()

    def _add_run(self) -> None:
        self._run_row = RunRow(self.run_text, self.run_help)
        self.run_button, self.cancel_button = self._run_row.run_button, self._run_row.cancel_button
        self.bar, self.words = self._run_row.bar, self._run_row.words
        self._layout.addWidget(self._run_row)
        self._layout.addWidget(self.messages["run"])

    def _add_result(self) -> None:
        self.result_image = wrapping_label("")
        self._layout.addWidget(self.result_image)
        self.result = QLabel()
        self.result.setWordWrap(True)
        self.result.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._layout.addWidget(self.result)
        self.notes = wrapping_label("")
        self.notes.setAccessibleName("Notes on the result")
        self.notes.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.notes.hide()
        self._layout.addWidget(self.notes)
        for widget in self.result_rows():
            self._layout.addWidget(widget)
        self.last_run = LastRun()
        self._layout.addWidget(self.last_run)

    def _show_busy(self) -> None:
        self._run_row.show_busy()

    def _show_idle(self, result: str) -> None:
        self.show_usability()
        self._run_row.show_idle()
        self.result.setText(result)
        self.result.setVisible(bool(result))
        self.name_result()
        self.update_estimate()
