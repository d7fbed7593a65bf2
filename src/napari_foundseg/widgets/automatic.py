"""The dock widget *Automatic masks*."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from napari.layers import Image as ImageLayer
from napari.layers import Labels, Shapes
from napari.viewer import Viewer
from qtpy.QtWidgets import QComboBox, QWidget

from napari_foundseg.core.errors import PromptError
from napari_foundseg.core.image import Image
from napari_foundseg.core.result import Segmentation
from napari_foundseg.tasks import TASKS, Inputs
from napari_foundseg.tasks.automatic import derive
from napari_foundseg.widgets.jobs import Run
from napari_foundseg.widgets.layers import current_index, region_from_shape, visible_region
from napari_foundseg.widgets.live import Latest
from napari_foundseg.widgets.results import add_labels, in_words, object_features
from napari_foundseg.widgets.rows import labelled
from napari_foundseg.widgets.task_form import TaskForm

__all__ = ["AutomaticWidget"]

_WHOLE, _SLICE, _VISIBLE, _DRAWN = "Whole image, all slices", "Current slice", "Visible region", "Drawn rectangle"


class AutomaticWidget(TaskForm):
    """Every object of an image, without a prompt.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        self._result: tuple[Segmentation, Image, Labels] | None = None
        self._edited = False
        self._writing = False
        self._latest = Latest()
        super().__init__(napari_viewer, TASKS["automatic"])
        self._latest.done.connect(self._show_derived)

    def input_rows(self) -> list[QWidget]:
        """Return the choice of the region.

        Returns
        -------
        list of QWidget
            One row.
        """
        self.region = QComboBox()
        self.region.addItems([_WHOLE, _SLICE, _VISIBLE, _DRAWN])
        self.region.setAccessibleName("Region")
        self.region.setToolTip(
            "Where to look. Visible region: the part of the current slice in view. "
            "Drawn rectangle: the selected rectangle of a Shapes layer, on the current slice."
        )
        self.region.currentTextChanged.connect(self.update_estimate_soon)
        return [labelled("Region", self.region)]

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
        choice = self.region.currentText()
        if choice == _WHOLE:
            return self.task.inputs.parse({})
        given: dict[str, Any] = {"index": current_index(self.viewer, layer, image)}
        if choice == _VISIBLE:
            given["region"] = visible_region(self.viewer, layer, image)
        elif choice == _DRAWN:
            given["region"] = region_from_shape(self._shapes(), layer, image)
        return self.task.inputs.parse(given)

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
        labels = add_labels(self.viewer, layer, run.image, segmentation, f"{layer.name} masks")
        if segmentation.maps is not None or segmentation.masks is not None:
            self._result, self._edited = (segmentation, run.image, labels), False
            labels.events.paint.connect(self._mark_edited)
            labels.events.labels_update.connect(self._mark_edited)
        return in_words(segmentation, run.image, seconds)

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
        segmentation, _, labels = self._result
        made_by = segmentation.provenance.get("settings", {}).get("method", method)
        if made_by != method or labels not in self.viewer.layers:
            return
        if self._edited:
            self.result.setText(
                "The result was edited by hand, so thresholds leave it alone. Run again for a new layer."
            )
            return
        settings = self.settings
        self._latest.ask(lambda: derive(segmentation, settings))  # type: ignore[arg-type] # of this task

    def release(self) -> None:
        """Let go of the viewer, the engine and the result."""
        self._forget()
        super().release()

    def _show_derived(self, number: int, derived: Any) -> None:
        if number != self._latest.number or self._result is None or self._edited:
            return
        if isinstance(derived, Exception):
            self.messages["settings"].say(f"The thresholds could not be applied: {derived}")
            return
        _, image, labels = self._result
        # The layer has no undo history yet (nobody has painted), so replacing its array leaves nothing stale.
        self._writing = True
        labels.data = derived.labels.reshape(labels.data.shape)
        labels.features = object_features(derived)
        labels.metadata = {**labels.metadata, "foundseg": dict(derived.provenance)}
        self._writing = False
        if self.last_run.record is not None:
            # What is saved as a recipe is what is shown.
            made = dict(derived.provenance["settings"])
            settings = self.task.settings(made.pop("method"), made)
            self.last_run.keep(replace(self.last_run.record, settings=settings))
        self.result.setText(in_words(derived, image, 0))

    def _mark_edited(self, _event: Any = None) -> None:
        self._edited |= not self._writing

    def _forget(self) -> None:
        if self._result is not None:
            labels = self._result[2]
            labels.events.paint.disconnect(self._mark_edited)
            labels.events.labels_update.disconnect(self._mark_edited)
            self._result = None

    def _shapes(self) -> Shapes:
        layers: list[Shapes] = [layer for layer in self.viewer.layers if isinstance(layer, Shapes)]
        chosen = [layer for layer in layers if layer.selected_data] or [layer for layer in layers if len(layer.data)]
        active = self.viewer.layers.selection.active
        if isinstance(active, Shapes) and active in chosen:
            return active
        if not chosen:
            raise PromptError("No rectangle is drawn. Add a Shapes layer, draw a rectangle on the image, then run.")
        return chosen[-1]
