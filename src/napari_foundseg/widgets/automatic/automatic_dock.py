"""The dock widget *Automatic masks*."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any, cast, get_args

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
from napari_foundseg.widgets.automatic.added_objects import AddedObjects
from napari_foundseg.widgets.controls.layer_choice import LayerChoice
from napari_foundseg.widgets.controls.region_choice import RegionChoice
from napari_foundseg.widgets.controls.rows import labelled_row
from napari_foundseg.widgets.editing.kept_results import keep_result, rewriting
from napari_foundseg.widgets.editing.labels_history import LabelsHistory, shared_history
from napari_foundseg.widgets.editing.layer_file import layer_file
from napari_foundseg.widgets.editing.save_row import SaveRow
from napari_foundseg.widgets.editing.undo_row import UndoRow
from napari_foundseg.widgets.editing.write_checks import why_not_fitting, why_not_writable
from napari_foundseg.widgets.forms.task_form import TaskForm
from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer
from napari_foundseg.widgets.layers.layer_conversion import view_pixel
from napari_foundseg.widgets.layers.result_layers import add_labels, in_words, object_features
from napari_foundseg.widgets.qt.numpy_thread import NumpyThread
from napari_foundseg.widgets.runs.run import Run
from napari_foundseg.widgets.tracks.tracks_layer import show_result_tracks

__all__ = ["AutomaticWidget"]

#: Diameter of objects, in pixels, with which models work best.
_BEST_DIAMETER = 30


class AutomaticWidget(TaskForm):
    """Segment all objects of an image without prompts."""

    #: The word after the image's name in the name of a new layer.
    layer_word = "masks"

    def __init__(self, napari_viewer: Viewer, task: str = "automatic") -> None:
        super().__init__(napari_viewer, TASKS[task])
        #: The last result, its run and its layer; no layer if there are no objects.
        self._result: tuple[Segmentation, Run, Labels | None] | None = None
        self._result_target: ImageOnLayer | None = None
        self._edited = False
        self._writing = False
        self._latest = NumpyThread()
        self._added: AddedObjects | None = None
        #: The settings of the labels that are shown, or that are about to be shown.
        self._asked: Settings | None = None
        #: Histories of the layers to which objects were added; released when the form is closed.
        self._held: dict[Labels, LabelsHistory] = {}
        napari_viewer.layers.events.removed.connect(self._release_removed)
        self._latest.done.connect(self._show_derived)
        self.build()

    def input_rows(self) -> list[QWidget]:
        """Return the region, and the layer to which the objects are added."""
        self.region = RegionChoice(self.viewer)
        self.region.currentTextChanged.connect(self.update_estimate)
        self.into = LayerChoice(
            self.viewer,
            Labels,
            "Layer to write the objects into: a new one, or an existing Labels layer. Adding to a layer can be "
            "undone in one step.",
            follow=False,
            none="a new layer",
        )
        self.into.combo.setAccessibleName("Into")
        self.overlap = QComboBox()
        self.overlap.addItems(get_args(Overlap)[:2])
        self.overlap.setAccessibleName("Where objects overlap")
        self.overlap.setToolTip(
            "Keep others: objects of the run get only background pixels of the layer. Overwrite: they also get pixels "
            "of other objects."
        )
        self.edits = UndoRow(self.viewer.theme)
        self.saving = SaveRow(self.viewer.theme)
        self.messages |= {"edits": self.edits.message, "saving": self.saving.message}
        rows = [
            labelled_row("Region", self.region),
            labelled_row("Into", self.into),
            labelled_row("Overlap", self.overlap),
        ]
        self.into.changed.connect(lambda: rows[-1].setVisible(self.into.layer is not None))
        rows[-1].hide()
        return rows

    def inputs(self, target: ImageOnLayer) -> Inputs:
        """Return the chosen slice and region."""
        self._check_into(target)
        return self.task.inputs.parse(self.region.region_fields(target))

    def show_result(self, target: ImageOnLayer, run: Run, segmentation: Segmentation, seconds: float) -> str:
        """Add the objects as a new layer, or to the chosen layer."""
        self._forget_result()
        found = run.at_full_resolution(segmentation)
        if self.into.layer is not None and not self.image_change:
            return self._add_to_layer(target, run, segmentation, found, seconds)
        self._result_target = target
        labels = self._add_layer(target, found) if len(found) else None
        if labels is None:
            # The layer that could be saved is that of an earlier run.
            self.saving.follow(None)
        if segmentation.maps is not None or segmentation.masks is not None:
            self._result = (segmentation, run, labels)
            self._edited = False
            self._follow_edits(labels)
        return in_words(found, run.request.image, seconds)

    def _follow_edits(self, labels: Labels | None) -> None:
        if labels is not None:
            labels.events.paint.connect(self._mark_edited)
            labels.events.labels_update.connect(self._mark_edited)

    def _add_layer(self, target: ImageOnLayer, found: Segmentation) -> Labels:
        """Add the objects as a new layer, which is not saved yet."""
        labels = add_labels(self.viewer, target, found, f"{target.name} {self.layer_word}")
        keep_result(labels, target.image)
        self._show_tracks(labels, found)
        self.edits.hide()
        self.saving.follow(labels)
        self.saving.show()
        return labels

    def _check_into(self, target: ImageOnLayer) -> None:
        """Raise a PromptError if objects of the image cannot be added to the chosen layer."""
        labels = self.into.layer
        if labels is None:
            return
        if (reason := why_not_fitting(labels, target)) is not None:
            raise PromptError(f"Objects cannot be added to {labels.name!r}: {reason}")
        if why := why_not_writable(labels):
            raise PromptError(
                f"{labels.name!r} is {why}. Make an editable copy of it with the widget Correct, or choose a new layer."
            )

    def coarsest_pixel(self, target: ImageOnLayer) -> float:
        """Return the coarsest pixel that suffices for the objects' diameter, or for the zoom of the visible region."""
        settings: Any = self.settings
        if getattr(settings, "diameter", None):
            with suppress(FoundsegError):
                return (diameter_in_pixels(target.image, settings) or _BEST_DIAMETER) / _BEST_DIAMETER
        return view_pixel(self.viewer, target.layer) if self.region.in_view else 1.0

    def result_rows(self) -> list[QWidget]:
        """Return *Save labels…*, and undo and redo, which are hidden until objects are added to a layer."""
        self.edits.hide()
        return [self.saving, self.edits]

    def _add_to_layer(
        self, target: ImageOnLayer, run: Run, kept: Segmentation, found: Segmentation, seconds: float
    ) -> str:
        """Add the objects to the chosen layer if it still fits, otherwise to a new layer."""
        image = target.image
        try:
            self._check_into(target)
        except PromptError as error:
            labels = self._add_layer(target, found)
            self.fail(PromptError(f"{error} The result is in {labels.name!r}."))
            return in_words(found, image, seconds)
        overlap = cast(Overlap, self.overlap.currentText())
        words = in_words(found, image, seconds)

        def done(result: bool | Exception) -> None:
            if isinstance(result, Exception):
                self.messages["run"].say(f"The objects could not be added: {result}")
            elif self._added is not None:
                nothing = "nothing was added: other objects already have these pixels (see Overlap)"
                self.result.setText(f"{words}; {'added to ' + repr(self._added.labels.name) if result else nothing}.")

        history = self._hold_history(self.into.layer, image)
        self._added = AddedObjects(history, target.overlay, overlap, done)
        self.edits.follow(history)
        self.edits.show()
        self.saving.hide()
        self._added.write(found)
        if kept.maps is not None or kept.masks is not None:
            self._result = (kept, run, self.into.layer)
            self._edited = False
        return words

    def setting_changed(self, name: str) -> None:
        """Derive the labels again if the setting changes the result without the model."""
        super().setting_changed(name)
        method = self.method_name
        if self._result is None:
            return
        segmentation, run, labels = self._result
        if name not in self.forms[method].live_fields():
            self._say_what_needs_a_run(segmentation, run)
            return
        made_by = segmentation.provenance.get("settings", {}).get("method", method)
        if made_by != method or run.request.model != self.model.currentData():
            return
        if labels is not None and labels not in self.viewer.layers:
            return
        if self._edited or (self._added is not None and not self._added.changeable):
            self.result.setText(
                "The result was edited by hand, so thresholds no longer change it. Run again for a new layer."
            )
            return
        settings = self._asked = self.settings
        if run.request.level is not None:
            settings = settings.at_level(run.request.level)
        self._latest.ask(lambda: run.at_full_resolution(self.derived(segmentation, settings)))

    def _say_what_needs_a_run(self, segmentation: Segmentation, run: Run) -> None:
        """Show which changed settings are not in the shown result, since they need a run of the model."""
        with suppress(FoundsegError):
            settings: Any = self.settings
            if run.request.level is not None:
                settings = settings.at_level(run.request.level)
            if segmentation.provenance.get("settings", {}).get("method", settings.method) != settings.method:
                return
            made = settings.live_on(segmentation.provenance.get("settings", {}))
            changed = [n for n in type(settings).model_fields if getattr(made, n) != getattr(settings, n)]
            words = " and ".join(settings.label_of(name) for name in changed)
            acts = "act" if len(changed) > 1 else "acts"
            self.messages["settings"].hint(f"{words} {acts} with the next run." if changed else "")

    def derived(self, segmentation: Segmentation, settings: Settings) -> Segmentation:
        """Derive the labels of a result again with changed settings, without the model."""
        return derive(segmentation, settings)  # type: ignore[arg-type] # of this task

    def release(self) -> None:
        """Disconnect from the viewer, the layers and the engine."""
        self._forget_result()
        self.viewer.layers.events.removed.disconnect(self)
        for history in self._held.values():
            history.leave(self)
        self.into.disconnect_viewer()
        super().release()

    def _show_derived(self, number: int, derived: Any) -> None:
        if number != self._latest.number or self._result is None or self._edited:
            return
        if isinstance(derived, Exception):
            self.messages["settings"].say(f"The thresholds could not be applied: {derived}")
            return
        segmentation, run, labels = self._result
        self.show_notes(derived.provenance)
        if self._added is not None:
            self._added.write(derived)
            self._keep_settings()
            return
        if labels is None:
            target = self._result_target
            labels = self._add_layer(target, derived) if len(derived) and target is not None else None
            self._result = (segmentation, run, labels)
            self._follow_edits(labels)
            self._keep_settings()
            self.result.setText(in_words(derived, run.request.image, 0))
            return
        # The user has not painted in the layer, so its undo history does not refer to the old array.
        self._writing = True
        with rewriting(labels):
            labels.data = derived.labels.reshape(labels.data.shape)
            labels.features = object_features(derived)
        labels.metadata = {**labels.metadata, RUN_PROVENANCE: dict(derived.provenance)}
        self._writing = False
        self._show_tracks(labels, derived)
        self._keep_settings()
        self.result.setText(in_words(derived, run.request.image, 0))

    def _show_tracks(self, labels: Labels, found: Segmentation) -> None:
        """Show the tracks of a result as a layer, or remove the tracks layer of a previous result."""
        show_result_tracks(self.viewer, labels, found, self.messages["run"].say)

    def _keep_settings(self) -> None:
        """Make *Copy as Python* and the recipe reproduce the labels that are shown now."""
        if self.last_run.record is not None and self._asked is not None:
            record = self.last_run.record
            self.last_run.keep(replace(record, request=replace(record.request, settings=self._asked)))

    def _mark_edited(self, _event: Any = None) -> None:
        if not self._writing and self._result is not None:
            self._edited = True
            if self._result[2] is not None:
                layer_file(self._result[2]).note_work()

    def _hold_history(self, labels: Labels, image: Image) -> LabelsHistory:
        if labels not in self._held:
            self._held[labels] = shared_history(labels, image, self)
        return self._held[labels]

    def _release_removed(self, event: Any) -> None:
        self.saving.forget(event.value)
        if (history := self._held.pop(event.value, None)) is not None:
            if self._added is not None and self._added.labels is event.value:
                self._forget_result()
            self.edits.hide()
            self.saving.show()
            history.leave(self)

    def _forget_result(self) -> None:
        if self._added is None and self._result is not None and (labels := self._result[2]) is not None:
            labels.events.paint.disconnect(self)
            labels.events.labels_update.disconnect(self)
        self._result = self._added = None
