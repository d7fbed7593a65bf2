"""The dock widget *Find similar*."""

from __future__ import annotations

import numpy as np
from napari.layers import Labels, Shapes
from napari.viewer import Viewer
from qtpy.QtWidgets import QPushButton, QWidget

from napari_foundseg.core.errors import PromptError
from napari_foundseg.core.image import Image
from napari_foundseg.core.labels import plane_view
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.core.result import Segmentation
from napari_foundseg.tasks import Inputs, Settings
from napari_foundseg.tasks.find_similar import derive
from napari_foundseg.tasks.similar.examples import Example
from napari_foundseg.tasks.task_models import image_for
from napari_foundseg.widgets.automatic.automatic_dock import AutomaticWidget
from napari_foundseg.widgets.automatic.example_list import ExampleList
from napari_foundseg.widgets.controls.region_choice import find_shapes
from napari_foundseg.widgets.controls.rows import labelled_row
from napari_foundseg.widgets.editing.write_checks import why_not_fitting
from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer
from napari_foundseg.widgets.layers.layer_axes import transform_coordinates
from napari_foundseg.widgets.layers.layer_conversion import current_index, rectangle_region

__all__ = ["FindSimilarWidget"]

_NO_EXAMPLE = "There is no example. Pick a label or draw a rectangle around an object, then add it."
_HELP = {
    "Add label": "Add the selected label of the selected Labels layer as an example.",
    "Add box": "Add the selected rectangles of a Shapes layer as examples, all of its rectangles where none is "
    "selected. The model outlines what is in them.",
}


_HELP_NOT = {
    "Exclude label": "Add the selected label of the selected Labels layer as an example of what is not meant: objects "
    "that are more like it are left out.",
    "Exclude box": "Add the selected rectangles of a Shapes layer, or all of them, as examples of what is not meant.",
}


class FindSimilarWidget(AutomaticWidget):
    """Find all objects that look like a few examples."""

    layer_word = "similar"

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer, "find_similar")

    def input_rows(self) -> list[QWidget]:
        """Return the examples, the region, and the layer to which the objects are added."""
        ways = {"Add label": self._take_label, "Add box": self._take_boxes}
        self.examples = ExampleList(ways, _HELP, self.fail)
        self.examples.changed.connect(self._examples_changed)
        ways = {"Exclude label": self._take_label, "Exclude box": self._take_boxes}
        self.negatives = ExampleList(ways, _HELP_NOT, self.fail, "Not like these", "Remove excluded")
        self.negatives.changed.connect(self._examples_changed)
        return [
            labelled_row("Examples", self.examples),
            labelled_row("Not like", self.negatives),
            *super().input_rows(),
        ]

    def result_rows(self) -> list[QWidget]:
        """Return the button for the review, and the rows of *Automatic masks*."""
        self.review_button = QPushButton("Review one by one")
        self.review_button.setToolTip(
            "Open Correct with the result, where each object can be accepted (A) or rejected (R), the least certain "
            "first."
        )
        self.review_button.clicked.connect(self._review)
        self.review_button.hide()
        return [self.review_button, *super().result_rows()]

    def inputs(self, target: ImageOnLayer) -> Inputs:
        """Return the examples, and the slice and region to search.

        Raises
        ------
        PromptError
            If there is no example, or if the objects cannot be added to the chosen layer.
        """
        self._check_into(target)
        examples = tuple(self.examples.examples)
        if not examples:
            raise PromptError(_NO_EXAMPLE)
        shown = {"examples": examples, "negatives": tuple(self.negatives.examples)}
        return self.task.inputs.parse({**shown, **self.region.region_fields(target)})

    def derived(self, segmentation: Segmentation, settings: Settings) -> Segmentation:
        """Return the result with the proposals that match well enough."""
        return derive(segmentation, settings)  # type: ignore[arg-type] # of this task

    def coarsest_pixel(self, target: ImageOnLayer) -> float:
        """Return the coarsest pixel that suffices for the size of the examples."""
        areas = [_area(example) for example in self.examples.examples]
        diameter = float(np.sqrt(4 * np.median(areas) / np.pi)) if areas else 0.0
        return max(diameter / 40, 1.0) if diameter else super().coarsest_pixel(target)

    def show_result(self, target: ImageOnLayer, run: object, segmentation: Segmentation, seconds: float) -> str:
        """Add the objects, and offer to review them."""
        words = super().show_result(target, run, segmentation, seconds)  # type: ignore[arg-type] # a Run
        self.review_button.setVisible(bool(len(segmentation)))
        return words

    def _examples_changed(self) -> None:
        self._clear_messages()
        self.update_estimate()

    def _take_label(self) -> list[Example]:
        """Return the selected label as an example, in the current slice if it has pixels there."""
        target = self.chosen_target()
        layer = self.viewer.layers.selection.active
        if not isinstance(layer, Labels):
            raise PromptError("No Labels layer is selected. Select one, pick a label in it, and add that.")
        if (reason := why_not_fitting(layer, target)) is not None:
            raise PromptError(f"{layer.name!r} cannot give an example: {reason}")
        label = int(layer.selected_label)
        data = np.asarray(layer.data[0] if layer.multiscale else layer.data).reshape(target.image.shape)
        index = self._slice_of(target, data == label)
        mask = plane_view(data, target.image.label_axes, index) == label
        if not mask.any():
            raise PromptError(f"Label {label} of {layer.name!r} has no pixel: pick another.")
        return [Example.cut(self._seen(target), Prompt(mask=mask, index=index))]

    def _seen(self, target: ImageOnLayer) -> Image:
        """Return the image as prepared for the chosen model."""
        return image_for(str(self.model.currentData()), target.image, self.settings)

    def _slice_of(self, target: ImageOnLayer, inside: np.ndarray) -> tuple[int, ...]:
        """Return the current slice if the object is in it, otherwise the slice with most of its pixels."""
        axes = target.image.label_axes
        shown = current_index(self.viewer, target)
        if plane_view(inside, axes, shown).any():
            return shown
        return max(target.image.indices(), key=lambda index: np.count_nonzero(plane_view(inside, axes, index)))

    def _take_boxes(self) -> list[Example]:
        """Return the drawn rectangles as examples in the current slice."""
        target = self.chosen_target()
        image = self._seen(target)
        shapes: Shapes = find_shapes(self.viewer)
        index = current_index(self.viewer, target)
        chosen = sorted(shapes.selected_data) or range(len(shapes.data))
        found = []
        for number in chosen:
            corners = transform_coordinates(shapes, target.layer, np.asarray(shapes.data[number], float))
            y0, x0, y1, x1 = rectangle_region(corners, target, f"Shape {number + 1} of {shapes.name!r}")
            box = [*_place(image, index, y0, x0), *_place(image, index, y1, x1)]
            found.append(Example.cut(image, Prompt(box=box)))
        return found

    def _review(self) -> None:
        labels = self._result[2] if self._result is not None else None
        if labels is not None and labels in self.viewer.layers:
            self.viewer.layers.selection.active = labels
        # Through napari, like the menu.
        self.viewer.window.add_plugin_dock_widget("napari-foundseg", "Correct")


def _place(image: Image, index: tuple[int, ...], y: int, x: int) -> list[int]:
    """Return a pixel of a slice in the order of the image's axes."""
    where = {**dict(zip(image.slice_axes, index, strict=True)), "Y": y, "X": x}
    return [where[axis] for axis in image.label_axes]


def _area(example: Example) -> float:
    """Return the approximate number of pixels of an example in its image."""
    if example.prompt.mask is not None:
        return float(np.count_nonzero(example.prompt.mask)) * example.pixel**2
    y0, x0, y1, x1 = example.prompt.box or (0, 0, 0, 0)
    return (y1 - y0 + 1) * (x1 - x0 + 1) * example.pixel**2
