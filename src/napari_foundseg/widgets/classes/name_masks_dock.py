"""The dock widget *Name the masks*."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Labels
from napari.viewer import Viewer
from qtpy.QtWidgets import QPlainTextEdit, QWidget

from napari_foundseg.core.errors import PromptError
from napari_foundseg.tasks import TASKS, Inputs
from napari_foundseg.widgets.classes.class_form import ClassForm
from napari_foundseg.widgets.controls.colours import theme_colour
from napari_foundseg.widgets.controls.layer_choice import LayerChoice
from napari_foundseg.widgets.controls.rows import labelled_row
from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer

__all__ = ["NameMasksWidget"]

_NO_LABELS = "There is no Labels layer. Segment objects first, for example with Automatic masks."


class NameMasksWidget(ClassForm):
    """Name each object of a Labels layer."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer, TASKS["name_masks"])
        self.build()

    def input_rows(self) -> list[QWidget]:
        """Return the Labels layer and the names."""
        self.labels = LayerChoice(self.viewer, Labels, "The Labels layer whose objects are named. It is not changed.")
        self.labels.changed.connect(lambda: self.show_usability())
        self.names = QPlainTextEdit()
        self.names.setPlaceholderText("cell, a living cell\ndebris")
        self.names.setToolTip("Possible names of an object, one a line; separate synonyms with commas.")
        self.names.setAccessibleName("Names")
        self.names.setTabChangesFocus(True)
        self._colour_names()
        self.viewer.events.theme.connect(self._colour_names)
        self.names.setFixedHeight(5 * self.names.fontMetrics().lineSpacing() + 8)
        return [labelled_row("Labels", self.labels), labelled_row("Names", self.names)]

    def inputs(self, target: ImageOnLayer) -> Inputs:
        """Return the chosen labels and names.

        Raises
        ------
        PromptError
            If there are no labels, if they do not fit the image, or if there is no name.
        """
        image = target.image
        chosen = self.labels.layer
        if chosen is None:
            raise PromptError(_NO_LABELS)
        pixels = np.asarray(chosen.data[0] if chosen.multiscale else chosen.data)
        if pixels.shape != image.shape and pixels.size == np.prod(image.shape):
            pixels = pixels.reshape(image.shape)
        if pixels.shape != image.shape:
            raise PromptError(
                f"{chosen.name!r} has the shape {pixels.shape}, {target.name!r} {image.shape}: choose labels of "
                "this image."
            )
        names = [line for line in self.names.toPlainText().replace(";", "\n").splitlines() if line.strip()]
        if not names:
            raise PromptError("No name is given. Type possible names of the objects, one a line.")
        return self.task.inputs.parse({"labels": pixels, "vocabulary": names})

    def why_not_usable(self) -> str:
        """Return why the form cannot run: there is no image, or no Labels layer; empty if it can."""
        return super().why_not_usable() or ("" if self.labels.layer is not None else _NO_LABELS)

    def input_layers(self) -> dict[str, str]:
        """Return the name of the Labels layer; none for a pyramid, since a script cannot tell which level is used."""
        chosen = self.labels.layer
        return {} if chosen is None or chosen.multiscale else {"labels": chosen.name}

    def release(self) -> None:
        """Disconnect from the viewer, the engine and the layers."""
        self.labels.disconnect_viewer()
        self.viewer.events.theme.disconnect(self)
        super().release()

    def _colour_names(self, _event: Any = None) -> None:
        """Colour the field like other fields: napari has no style for multi-line fields."""
        back, text = (theme_colour(self.viewer.theme, name) for name in ("foreground", "text"))
        self.names.setStyleSheet(f"QPlainTextEdit {{ background: {back}; color: {text}; border-radius: 2px; }}")
