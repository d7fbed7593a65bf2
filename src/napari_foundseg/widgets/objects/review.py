"""The review of objects one by one: which comes next, what the person says of it."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtWidgets import QGridLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from napari_foundseg.core.editing import edits
from napari_foundseg.core.errors import PromptError
from napari_foundseg.widgets.controls.rows import labelled, quiet_label
from napari_foundseg.widgets.layers.camera import centre_on
from napari_foundseg.widgets.layers.layer_conversion import layer_axes
from napari_foundseg.widgets.layers.object_features import ACCEPTED, REJECTED, known_of
from napari_foundseg.widgets.objects.measurements import Measurements, shared_measurements

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from napari_foundseg.widgets.objects.correct_dock import CorrectWidget

__all__ = ["Review", "least_certain"]


def least_certain(table: pd.DataFrame, seen: Collection[int]) -> int | None:
    """Return the object that the model trusts least.

    Parameters
    ----------
    table : pandas.DataFrame
        The object table; objects without scores come last, the smallest of them first.
    seen : collection of int
        Objects to leave out, as accepted and rejected ones are.

    Returns
    -------
    int or None
        None where all were seen.
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
    form : CorrectWidget
        Where objects are chosen and written.
    """

    def __init__(self, form: CorrectWidget) -> None:
        super().__init__()
        self._form = form
        self._measurements: Measurements | None = None
        self._seen: set[int] = set()
        self._waiting = False
        self.note = QLineEdit()
        self.note.setPlaceholderText("on the chosen object")
        self.note.setToolTip("Kept with the object in the layer's features, and in the table.")
        self.note.setAccessibleName("Note")
        self.note.editingFinished.connect(self._keep_note)
        self.state = quiet_label("")
        self.keys: dict[str, Callable[[], None]] = {"A": self.accept, "R": self.reject, "N": self.next}
        self.buttons: dict[str, QPushButton] = {}
        grid = QGridLayout()
        for i, (name, key, help_text) in enumerate((
            ("Accept", "A", "The object is right; go on to the next."),
            ("Reject", "R", "It is no object: delete it and go on to the next. Undo brings it back."),
            ("Next", "N", "Show the next object, least certain first (predicted IoU times stability)."),
        )):  # fmt: skip
            button = self.buttons[name] = QPushButton(f"{name} ({key})")
            button.setToolTip(f"{help_text} Key {key} on the layer.")
            button.clicked.connect(lambda _checked=False, act=self.keys[key]: act())
            grid.addWidget(button, 0, i)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(labelled("Note", self.note))
        layout.addLayout(grid)
        layout.addWidget(self.state)

    def enter(self) -> None:
        """Begin with the form's layer."""
        assert self._form.history is not None
        self._seen.clear()
        self._measurements = shared_measurements(self._form.history)
        self._measurements.changed.connect(self._refresh)
        self._refresh()

    def leave(self) -> None:
        """Let go of the layer."""
        self._waiting = False
        if self._measurements is not None:
            self._measurements.changed.disconnect(self._refresh)
            self._measurements.leave()
            self._measurements = None

    def accept(self) -> None:
        """Mark the chosen objects as right, as one step, and go on."""
        history = self._form.history
        if self._chosen() and history is not None:
            history.note("mark as right", self._form.chosen, review=ACCEPTED, note=self._said())
            self.next()

    def reject(self) -> None:
        """Delete the chosen objects as one step, remember that they were rejected, and go on."""
        chosen, layer = self._chosen(), self._form.layer
        if not chosen or layer is None:
            return
        before = known_of(layer, chosen)
        known = {i: {**before.get(i, {}), "review": REJECTED, "note": self._said()} for i in chosen}
        if self._form.write("reject", lambda labels: edits.delete(labels, chosen), known):
            self._seen.update(chosen)
            self.next()

    def next(self) -> None:
        """Choose the object, not looked at yet, that the model is least certain of, and show it."""
        form, layer = self._form, self._form.layer
        if layer is None or self._measurements is None:
            return
        table = self._measurements.table
        if table is None:
            self._waiting = True
            form.state.setText("Measuring the objects…")
            return
        label = least_certain(table, self._seen)
        if label is None:
            self._seen.clear()
            form.choose([])
            form.state.setText("All objects were looked at.")
            return
        self._seen.add(label)
        row = table[table["label"] == label].iloc[0]
        centre_on(form.viewer, layer, [float(row[axis]) for axis in layer_axes(layer).lower()])
        form.choose([label])

    def show_note(self) -> None:
        """Show the note on the chosen object."""
        layer, chosen = self._form.layer, self._form.chosen[-1:]
        known = {} if layer is None else known_of(layer, chosen)
        self.note.setText(next((str(facts.get("note", "")) for facts in known.values()), ""))
        self.note.setEnabled(bool(chosen))

    def _chosen(self) -> list[int]:
        if self._form.layer is not None and not self._form.chosen:
            self._form.fail(PromptError("No object is chosen. Click one, or press Next."))
        return self._form.chosen

    def _said(self) -> str:
        """Return the note, which is kept with what follows."""
        self.note.setModified(False)
        return self.note.text()

    def _keep_note(self) -> None:
        history = self._form.history
        if history is not None and self._form.chosen and self.note.isModified():
            history.note("note", self._form.chosen, note=self._said())

    def _refresh(self) -> None:
        table = None if self._measurements is None else self._measurements.table
        if table is None:
            return
        accepted, rejected = (int((table["review"] == said).sum()) for said in (ACCEPTED, REJECTED))
        here = int((table["pixels"] > 0).sum())
        self.state.setText(f"{accepted} of {here} objects accepted, {rejected} rejected" if accepted + rejected else "")
        if self._waiting:
            self._waiting = False
            self.next()
