"""The form of tasks whose results have classes: where to look, layers of objects and classes, and a legend."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from qtpy.QtWidgets import QPushButton, QWidget

from napari_foundseg.core.classes.class_table import ClassTable
from napari_foundseg.core.errors import FoundsegError
from napari_foundseg.core.image import Image
from napari_foundseg.core.result import Segmentation
from napari_foundseg.tasks import Inputs, Task
from napari_foundseg.widgets.classes.class_layers import ClassLayers
from napari_foundseg.widgets.classes.legend import CanvasLegend, Legend
from napari_foundseg.widgets.controls.model_view import SeenPreview
from napari_foundseg.widgets.controls.region_choice import RegionChoice
from napari_foundseg.widgets.controls.rows import labelled
from napari_foundseg.widgets.forms.task_form import TaskForm
from napari_foundseg.widgets.layers.layer_conversion import current_index
from napari_foundseg.widgets.layers.result_layers import in_words
from napari_foundseg.widgets.qt.numpy_thread import Latest
from napari_foundseg.widgets.runs.run import Run

__all__ = ["ClassedForm"]


class ClassedForm(TaskForm):
    """The form of a task with classes.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    task : Task
        The task.
    """

    def __init__(self, viewer: ViewerModel, task: Task) -> None:
        self.layers: ClassLayers | None = None
        self._result: tuple[Segmentation, Image] | None = None
        self._latest = Latest()
        self.canvas_legend = CanvasLegend(self)
        super().__init__(viewer, task)
        self._latest.done.connect(self._show_derived)
        viewer.layers.events.removed.connect(self._layer_removed)

    # What a task's own widget fills in.

    def derived(self, segmentation: Segmentation) -> Any:  # noqa: ARG002 - for subclasses
        """Return what makes a result anew as the form stands.

        Parameters
        ----------
        segmentation : Segmentation
            The last result.

        Returns
        -------
        callable or None
            Takes nothing and gives a Segmentation; None where nothing can be made without the model.
        """
        return None

    def in_words(self, segmentation: Segmentation, image: Image, seconds: float) -> str:
        """Say what was found.

        Parameters
        ----------
        segmentation : Segmentation
            The result.
        image : Image
            Its image.
        seconds : float
            How long the run took; 0 where there was none.

        Returns
        -------
        str
            For the line below the button.
        """
        present = sum(1 for row in segmentation.classes if row.area)
        classes = f"{present} {'class' if present == 1 else 'classes'}"
        return f"{classes}, {in_words(segmentation, image, seconds)}"

    # The form.

    def input_rows(self) -> list[QWidget]:
        """Return the choice of the region.

        Returns
        -------
        list of QWidget
            One row.
        """
        self.region = RegionChoice(self.viewer)
        self.region.currentTextChanged.connect(self.update_estimate_soon)
        self.seen = SeenPreview(self._current)
        return [labelled("Region", self.region), self.seen]

    def image_changed(self) -> None:
        """Act on another chosen image."""
        super().image_changed()
        if hasattr(self, "seen"):
            self.seen.refresh()

    def result_rows(self) -> list[QWidget]:
        """Return the legend, and the way to panoptic ids.

        Returns
        -------
        list of QWidget
            From top to bottom.
        """
        self.ids_button = QPushButton("Add panoptic ids")
        self.ids_button.setToolTip(
            "Add a layer with class and object as one number: a thousand times the class, plus the object."
        )
        self.ids_button.clicked.connect(self._add_ids)
        self.ids_button.hide()
        self.legend = Legend()
        self.legend.shown.connect(self._toggle)
        self.legend.renamed.connect(lambda number, name: self._change(lambda layers: layers.rename(number, name)))
        self.legend.recoloured.connect(lambda number, to: self._change(lambda layers: layers.recolour(number, to)))
        self.legend.merged.connect(lambda numbers, into: self._change(lambda layers: layers.merge(numbers, into)))
        return [self.legend, self.ids_button]

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
        Inputs
            With the region in data pixels.
        """
        return self.task.inputs.parse(self.region.given(layer, image))

    def deliver(self, layer: ImageLayer, run: Run, segmentation: Segmentation, seconds: float) -> str:
        """Add the result as new layers, with a legend.

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
            What was found.
        """
        self._forget()
        self.layers = ClassLayers(self.viewer, layer, run.image, segmentation, layer.name)
        self._result = (segmentation, run.image)
        self._show_legend()
        return self.in_words(segmentation, run.image, seconds)

    def setting_changed(self, name: str) -> None:
        """Make the result anew where a setting acts on what is kept.

        Parameters
        ----------
        name : str
            The field.
        """
        super().setting_changed(name)
        if name in self.forms[self.method.currentText()].live_fields():
            self.derive_again()

    def derive_again(self) -> None:
        """Make the result anew without the model, as the form stands."""
        if self._result is None or self.layers is None or not self.layers.in_viewer:
            return
        if self.layers.edited:
            self.result.setText(
                "The result was edited by hand, so thresholds leave it alone. Run again for new layers."
            )
            return
        work = self.derived(self._result[0])
        if work is not None:
            self._latest.ask(work)

    def release(self) -> None:
        """Let go of the viewer, the engine, the layers and the canvas."""
        self.viewer.layers.events.removed.disconnect(self._layer_removed)
        self._forget()
        super().release()

    def _show_derived(self, number: int, derived: Any) -> None:
        if number != self._latest.number or self._result is None or self.layers is None or self.layers.edited:
            return
        if isinstance(derived, Exception):
            self.messages["settings"].say(f"The thresholds could not be applied: {derived}")
            return
        self.layers.show(derived)
        self._show_legend()
        self._keep_as_shown(derived)
        self.result.setText(self.in_words(derived, self._result[1], 0))

    def _keep_as_shown(self, derived: Segmentation) -> None:
        """Have what is copied or saved as a recipe give the labels that are shown now."""
        record, told = self.last_run.record, derived.provenance
        if record is not None:
            values = dict(told["settings"])
            settings = self.task.settings(values.pop("method"), values)
            inputs = self.task.inputs.parse(told["inputs"])
            self.last_run.keep(replace(record, settings=settings, inputs=inputs))

    def _current(self) -> tuple[Image, tuple[int, ...]]:
        image, layer = self.chosen_image(), self.image.layer
        assert layer is not None
        return image, current_index(self.viewer, layer, image)

    def _toggle(self, number: int, on: bool) -> None:
        if self.layers is not None:
            self.layers.toggle(number, on)
            self.canvas_legend.show(self.layers.classes, self.layers.hidden)

    def _change(self, act: Any) -> None:
        if self.layers is not None:
            act(self.layers)
            self._show_legend()

    def _show_legend(self) -> None:
        if self.layers is not None:
            self.legend.show_classes(self.layers.classes, self.layers.hidden)
            self.ids_button.setVisible(self.layers.objects is not None)
            self.canvas_legend.show(self.layers.classes, self.layers.hidden)

    def _add_ids(self) -> None:
        assert self.layers is not None
        self._clear_messages()
        try:
            self.layers.add_panoptic_ids()
        except FoundsegError as error:
            self.messages["run"].say(str(error))

    def _layer_removed(self, _event: Any = None) -> None:
        """Take the legend away with the layers that it explains."""
        if self.layers is not None and not self.layers.in_viewer:
            self._forget()

    def _forget(self) -> None:
        if self.layers is not None:
            self.layers.disconnect()
        self.layers = self._result = None
        self.legend.show_classes(ClassTable())
        self.ids_button.hide()
        self.canvas_legend.clear()
