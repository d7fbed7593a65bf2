"""The dock widget *Automatic masks*."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any, cast, get_args

from napari.layers import Image as ImageLayer
from napari.layers import Labels
from napari.viewer import Viewer
from qtpy.QtWidgets import QComboBox, QWidget

from napari_foundseg.core.errors import FoundsegError, PromptError
from napari_foundseg.core.image import Image
from napari_foundseg.core.labels import Overlap
from napari_foundseg.core.result import Segmentation
from napari_foundseg.io.layer_files import RUN_PROVENANCE
from napari_foundseg.tasks import TASKS, Inputs, Settings
from napari_foundseg.tasks.automatic import derive
from napari_foundseg.tasks.automatic_settings import diameter_in_pixels
from napari_foundseg.widgets.automatic.added_objects import AddedRun
from napari_foundseg.widgets.controls.layer_choice import LayerChoice
from napari_foundseg.widgets.controls.region_choice import RegionChoice
from napari_foundseg.widgets.controls.rows import labelled
from napari_foundseg.widgets.editing.labels_history import LabelsHistory, shared_history
from napari_foundseg.widgets.editing.undo_row import EditRow
from napari_foundseg.widgets.editing.write_checks import misfit, refused
from napari_foundseg.widgets.forms.task_form import TaskForm
from napari_foundseg.widgets.layers.layer_conversion import view_pixel
from napari_foundseg.widgets.layers.overlay import Overlay
from napari_foundseg.widgets.layers.result_layers import add_labels, in_words, object_features
from napari_foundseg.widgets.qt.numpy_thread import Latest
from napari_foundseg.widgets.runs.run import Run

__all__ = ["AutomaticWidget"]

#: Pixels across an object that models see well.
_SEEN_BEST = 30


class AutomaticWidget(TaskForm):
    """Every object of an image, without a prompt.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        self._result: tuple[Segmentation, Run, Labels] | None = None
        self._edited = False
        self._writing = False
        self._latest = Latest()
        self._added: AddedRun | None = None
        #: What the labels that are shown were derived with, or will be in a moment.
        self._asked: Settings | None = None
        #: Of the layers that objects were added to: they can be undone while the form is open.
        self._held: dict[Labels, LabelsHistory] = {}
        super().__init__(napari_viewer, TASKS["automatic"])
        napari_viewer.layers.events.removed.connect(self._let_go)
        self._latest.done.connect(self._show_derived)

    def input_rows(self) -> list[QWidget]:
        """Return the choice of the region, and of the layer that the objects are added to.

        Returns
        -------
        list of QWidget
            From top to bottom.
        """
        self.region = RegionChoice(self.viewer)
        self.region.currentTextChanged.connect(self.update_estimate_soon)
        self.into = LayerChoice(
            self.viewer,
            Labels,
            "Where the objects go: a new layer, or a Labels layer whose objects they are added to, as one step that "
            "can be undone.",
            follow=False,
            none="a new layer",
        )
        self.into.combo.setAccessibleName("Into")
        self.overlap = QComboBox()
        self.overlap.addItems(get_args(Overlap)[:2])
        self.overlap.setAccessibleName("Where objects overlap")
        self.overlap.setToolTip(
            "Keep others: the run takes only pixels that no object of the layer has. Overwrite: it takes theirs too."
        )
        self.edits = EditRow(self.viewer.theme)
        self.messages["edits"] = self.edits.message
        rows = [labelled("Region", self.region), labelled("Into", self.into), labelled("Overlap", self.overlap)]
        self.into.changed.connect(lambda: rows[-1].setVisible(self.into.layer is not None))
        rows[-1].hide()
        return rows

    def inputs(self, layer: ImageLayer, image: Image) -> Inputs:
        """Return slice and region as chosen.

        Parameters
        ----------
        layer : napari.layers.Image
            The chosen layer.
        image : Image
            The layer as an image.

        Returns
        -------
        AutomaticInputs
            With the region in data pixels.
        """
        self._check_target(layer, image)
        return self.task.inputs.parse(self.region.given(layer, image))

    def deliver(self, layer: ImageLayer, run: Run, segmentation: Segmentation, seconds: float) -> str:
        """Add the result as a new layer.

        Parameters
        ----------
        layer : napari.layers.Image
            The image's layer.
        run : Run
            The run.
        segmentation : Segmentation
            Its result.
        seconds : float
            How long it took.

        Returns
        -------
        str
            How many objects were found.
        """
        self._forget()
        kept, segmentation = segmentation, run.at_full_resolution(segmentation)
        if self.into.layer is not None:
            return self._add(layer, run, kept, segmentation, seconds)
        labels = add_labels(self.viewer, layer, run.image, segmentation, f"{layer.name} masks")
        if kept.maps is not None or kept.masks is not None:
            self._result, self._edited = (kept, run, labels), False
            labels.events.paint.connect(self._mark_edited)
            labels.events.labels_update.connect(self._mark_edited)
        return in_words(segmentation, run.image, seconds)

    def _check_target(self, layer: ImageLayer, image: Image) -> None:
        """Refuse, before a run, a layer that its objects cannot be added to."""
        labels = self.into.layer
        if labels is None:
            return
        if (reason := misfit(labels, layer, image)) is not None:
            raise PromptError(f"Objects cannot be added to {labels.name!r}: {reason}")
        if why := refused(labels):
            raise PromptError(
                f"{labels.name!r} is {why}. Make an editable copy of it with the widget Correct, or choose a new layer."
            )

    def _wanted_pixel(self, layer: ImageLayer, image: Image) -> float:
        """Return how coarse a level may be: by the diameter of the objects, else by what is in view."""
        settings: Any = self.settings
        if getattr(settings, "diameter", None):
            with suppress(FoundsegError):
                return (diameter_in_pixels(image, settings) or _SEEN_BEST) / _SEEN_BEST
        return view_pixel(self.viewer, layer) if self.region.in_view else 1.0

    def result_rows(self) -> list[QWidget]:
        """Return undo and redo of what was added to a layer.

        Returns
        -------
        list of QWidget
            From top to bottom.
        """
        self.edits.hide()
        return [self.edits]

    def _add(self, layer: ImageLayer, run: Run, kept: Segmentation, found: Segmentation, seconds: float) -> str:
        """Add the result to the layer that was chosen, where it still fits."""
        image = run.image
        try:
            self._check_target(layer, image)
        except PromptError as error:
            labels = add_labels(self.viewer, layer, image, found, f"{layer.name} masks")
            self.fail(PromptError(f"{error} The result is in {labels.name!r}."))
            return in_words(found, image, seconds)
        overlap = cast(Overlap, self.overlap.currentText())
        words = in_words(found, image, seconds)

        def done(result: bool | Exception) -> None:
            if isinstance(result, Exception):
                self.messages["run"].say(f"The objects could not be added: {result}")
            elif self._added is not None:
                nothing = "nothing was added: other objects have these pixels (see Overlap)"
                self.result.setText(f"{words}; {'added to ' + repr(self._added.labels.name) if result else nothing}.")

        history = self._hold(self.into.layer, image)
        self._added = AddedRun(history, Overlay(layer, image), overlap, done)
        self.edits.follow(history)
        self.edits.show()
        self._added.write(found)
        if kept.maps is not None or kept.masks is not None:
            self._result, self._edited = (kept, run, self.into.layer), False
        return words

    def setting_changed(self, name: str) -> None:
        """Derive the labels again where a threshold acts on what is kept.

        Parameters
        ----------
        name : str
            The field.
        """
        super().setting_changed(name)
        method = self.method.currentText()
        if self._result is None or name not in self.forms[method].live_fields():
            return
        segmentation, run, labels = self._result
        made_by = segmentation.provenance.get("settings", {}).get("method", method)
        if made_by != method or labels not in self.viewer.layers:
            return
        if self._edited or (self._added is not None and not self._added.changeable):
            self.result.setText(
                "The result was edited by hand, so thresholds leave it alone. Run again for a new layer."
            )
            return
        settings = self._asked = self.settings
        if run.level is not None:
            settings = settings.at_level(run.level)
        self._latest.ask(
            lambda: run.at_full_resolution(derive(segmentation, settings))  # type: ignore[arg-type] # of this task
        )

    def release(self) -> None:
        """Let go of the viewer, the engine and the result."""
        self._forget()
        self.viewer.layers.events.removed.disconnect(self._let_go)
        for history in self._held.values():
            history.leave()
        self.into.disconnect_viewer()
        super().release()

    def _show_derived(self, number: int, derived: Any) -> None:
        if number != self._latest.number or self._result is None or self._edited:
            return
        if isinstance(derived, Exception):
            self.messages["settings"].say(f"The thresholds could not be applied: {derived}")
            return
        _, run, labels = self._result
        if self._added is not None:
            self._added.write(derived)
            self._keep_settings()
            return
        # The layer has no undo history yet (nobody has painted), so replacing its array leaves nothing stale.
        self._writing = True
        labels.data = derived.labels.reshape(labels.data.shape)
        labels.features = object_features(derived)
        labels.metadata = {**labels.metadata, RUN_PROVENANCE: dict(derived.provenance)}
        self._writing = False
        self._keep_settings()
        self.result.setText(in_words(derived, run.image, 0))

    def _keep_settings(self) -> None:
        """Have what is saved as a recipe be what is shown."""
        if self.last_run.record is not None and self._asked is not None:
            self.last_run.keep(replace(self.last_run.record, settings=self._asked))

    def _mark_edited(self, _event: Any = None) -> None:
        self._edited |= not self._writing

    def _hold(self, labels: Labels, image: Image) -> LabelsHistory:
        if labels not in self._held:
            self._held[labels] = shared_history(labels, image)
        return self._held[labels]

    def _let_go(self, event: Any) -> None:
        if (history := self._held.pop(event.value, None)) is not None:
            if self._added is not None and self._added.labels is event.value:
                self._forget()
            self.edits.hide()
            history.leave()

    def _forget(self) -> None:
        if self._added is None and self._result is not None:
            labels = self._result[2]
            labels.events.paint.disconnect(self._mark_edited)
            labels.events.labels_update.disconnect(self._mark_edited)
        self._result = self._added = None
