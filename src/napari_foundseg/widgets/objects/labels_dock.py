"""`LabelsDock`: the base class of dock widgets that work on the objects of a Labels layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from napari.layers import Labels
from napari.viewer import Viewer
from qtpy.QtWidgets import QPushButton, QWidget

from napari_foundseg.core.editing.difference import SliceBox
from napari_foundseg.core.editing.edit_progress import EditCancelled, EditProgress
from napari_foundseg.core.editing.object_facts import Facts
from napari_foundseg.core.errors import FoundsegError, PromptError
from napari_foundseg.core.image import Image
from napari_foundseg.core.measuring.number_text import number_text
from napari_foundseg.widgets.controls.image_choice import ImageChoice
from napari_foundseg.widgets.controls.layer_choice import LayerChoice
from napari_foundseg.widgets.controls.rows import labelled_row, wrapping_label
from napari_foundseg.widgets.controls.usability import set_usable
from napari_foundseg.widgets.editing.edit_row import EditRow
from napari_foundseg.widgets.editing.labels_history import LabelsHistory, shared_history
from napari_foundseg.widgets.editing.undo_row import UndoRow
from napari_foundseg.widgets.editing.write_checks import why_not_writable
from napari_foundseg.widgets.forms.dock import Dock
from napari_foundseg.widgets.layers.layer_axes import layer_axes
from napari_foundseg.widgets.layers.result_layers import editable_copy

__all__ = ["LabelsDock"]

#: Maximum numbers of objects, and of pixels of a layer, up to which edits run in the window's thread.
_FEW = 16
_SMALL = 1 << 20


class LabelsDock(Dock):
    """A dock widget that works on one Labels layer.

    A concrete widget calls `super().__init__`, sets its own attributes, and calls `build` at the end of its
    constructor: `build` calls the methods that subclasses override.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__(viewer)
        self.history: LabelsHistory | None = None
        self.message = self.messages["run"]

    def build(self) -> None:
        """Add and connect all controls, and start with the chosen layer; called once."""
        self.image = ImageChoice(self.viewer, levels=False, channels=False)
        self.objects = LayerChoice(
            self.viewer, Labels, "The Labels layer to edit. It follows the selection in the layer list."
        )
        self.state = wrapping_label("")
        #: The edit that is being computed, with *Cancel*.
        self.running = EditRow()
        self.running.changed.connect(self._enable_tools)
        self.copy_button = QPushButton("Make an editable copy")
        self.copy_button.setToolTip("Add an editable Labels layer with a copy of the objects.")
        self.copy_button.hide()
        self.edits = UndoRow(self.viewer.theme)
        self.messages["edits"] = self.edits.message
        for widget in (
            labelled_row("Image", self.image),
            labelled_row("Objects", self.objects),
            self.state,
            self.running,
            self.message,
            self.copy_button,
        ):
            self._layout.addWidget(widget)
        self.add_tools()
        self._layout.addWidget(self.edits)
        self._layout.addStretch(1)
        self.copy_button.clicked.connect(self._add_copy)
        self.objects.changed.connect(self._follow_layer)
        self.recovery.recovered.connect(lambda labels, _target: self.objects.show_layer(labels))
        self._follow_layer()

    @property
    def layer(self) -> Labels | None:
        """The layer that is edited; None if there is none."""
        return None if self.history is None else self.history.layer

    # Methods that the widgets override.

    def add_tools(self) -> None:
        """Add the controls between the choice of the layer and the undo buttons."""

    def tools(self) -> list[QWidget]:
        """Return the controls that need a layer; they are disabled without one."""
        return []

    def enter(self, layer: Labels) -> None:
        """Start to work on a layer, which is in memory and writable."""

    def leave(self, layer: Labels) -> None:
        """Stop working on the current layer."""

    def release(self) -> None:
        """Disconnect from the layer and the viewer."""
        self._leave_layer()
        self.objects.disconnect_viewer()
        self.image.disconnect_viewer()
        super().release()

    def chosen_image(self) -> Image | None:
        """Return the chosen image; None if there is none, or if it cannot be read."""
        try:
            return self.image.image()
        except FoundsegError:
            return None

    def write(
        self, name: str, make: Callable[[Any], Iterable[tuple[SliceBox, Any]]], known: Facts | None = None
    ) -> bool | None:
        """Write an edit as one step, and show its errors.

        Returns whether anything changed; None if the edit was refused.

        Parameters
        ----------
        make : callable
            Called with the label image; returns boxes and their new values.
        known : mapping of int to mapping of str, optional
            The facts about objects, such as notes, from now on.
        """
        if self.history is None:
            return None
        self.message.say("")
        self.copy_button.hide()
        if why_not_writable(self.history.layer):
            self._show_refusal(self.history.layer)
            return None
        try:
            return self.history.write(name, make(self.history.layer.data), known)
        except FoundsegError as error:
            self.fail(error)
            return None

    def edit(
        self,
        name: str,
        make: Callable[[Any], Iterable[tuple[SliceBox, Any]]],
        count: int,
        then: Callable[[], None],
        progress: EditProgress | None = None,
    ) -> None:
        """Edit some objects as one step: at once, or in a background thread if that may take long.

        Parameters
        ----------
        count : int
            Number of objects.
        then : callable
            Called after an edit without an error.
        """
        layer = self.layer
        if layer is None:
            return
        if self.running.name:
            self.fail(PromptError(f"{self.running.name!r} is being computed. Wait, or press Cancel."))
        elif count > _FEW or layer.data.size > _SMALL:
            words = f"{name.capitalize()}: {number_text(count)} object{'' if count == 1 else 's'}…"
            self.write_soon(name, lambda: (make, {}), words, then, progress)
        elif (changed := self.write(name, make)) is not None:
            then()
            if not changed:
                self.unchanged()

    def write_soon(
        self,
        name: str,
        prepare: Callable[[], tuple[Callable[[Any], Any], Facts]],
        words: str,
        then: Callable[[], None] = lambda: None,
        progress: EditProgress | None = None,
    ) -> None:
        """Compute an edit in a background thread, write it as one step, and show its errors.

        Parameters
        ----------
        prepare : callable
            As in `LabelsHistory.write_soon`.
        then : callable
            Called after the edit was computed without an error, if this layer is still the one that is edited.
        progress : EditProgress, optional
            Reported by `prepare`; without it, the form shows that an edit is running, but not how far it is.
        """
        history = self.history
        if history is None:
            return
        self.message.say("")
        self.copy_button.hide()
        if why_not_writable(history.layer):
            self._show_refusal(history.layer)
            return
        self.state.setText(words)

        def done(result: bool | Exception) -> None:
            if self.history is history:
                self._write_done(result, then)

        history.write_soon(name, prepare, done, progress)

    def unchanged(self) -> None:
        """Show that there was nothing to change."""

    def _write_done(self, result: bool | Exception, then: Callable[[], None]) -> None:
        if isinstance(result, EditCancelled):
            self.state.setText("Cancelled. Nothing was changed.")
        elif isinstance(result, FoundsegError):
            self.state.setText("")
            self.fail(result)
        elif isinstance(result, MemoryError):
            self.state.setText("")
            self.message.say("Nothing was changed: there is not enough memory. Choose fewer objects.")
        elif isinstance(result, Exception):
            self.state.setText("")
            self.message.say(f"Nothing was changed: {result!r}")
        else:
            then()
            if not result:
                self.unchanged()

    # Following the layer.

    def _follow_layer(self) -> None:
        self._change_layer()
        self._enable_tools()

    def _enable_tools(self) -> None:
        if self.layer is not None and self.running.name:
            why_not = f"{self.running.name!r} is being computed. Wait, or press Cancel."
        elif self.layer is not None:
            why_not = ""
        elif self.objects.layer is None:
            why_not = "There is no Labels layer. Add or select one first."
        else:
            why_not = f"{self.objects.layer.name!r} cannot be edited; see the message above."
        for tool in self.tools():
            set_usable(tool, why_not)

    def _change_layer(self) -> None:
        layer = self.objects.layer
        if layer is self.layer and layer is not None:
            return
        self._leave_layer()
        self.message.say("")
        if layer is None:
            self.state.setText("Add or select a Labels layer.")
        elif why_not_writable(layer):
            self._show_refusal(layer)
        else:
            try:
                layer_axes(layer)
            except FoundsegError as error:
                self.state.setText("")
                self.fail(error)
                return
            self.history = shared_history(layer, self.chosen_image(), self)
            self.edits.follow(self.history)
            self.running.follow(self.history.background)
            self.enter(layer)

    def _leave_layer(self) -> None:
        self.copy_button.hide()
        if self.history is not None:
            self.leave(self.history.layer)
            history = self.history
            self.history = None
            self.edits.follow(None)
            self.running.follow(None)
            history.leave(self)

    def _show_refusal(self, layer: Labels) -> None:
        self.state.setText("")
        self.message.say(
            f"{layer.name!r} is {why_not_writable(layer)}; only labels in memory that are editable can be corrected. "
            f"Press {self.copy_button.text()!r}."
        )
        self.copy_button.show()

    def _add_copy(self) -> None:
        if self.objects.layer is not None:
            self.viewer.add_layer(editable_copy(self.viewer, self.objects.layer))
