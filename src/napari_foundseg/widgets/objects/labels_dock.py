"""What the dock widgets that work on the objects of a Labels layer have in common: which layer, and its history."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from napari.layers import Labels
from napari.viewer import Viewer
from qtpy.QtWidgets import QPushButton

from napari_foundseg.core.editing.difference import Box
from napari_foundseg.core.editing.object_facts import Facts
from napari_foundseg.core.errors import FoundsegError
from napari_foundseg.core.image import Image
from napari_foundseg.widgets.controls.image_choice import ImageChoice
from napari_foundseg.widgets.controls.layer_choice import LayerChoice
from napari_foundseg.widgets.controls.rows import labelled, quiet_label
from napari_foundseg.widgets.editing.labels_history import LabelsHistory, shared_history
from napari_foundseg.widgets.editing.undo_row import EditRow
from napari_foundseg.widgets.editing.write_checks import refused
from napari_foundseg.widgets.forms.dock import Dock
from napari_foundseg.widgets.layers.layer_conversion import layer_axes
from napari_foundseg.widgets.layers.result_layers import editable_copy

__all__ = ["LabelsDock"]


class LabelsDock(Dock):
    """A dock widget on one Labels layer. What it does with the layer is what subclasses fill in.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__(viewer)
        self.history: LabelsHistory | None = None
        self.image = ImageChoice(viewer, levels=False)
        self.objects = LayerChoice(viewer, Labels, "The Labels layer to work on. It follows the selected layer.")
        self.state = quiet_label("")
        self.message = self.messages["run"]
        self.copy_button = QPushButton("Make an editable copy")
        self.copy_button.setToolTip("Add a Labels layer in memory with the same objects in the same place.")
        self.copy_button.clicked.connect(self._copy)
        self.copy_button.hide()
        self.edits = EditRow(viewer.theme)
        self.messages["edits"] = self.edits.message
        for widget in (labelled("Image", self.image), labelled("Objects", self.objects), self.state, self.message,
                       self.copy_button):  # fmt: skip
            self._layout.addWidget(widget)
        self.build()
        self._layout.addWidget(self.edits)
        self._layout.addStretch(1)
        self.objects.changed.connect(self._follow_layer)
        self._follow_layer()

    @property
    def layer(self) -> Labels | None:
        """The layer that is worked on; None while there is none."""
        return None if self.history is None else self.history.layer

    # What a subclass fills in.

    def build(self) -> None:
        """Add the controls between the choice of the layer and the undo buttons."""

    def enter(self, layer: Labels) -> None:
        """Begin to work on a layer.

        Parameters
        ----------
        layer : napari.layers.Labels
            In memory and writable.
        """

    def leave(self, layer: Labels) -> None:
        """Let go of a layer.

        Parameters
        ----------
        layer : napari.layers.Labels
            The one that was entered.
        """

    def release(self) -> None:
        """Let go of the layer and the viewer."""
        self._leave()
        self.objects.disconnect_viewer()
        self.image.disconnect_viewer()
        super().release()

    def chosen_image(self) -> Image | None:
        """Return the chosen image.

        Returns
        -------
        Image or None
            None where there is none that can be worked on.
        """
        try:
            return self.image.image()
        except FoundsegError:
            return None

    def write(
        self, name: str, make: Callable[[Any], Iterable[tuple[Box, Any]]], known: Facts | None = None
    ) -> bool | None:
        """Write what an edit makes of the labels, as one step; what is wrong is said.

        Parameters
        ----------
        name : str
            What is done.
        make : callable
            Takes the label image and returns boxes and what they are to hold.
        known : mapping of int to mapping of str, optional
            What is known of objects from now on.

        Returns
        -------
        bool or None
            Whether anything changed; None where the edit was refused.
        """
        if self.history is None:
            return None
        self.message.say("")
        self.copy_button.hide()
        if refused(self.history.layer):
            self._refuse(self.history.layer)
            return None
        try:
            return self.history.write(name, make(self.history.layer.data), known)
        except FoundsegError as error:
            self.fail(error)
            return None

    def write_soon(self, name: str, prepare: Callable[[], tuple[Callable[[Any], Any], Facts]], words: str) -> None:
        """Write, as one step, what takes a while to make; what is wrong is said.

        Parameters
        ----------
        name : str
            What is done.
        prepare : callable
            As `LabelsHistory.write_soon` takes it.
        words : str
            What to say meanwhile.
        """
        if self.history is not None and refused(self.history.layer):
            self._refuse(self.history.layer)
        elif self.history is not None:
            self.message.say("")
            self.state.setText(words)
            self.history.write_soon(name, prepare, self._written)

    def unchanged(self) -> None:
        """Say that there was nothing to change."""

    def _written(self, result: bool | Exception) -> None:
        if isinstance(result, FoundsegError):
            self.fail(result)
        elif isinstance(result, Exception):
            self.message.say(f"Nothing was changed: {result}")
        elif not result:
            self.unchanged()

    # The layer.

    def _follow_layer(self) -> None:
        layer = self.objects.layer
        if layer is self.layer and layer is not None:
            return
        self._leave()
        self.message.say("")
        if layer is None:
            self.state.setText("Add or select a Labels layer.")
        elif refused(layer):
            self._refuse(layer)
        else:
            try:
                layer_axes(layer)
            except FoundsegError as error:
                self.state.setText("")
                self.fail(error)
                return
            self.history = shared_history(layer, self.chosen_image())
            self.edits.follow(self.history)
            self.enter(layer)

    def _leave(self) -> None:
        self.copy_button.hide()
        if self.history is not None:
            self.leave(self.history.layer)
            history, self.history = self.history, None
            history.leave()

    def _refuse(self, layer: Labels) -> None:
        self.state.setText("")
        self.message.say(
            f"{layer.name!r} is {refused(layer)}; only labels in memory that may be edited can be corrected. "
            f"Press {self.copy_button.text()!r}."
        )
        self.copy_button.show()

    def _copy(self) -> None:
        if self.objects.layer is not None:
            self.viewer.add_layer(editable_copy(self.viewer, self.objects.layer))
