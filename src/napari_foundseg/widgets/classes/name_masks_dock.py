"""The dock widget *Name the masks*."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Image as ImageLayer
from napari.layers import Labels
from napari.viewer import Viewer
from qtpy.QtWidgets import QPlainTextEdit, QWidget

from napari_foundseg.core.errors import PromptError
from napari_foundseg.core.image import Image
from napari_foundseg.tasks import TASKS, Inputs
from napari_foundseg.widgets.classes.class_form import ClassedForm
from napari_foundseg.widgets.controls.colours import theme_colour
from napari_foundseg.widgets.controls.layer_choice import LayerChoice
from napari_foundseg.widgets.controls.rows import labelled

__all__ = ["NameMasksWidget"]


class NameMasksWidget(ClassedForm):
    """The class of each object of a Labels layer.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer, TASKS["name_masks"])

    def input_rows(self) -> list[QWidget]:
        """Return the choice of labels and the names.

        Returns
        -------
        list of QWidget
            From top to bottom.
        """
        self.labels = LayerChoice(self.viewer, Labels, "The objects to name. They stay as they are.")
        self.names = QPlainTextEdit()
        self.names.setPlaceholderText("cell, a living cell\ndebris")
        self.names.setToolTip("What an object may be: one name a line, with synonyms behind commas.")
        self.names.setAccessibleName("Names")
        self.names.setTabChangesFocus(True)
        self._colour_names()
        self.viewer.events.theme.connect(self._colour_names)
        self.names.setFixedHeight(5 * self.names.fontMetrics().lineSpacing() + 8)
        return [labelled("Labels", self.labels), labelled("Names", self.names)]

    def inputs(self, layer: ImageLayer, image: Image) -> Inputs:
        """Return labels and names as chosen.

        Parameters
        ----------
        layer : napari.layers.Image
            The chosen layer.
        image : Image
            The layer as an image.

        Returns
        -------
        NameInputs
            Checked.

        Raises
        ------
        PromptError
            If there are no labels, or no names.
        """
        chosen = self.labels.layer
        if chosen is None:
            raise PromptError("There is no Labels layer. Make objects first, such as with Automatic masks.")
        pixels = np.asarray(chosen.data[0] if chosen.multiscale else chosen.data)
        if pixels.shape != image.shape and pixels.size == np.prod(image.shape):
            pixels = pixels.reshape(image.shape)
        if pixels.shape != image.shape:
            raise PromptError(
                f"{chosen.name!r} has the shape {pixels.shape}, {layer.name!r} {image.shape}: choose labels of this "
                "image."
            )
        names = [line for line in self.names.toPlainText().replace(";", "\n").splitlines() if line.strip()]
        if not names:
            raise PromptError("No name is given: type what the objects may be, one name a line.")
        return self.task.inputs.parse({"labels": pixels, "vocabulary": names})

    def input_layers(self) -> dict[str, str]:
        """Return which layer the labels are.

        Returns
        -------
        dict of str to str
            Its name; empty for a pyramid, of which a script could not say which level is meant.
        """
        chosen = self.labels.layer
        return {} if chosen is None or chosen.multiscale else {"labels": chosen.name}

    def release(self) -> None:
        """Let go of the viewer, the engine and the layers."""
        self.labels.disconnect_viewer()
        self.viewer.events.theme.disconnect(self._colour_names)
        super().release()

    def _colour_names(self, _event: Any = None) -> None:
        """Give the field the colours of other fields: napari has none for a field of several lines."""
        back, text = (theme_colour(self.viewer.theme, name) for name in ("foreground", "text"))
        self.names.setStyleSheet(f"QPlainTextEdit {{ background: {back}; color: {text}; border-radius: 2px; }}")
