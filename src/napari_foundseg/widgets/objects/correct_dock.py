"""The dock widget *Correct*: merge, split and repair objects of a Labels layer; each step can be undone."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any

import numpy as np
from napari.layers import Image as ImageLayer
from napari.layers import Labels
from napari.viewer import Viewer
from qtpy.QtWidgets import QDoubleSpinBox, QGridLayout, QPushButton, QWidget

from napari_foundseg.core.editing import edits
from napari_foundseg.core.editing.difference import SliceBox
from napari_foundseg.core.editing.each_object import edit_each
from napari_foundseg.core.editing.edit_progress import EditProgress
from napari_foundseg.core.editing.object_facts import Facts
from napari_foundseg.core.errors import PromptError
from napari_foundseg.core.measuring.number_text import number_text, size_text
from napari_foundseg.widgets.controls.rows import labelled_row
from napari_foundseg.widgets.layers.layer_axes import label_spacing
from napari_foundseg.widgets.layers.layer_keys import bind_keys, unbind_keys
from napari_foundseg.widgets.layers.object_features import read_facts
from napari_foundseg.widgets.objects.chosen_objects import ChosenObjects
from napari_foundseg.widgets.objects.click_hint import ClickHint
from napari_foundseg.widgets.objects.fill_slices import SliceFilling
from napari_foundseg.widgets.objects.labels_dock import LabelsDock
from napari_foundseg.widgets.objects.object_outlines import ObjectOutlines, shared_outlines
from napari_foundseg.widgets.objects.pointed_object import pointed_object
from napari_foundseg.widgets.objects.review import Review
from napari_foundseg.widgets.objects.slice_scope import SliceScope
from napari_foundseg.widgets.objects.split_button import SplitButton

__all__ = ["CorrectWidget"]

#: Movement in canvas pixels from which a press counts as a drag.
_DRAG = 5
#: Maximum number of chosen objects whose ids are listed.
_NAMED = 20


class CorrectWidget(LabelsDock):
    """Merge, split and repair objects."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer)
        self.chosen_objects = ChosenObjects()
        self._outlines: ObjectOutlines | None = None
        #: Whether the object being edited was under the pointer, and not clicked.
        self._pointed = False
        self.build()

    @property
    def chosen(self) -> list[int]:
        """Ids of the chosen objects, in the order in which the user clicked them."""
        return self.chosen_objects.ids

    def choose(self, ids: list[int]) -> None:
        """Choose the objects on which the tools act."""
        self._pointed = False
        self.chosen_objects.choose(ids)

    def merge(self) -> None:
        """Merge the chosen objects into the first."""
        if len(self.chosen) < 2:
            self.fail(PromptError("To merge, click the first object, then Shift+click the others."))
            return
        ids = self.chosen
        self._edit_chosen("merge", lambda labels: edits.merge(labels, ids), then=lambda: self.choose(ids[:1]))

    def delete(self) -> None:
        """Remove the chosen objects."""
        ids = self.chosen
        self._edit_chosen("delete", lambda labels: edits.delete(labels, ids), then=self._choose_none_left)

    def _choose_none_left(self) -> None:
        if self._count_pixels(self.chosen) == 0:
            self.choose([])

    def fill_holes(self) -> None:
        """Fill the holes of the chosen objects."""
        self._edit_each("fill holes", edits.fill_holes)

    def fill_slices(self) -> None:
        """Fill the slices between those in which the chosen objects are painted."""
        if self.layer is None:
            return
        try:
            filling = SliceFilling(self.viewer, self.layer, self.chosen)
        except PromptError as error:
            self.fail(error)
            return
        self._edit_chosen(
            "fill between slices", filling.make, filling.progress, lambda: filling.tell(self._add_words), whole=True
        )

    def _add_words(self, words: str) -> None:
        if words:
            self.state.setText(f"{self.state.text().removesuffix('.')}. {words}")

    def smooth(self) -> None:
        """Smooth the outlines of the chosen objects."""
        amount = self.amount.value()
        self._edit_each("smooth", lambda la, i, s: edits.smooth(la, i, amount, s), 2 * amount)

    def grow(self) -> None:
        """Move the outlines of the chosen objects outwards; other objects keep their pixels."""
        amount = self.amount.value()
        self._edit_each("grow", lambda la, i, s: edits.grow(la, i, amount, s), amount)

    def shrink(self) -> None:
        """Move the outlines of the chosen objects inwards."""
        amount = self.amount.value()
        self._edit_each("shrink", lambda la, i, s: edits.grow(la, i, -amount, s))

    def keep_largest(self) -> None:
        """Remove all but the largest part of the chosen objects."""
        self._edit_each("keep largest part", lambda la, i, _: edits.keep_largest(la, i))

    def renumber(self) -> None:
        """Renumber the objects without gaps; they keep their scores and notes."""
        if self.history is not None:
            self.choose([])
            self.write_soon("renumber", self._prepare_renumber, "Renumbering…")

    def _prepare_renumber(self) -> tuple[Callable[[Any], edits.Pieces], Facts]:
        assert self.history is not None
        ids = self.history.counted.census.ids
        before = read_facts(self.history.layer)
        # Rejected objects have no pixels, but they have a row in the table.
        gone = [i for i in before if i not in set(ids)]
        now: dict[int, Any] = {label: {} for label in before}
        now |= {new: before.get(old, {}) for new, old in enumerate([*ids, *gone], 1)}
        return lambda labels: edits.renumber(labels, ids), now

    # Building the form.

    def add_tools(self) -> None:
        """Add the tools and the review."""
        self.click_hint = ClickHint(self.viewer)
        self._layout.addWidget(self.click_hint)
        self._add_tool_buttons()
        self.chosen_objects.changed.connect(self._show_chosen)
        self.review = Review(self.viewer, self.chosen_objects, self.write)
        self.review.said.connect(self.state.setText)
        self.review.failed.connect(self.fail)
        self.keys |= self.review.keys
        self._layout.addWidget(self.review)

    def _add_tool_buttons(self) -> None:
        self.keys: dict[str, Callable[[], None]] = {}
        self.buttons: dict[str, QPushButton] = {}
        self.scope = SliceScope(self.viewer)
        self.split_button = SplitButton(self.viewer, self, self.chosen_objects, self._write_edit, self.scope)
        self.split_button.asked.connect(self._show_split)
        self.split_button.started.connect(self._show_split_started)
        self.split_button.done.connect(self._show_split_done)
        self.keys["K"] = self._at_pointer(self.split_button.toggle)
        rows: list[list[tuple[str, str, Callable[[], None], str]]] = [
            [("Merge", "J", self.merge, "Merge the chosen objects (Shift+click for more) into the first."),
             ("Delete", "D", self.delete, "Remove the chosen objects.")],
            [("Fill holes", "H", self.fill_holes, "Fill the holes of the chosen objects."),
             ("Keep largest", "Q", self.keep_largest, "Remove all parts of the chosen objects but the largest.")],
            [("Grow", "G", self.grow, "Expand the outline by the amount; other objects keep their pixels."),
             ("Shrink", "Shift-G", self.shrink, "Contract the outline by the amount.")],
            [("Smooth", "S", self.smooth, "Smooth the outline by the amount."),
             ("Renumber", "", self.renumber, "Number the objects 1, 2, 3, … without gaps.")],
            [("Fill between slices", "I", self.fill_slices, "Fill the slices between those where it is painted.")],
        ]  # fmt: skip
        self._amount_row()
        self.scope.follow(None)
        self._layout.addWidget(labelled_row("Act on", self.scope))
        where = "; where none is chosen, it acts on the object under the pointer"
        self._layout.addWidget(labelled_row("Split with", self.split_button.model))
        grid = QGridLayout()
        grid.addWidget(self.split_button, 0, 0, 1, 2)
        for i, row in enumerate(rows, 1):
            for k, (text, key, act, help_text) in enumerate(row):
                button = QPushButton(f"{text} ({key.replace('Shift-', '⇧')})" if key else text)
                button.setToolTip(f"{help_text} Key {key.replace('-', '+')} on the layer{where}." if key else help_text)
                button.clicked.connect(lambda _checked=False, act=act: act())
                self.buttons[text] = button
                self.keys |= {key: self._at_pointer(act)} if key else {}
                grid.addWidget(button, i, k)
        self._layout.addLayout(grid)

    def _at_pointer(self, act: Callable[[], None]) -> Callable[[], None]:
        """Return the function for a key: it runs the tool, on the object under the pointer if none is chosen.

        If one object is chosen, *Merge* takes the object under the pointer as the second. An object that was only under
        the pointer is not chosen afterwards.
        """

        def on_key() -> None:
            layer = self.layer
            label = 0 if layer is None else pointed_object(self.viewer, layer)
            lacks = len(self.chosen) < (2 if act == self.merge else 1)
            if label and label not in self.chosen and lacks and not self.split_button.isChecked():
                self.chosen_objects.add(label)
                self._pointed = True
            pointed = self._pointed
            act()
            if pointed and not self.split_button.isChecked():
                words = self.state.text()
                self.choose([])
                self.state.setText(words)

        return on_key

    def _amount_row(self) -> None:
        self.amount = QDoubleSpinBox()
        self.amount.setRange(0.01, 10_000)
        self.amount.setValue(1)
        self.amount.setToolTip(
            "How far Grow, Shrink and Smooth move an outline, in the layer's unit. Higher values change it more."
        )
        self._layout.addWidget(labelled_row("Amount", self.amount))

    # The layer.

    def tools(self) -> list[QWidget]:
        """Return the tools and the buttons of the review."""
        return [
            self.amount,
            self.split_button.model,
            self.split_button,
            *self.buttons.values(),
            *self.review.buttons.values(),
        ]

    def enter(self, layer: Labels) -> None:
        """Connect to a layer's mouse and keys."""
        # napari sends clicks and keys to the active layer.
        if isinstance(self.viewer.layers.selection.active, ImageLayer | None):
            self.viewer.layers.selection.active = layer
        layer.mouse_drag_callbacks.append(self._on_press)
        layer.events.selected_label.connect(self._follow_label)
        bind_keys(layer, self.keys)
        layer.events.scale.connect(self._show_unit)
        layer.events.units.connect(self._show_unit)
        self._show_unit()
        self.scope.follow(layer)
        assert self.history is not None
        self.history.changed.connect(self._follow_edit)
        self.review.enter(self.history)
        self._outlines = shared_outlines(self.viewer, self.history, self)
        self.click_hint.follow(layer)
        self.choose([])
        self.split_button.enter()

    def leave(self, layer: Labels) -> None:
        """Disconnect from a layer's mouse and keys."""
        self.scope.follow(None)
        self.split_button.leave()
        self.click_hint.leave()
        assert self.history is not None
        self.history.changed.disconnect(self._follow_edit)
        self.review.leave()
        if self._outlines is not None:
            self._outlines.leave(self)
            self._outlines = None
        if self._on_press in layer.mouse_drag_callbacks:
            layer.mouse_drag_callbacks.remove(self._on_press)
        for emitter in (layer.events.selected_label, layer.events.scale, layer.events.units):
            emitter.disconnect(self)
        unbind_keys(layer, self.keys)

    def _show_unit(self, _event: Any = None) -> None:
        """Show the unit of the layer's pixels, which applies to *Amount* and to sizes."""
        if self.layer is not None:
            self.amount.setSuffix(f" {label_spacing(self.layer)[1]}")
            self._show_chosen_size()

    def _follow_label(self, _event: Any = None) -> None:
        """Choose the object whose label is selected elsewhere, such as in the table."""
        layer = self.layer
        if layer is not None and layer.selected_label not in self.chosen and not self.split_button.isChecked():
            label = int(layer.selected_label)
            self.choose([label] if self._count_pixels([label]) else [])

    def _follow_edit(self) -> None:
        """Show the sizes of the chosen objects; choose none if they no longer exist."""
        if self._show_chosen_size() == 0:
            self.choose([])

    def _count_pixels(self, ids: list[int]) -> int:
        census = None if self.history is None else self.history.counted.census
        return 0 if census is None else census.total(ids)

    # Clicks.

    def _on_press(self, layer: Labels, event: Any) -> Generator[None, None, None]:
        """Choose the clicked object; while splitting, collect points or a line."""
        if layer.mode not in ("pan_zoom", "pick") or event.button != 1:
            return
        start = tuple(float(v) for v in layer.world_to_data(event.position))
        label = int(
            layer.get_value(event.position, view_direction=event.view_direction, dims_displayed=event.dims_displayed,
                            world=True) or 0
        )  # fmt: skip
        more = "Shift" in event.modifiers
        pressed_at = np.array(event.pos, float)
        yield
        while event.type == "mouse_move":
            yield
        # Uses the end points, since napari drops quick moves between them.
        dragged = bool(np.hypot(*(np.array(event.pos, float) - pressed_at)) >= _DRAG)
        if self.split_button.isChecked():
            end = tuple(float(v) for v in layer.world_to_data(event.position))
            self.split_button.press(start, end if dragged else None, more)
        elif not dragged and label:
            if more:
                self.chosen_objects.add(label)
            else:
                self.choose([label])

    def _show_split(self, words: str) -> None:
        """Show the next step of a split; without one, the size of the chosen objects."""
        if words:
            self.state.setText(words)
        else:
            self._show_chosen_size()

    def _show_split_started(self, words: str) -> None:
        if self._pointed:
            self.choose([])
        self.state.setText(words)

    def _show_split_done(self, words: str) -> None:
        if self._pointed and not self.split_button.isChecked():
            self.choose([])
        self.state.setText(f"{self.state.text()} {words}")

    # Writing.

    def _edit_each(
        self, name: str, make: Callable[[Any, int, edits.Spacing], edits.Pieces], reach: float = 0.0
    ) -> None:
        """Edit the chosen objects one by one; `reach` is how far the edit reads beyond them, in the layer's unit."""
        layer = self.layer
        if layer is None:
            return
        spacing = self.scope.spacing(layer)
        ids = self.chosen
        margin = [0 if s is None else int(np.ceil(reach / s)) + 1 for s in spacing]
        progress = EditProgress()
        self._edit_chosen(
            name,
            lambda labels: edit_each(labels, ids, lambda part, i: make(part, i, spacing), margin, progress),
            progress,
        )

    def _edit_chosen(
        self,
        name: str,
        make: Callable[[Any], edits.Pieces],
        progress: EditProgress | None = None,
        then: Callable[[], None] = lambda: None,
        *,
        whole: bool = False,
    ) -> None:
        """Edit the chosen objects as one step: at once, or in a background thread if it takes long.

        `whole` tells whether the edit acts on all slices, regardless of *Act on*.
        """
        if not self.chosen:
            self.fail(PromptError("No object is chosen. Click one (Shift+click for more)."))
            return

        if self.layer is not None and not whole:
            try:
                make = self.scope.edit(self.layer, self.chosen, make)
            except PromptError as error:
                self.fail(error)
                return

        def finish() -> None:
            self._show_chosen_size()
            then()
            if not whole:
                self._add_words(self.scope.in_words())

        self.edit(name, make, len(self.chosen), finish, progress)

    def _write_edit(self, name: str, make: Callable[[Any], Iterable[tuple[SliceBox, Any]]]) -> bool:
        """Write an edit; show the error, or that nothing changed."""
        changed = self.write(name, make)
        if changed is None:
            return False
        self._show_chosen_size()
        if not changed:
            self.unchanged()
        return True

    def unchanged(self) -> None:
        """Show that there was nothing to change."""
        self.state.setText(f"{self.state.text()} Nothing to change.")

    def _show_chosen(self) -> None:
        if self.layer is not None and (last := self.chosen_objects.last) is not None:
            self.layer.selected_label = last
        if self._outlines is not None:
            self._outlines.show(self.chosen)
        self._show_chosen_size()

    def _show_chosen_size(self) -> int | None:
        """Show the size of the chosen objects, and return it in pixels; None if none is chosen."""
        layer = self.layer
        if layer is None:
            return None
        chosen = self.chosen
        if not chosen:
            self.state.setText("Click an object (Shift+click for more).")
            return None
        pixels = self._count_pixels(chosen)
        spacing, unit = label_spacing(layer)
        known = [s for s in spacing if s is not None]
        size = f", {size_text(pixels * float(np.prod(known)), unit + '²³'[len(known) - 2])}" if unit != "px" else ""
        if len(chosen) > _NAMED:
            named = f"{number_text(len(chosen))} objects"
        else:
            named = f"Object{'s' if len(chosen) > 1 else ''} {', '.join(map(str, chosen))}"
        self.state.setText(f"{named}: {number_text(pixels)} pixels{size}")
        return pixels
