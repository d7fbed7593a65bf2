"""Review of objects one by one: accept, reject, note, next."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QGridLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from napari_foundseg.core.editing import edits
from napari_foundseg.core.errors import PromptError
from napari_foundseg.widgets.controls.rows import labelled_row, wrapping_label
from napari_foundseg.widgets.layers.camera import centre_on
from napari_foundseg.widgets.layers.layer_axes import layer_axes
from napari_foundseg.widgets.layers.object_features import ACCEPTED, REJECTED, read_facts
from napari_foundseg.widgets.objects.measurements import Measurements, shared_measurements

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from napari.components import ViewerModel

    from napari_foundseg.widgets.editing.labels_history import LabelsHistory
    from napari_foundseg.widgets.objects.chosen_objects import ChosenObjects

__all__ = ["Review", "least_certain"]


def least_certain(table: pd.DataFrame, seen: Collection[int]) -> int | None:
    """Return the least certain object that is neither reviewed nor in `seen`; None if there is none.

    Parameters
    ----------
    table : pandas.DataFrame
        The object table; objects without scores come last, smallest first.
    """
    left = table[(table["review"] == "") & (table["pixels"] > 0) & ~table["label"].isin(seen)]
    if left.empty:
        return None
    certainty = left.get("certainty", np.inf)
    ordered = left.assign(certainty=certainty).sort_values(["certainty", "pixels", "label"])
    return int(ordered["label"].iloc[0])


class Review(QWidget):
    """Accept and reject objects, least certain first, with a note on each.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer, whose camera moves to the next object.
    chosen : ChosenObjects
        The objects to accept, reject or annotate.
    write : callable
        Writes an edit, like `LabelsDock.write`.
    """

    #: Progress in words.
    said = Signal(str)
    #: A `FoundsegError`.
    failed = Signal(object)

    def __init__(self, viewer: ViewerModel, chosen: ChosenObjects, write: Callable[..., bool | None]) -> None:
        super().__init__()
        self._viewer = viewer
        self._chosen = chosen
        self._write = write
        self._history: LabelsHistory | None = None
        self._measurements: Measurements | None = None
        self._seen: set[int] = set()
        self._waiting = False
        self.note = QLineEdit()
        self.note.setPlaceholderText("on the chosen object")
        self.note.setToolTip("Note on the object; saved in the layer's features and in the table.")
        self.note.setAccessibleName("Note")
        self.note.editingFinished.connect(self._keep_note)
        self.state = wrapping_label("")
        self.keys: dict[str, Callable[[], None]] = {"A": self.accept, "R": self.reject, "N": self.next}
        self.buttons: dict[str, QPushButton] = {}
        grid = QGridLayout()
        for i, (name, key, help_text) in enumerate((
            ("Accept", "A", "Accept the object and show the next."),
            ("Reject", "R", "Reject the object: delete it and show the next. Undo restores it."),
            ("Next", "N", "Show the next object, least certain first (predicted IoU times stability)."),
        )):  # fmt: skip
            button = self.buttons[name] = QPushButton(f"{name} ({key})")
            button.setToolTip(f"{help_text} Key {key} on the layer.")
            button.clicked.connect(lambda _checked=False, act=self.keys[key]: act())
            grid.addWidget(button, 0, i)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(labelled_row("Note", self.note))
        layout.addLayout(grid)
        layout.addWidget(self.state)

        chosen.changed.connect(self._show_note)

    def enter(self, history: LabelsHistory) -> None:
        """Start to review the objects of a layer."""
        self._history = history
        self._seen.clear()
        self._measurements = shared_measurements(history, self)
        self._measurements.changed.connect(self._show_progress)
        self._show_progress()

    def leave(self) -> None:
        """Disconnect from the layer."""
        self._waiting = False
        self._history = None
        if self._measurements is not None:
            self._measurements.changed.disconnect(self._show_progress)
            self._measurements.leave(self)
            self._measurements = None

    def accept(self) -> None:
        """Mark the chosen objects as accepted, in one step, and show the next."""
        chosen = self._require_chosen()
        if chosen and self._history is not None:
            self._history.note("mark as right", chosen, review=ACCEPTED, note=self._read_note())
            self.next()

    def reject(self) -> None:
        """Delete the chosen objects and mark them as rejected, in one step, and show the next."""
        chosen = self._require_chosen()
        if not chosen or self._history is None:
            return
        before = read_facts(self._history.layer, chosen)
        known = {i: {**before.get(i, {}), "review": REJECTED, "note": self._read_note()} for i in chosen}
        if self._write("reject", lambda labels: edits.delete(labels, chosen), known):
            self._seen.update(chosen)
            self.next()

    def next(self) -> None:
        """Choose and show the object with the lowest certainty among those not shown yet."""
        if self._history is None or self._measurements is None:
            return
        table = self._measurements.table
        if table is None:
            self._waiting = True
            self.said.emit("Measuring the objects…")
            return
        label = least_certain(table, self._seen)
        if label is None:
            self._seen.clear()
            self._chosen.choose([])
            self.said.emit("All objects have been shown.")
            return
        self._seen.add(label)
        row = table[table["label"] == label].iloc[0]
        layer = self._history.layer
        centre_on(self._viewer, layer, [float(row[axis]) for axis in layer_axes(layer).lower()])
        self._chosen.choose([label])

    def _show_note(self) -> None:
        last = self._chosen.last
        known = {} if self._history is None or last is None else read_facts(self._history.layer, [last])
        self.note.setText(next((str(facts.get("note", "")) for facts in known.values()), ""))
        self.note.setEnabled(last is not None)

    def _require_chosen(self) -> list[int]:
        if self._history is not None and not self._chosen.ids:
            self.failed.emit(PromptError("No object is chosen. Click one, or press Next."))
        return self._chosen.ids

    def _read_note(self) -> str:
        """Return the note; the caller stores it."""
        self.note.setModified(False)
        return self.note.text()

    def _keep_note(self) -> None:
        chosen = self._chosen.ids
        if self._history is not None and chosen and self.note.isModified():
            self._history.note("note", chosen, note=self._read_note())

    def _show_progress(self) -> None:
        table = None if self._measurements is None else self._measurements.table
        if table is None:
            return
        accepted, rejected = (int((table["review"] == said).sum()) for said in (ACCEPTED, REJECTED))
        here = int((table["pixels"] > 0).sum())
        self.state.setText(f"{accepted} of {here} objects accepted, {rejected} rejected" if accepted + rejected else "")
        if self._waiting:
            self._waiting = False
            self.next()
