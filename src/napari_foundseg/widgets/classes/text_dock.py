"""The dock widget *Text*."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from napari.layers import Image as ImageLayer
from napari.layers import Labels
from napari.utils.colormaps import Colormap
from napari.viewer import Viewer
from qtpy.QtWidgets import QCheckBox, QComboBox, QPushButton, QWidget

from napari_foundseg.core.errors import FoundsegError, PromptError
from napari_foundseg.core.image import Image
from napari_foundseg.core.labels import plane_view
from napari_foundseg.core.result import Segmentation
from napari_foundseg.io.layer_files import RUN_PROVENANCE
from napari_foundseg.tasks import TASKS, Inputs, Settings
from napari_foundseg.tasks.classes.box_search import BoxSettings, boxes_above
from napari_foundseg.tasks.classes.concepts import NamedBox, TextInputs, example_of
from napari_foundseg.tasks.task_models import model_defaults
from napari_foundseg.tasks.text import derive, not_found
from napari_foundseg.widgets.classes.box_layer import BoxLayer
from napari_foundseg.widgets.classes.caption_row import CaptionRow
from napari_foundseg.widgets.classes.class_form import ClassForm
from napari_foundseg.widgets.classes.concept_list import ConceptList
from napari_foundseg.widgets.controls.region_choice import find_shapes
from napari_foundseg.widgets.controls.rows import side_by_side
from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer
from napari_foundseg.widgets.layers.layer_axes import affine_between
from napari_foundseg.widgets.layers.layer_conversion import current_index, region_from_shape
from napari_foundseg.widgets.layers.layer_tags import TOOL
from napari_foundseg.widgets.layers.unique_name import unique_name
from napari_foundseg.widgets.runs.run import Run

__all__ = ["TextWidget"]


class TextWidget(ClassForm):
    """Segment concepts that are described by words or by examples."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer, TASKS["text"])
        #: Boxes that wait for their masks, and the run that found them.
        self.boxes: BoxLayer | None = None
        self._box_run: tuple[Segmentation, TextInputs] | None = None
        #: The boxes for which the next run makes masks; None for other runs.
        self._to_fill: list[NamedBox] | None = None
        self.build()

    def input_rows(self) -> list[QWidget]:
        """Return the caption, the concepts, the region, and the choice of heat maps or boxes."""
        self.caption = CaptionRow(self._take_phrases, self._show_error)
        ways = {"From the drawn box": self._example_from_box, "From the selected label": self._example_from_label}
        self.concepts = ConceptList(ways, self._show_error)
        self.concepts.moved.connect(self.derive_again)
        self.heat_maps = QCheckBox("Show heat maps")
        self.heat_maps.setToolTip("Add the scores of each concept, 0 to 1, as an image layer.")
        self.boxes_first = QCheckBox("Show boxes first")
        self.boxes_first.setChecked(True)
        self.boxes_first.setToolTip(
            "On: the run finds boxes, which can be changed, deleted and added before 'Make masks'. Off: the run makes "
            "masks of all boxes at once."
        )
        return [self.caption, self.concepts, *super().input_rows(), self.heat_maps, self.boxes_first]

    def result_rows(self) -> list[QWidget]:
        """Return the controls for boxes, and those for the result."""
        self.box_concept = QComboBox()
        self.box_concept.setAccessibleName("Concept of boxes")
        self.box_concept.setToolTip("The concept of the selected boxes, and of boxes that are drawn from now on.")
        self.box_concept.activated.connect(self._give_concept)
        self.make_masks_button = QPushButton("Make masks")
        self.make_masks_button.setToolTip("Make a mask of the object in each box as it is now, with the chosen model.")
        self.make_masks_button.clicked.connect(self.make_masks)
        self.box_rows = side_by_side(self.box_concept, self.make_masks_button)
        self.box_rows.hide()
        return [self.box_rows, *super().result_rows()]

    @property
    def settings(self) -> Settings:
        """The settings in the form; boxes become masks at once unless they are shown first."""
        found = super().settings
        if not isinstance(found, BoxSettings):
            return found
        masks = self._to_fill is not None or not self.boxes_first.isChecked()
        return found.model_copy(update={"masks": masks})

    def inputs(self, target: ImageOnLayer) -> Inputs:
        """Return the concepts, slice and region; or the boxes for which to make masks."""
        if self._to_fill is not None and self._box_run is not None:
            boxes = [box.model_dump() for box in self._to_fill]
            known = self._with_thresholds(self._box_run[1]).model_dump(include={"concepts", "caption"})
            return self.task.inputs.parse({**known, "boxes": boxes})
        given = {"concepts": self.concepts.values(), "caption": self.caption.caption}
        return self.task.inputs.parse({**given, **self.region.region_fields(target)})

    def make_masks(self) -> None:
        """Make masks of the current boxes."""
        layer = self.boxes
        if layer is None or not layer.in_viewer:
            self.messages["run"].say("There are no boxes: press Run first.")
            return
        boxes = layer.boxes()
        if not boxes:
            self.messages["run"].say("The layer has no box: draw one around an object, or press Run again.")
            return
        if self.offer_download(self.make_masks):
            return
        self._to_fill = boxes
        try:
            self.run()
        finally:
            self._to_fill = None

    def show_result(self, target: ImageOnLayer, run: Run, segmentation: Segmentation, seconds: float) -> str:
        """Add the result as new layers, with heat maps if they are chosen; or the boxes that wait for masks."""
        made_by = segmentation.provenance.get("settings", {})
        if made_by.get("method") == "boxes" and not made_by.get("masks", True):
            return self._show_boxes(target, segmentation)
        if self.heat_maps.isChecked() and segmentation.maps is not None:
            self._add_heat_maps(target, segmentation)
        return super().show_result(target, run, segmentation, seconds)

    def in_words(self, segmentation: Segmentation, image: Image, seconds: float) -> str:
        """Describe the result, and list the concepts that were not found."""
        return "\n".join([super().in_words(segmentation, image, seconds), *not_found(segmentation)])

    def derive_again(self) -> None:
        """Apply the form's thresholds to the boxes that wait for masks, or else to the result."""
        if self.boxes is None or not self.boxes.in_viewer or self._box_run is None:
            super().derive_again()
            return
        if self.method_name != "boxes":
            return
        if self.boxes.edited:
            self.result.setText(
                "The boxes were changed by hand, so thresholds no longer change them. Run again for new boxes."
            )
            return
        self.boxes.show(self._boxes_above())
        self.result.setText(self._boxes_in_words())

    def setting_changed(self, name: str) -> None:
        """Apply settings that need no model."""
        super().setting_changed(name)
        if self.boxes is not None and self.method_name == "boxes" and name == "one_name":
            self.derive_again()

    def release(self) -> None:
        """Disconnect from the viewer and the layer of boxes, which stays as it is."""
        self._forget_boxes()
        super().release()

    def derived(self, segmentation: Segmentation) -> Callable[[], Segmentation] | None:
        """Return a function that derives the labels again with the form's thresholds and colours."""
        settings: Any = self.settings
        made_by = segmentation.provenance.get("settings", {}).get("method", settings.method)
        if made_by != settings.method or (segmentation.maps is None and segmentation.masks is None):
            return None
        inputs = self._with_thresholds(TextInputs.parse(segmentation.provenance["inputs"]))
        return lambda: derive(segmentation, settings, inputs)

    def _with_thresholds(self, inputs: TextInputs) -> TextInputs:
        """Return the inputs of a run with the form's thresholds and colours.

        A concept whose words have changed since then keeps its own until the next run.
        """
        rows = {" ".join(row["text"].split()).strip(" ,;"): row for row in self.concepts.values()}
        changed = [
            concept.model_copy(
                update={name: rows[concept.text][name] for name in ("threshold", "colour") if concept.text in rows}
            )
            for concept in inputs.concepts
        ]
        return inputs.model_copy(update={"concepts": tuple(changed)})

    def _take_phrases(self, phrases: list[str]) -> None:
        self._clear_messages()
        self.concepts.replace(phrases)
        self.caption.mark({row.text.text(): row.colour for row in self.concepts.rows})

    def _change_method(self) -> None:
        super()._change_method()
        method = self.method_name
        self.heat_maps.setVisible(method == "heat maps")
        self.boxes_first.setVisible(method == "boxes")
        self._show_threshold()

    def _show_row(self) -> None:
        super()._show_row()
        self._show_threshold()

    def _show_threshold(self) -> None:
        """Show the default threshold of the chosen model, unless the user has set one."""
        if method := self.method_name:
            default = self.task.methods[method].model_fields["threshold"].default
            own = model_defaults(str(self.model.currentData()), self.task.name, method)
            self.concepts.use_threshold(float(own.get("threshold", default)))

    def _show_boxes(self, target: ImageOnLayer, segmentation: Segmentation) -> str:
        """Add the boxes above the thresholds as a layer."""
        self._forget_result()
        self._forget_boxes()
        inputs = TextInputs.parse(segmentation.provenance["inputs"])
        self._box_run = (segmentation, inputs)
        colours = {row.name: row.colour for row in inputs.class_table()}
        found = self._boxes_above()
        if segmentation.provenance["boxes"]:
            self.boxes = BoxLayer(self.viewer, target, found, colours, self._boxes_changed)
            self.box_concept.clear()
            self.box_concept.addItems(list(colours))
            self.box_rows.show()
        return self._boxes_in_words()

    def _boxes_above(self) -> list[NamedBox]:
        assert self._box_run is not None
        segmentation, inputs = self._box_run
        every = [NamedBox.model_validate(box) for box in segmentation.provenance["boxes"]]
        settings: Any = self.settings
        return boxes_above(every, self._with_thresholds(inputs), settings)

    def _boxes_in_words(self) -> str:
        """Describe the boxes, and mark the caption's phrases with their number of boxes."""
        assert self._box_run is not None
        segmentation, inputs = self._box_run
        boxes = [] if self.boxes is None else self.boxes.boxes()
        counts = {one.name: sum(box.concept == one.name for box in boxes) for one in inputs.concepts}
        colours = {row.name: row.colour for row in inputs.class_table()}
        if self.caption.caption == inputs.caption:
            self.caption.mark(colours, counts)
        each = ", ".join(f"{count} {name}" for name, count in counts.items())
        number = "1 box" if len(boxes) == 1 else f"{len(boxes)} boxes"
        what = "Change, delete or draw boxes in the layer, then make masks." if self.boxes is not None else ""
        best = {entry["concept"]: entry["best_score"] for entry in segmentation.provenance["found"]}
        absent = [f"Nothing found for {name} (best score {best[name]:.2f})." for name in counts if not counts[name]]
        return "\n".join(filter(None, [f"{number}: {each}.", what, *absent]))

    def _boxes_changed(self) -> None:
        self.result.setText(self._boxes_in_words())

    def _give_concept(self) -> None:
        if self.boxes is not None and self.boxes.in_viewer:
            self.boxes.add_as(self.box_concept.currentText())
            self.result.setText(self._boxes_in_words())

    def _forget_boxes(self) -> None:
        """Disconnect from the layer of boxes, which stays in the viewer as it is."""
        if self.boxes is not None:
            self.boxes.disconnect()
        self.boxes = self._box_run = None
        self.box_rows.hide()

    def _layer_removed(self, event: Any) -> None:
        super()._layer_removed(event)
        if self.boxes is not None and event.value is self.boxes.layer:
            self._forget_boxes()

    def _add_heat_maps(self, target: ImageOnLayer, segmentation: Segmentation) -> None:
        overlay = target.overlay
        image = target.image
        region = segmentation.provenance["inputs"]["region"] or (0, 0, *(n - 1 for n in image.plane_shape))
        for i, entry in enumerate(segmentation.classes):
            whole = np.zeros(image.shape, np.float32)
            for index, maps in (segmentation.maps or {}).items():
                plane = plane_view(whole, image.label_axes, index)
                plane[region[0] : region[2] + 1, region[1] : region[3] + 1] = maps[i]
            self.viewer.add_layer(
                ImageLayer(
                    overlay.expanded(whole),
                    name=unique_name(self.viewer.layers, f"{target.name} {entry.name} heat map"),
                    colormap=Colormap(["#000000", entry.colour], name=entry.colour),
                    contrast_limits=(0, 1),
                    blending="additive",
                    metadata={TOOL: "heat map", RUN_PROVENANCE: dict(segmentation.provenance)},
                    **overlay.transforms,
                )
            )

    def _show_error(self, error: Exception) -> None:
        if not isinstance(error, FoundsegError):
            raise error
        self._clear_messages()
        self.fail(error)

    def _example_from_box(self) -> str:
        """Return the part of the image in the drawn box as an example; the box may have been drawn on another image."""
        target = self.chosen_target()
        box = region_from_shape(find_shapes(self.viewer), target)
        return example_of(target.image.rgb(current_index(self.viewer, target), box))

    def _example_from_label(self) -> str:
        """Return the image in the bounding box of the selected label as an example."""
        target = self.chosen_target()
        labels = self.viewer.layers.selection.active
        if not isinstance(labels, Labels):
            raise PromptError(
                "No label is selected. Select a Labels layer and pick a label, then choose the image here."
            )
        where = np.argwhere(np.asarray(labels.data[0] if labels.multiscale else labels.data) == labels.selected_label)
        if not len(where):
            raise PromptError(f"Label {labels.selected_label} of {labels.name!r} has no pixel: pick another.")
        matrix, origin = affine_between(labels, target.layer)
        ends = np.round(np.stack([where.min(0), where.max(0)]) @ matrix.T + origin).astype(int)
        y0, x0, y1, x1 = (int(v) for v in (*ends[0][-2:], *ends[1][-2:]))
        height, width = target.image.plane_shape
        box = (max(0, y0), max(0, x0), min(height - 1, y1), min(width - 1, x1))
        if box[0] > box[2] or box[1] > box[3]:
            raise PromptError(f"Label {labels.selected_label} of {labels.name!r} does not overlap {target.name!r}.")
        return example_of(target.image.rgb(current_index(self.viewer, target), box))
