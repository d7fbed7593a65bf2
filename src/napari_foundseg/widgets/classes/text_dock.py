"""The dock widget *Text*."""

from __future__ import annotations

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
from napari_foundseg.tasks.concepts import TextInputs, example_of
from napari_foundseg.tasks.text import derive, not_found
from napari_foundseg.widgets.classes.class_form import ClassedForm
from napari_foundseg.widgets.classes.concept_list import ConceptList
from napari_foundseg.widgets.controls.region_choice import meant_shapes
from napari_foundseg.widgets.layers.layer_conversion import affine_between, current_index, region_from_shape
from napari_foundseg.widgets.layers.layer_tags import TOOL
from napari_foundseg.widgets.layers.overlay import Overlay
from napari_foundseg.widgets.layers.unique_name import unique_name
from napari_foundseg.widgets.runs.run import Run

__all__ = ["TextWidget"]


class TextWidget(ClassedForm):
    """What is named or shown, as classes and objects.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer, TASKS["text"])

    def input_rows(self) -> list[QWidget]:
        """Return the concepts, and below them the region.

        Returns
        -------
        list of QWidget
            From top to bottom.
        """
        ways = {"From the drawn box": self._boxed, "From the selected label": self._labelled}
        self.concepts = ConceptList(ways, self._say)
        self.concepts.moved.connect(self.derive_again)
        self.heat_maps = QCheckBox("Show heat maps")
        self.heat_maps.setToolTip("Add each concept's scores, 0 to 1, as an image layer.")
        return [self.concepts, *super().input_rows(), self.heat_maps]

    def inputs(self, layer: ImageLayer, image: Image) -> Inputs:
        """Return concepts and region as the form stands.

        Parameters
        ----------
        layer : napari.layers.Image
            The chosen layer.
        image : Image
            The layer as an image.

        Returns
        -------
        TextInputs
            Checked.
        """
        return self.task.inputs.parse({"concepts": self.concepts.values(), **self.region.given(layer, image)})

    def deliver(self, layer: ImageLayer, run: Run, segmentation: Segmentation, seconds: float) -> str:
        """Add the result as new layers, and the heat maps where they are wanted.

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
            What was found, and what was not.
        """
        if self.heat_maps.isChecked() and segmentation.maps is not None:
            self._add_heat_maps(layer, run.image, segmentation)
        return super().deliver(layer, run, segmentation, seconds)

    def in_words(self, segmentation: Segmentation, image: Image, seconds: float) -> str:
        """Say what was found, and what was not.

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
        return "\n".join([super().in_words(segmentation, image, seconds), *not_found(segmentation)])

    def derived(self, segmentation: Segmentation) -> Any:
        """Return what makes labels anew with the thresholds and colours of the form.

        Parameters
        ----------
        segmentation : Segmentation
            The last result.

        Returns
        -------
        callable or None
            None where no heat maps were kept.
        """
        if segmentation.maps is None:
            return None
        settings: Any = self.settings
        given = {" ".join(row["text"].split()).strip(" ,;"): row for row in self.concepts.values()}
        known = TextInputs.parse(segmentation.provenance["inputs"])
        # A concept whose words were changed since stays as it was until the next run.
        moved = [
            concept.model_copy(
                update={name: given[concept.text][name] for name in ("threshold", "colour") if concept.text in given}
            )
            for concept in known.concepts
        ]
        inputs = known.model_copy(update={"concepts": tuple(moved)})
        return lambda: derive(segmentation, settings, inputs)

    def _add_heat_maps(self, layer: ImageLayer, image: Image, segmentation: Segmentation) -> None:
        overlay = Overlay(layer, image)
        region = segmentation.provenance["inputs"]["region"] or (0, 0, *(n - 1 for n in image.plane_shape))
        for i, entry in enumerate(segmentation.classes):
            whole = np.zeros(image.shape, np.float32)
            for index, maps in (segmentation.maps or {}).items():
                plane = plane_view(whole, image.label_axes, index)
                plane[region[0] : region[2] + 1, region[1] : region[3] + 1] = maps[i]
            self.viewer.add_layer(
                ImageLayer(
                    overlay.expanded(whole),
                    name=unique_name(self.viewer.layers, f"{layer.name} {entry.name} heat map"),
                    colormap=Colormap(["#000000", entry.colour], name=entry.colour),
                    contrast_limits=(0, 1),
                    blending="additive",
                    metadata={TOOL: "heat map", RUN_PROVENANCE: dict(segmentation.provenance)},
                    **overlay.transforms,
                )
            )

    def _say(self, error: Exception) -> None:
        if not isinstance(error, FoundsegError):
            raise error
        self._clear_messages()
        self.fail(error)

    def _boxed(self) -> str:
        """Return the part of the image in the drawn box as an example; the box may lie on another image."""
        image, layer = self.chosen_image(), self.image.layer
        assert layer is not None
        box = region_from_shape(meant_shapes(self.viewer), layer, image)
        return example_of(image.rgb(current_index(self.viewer, layer, image), box))

    def _labelled(self) -> str:
        """Return the box around the selected label as an example."""
        image, layer = self.chosen_image(), self.image.layer
        labels = self.viewer.layers.selection.active
        if layer is None or not isinstance(labels, Labels):
            raise PromptError(
                "No label is selected. Select a Labels layer and pick a label, then choose the image here."
            )
        where = np.argwhere(np.asarray(labels.data[0] if labels.multiscale else labels.data) == labels.selected_label)
        if not len(where):
            raise PromptError(f"Label {labels.selected_label} of {labels.name!r} has no pixel: pick another.")
        matrix, origin = affine_between(labels, layer)
        ends = np.round(np.stack([where.min(0), where.max(0)]) @ matrix.T + origin).astype(int)
        y0, x0, y1, x1 = (int(v) for v in (*ends[0][-2:], *ends[1][-2:]))
        height, width = image.plane_shape
        box = (max(0, y0), max(0, x0), min(height - 1, y1), min(width - 1, x1))
        if box[0] > box[2] or box[1] > box[3]:
            raise PromptError(f"Label {labels.selected_label} of {labels.name!r} does not lie on {layer.name!r}.")
        return example_of(image.rgb(current_index(self.viewer, layer, image), box))
