"""The list of concepts: name, colour and threshold, with optional exclusions and examples."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from magicgui.widgets import create_widget
from qtpy.QtCore import Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QColorDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMenu,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_foundseg.core.classes.class_table import class_colour
from napari_foundseg.tasks.text import TextSettings
from napari_foundseg.widgets.forms.settings_form import name_parts

__all__ = ["ConceptList", "ConceptRow"]

_THRESHOLD = 0.4


class ConceptRow(QWidget):
    """One concept: a row with its name, colour and threshold.

    Parameters
    ----------
    examples : dict of str to callable
        Names of ways to take an example, and functions that return the example (PNG in base 64).
    fail : callable
        Called with the error.
    """

    #: Threshold or colour has changed; it applies to the existing result.
    moved = Signal()
    removed = Signal()

    def __init__(self, colour: str, examples: dict[str, Callable[[], str]], fail: Callable[[Exception], None]) -> None:
        super().__init__()
        self.colour = colour
        self.examples: list[str] = []
        self._fail = fail
        self.text = QLineEdit()
        self.text.setPlaceholderText("such as: nucleus, nuclei")
        self.text.setToolTip(
            "What to find; separate synonyms with commas. A concept named 'background' gives no objects."
        )
        self.text.setAccessibleName("Concept")
        self.swatch = _tool_button("", "Colour of the concept")
        self.swatch.clicked.connect(self._choose_colour)
        self.more = _tool_button(
            "But not…", "Exclusions and examples: what looks alike but is something else, and parts of images."
        )
        self.more.setCheckable(True)
        self.remove = _tool_button("✕", "Remove this concept")
        self.remove.clicked.connect(self.removed)
        options: dict[str, Any] = {"min": 0.0, "max": 1.0, "step": 0.01}
        slider: Any = create_widget(value=_THRESHOLD, widget_type="FloatSlider", options=options)
        self.threshold = slider
        name_parts(
            self.threshold.native,
            TextSettings.label_of("threshold"),
            TextSettings.help_of("threshold").split(". For")[0],
        )
        #: Whether the user has set the threshold; another model then does not change it.
        self.own_threshold = False
        self.threshold.changed.connect(self._threshold_moved)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 4)
        layout.setSpacing(2)
        layout.addLayout(_row_layout(self.swatch, self.text, self.more, self.remove))
        layout.addWidget(self.threshold.native)
        layout.addWidget(self._add_details(examples))
        self._show_colour()

    def use_threshold(self, value: float) -> None:
        """Show the default threshold of another method or model, unless the user has set one."""
        if not self.own_threshold:
            with self.threshold.changed.blocked():
                self.threshold.value = value

    def _threshold_moved(self, _value: float) -> None:
        self.own_threshold = True
        self.moved.emit()

    def value(self) -> dict[str, Any]:
        """Return the fields of `tasks.classes.concepts.Concept`."""
        return {
            "text": self.text.text(),
            "negative": self.negative.text().strip() or None,
            "threshold": float(self.threshold.value),
            "colour": self.colour,
            "examples": tuple(self.examples),
        }

    def _add_details(self, examples: dict[str, Callable[[], str]]) -> QWidget:
        self.negative = QLineEdit()
        self.negative.setPlaceholderText("but not, such as: debris")
        self.negative.setToolTip("Pixels that match these words better are excluded.")
        self.negative.setAccessibleName("But not")
        button = QToolButton()
        button.setText("Example")
        button.setToolTip("Use image regions as examples instead of the words.")
        button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(button)
        acts: dict[str, Callable[[], None]] = {
            name: partial(self._take_example, take) for name, take in examples.items()
        }
        for name, act in {**acts, "Remove examples": partial(self._set_examples, [])}.items():
            action = menu.addAction(name)
            assert action is not None
            action.triggered.connect(lambda _checked=False, act=act: act())
        button.setMenu(menu)
        self.example_button = button
        self.example_menu = menu
        self.example_count = QLabel("no example")
        details = QWidget()
        column = QVBoxLayout(details)
        column.setContentsMargins(24, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.negative)
        line = _row_layout(button, self.example_count)
        line.addStretch(1)
        column.addLayout(line)
        details.hide()
        self.more.toggled.connect(details.setVisible)
        return details

    def _take_example(self, take: Callable[[], str]) -> None:
        try:
            self._set_examples([*self.examples, take()])
        except Exception as error:  # noqa: BLE001 - said by the form, whatever a layer raises
            self._fail(error)

    def _set_examples(self, examples: list[str]) -> None:
        self.examples = examples
        n = len(examples)
        self.example_count.setText("no example" if not n else "1 example" if n == 1 else f"{n} examples")

    def _choose_colour(self) -> None:
        colour = QColorDialog.getColor(QColor(self.colour), self, "Colour of the concept")
        if colour.isValid():
            self.colour = colour.name()
            self._show_colour()
            self.moved.emit()

    def _show_colour(self) -> None:
        self.swatch.setStyleSheet(f"QToolButton {{ background: {self.colour}; border-radius: 3px; min-width: 16px; }}")


class ConceptList(QWidget):
    """The concepts to find: a row for each, and a button to add one.

    Parameters
    ----------
    examples : dict of str to callable
        As in `ConceptRow`.
    fail : callable
        Called with the error.
    """

    #: Thresholds or colours have changed.
    moved = Signal()

    def __init__(self, examples: dict[str, Callable[[], str]], fail: Callable[[Exception], None]) -> None:
        super().__init__()
        self._examples = examples
        self._fail = fail
        self._made = 0
        self._threshold = _THRESHOLD
        self.rows: list[ConceptRow] = []
        self.add_button = QPushButton("Add a concept")
        self.add_button.setToolTip("Add a concept to find. To add several, separate them with semicolons.")
        self.add_button.clicked.connect(lambda: self.add())
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(0)
        self._column.addWidget(self.add_button)
        self.add()

    def add(self, text: str = "") -> ConceptRow:
        """Add a row and give it the focus."""
        self._made += 1
        row = ConceptRow(class_colour(self._made), self._examples, self._fail)
        row.text.setText(text)
        row.use_threshold(self._threshold)
        row.text.editingFinished.connect(lambda: self._split_row(row))
        row.moved.connect(self.moved)
        row.removed.connect(lambda: self._remove_row(row))
        self.rows.append(row)
        self._column.insertWidget(self._column.count() - 1, row)
        self._enable_removal()
        row.text.setFocus()
        return row

    def use_threshold(self, value: float) -> None:
        """Show the default threshold of another method or model in rows where the user has set none."""
        self._threshold = value
        for row in self.rows:
            row.use_threshold(value)

    def replace(self, texts: list[str]) -> None:
        """Show other concepts instead of the current ones; the colours begin again with the first."""
        for row in list(self.rows):
            self.rows.remove(row)
            row.hide()
            row.deleteLater()
        self._made = 0
        for text in texts:
            self.add(text)

    def values(self) -> list[dict[str, Any]]:
        """Return the fields of each concept; texts with semicolons are split into rows first."""
        for row in list(self.rows):
            self._split_row(row)
        return [row.value() for row in self.rows]

    def _split_row(self, row: ConceptRow) -> None:
        """Split a text such as "nucleus; background" into several rows."""
        parts = [part.strip() for part in row.text.text().split(";") if part.strip()]
        if ";" in row.text.text():
            row.text.setText(parts[0] if parts else "")
            for part in parts[1:]:
                self.add(part)

    def _remove_row(self, row: ConceptRow) -> None:
        if len(self.rows) > 1:
            self.rows.remove(row)
            row.hide()
            row.deleteLater()
            self._enable_removal()

    def _enable_removal(self) -> None:
        for row in self.rows:
            row.remove.setEnabled(len(self.rows) > 1)


def _tool_button(text: str, help_text: str) -> QToolButton:
    button = QToolButton()
    button.setText(text)
    button.setToolTip(help_text)
    button.setAccessibleName(help_text)
    return button


def _row_layout(*widgets: QWidget) -> QHBoxLayout:
    line = QHBoxLayout()
    line.setContentsMargins(0, 0, 0, 0)
    line.setSpacing(4)
    for widget in widgets:
        line.addWidget(widget, 1 if isinstance(widget, QLineEdit) else 0)
    return line
