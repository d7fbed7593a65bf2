"""The dock widget *Text*."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from napari.layers import Image as ImageLayer
from napari.layers import Labels
from napari.utils.colormaps import Colormap
from napari.viewer import Viewer
from qtpy.QtWidgets import QCheckBox, QWidget

from napari_foundseg.core.errors import FoundsegError, PromptError
from napari_foundseg.core.image import Image
from napari_foundseg.core.labels import plane_view
from napari_foundseg.core.result import Segmentation
from napari_foundseg.io.layer_files import RUN_PROVENANCE
from napari_foundseg.tasks import TASKS, Inputs
from napari_foundseg.tasks.classes.concepts import TextInputs, example_of
from napari_foundseg.tasks.text import derive, not_found
from napari_foundseg.widgets.classes.class_form import ClassForm
from napari_foundseg.widgets.classes.concept_list import ConceptList
from napari_foundseg.widgets.controls.region_choice import find_shapes
from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer
from napari_foundseg.widgets.layers.layer_axes import affine_between
from napari_foundseg.widgets.layers.layer_conversion import current_index, region_from_shape
from napari_foundseg.widgets.layers.layer_tags import TOOL
from napari_foundseg.widgets.layers.unique_name import unique_name
from napari_foundseg.widgets.runs.run import Run

__all__ = ["TextWidget"]


class TextWidget(ClassForm):
    """Segment concepts that are given by words or examples."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer, TASKS["text"])
        self.build()

    def input_rows(self) -> list[QWidget]:
        """Return the concepts, the region, and the choice of heat maps."""
        ways = {"From the drawn box": self._example_from_box, "From the selected label": self._example_from_label}
        self.concepts = ConceptList(ways, self._show_error)
        self.concepts.moved.connect(self.derive_again)
        self.heat_maps = QCheckBox("Show heat maps")
        self.heat_maps.setToolTip("Add the scores of each concept, 0 to 1, as an image layer.")
        return [self.concepts, *super().input_rows(), self.heat_maps]

    def inputs(self, target: ImageOnLayer) -> Inputs:
        """Return the concepts, slice and region."""
        return self.task.inputs.parse({"concepts": self.concepts.values(), **self.region.region_fields(target)})

    def show_result(self, target: ImageOnLayer, run: Run, segmentation: Segmentation, seconds: float) -> str:
        """Add the result as new layers, and the heat maps if they are wanted."""
        if self.heat_maps.isChecked() and segmentation.maps is not None:
            self._add_heat_maps(target, segmentation)
        return super().show_result(target, run, segmentation, seconds)

    def in_words(self, segmentation: Segmentation, image: Image, seconds: float) -> str:
        """Describe the result, and the concepts that were not found."""
        return "\n".join([super().in_words(segmentation, image, seconds), *not_found(segmentation)])

    def derived(self, segmentation: Segmentation) -> Callable[[], Segmentation] | None:
        """Return a function that derives the labels again with the thresholds and colours of the form."""
        settings: Any = self.settings
        made_by = segmentation.provenance.get("settings", {}).get("method", settings.method)
        if made_by != settings.method or (segmentation.maps is None and segmentation.masks is None):
            return None
        rows = {" ".join(row["text"].split()).strip(" ,;"): row for row in self.concepts.values()}
        before = TextInputs.parse(segmentation.provenance["inputs"])
        # A concept whose words were changed since keeps its threshold and colour until the next run.
        changed = [
            concept.model_copy(
                update={name: rows[concept.text][name] for name in ("threshold", "colour") if concept.text in rows}
            )
            for concept in before.concepts
        ]
        inputs = before.model_copy(update={"concepts": tuple(changed)})
        return lambda: derive(segmentation, settings, inputs)

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
        """Return the box around the selected label as an example."""
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
