"""The dock widget *Correct*: objects of a Labels layer are merged, split and mended, each step to be undone."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any

import numpy as np
from napari.layers import Labels
from napari.viewer import Viewer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QFileDialog,
    QFrame,
    QGridLayout,
    QPushButton,
    QScrollArea,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_foundseg.core import edits
from napari_foundseg.core.errors import FoundsegError, PromptError
from napari_foundseg.core.history import Box
from napari_foundseg.widgets.edit_row import EditRow
from napari_foundseg.widgets.ending import Ending
from napari_foundseg.widgets.history import LabelsHistory, shared_history
from napari_foundseg.widgets.image_choice import ImageChoice
from napari_foundseg.widgets.keys import bind_keys, unbind_keys
from napari_foundseg.widgets.layer_choice import LayerChoice
from napari_foundseg.widgets.layers import displayed_axes, label_spacing
from napari_foundseg.widgets.message import Message
from napari_foundseg.widgets.results import editable_copy
from napari_foundseg.widgets.review import least_certain
from napari_foundseg.widgets.rows import labelled, quiet_label, side_by_side
from napari_foundseg.widgets.tables import save_table

__all__ = ["CorrectWidget"]

_WIDTH = 310
#: Pixels of the canvas from which on a press is a drag.
_DRAG = 5


class CorrectWidget(QScrollArea):
    """Merge, split and mend objects.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.history: LabelsHistory | None = None
        self.chosen: list[int] = []
        self._seen: set[int] = set()
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMinimumWidth(_WIDTH)
        page = QWidget()
        self._layout = QVBoxLayout(page)
        self._layout.setContentsMargins(6, 6, 6, 6)
        self._build()
        self.setWidget(page)
        self.destroyed.connect(Ending(self))
        self._follow_layer()

    @property
    def layer(self) -> Labels | None:
        """The layer that is corrected; None while there is none."""
        return None if self.history is None else self.history.layer

    def choose(self, ids: list[int]) -> None:
        """Choose objects for the tools.

        Parameters
        ----------
        ids : list of int
            In the order they were clicked.
        """
        self.chosen = ids
        if ids and self.layer is not None:
            self.layer.selected_label = ids[-1]
        self._describe()

    def merge(self) -> None:
        """Make one object of the chosen ones."""
        if len(self.chosen) < 2:
            self._fail(PromptError("To merge, click the first object, then Shift+click the others."))
            return
        first = self.chosen[0]
        if self._edit("merge", lambda labels: edits.merge(labels, self.chosen)):
            self.choose([first])

    def delete(self) -> None:
        """Remove the chosen objects."""
        if self._edit("delete", lambda labels: edits.delete(labels, self._some())):
            self.choose([])

    def delete_small(self) -> None:
        """Remove all objects that are smaller than the given size."""
        least = self.smallest.value()

        def pieces(labels: Any) -> edits.Pieces:
            ids, areas = np.unique(labels, return_counts=True)
            return edits.delete(labels, [int(i) for i, n in zip(ids, areas, strict=True) if i and n < least])

        self._edit("delete small objects", pieces)
        self.choose([])

    def fill_holes(self) -> None:
        """Fill the background that the chosen objects enclose."""
        self._each("fill holes", edits.fill_holes)

    def smooth(self) -> None:
        """Round off the outlines of the chosen objects."""
        self._each("smooth", lambda la, i, s: edits.smooth(la, i, self.amount.value(), s))

    def grow(self) -> None:
        """Move the outlines of the chosen objects outwards."""
        self._each("grow", lambda la, i, s: edits.grow(la, i, self.amount.value(), s))

    def shrink(self) -> None:
        """Move the outlines of the chosen objects inwards."""
        self._each("shrink", lambda la, i, s: edits.grow(la, i, -self.amount.value(), s))

    def keep_largest(self) -> None:
        """Remove all but the largest part of the chosen objects."""
        self._each("keep largest part", lambda la, i, _: edits.keep_largest(la, i))

    def renumber(self) -> None:
        """Give the objects ids without gaps."""
        self._edit("renumber", edits.renumber)
        self.choose([])

    def next_least_certain(self) -> None:
        """Choose the object, not looked at yet, that the model is least certain of, and show it."""
        if self.layer is None:
            return
        found = least_certain(self.layer, self._seen)
        if found is None:
            self._seen.clear()
            self.state.setText("All objects were looked at.")
            return
        label, position = found
        self._seen.add(label)
        self.viewer.dims.point = self.layer.data_to_world(position)
        self.viewer.scene.camera.center = self.layer.data_to_world(position)[-3:]
        self.choose([label])

    def save_table(self, path: str | None = None) -> None:
        """Measure all objects and save the table.

        Parameters
        ----------
        path : str, optional
            A CSV file; asked for by default.
        """
        layer = self.layer
        if layer is None:
            return
        if path is None:
            path, _ = QFileDialog.getSaveFileName(self, "Save table", f"{layer.name}.csv", "Table (*.csv)")
        if not path:
            return
        try:
            count = save_table(layer, self._image(), path)
        except FoundsegError as error:
            self._fail(error)
            return
        self.state.setText(f"{count} objects measured; saved as {path}.")

    def release(self) -> None:
        """Let go of the layer and the viewer."""
        self._leave()
        self.objects.disconnect_viewer()
        self.image.disconnect_viewer()

    # Building.

    def _build(self) -> None:
        self.image = ImageChoice(self.viewer)
        self.objects = LayerChoice(self.viewer, Labels, "The Labels layer to correct. It follows the selected layer.")
        self.objects.changed.connect(self._follow_layer)
        self.state = quiet_label("")
        self.message = Message(self.viewer.theme)
        self.copy_button = QPushButton("Make an editable copy")
        self.copy_button.clicked.connect(self._copy)
        self.copy_button.hide()
        for widget in (labelled("Image", self.image), labelled("Objects", self.objects), self.state, self.message,
                       self.copy_button):  # fmt: skip
            self._layout.addWidget(widget)
        self._tools()
        self.edits = EditRow(self.viewer.theme)
        self._layout.addWidget(self.edits)
        self._layout.addStretch(1)

    def _tools(self) -> None:
        self.keys: dict[str, Callable[[], None]] = {}
        self.buttons: dict[str, QPushButton] = {}
        self.split_button = QPushButton("Split (K)")
        self.split_button.setCheckable(True)
        self.split_button.setToolTip(
            "Divide the chosen object: click once in each of its two parts, or drag a line across it."
        )
        self.split_button.toggled.connect(self._arm_split)
        self.keys["K"] = self.split_button.toggle
        self._points: list[tuple[float, ...]] = []
        rows: list[list[tuple[str, str, Callable[[], None], str]]] = [
            [("Merge", "J", self.merge, "Make one object of those that were clicked with Shift; the first id stays."),
             ("Delete", "D", self.delete, "Remove the chosen objects.")],
            [("Fill holes", "H", self.fill_holes, "Fill the background that the chosen objects enclose."),
             ("Keep largest", "Q", self.keep_largest, "Remove loose pieces: only the largest part stays.")],
            [("Grow", "G", self.grow, "Move the outline outwards by the amount; other objects keep their pixels."),
             ("Shrink", "Shift-G", self.shrink, "Move the outline inwards by the amount.")],
            [("Smooth", "S", self.smooth, "Round off the outline over the amount."),
             ("Least certain", "N", self.next_least_certain, "Show the next object that the model trusts least.")],
        ]  # fmt: skip
        self._amount_row()
        grid = QGridLayout()
        grid.addWidget(self.split_button, 0, 0, 1, 2)
        for i, row in enumerate(rows, 1):
            for k, (text, key, act, help_text) in enumerate(row):
                button = QPushButton(f"{text} ({key.replace('Shift-', '⇧')})")
                button.setToolTip(f"{help_text} Key {key.replace('-', '+')} on the layer.")
                button.clicked.connect(lambda _checked=False, act=act: act())
                self.buttons[text] = button
                self.keys[key] = act
                grid.addWidget(button, i, k)
        self._layout.addLayout(grid)
        self.smallest = QSpinBox()
        self.smallest.setRange(1, 10**9)
        self.smallest.setValue(20)
        self.smallest.setSuffix(" pixels")
        self.smallest.setToolTip("Objects with fewer pixels are removed.")
        small = QPushButton("Delete smaller")
        small.clicked.connect(lambda: self.delete_small())
        tidy = QPushButton("Renumber")
        tidy.setToolTip("Number the objects 1, 2, 3, … without gaps.")
        tidy.clicked.connect(lambda: self.renumber())
        table = QPushButton("Save table…")
        table.setToolTip("Measure every object (size, diameters, mean intensities) and save the table as CSV.")
        table.clicked.connect(lambda: self.save_table())
        self.buttons |= {"Delete smaller": small, "Renumber": tidy, "Save table": table}
        self._layout.addWidget(side_by_side(self.smallest, small))
        self._layout.addWidget(side_by_side(tidy, table))

    def _amount_row(self) -> None:
        self.amount = QDoubleSpinBox()
        self.amount.setRange(0.01, 10_000)
        self.amount.setValue(1)
        self.amount.setToolTip("How far Grow, Shrink and Smooth go, in the layer's unit.")
        self._layout.addWidget(labelled("Amount", self.amount))

    # The layer.

    def _follow_layer(self) -> None:
        layer = self.objects.layer
        if layer is self.layer and layer is not None:
            return
        self._leave()
        self.message.say("")
        if layer is None:
            self.state.setText("Add or select a Labels layer to correct.")
        elif layer.multiscale or not isinstance(layer.data, np.ndarray) or not layer.data.flags.writeable:
            self._refuse(layer)
        else:
            self._enter(layer)

    def _enter(self, layer: Labels) -> None:
        self.history = shared_history(layer, self._image())
        self.edits.follow(self.history)
        layer.mouse_drag_callbacks.append(self._pressed)
        bind_keys(layer, self.keys)
        unit = label_spacing(layer)[1]
        self.amount.setSuffix(f" {unit}")
        self._seen.clear()
        self.choose([])

    def _leave(self) -> None:
        self.copy_button.hide()
        history, self.history = self.history, None
        if history is None:
            return
        self.split_button.setChecked(False)
        if self._pressed in history.layer.mouse_drag_callbacks:
            history.layer.mouse_drag_callbacks.remove(self._pressed)
        unbind_keys(history.layer, self.keys)
        history.leave()

    def _refuse(self, layer: Labels) -> None:
        kind = "multiscale" if layer.multiscale else f"a {type(layer.data).__name__} that cannot be written"
        self.state.setText("")
        self.message.say(f"{layer.name!r} is {kind}; only labels in memory can be corrected. Make an editable copy.")
        self.copy_button.show()

    def _copy(self) -> None:
        layer = self.objects.layer
        if layer is None:
            return
        self.viewer.add_layer(editable_copy(self.viewer, layer))

    def _image(self) -> Any:
        try:
            return self.image.image()
        except FoundsegError:
            return None

    # Clicks.

    def _pressed(self, layer: Labels, event: Any) -> Generator[None, None, None]:
        """Choose the object that is clicked; while splitting, note points or a line."""
        if layer.mode not in ("pan_zoom", "pick") or event.button != 1:
            return
        start = tuple(float(v) for v in layer.world_to_data(event.position))
        label = int(
            layer.get_value(event.position, view_direction=event.view_direction, dims_displayed=event.dims_displayed,
                            world=True) or 0
        )  # fmt: skip
        more, pressed_at = "Shift" in event.modifiers, np.array(event.pos, float)
        yield
        while event.type == "mouse_move":
            yield
        # Not by the moves between: napari drops those that come quickly.
        dragged = bool(np.hypot(*(np.array(event.pos, float) - pressed_at)) >= _DRAG)
        if self.split_button.isChecked():
            end = tuple(float(v) for v in layer.world_to_data(event.position))
            self._split_at(start, end if dragged else None)
        elif not dragged and label:
            kept = [i for i in self.chosen if i != label] if more else []
            self.choose([*kept, label])

    def _arm_split(self, on: bool) -> None:
        self._points.clear()
        if self.layer is not None:
            self.layer.mouse_pan = not on
        if on:
            self.message.say("")
            if len(self.chosen) != 1:
                self.split_button.setChecked(False)
                self._fail(PromptError("To split, click one object first, then press Split."))
                return
            self.state.setText(f"Object {self.chosen[0]}: click in each part, or drag a line across it.")
        else:
            self._describe()

    def _split_at(self, start: tuple[float, ...], end: tuple[float, ...] | None) -> None:
        layer = self.layer
        assert layer is not None
        label = self.chosen[0]
        if self.viewer.dims.ndisplay != 2:
            self._fail(PromptError("Splitting is for the 2-D view. Press the 2D/3D button below the layer list first."))
            return
        if end is not None:
            plane = displayed_axes(self.viewer, layer)
            done = self._edit("split", lambda labels: edits.split_by_line(labels, label, start, end, plane))
        else:
            self._points.append(start)
            if len(self._points) < 2:
                self.state.setText(f"Object {label}: now click in the other part.")
                return
            points, self._points = self._points, []
            spacing = label_spacing(layer)[0]
            done = self._edit("split", lambda labels: edits.split(labels, label, points, spacing))
        if done:
            self.split_button.setChecked(False)

    # Writing.

    def _some(self) -> list[int]:
        if not self.chosen:
            raise PromptError("No object is chosen. Click one (Shift+click for more).")
        return self.chosen

    def _each(self, name: str, make: Callable[[Any, int, edits.Spacing], edits.Pieces]) -> None:
        layer = self.layer
        if layer is None:
            return
        spacing = label_spacing(layer)[0]
        # One object after the other: their boxes overlap, so each must see what was written for the last.
        self._edit(name, lambda labels: (piece for i in self._some() for piece in make(labels, i, spacing)))

    def _edit(self, name: str, make: Callable[[Any], Iterable[tuple[Box, Any]]]) -> bool:
        """Write what a tool makes of the labels; say what was wrong, or that nothing changed."""
        if self.history is None:
            return False
        self.message.say("")
        try:
            changed = self.history.write(name, make(self.history.layer.data))
        except FoundsegError as error:
            self._fail(error)
            return False
        self._describe()
        if not changed:
            self.state.setText(f"{self.state.text()} Nothing to change.")
        return True

    def _fail(self, error: FoundsegError) -> None:
        self.message.say(str(error))
        self.ensureWidgetVisible(self.message)

    def _describe(self) -> None:
        layer = self.layer
        if layer is None:
            return
        if not self.chosen:
            self.state.setText("Click an object (Shift+click for more).")
            return
        pixels = int(np.isin(layer.data, self.chosen).sum())
        spacing, unit = label_spacing(layer)
        known = [s for s in spacing if s is not None]
        size = f", {pixels * float(np.prod(known)):.4g} {unit}{'²³'[len(known) - 2]}" if unit != "px" else ""
        names = ", ".join(map(str, self.chosen))
        self.state.setText(f"Object{'s' if len(self.chosen) > 1 else ''} {names}: {pixels} pixels{size}")
