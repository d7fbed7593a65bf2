"""The dock widget *Propagate*."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Labels
from napari.viewer import Viewer
from qtpy.QtWidgets import QPushButton, QWidget

from napari_foundseg.core.errors import AxesError, FoundsegError, PromptError
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.core.result import Segmentation
from napari_foundseg.tasks import TASKS, Inputs
from napari_foundseg.widgets.controls.layer_choice import LayerChoice
from napari_foundseg.widgets.controls.rows import labelled_row, side_by_side
from napari_foundseg.widgets.controls.usability import set_usable
from napari_foundseg.widgets.editing.labels_history import LabelsHistory, shared_history
from napari_foundseg.widgets.editing.undo_row import UndoRow
from napari_foundseg.widgets.editing.write_checks import why_not_fitting, why_not_writable
from napari_foundseg.widgets.forms.task_form import TaskForm
from napari_foundseg.widgets.layers.camera import show_slice
from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer
from napari_foundseg.widgets.layers.layer_conversion import current_index
from napari_foundseg.widgets.layers.unique_name import unique_name
from napari_foundseg.widgets.propagate.confidence_strip import ConfidenceStrip
from napari_foundseg.widgets.propagate.object_marks import ObjectMarks, object_prompt
from napari_foundseg.widgets.propagate.progress_record import ProgressRecord
from napari_foundseg.widgets.propagate.slice_range import SliceRange
from napari_foundseg.widgets.propagate.slice_writing import SliceWriter
from napari_foundseg.widgets.runs.run import Run
from napari_foundseg.widgets.runs.run_image import RunImage

__all__ = ["PropagateWidget"]

_NO_RESULT = "Nothing has been propagated yet."
#: The method that finds an object in all slices at once, from all of its prompts.
_WHOLE = "volume"


class PropagateWidget(TaskForm):
    """Follow marked objects through the slices of a stack or the frames of a film."""

    run_text = "Propagate"
    run_help = "Follow the marked objects through the range. Slices are written into the layer as they come."
    outdated_result = "the slices that were written belong to the image as it was when the run began."

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer, TASKS["propagate"])
        self._held: dict[Labels, LabelsHistory] = {}
        self._writer: SliceWriter | None = None
        self._target: ImageOnLayer | None = None
        self._record = ProgressRecord()
        #: The inputs of the runs that remain after a pause.
        self._left: list[Inputs] = []
        self._next_ids: dict[int, int] = {}
        self._paused = False
        self.build()
        napari_viewer.dims.events.current_step.connect(self._show_strip)
        napari_viewer.layers.events.removed.connect(self._layer_removed)

    def connect_controls(self) -> None:
        """Connect the signals of the controls."""
        super().connect_controls()
        self._follower.shown.connect(self._write_parts)
        self.marks.changed.connect(self.update_estimate)
        self.marks.started.connect(self._start_marking)
        self.marks.taken.connect(self._take_object)
        self.range.changed.connect(self.update_estimate)
        self.pause_button.clicked.connect(self._pause_or_resume)
        self.recompute_button.clicked.connect(self._recompute)
        self.worst_button.clicked.connect(self._jump_to_worst)
        self.strip.chosen.connect(self._jump_to)

    def input_rows(self) -> list[QWidget]:
        """Return the marks, the layer to write into, the axis and the range."""
        self.marks = ObjectMarks(self.viewer)
        self.range = SliceRange()
        self.into = LayerChoice(
            self.viewer,
            Labels,
            "Layer to write the objects into: a new one, or an existing Labels layer. Pixels of other objects stay "
            "theirs.",
            follow=False,
            none="a new layer",
        )
        self.into.combo.setAccessibleName("Into")
        return [labelled_row("Objects", self.marks), labelled_row("Into", self.into), self.range]

    def result_rows(self) -> list[QWidget]:
        """Return pause, the strip, corrections, and undo and redo."""
        self.pause_button = QPushButton("Pause")
        self.pause_button.setToolTip("Stop for now; the slices that are done are kept. Resume goes on with the others.")
        self.recompute_button = QPushButton("Recompute")
        self.recompute_button.setToolTip(
            "Correct the chosen object on this slice (paint or erase it), then press this: the slice stays as it is, "
            "and those up to the next marked slices are computed again. The object is the label chosen in the layer."
        )
        self.worst_button = QPushButton("Worst slice")
        self.worst_button.setToolTip("Jump to the slice of the least confidence.")
        self.strip = ConfidenceStrip()
        self.edits = UndoRow(self.viewer.theme)
        self.messages |= {"edits": self.edits.message, "saving": self.edits.saving.message}
        self.edits.hide()
        return [self.pause_button, self.strip, side_by_side(self.recompute_button, self.worst_button), self.edits]

    def image_changed(self) -> None:
        """Offer the axes of the newly chosen image."""
        try:
            self.range.show_image(self.image.target().image)
        except FoundsegError:
            self.range.show_image(None)
        super().image_changed()

    def inputs(self, target: ImageOnLayer) -> Inputs:
        """Return the marked objects and the range."""
        labels = self.into.layer
        first_id = 1 if labels is None else self._first_id(self._hold(labels, target))
        prompts = self.marks.prompts(target, first_id)
        if not prompts:
            raise PromptError("No object is marked. Press Points and click on each object, or press Take object.")
        return self._parsed(prompts, self.range.first.value(), self.range.last.value())

    def run(self, replace: str | None = None) -> None:
        """Start a run that writes into the chosen layer."""
        if self.current is not None:
            super().run(replace)
            return
        self._left = []
        self._paused = False
        if self.offer_download(self.run):
            return
        try:
            self._check_view()
            target = self.chosen_target()
            self._check_axis()
            self.inputs(target)
            self._check_into(target)
        except FoundsegError as error:
            self.fail(error)
            return
        super().run(replace)
        started = self._follower.run
        if started is None or self._run_image is None:
            return
        target = self._run_image.target
        labels = self.into.layer
        self._begin(target, None if labels is None else self._hold(labels, target), "propagate")
        self._record = ProgressRecord(self.range.axis or "", target.image.slice_axes)
        self._note_run(started.request.inputs)
        if labels is not None:
            self._note_ids(labels)

    def show_result(
        self,
        target: ImageOnLayer,  # noqa: ARG002 - the slices are in the layer already
        run: Run,
        segmentation: Segmentation,
        seconds: float,
    ) -> str:
        """Write the slices that were not written yet, and describe how far the objects reach."""
        found = run.at_full_resolution(segmentation)
        if self._writer is not None and not self._can_write():
            return ""
        done = {} if self._writer is None else self._writer.done
        missing: dict[tuple[int, ...], dict[int, Any]] = {}
        for mask in found.masks or ():
            if mask.index not in done.get(mask.label, ()):
                missing.setdefault(mask.index, {})[mask.label] = mask
        self._write(list(missing.items()))
        if self._writer is not None:
            self._record.erase_missing(run.request.inputs, self._writer)
        if self._left:
            self._submit(self._left.pop(0))
            return self._record.words(seconds)
        self._show_strip()
        return self._record.words(seconds)

    def cancel(self) -> None:
        """Cancel the run; the slices that are done stay, as one step that can be undone."""
        self._left = []
        self._paused = False
        if self._follower.cancel() is not None:
            count = self._record.count
            kept = f"{count} slices that were done are kept (Undo takes them away)" if count else "no layer was changed"
            self._show_idle(f"Cancelled; {kept}.")
        self.show_usability()

    def show_usability(self) -> None:
        """Enable the controls that can be used now."""
        super().show_usability()
        running = self.current is not None
        self.pause_button.setText("Resume" if self._paused else "Pause")
        set_usable(self.pause_button, "" if running or self._paused else "Nothing is running.")
        done = "" if self._record.count else _NO_RESULT
        set_usable(self.recompute_button, "A run is under way." if running else done)
        set_usable(self.worst_button, done)

    def release(self) -> None:
        """Disconnect from the viewer, the layers and the engine."""
        self.viewer.dims.events.current_step.disconnect(self)
        self.viewer.layers.events.removed.disconnect(self._layer_removed)
        self.marks.end()
        self.edits.follow(None)
        for history in self._held.values():
            history.leave(self)
        self.into.disconnect_viewer()
        super().release()

    # Runs.

    def _parsed(self, prompts: dict[int, list[Prompt]], first: int, last: int) -> Inputs:
        return self.task.inputs.parse({"prompts": prompts, "axis": self.range.axis, "first": first, "last": last})

    def _begin(self, target: ImageOnLayer, history: LabelsHistory | None, name: str) -> None:
        """Start to write into a layer; without a history, into a new layer that the first object adds."""
        self._target = target
        self._writer = None if history is None else SliceWriter(history, target.overlay, name)
        self.edits.follow(history)
        self.edits.setVisible(history is not None)

    def _submit(self, inputs: Inputs) -> None:
        """Start another run on the image of the last one."""
        assert self._target is not None
        self._clear_messages()
        try:
            request = self.request(self._target, inputs)
        except FoundsegError as error:
            self.fail(error)
            return
        self._run_image = RunImage(self._target)
        self._note_run(inputs)
        self._show_busy()
        self._follower.start(Run(request, None))
        self.show_usability()

    def _note_run(self, inputs: Any) -> None:
        assert self._target is not None
        self._record.note(inputs, self._target.image)
        self.show_usability()
        self._show_strip()

    def _show_busy(self) -> None:
        super()._show_busy()
        set_usable(self.pause_button, "")

    def _pause_or_resume(self) -> None:
        if self._paused:
            self._paused = False
            left, self._left = self._left, []
            if left:
                self._left = left[1:]
                self._submit(left[0])
            return
        run = self._follower.cancel()
        if run is None or self._target is None:
            return
        self._left = self._rest(run) + self._left
        self._paused = bool(self._left)
        self._show_idle(f"Paused; {self._record.count} slices are done. Resume goes on with the others.")

    def _rest(self, run: Run) -> list[Inputs]:
        """Return the inputs of runs that do the remaining part of a run."""
        inputs: Any = run.request.inputs
        if self._writer is None:
            return [inputs]
        rest = []
        whole = run.request.settings.method == _WHOLE
        for first, last, marked in [] if whole else self._record.gaps(inputs, self._writer):
            prompts = {label: [self._painted(label, index) for index in indices] for label, indices in marked.items()}
            rest.append(self._parsed(prompts, first, last))
        if untouched := {label: some for label, some in inputs.prompts.items() if not self._writer.done.get(label)}:
            rest.append(inputs.model_copy(update={"prompts": untouched}))
        return rest

    def _painted(self, label: int, index: tuple[int, ...]) -> Prompt:
        assert self._writer is not None
        assert self._target is not None
        return object_prompt(self._writer.history.layer, self._target, label, index)

    def _recompute(self) -> None:
        """Follow the object, as it is on this slice now, up to its next marked slices."""
        writer = self._writer
        if self.offer_download(self._recompute) or writer is None or self._target is None or not self._can_write():
            return
        try:
            self._check_view()
            index = current_index(self.viewer, self._target)
            label = int(writer.history.layer.selected_label)
            prompt = object_prompt(writer.history.layer, self._target, label, index)
            first, last = self._record.changed_by(label, index)
            prompts = [prompt]
            if self.method_name == _WHOLE:
                first, last = self._record.range
                prompts = self._record.corrected_prompts(label, index, prompt)
            self._begin(self._target, writer.history, "recompute")
            self._submit(self._parsed({label: prompts}, first, last))
        except FoundsegError as error:
            self.fail(error)

    def _write_parts(self, shown: Any) -> None:
        run = self.current
        parts = shown.get("parts", ())
        if run is None or (self._writer is not None and not self._can_write()):
            return
        level = run.request.level
        if level is not None:
            parts = [(at, {label: level.mask(mask) for label, mask in masks.items()}) for at, masks in parts]
        self._write(parts)

    def _write(self, parts: Any) -> None:
        """Write slices; if there is no layer yet, the first slice with an object adds it."""
        if self._writer is None and any(mask.area for _, masks in parts for mask in masks.values()):
            self._add_layer()
        if parts and self._writer is not None:
            self._writer.write(parts)
            self._record.add(parts)
            self._show_strip()

    def _can_write(self) -> bool:
        """Tell whether the layer can still be written; otherwise show why not and end the run."""
        writer = self._writer
        if writer is None:
            return False
        layer = writer.history.layer
        why = f"{layer.name!r} has another shape now" if not writer.fits else why_not_writable(layer)
        if layer not in self.viewer.layers:
            why = f"{layer.name!r} was removed"
        if why:
            self._give_up(why)
        return not why

    def _give_up(self, why: str) -> None:
        """Forget the last propagation, since its layer cannot be written any more, and stop it if it is running."""
        stopped = self.current is not None or bool(self._left)
        self._writer = None
        self._left = []
        self._paused = False
        self._record = ProgressRecord()
        self._follower.cancel()
        self._show_idle("")
        follows = "so propagation has stopped" if stopped else "so its slices cannot be corrected from here any more"
        self.messages["run"].say(f"{why}, {follows}.")

    # Marks and layers.

    def _start_marking(self, tool: str) -> None:
        self._clear_messages()
        self.image.wait_for_file()
        try:
            self._check_view()
            target = self.chosen_target()
            self._check_axis()
            self.marks.start(target, tool)
        except FoundsegError as error:
            self.fail(error)

    def _take_object(self) -> None:
        self._clear_messages()
        try:
            target = self.chosen_target()
            self._check_axis()
            labels = self.into.layer
            if labels is None:
                raise PromptError("Choose the Labels layer that holds the object below Into, then press Take object.")
            self._check_into(target)
            label = int(labels.selected_label)
            self.marks.take(label, object_prompt(labels, target, label, current_index(self.viewer, target)))
        except FoundsegError as error:
            self.fail(error)

    def _check_view(self) -> None:
        if self.viewer.dims.ndisplay != 2:
            raise PromptError("Marks need the 2-D view. Press the 2D/3D button below the layer list first.")

    def _check_axis(self) -> None:
        if self.range.axis is None:
            raise AxesError(
                "Propagate needs a Z or T axis with several slices, and this image has none. Choose a stack or a film "
                "below Image, or mark objects with Prompt."
            )

    def _check_into(self, target: ImageOnLayer) -> None:
        labels = self.into.layer
        if labels is None:
            return
        if (reason := why_not_fitting(labels, target)) is not None:
            raise PromptError(f"Objects cannot be written into {labels.name!r}: {reason}")
        if why := why_not_writable(labels):
            raise PromptError(f"{labels.name!r} is {why}. Choose a new layer below Into.")

    def _add_layer(self) -> None:
        """Add a layer for the objects of the run, and write into it from now on."""
        target = self._target
        assert target is not None
        overlay = target.overlay
        name = unique_name(self.viewer.layers, f"{target.name} propagated")
        labels = Labels(np.zeros(overlay.shape, np.uint16), name=name, **overlay.transforms)
        active = self.viewer.layers.selection.active
        self.viewer.add_layer(labels)
        # The tool in use stays active.
        self.viewer.layers.selection.active = active
        self._begin(target, self._hold(labels, target), "propagate")
        self._note_ids(labels)
        if self.into.layer is None:
            self.into.show_layer(labels)

    def _note_ids(self, labels: Labels) -> None:
        """Reserve the ids of the run's objects, so that later objects of the layer get others even after an undo."""
        self._next_ids[id(labels)] = max(self._record.ids, default=0) + 1

    def _hold(self, labels: Labels, target: ImageOnLayer) -> LabelsHistory:
        if labels not in self._held:
            self._held[labels] = shared_history(labels, target.image, self)
        return self._held[labels]

    def _first_id(self, history: LabelsHistory) -> int:
        """Return an id above all that the layer has contained since the form was opened."""
        return max(history.free_id(), self._next_ids.get(id(history.layer), 1))

    def _layer_removed(self, event: Any) -> None:
        history = self._held.pop(event.value, None)
        if history is None:
            return
        if self._writer is not None and self._writer.history is history:
            self.edits.follow(None)
            self.edits.hide()
            self._give_up(f"{event.value.name!r} was removed")
            self._show_strip()
        history.leave(self)

    # The strip.

    def _show_strip(self, _event: Any = None) -> None:
        at = 0
        if self._target is not None and self._target.layer in self.viewer.layers and self.range.axis is not None:
            try:
                index = current_index(self.viewer, self._target)
                at = index[self._target.image.slice_axes.index(self.range.axis)]
            except (FoundsegError, ValueError):
                at = 0
        self.strip.show_slices(self.range.count, self._record.confidence, self._record.marked, at)

    def _jump_to_worst(self) -> None:
        if (worst := self.strip.worst) is not None:
            self._jump_to(worst)

    def _jump_to(self, at: int) -> None:
        """Show a slice of the axis in the viewer."""
        target = self._target or self.image.target()
        if self.range.axis is None:
            return
        show_slice(self.viewer, target.layer, target.letters.index(self.range.axis), at)
