"""Undo and redo of marks: points, shapes and strokes, in the order in which they were made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined] # qtpy adds it

if TYPE_CHECKING:
    from napari.layers import Points, Shapes

    from napari_foundseg.widgets.editing.labels_history import LabelsHistory
    from napari_foundseg.widgets.prompt.unfinished_shape import UnfinishedShape

__all__ = ["LayerMarks", "MarkHistory", "MarkStep", "PromptSteps"]

_SHAPE_NAMES = {"rectangle": "Box", "ellipse": "Shape", "polygon": "Shape"}


@dataclass(frozen=True)
class MarkStep:
    """Marks that were made, moved or deleted in one action.

    Parameters
    ----------
    name : str
        Name of the step, for a tooltip.
    undone, redone : str
        The messages after undo and redo; ``{where}`` stands for the slice.
    where : callable
        Returns the name of the slice; empty if the viewer shows that slice.
    """

    name: str
    undone: str
    redone: str
    undo: Callable[[], None]
    redo: Callable[[], None]
    where: Callable[[], str] = str


class MarkHistory(QObject):
    """The undo history of all marks in a session.

    Parameters
    ----------
    unfinished : UnfinishedShape
        The shape that is being drawn; its corners are undone first.
    write : callable
        Takes a function that writes marks, calls it, and reports a single change.
    """

    #: The steps have changed.
    changed = Signal()

    def __init__(self, unfinished: UnfinishedShape, write: Callable[[Callable[[], None]], None]) -> None:
        super().__init__()
        self._unfinished = unfinished
        self._write = write
        self._done: list[MarkStep] = []
        self._undone: list[MarkStep] = []

    @property
    def undo_name(self) -> str | None:
        """Name of the step that undo would revert; None if there are no marks."""
        if self._unfinished.layer is not None:
            return "corner"
        return self._done[-1].name if self._done else None

    @property
    def redo_name(self) -> str | None:
        """Name of the step that redo would repeat; None if there is none."""
        if self._unfinished.can_redo:
            return "corner"
        return self._undone[-1].name if self._undone else None

    def add(self, step: MarkStep) -> None:
        """Add a step that was done; steps that were undone before can no longer be redone."""
        self._undone.clear()
        self._done.append(step)
        self.changed.emit()

    def clear(self) -> None:
        """Forget all steps, because the marks were accepted or cleared."""
        self._done.clear()
        self._undone.clear()
        self.changed.emit()

    def undo(self) -> str:
        """Revert the last step and return a message about it."""
        if self._unfinished.layer is not None:
            return self._unfinished.undo()
        step = self._done.pop()
        self._undone.append(step)
        self._write(step.undo)
        return step.undone.format(where=step.where())

    def redo(self) -> str:
        """Repeat the step that was undone last and return a message about it."""
        if self._unfinished.can_redo:
            return self._unfinished.redo()
        step = self._undone.pop()
        self._done.append(step)
        self._write(step.redo)
        return step.redone.format(where=step.where())


class LayerMarks:
    """The marks of a Points or Shapes layer; the difference between two states is a step."""

    def __init__(self, layer: Points | Shapes, where: Callable[[Any, Any], str]) -> None:
        self._layer = layer
        self._where = where
        self._known = self._read()

    def forget(self) -> None:
        """Take the current marks as the new starting state."""
        self._known = self._read()

    def step(self) -> MarkStep | None:
        """Return the changes since the last step as a new step; None if nothing has changed."""
        before = self._known
        after = self._known = self._read()
        if before.same(after):
            return None
        kind, place = self._name_changed(before, after)
        more = after.count - before.count
        many = abs(more) > 1
        name = f"{abs(more)} {kind.lower()}s" if many else kind
        gone = f"{name}{{where}} removed"
        back = f"{name}{{where}} {'are' if many else 'is'} back"
        moved = f"{name}{{where}} moved back", f"{name}{{where}} moved again"
        undone, redone = (gone, back) if more > 0 else (back, gone) if more < 0 else moved
        return MarkStep(
            name.lower(),
            undone,
            redone,
            lambda: self._write(before),
            lambda: self._write(after),
            lambda: self._where(self._layer, place),
        )

    def _read(self) -> _Marks:
        layer = self._layer
        places = [np.array(one, float) for one in layer.data]
        kinds = [str(kind) for kind in layer.shape_type] if hasattr(layer, "shape_type") else ["point"] * len(places)
        if hasattr(layer, "shape_type"):
            return _Marks(places, kinds, {"edge_width": list(layer.edge_width)})
        return _Marks(places, kinds, {"features": layer.features.copy(), "symbol": np.array(layer.symbol)})

    def _write(self, marks: _Marks) -> None:
        layer: Any = self._layer
        if hasattr(layer, "shape_type"):
            mode = layer.mode
            layer.data = list(zip(marks.places, marks.kinds, strict=True))
            layer.mode = mode
        else:
            layer.selected_data = set()
            layer.data = np.array(marks.places).reshape(-1, layer.ndim)
        if marks.count:
            for name, value in marks.looks.items():
                setattr(layer, name, value)
        layer.refresh()
        self._known = marks

    def _name_changed(self, before: _Marks, after: _Marks) -> tuple[str, Any]:
        """Return the kind of the mark that was made, moved or deleted last, and its place."""
        more = after if after.count >= before.count else before
        other = before if more is after else after
        at = next(
            (i for i in range(more.count) if i >= other.count or not np.array_equal(more.places[i], other.places[i])),
            more.count - 1,
        )
        kind = "Click" if more.kinds[at] == "point" else _SHAPE_NAMES.get(more.kinds[at], "Line")
        return kind, np.atleast_2d(more.places[at])[0]


@dataclass(frozen=True, eq=False)
class _Marks:
    """The state of all marks: places, kinds, and the layer attributes that belong to them."""

    places: list[Any]
    kinds: list[str]
    looks: dict[str, Any]

    @property
    def count(self) -> int:
        return len(self.places)

    def same(self, other: _Marks) -> bool:
        return self.kinds == other.kinds and all(
            np.array_equal(one, two) for one, two in zip(self.places, other.places, strict=True)
        )


class PromptSteps(QObject):
    """Undo and redo of the form *Prompt*: marks first, then objects."""

    #: Steps were added, undone or redone; a message, or empty.
    changed = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._marks: MarkHistory | None = None
        self._objects: LabelsHistory | None = None
        #: The histories, marks or objects, in which a step was undone; the latest is last.
        self._undone: list[Any] = []

    @property
    def undo_name(self) -> str | None:
        """Name of the step that undo would revert; None if there is none."""
        return next((steps.undo_name for steps in self._both if steps.undo_name is not None), None)

    @property
    def redo_name(self) -> str | None:
        """Name of the step that redo would repeat; None if there is none."""
        steps = self._next_to_redo()
        return None if steps is None else steps.redo_name

    @property
    def objects(self) -> LabelsHistory | None:
        """The history of the objects; None if there are no objects."""
        return self._objects

    def use_marks(self, marks: MarkHistory | None) -> None:
        """Undo the marks of another session; None for no session."""
        if self._marks is not None:
            self._marks.changed.disconnect(self._report)
        self._marks = marks
        if marks is not None:
            marks.changed.connect(self._report)
        self._report()

    def use_objects(self, objects: LabelsHistory | None) -> None:
        """Undo the objects of another layer; None for no layer."""
        if objects is self._objects:
            return
        if self._objects is not None:
            self._objects.changed.disconnect(self._report)
        self._objects = objects
        if objects is not None:
            objects.changed.connect(self._report)
        self._report()

    def undo(self) -> None:
        """Revert the last mark; if there are no marks, revert the last step of the objects."""
        steps = next((steps for steps in self._both if steps.undo_name is not None), None)
        if steps is None:
            self._report("Nothing to undo.")
            return
        self._undone.append(steps)
        self._take(steps.undo())

    def redo(self) -> None:
        """Repeat the step that was undone last."""
        steps = self._next_to_redo()
        if steps is None:
            self._report("Nothing to redo.")
            return
        if self._undone:
            self._undone.pop()
        self._take(steps.redo())

    @property
    def _both(self) -> list[Any]:
        return [steps for steps in (self._marks, self._objects) if steps is not None]

    def _next_to_redo(self) -> Any:
        possible = [steps for steps in self._both if steps.redo_name is not None]
        while self._undone and self._undone[-1] not in possible:
            self._undone.pop()
        return self._undone[-1] if self._undone else next(iter(possible), None)

    def _take(self, words: str | None) -> None:
        # A `LabelsHistory` emits its own messages.
        if words is not None:
            self._report(words)

    def _report(self, words: str = "") -> None:
        self.changed.emit(words)
