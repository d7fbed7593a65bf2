"""`ClassForm`: the form of tasks whose results have classes, with a region, two layers and a legend."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from napari.components import ViewerModel
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QDockWidget, QMainWindow, QPushButton, QWidget

from napari_foundseg.core.classes.class_table import ClassTable
from napari_foundseg.core.errors import FoundsegError
from napari_foundseg.core.image import Image
from napari_foundseg.core.result import Segmentation
from napari_foundseg.tasks import Inputs, Task
from napari_foundseg.widgets.classes.class_layers import ClassLayers, is_empty
from napari_foundseg.widgets.classes.legend import CanvasLegend, Legend
from napari_foundseg.widgets.controls.model_view import ModelView
from napari_foundseg.widgets.controls.region_choice import RegionChoice
from napari_foundseg.widgets.controls.rows import labelled_row
from napari_foundseg.widgets.editing.save_row import SaveRow
from napari_foundseg.widgets.forms.task_form import TaskForm
from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer
from napari_foundseg.widgets.layers.layer_conversion import current_index
from napari_foundseg.widgets.layers.result_layers import in_words
from napari_foundseg.widgets.qt.numpy_thread import NumpyThread
from napari_foundseg.widgets.runs.run import Run

__all__ = ["ClassForm"]


class ClassForm(TaskForm):
    """The form of a task with classes."""

    def __init__(self, viewer: ViewerModel, task: Task) -> None:
        super().__init__(viewer, task)
        self.layers: ClassLayers | None = None
        self._result: tuple[Segmentation, Image] | None = None
        self._target: ImageOnLayer | None = None
        self._latest = NumpyThread()
        self.canvas_legend = CanvasLegend(self)

    def connect_controls(self) -> None:
        """Connect the signals of the controls and of the viewer."""
        super().connect_controls()
        self._latest.done.connect(self._show_derived)
        self.viewer.layers.events.removed.connect(self._layer_removed)
        self.ids_button.clicked.connect(self._add_ids)
        self.legend.shown.connect(self._toggle_class)
        self.legend.renamed.connect(
            lambda number, name: self._change_classes(lambda layers: layers.rename(number, name))
        )
        self.legend.recoloured.connect(
            lambda number, to: self._change_classes(lambda layers: layers.recolour(number, to))
        )
        self.legend.merged.connect(
            lambda numbers, into: self._change_classes(lambda layers: layers.merge(numbers, into))
        )

    # Methods that the forms of tasks override.

    def derived(self, segmentation: Segmentation) -> Callable[[], Segmentation] | None:  # noqa: ARG002 - for subclasses
        """Return a function that derives the last result again with the form's settings, without the model.

        None if that is not possible.
        """
        return None

    def in_words(self, segmentation: Segmentation, image: Image, seconds: float) -> str:
        """Describe a result for the line below the button; 0 seconds are left out."""
        present = sum(1 for row in segmentation.classes if row.area)
        classes = f"{present} {'class' if present == 1 else 'classes'}"
        return f"{classes}, {in_words(segmentation, image, seconds)}"

    # The form.

    def input_rows(self) -> list[QWidget]:
        """Return the region, and the preview of the model's input."""
        self.region = RegionChoice(self.viewer)
        self.region.currentTextChanged.connect(self.update_estimate)
        self.seen = ModelView(self._current_slice)
        self.image.changed.connect(self.seen.refresh)
        self.image.channel_changed.connect(self.seen.refresh)
        return [labelled_row("Region", self.region), self.seen]

    def result_rows(self) -> list[QWidget]:
        """Return the legend, *Save classes…* and *Save objects…*, and the button for panoptic ids."""
        self.ids_button = QPushButton("Add panoptic ids")
        self.ids_button.setToolTip("Add a Labels layer of 1000 times the class, plus the object.")
        self.ids_button.hide()
        self.legend = Legend()
        self.saving_classes = SaveRow(self.viewer.theme, "classes")
        self.saving_objects = SaveRow(self.viewer.theme, "objects")
        self.messages |= {"saving": self.saving_classes.message, "saving objects": self.saving_objects.message}
        self._follow_layers()
        return [self.legend, self.saving_classes, self.saving_objects, self.ids_button]

    def inputs(self, target: ImageOnLayer) -> Inputs:
        """Return the chosen slice and region."""
        return self.task.inputs.parse(self.region.region_fields(target))

    def show_result(self, target: ImageOnLayer, run: Run, segmentation: Segmentation, seconds: float) -> str:
        """Add the result as new layers, with a legend."""
        self._forget_result()
        self._target = target
        self._result = (segmentation, run.request.image)
        self._add_layers(segmentation)
        return self.in_words(segmentation, run.request.image, seconds)

    def _add_layers(self, segmentation: Segmentation) -> None:
        """Add the layers of a result, unless it is empty."""
        if self._target is not None and not is_empty(segmentation):
            self.layers = ClassLayers(self.viewer, self._target, segmentation)
            self._follow_layers()
            self._show_legend()

    def setting_changed(self, name: str) -> None:
        """Derive the result again if the setting changes it without the model."""
        super().setting_changed(name)
        if name in self.forms[self.method_name].live_fields():
            self.derive_again()

    def derive_again(self) -> None:
        """Derive the result again with the settings of the form, without the model."""
        if self._result is None or (self.layers is not None and not self.layers.in_viewer):
            return
        if self.layers is not None and self.layers.edited:
            self.result.setText(
                "The result was edited by hand, so thresholds no longer change it. Run again for new layers."
            )
            return
        work = self.derived(self._result[0])
        if work is not None:
            self._latest.ask(work)

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Show the legend on the canvas again when a closed dock is reopened."""
        super().showEvent(event)
        if self.layers is not None and self.canvas_legend.label is None:
            self._show_legend()

    def hideEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Remove the legend from the canvas if the dock was closed: Python may keep the form for a while."""
        super().hideEvent(event)
        QTimer.singleShot(0, self._check_dock)

    def _check_dock(self) -> None:
        with suppress(RuntimeError):  # Qt has destroyed the form
            if not isinstance(self.window(), QMainWindow | QDockWidget):
                self.canvas_legend.clear()

    def release(self) -> None:
        """Disconnect from the viewer, the engine, the layers and the canvas."""
        self.viewer.layers.events.removed.disconnect(self)
        # Qt may have destroyed the form's own legend, but not the one on the canvas.
        self.canvas_legend.clear()
        if self.layers is not None:
            self.layers.disconnect()
        self.layers = self._result = self._target = None
        super().release()

    def _show_derived(self, number: int, derived: Any) -> None:
        if number != self._latest.number or self._result is None or (self.layers is not None and self.layers.edited):
            return
        if isinstance(derived, Exception):
            self.messages["settings"].say(f"The thresholds could not be applied: {derived}")
            return
        if self.layers is None:
            self._add_layers(derived)
        else:
            self.layers.show(derived)
            self._show_legend()
        self._keep_as_shown(derived)
        self.result.setText(self.in_words(derived, self._result[1], 0))

    def _keep_as_shown(self, derived: Segmentation) -> None:
        """Make *Copy as Python* and the recipe reproduce the labels that are shown now."""
        record = self.last_run.record
        provenance = derived.provenance
        if record is not None:
            values = dict(provenance["settings"])
            settings = self.task.settings(values.pop("method"), values)
            inputs = self.task.inputs.parse(provenance["inputs"])
            request = replace(record.request, settings=settings, inputs=inputs)
            self.last_run.keep(replace(record, request=request))

    def _current_slice(self) -> tuple[Image, tuple[int, ...]]:
        target = self.chosen_target()
        return target.image, current_index(self.viewer, target)

    def _toggle_class(self, number: int, on: bool) -> None:
        if self.layers is not None:
            self.layers.toggle(number, on)
            self.canvas_legend.show(self.layers.classes, self.layers.hidden)

    def _change_classes(self, act: Any) -> None:
        if self.layers is not None:
            act(self.layers)
            self._show_legend()

    def _show_legend(self) -> None:
        if self.layers is not None:
            self.legend.show_classes(self.layers.classes, self.layers.hidden)
            self.ids_button.setVisible(self.layers.objects is not None)
            self.canvas_legend.show(self.layers.classes, self.layers.hidden)

    def _follow_layers(self) -> None:
        """Let the save buttons follow the layers of the result."""
        layers = self.layers
        self.saving_classes.follow(None if layers is None else layers.semantic)
        self.saving_objects.follow(None if layers is None else layers.objects)
        self.saving_objects.setVisible(layers is not None and layers.objects is not None)

    def _add_ids(self) -> None:
        assert self.layers is not None
        self._clear_messages()
        try:
            self.layers.add_panoptic_ids()
        except FoundsegError as error:
            self.messages["run"].say(str(error))

    def _layer_removed(self, event: Any) -> None:
        """Remove the legend together with its layers."""
        for row in (self.saving_classes, self.saving_objects):
            row.forget(event.value)
        if self.layers is not None and not self.layers.in_viewer:
            self._forget_result()

    def _forget_result(self) -> None:
        if self.layers is not None:
            self.layers.disconnect()
        self.layers = self._result = self._target = None
        self._follow_layers()
        self.legend.show_classes(ClassTable())
        self.ids_button.hide()
        self.canvas_legend.clear()
