"""The marking tools of the form *Prompt*, and the sign and purpose of marks."""

from __future__ import annotations

from typing import Any

from napari.components import ViewerModel
from napari.layers import Labels
from qtpy.QtCore import Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QFormLayout,
    QPushButton,
    QRadioButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_foundseg.widgets.controls.colours import NEGATIVE, POSITIVE
from napari_foundseg.widgets.controls.fold import Fold
from napari_foundseg.widgets.controls.layer_choice import LayerChoice
from napari_foundseg.widgets.controls.rows import labelled_row
from napari_foundseg.widgets.controls.usability import set_usable

__all__ = ["EACH", "NEW", "REFINE", "MarkControls"]

NEW = "one new object"
EACH = "an object each"
REFINE = "a better outline"
_TOOLS = {
    "points": "Click on objects. Activates the points layer.",
    "shapes": "Draw around objects: a rectangle is a box, an ellipse or polygon a rough mask, a line a row of points.",
    "brush": "Paint on objects: a stroke is a row of points, a filled area is a rough mask. "
    "Each colour is a separate object (key M: next colour). Undo: Ctrl+Z.",
}


class MarkControls(QWidget):
    """The tool, sign and purpose of marks, and the choice of a label as a prompt."""

    #: New marks are on the object (True) or on the background (False).
    sign_changed = Signal(bool)
    #: The purpose of marks: `NEW`, `EACH` or `REFINE`.
    makes_changed = Signal(str)
    #: A tool was chosen: ``points``, ``shapes`` or ``brush``.
    tool_chosen = Signal(str)
    #: The user wants to use a label as a prompt: its layer and its id.
    label_taken = Signal(object, int)

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self.labels = LayerChoice(viewer, Labels, "The layer of the object. It is not changed.")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for row in (self._tool_row(), self._sign_row(), self._purpose_row(), self._label_fold()):
            layout.addWidget(row)
        self.arm(False)

    @property
    def positive(self) -> bool:
        """Whether marks are on the object."""
        return self.signs.buttons()[0].isChecked()

    def arm(self, on: bool) -> None:
        """Enable or disable the tools; they only work while a session has its layers."""
        for widget in (*self.tools.values(), self.take_button):
            set_usable(widget, "" if on else "Press 'Start pointing' first.")

    def release(self) -> None:
        """Stop following the viewer."""
        self._follow_label(None)
        self.labels.disconnect_viewer()

    def _tool_row(self) -> QWidget:
        self.tools: dict[str, QPushButton] = {}
        for tool, help_text in _TOOLS.items():
            self.tools[tool] = button = QPushButton(tool.capitalize())
            button.setToolTip(help_text)
            button.clicked.connect(lambda _checked=False, tool=tool: self.tool_chosen.emit(tool))
        return labelled_row("Mark with", *self.tools.values())

    def _sign_row(self) -> QWidget:
        self.signs = QButtonGroup(self)
        buttons = []
        for text, colour, help_text in (
            (
                "on the object",
                POSITIVE,
                "Clicks and strokes mark the object. Right click or Alt+click: background.",
            ),
            (
                "not on it",
                NEGATIVE,
                "Clicks and strokes mark background. Right click or Alt+click: the object.",
            ),
        ):
            button = QRadioButton(text)
            button.setToolTip(help_text)
            button.setStyleSheet(f"QRadioButton {{ border-left: 4px solid {colour}; padding-left: 4px; }}")
            self.signs.addButton(button)
            buttons.append(button)
        buttons[0].setChecked(True)
        self.signs.buttonToggled.connect(lambda: self.sign_changed.emit(self.positive))
        return labelled_row("Marks are", *buttons)

    def _purpose_row(self) -> QWidget:
        self.makes = QComboBox()
        self.makes.addItems([NEW, EACH, REFINE])
        self.makes.setAccessibleName("Purpose of clicks")
        self.makes.setToolTip(
            "One new object: all points belong to one object. An object each: every point is a new object. A better "
            "outline: click on an accepted object, then click on missing parts and right-click on excess parts; no "
            "other object changes. Every rectangle, ellipse or polygon is always an object of its own."
        )
        self.makes.currentTextChanged.connect(self.makes_changed.emit)
        return labelled_row("Makes", self.makes)

    def _label_fold(self) -> QWidget:
        self.label = QSpinBox()
        self.label.setRange(1, 2**31 - 1)
        self.label.setAccessibleName("Label")
        self.label.setToolTip("The object's label. It follows the selected label of the layer (key L: pick).")
        self.take_button = QPushButton("Use this label")
        self.take_button.setToolTip("Use the object's pixels on this slice as a prompt. Its layer is not changed.")
        self.take_button.clicked.connect(self._emit_label)
        form = QFormLayout()
        form.setContentsMargins(12, 0, 0, 0)
        form.addRow("Layer", self.labels)
        form.addRow("Label", self.label)
        form.addRow(self.take_button)
        self._followed: Labels | None = None
        self.labels.changed.connect(lambda: self._follow_label(self.labels.layer))
        self._follow_label(self.labels.layer)
        return Fold("A label as prompt", form)

    def _follow_label(self, layer: Labels | None) -> None:
        if self._followed is not None:
            self._followed.events.selected_label.disconnect(self)
        self._followed = layer
        if layer is not None:
            layer.events.selected_label.connect(self._show_label)
            self._show_label()

    def _show_label(self, _event: Any = None) -> None:
        if self._followed is not None and self._followed.selected_label > 0:
            self.label.setValue(int(self._followed.selected_label))

    def _emit_label(self) -> None:
        if self.labels.layer is not None:
            self.label_taken.emit(self.labels.layer, self.label.value())
