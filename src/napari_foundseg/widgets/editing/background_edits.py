"""Slow edits of a Labels layer: computed in a background thread, in order, each written as one step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined] # qtpy adds it

from napari_foundseg.core.editing.difference import Difference, SliceBox
from napari_foundseg.core.editing.edit_progress import EditCancelled, EditProgress
from napari_foundseg.core.editing.history import composed
from napari_foundseg.core.editing.object_facts import facts_of_table, with_facts
from napari_foundseg.core.editing.step_facts import changed_facts, edited_ids
from napari_foundseg.widgets.layers.object_features import INDEX, indexed_features, measured_columns
from napari_foundseg.widgets.qt.late_collections import postpone_collections, resume_collections
from napari_foundseg.widgets.qt.numpy_thread import NumpyThread

if TYPE_CHECKING:
    import pandas as pd
    from napari.layers import Labels

    from napari_foundseg.core.editing.history import EditStep
    from napari_foundseg.core.editing.object_facts import Facts
    from napari_foundseg.core.editing.object_sizes import Census
    from napari_foundseg.widgets.editing.object_counts import ObjectCounts

__all__ = ["BackgroundEdits", "MadeEdit"]

#: Greatest number of pixels that are written and drawn without a noticeable delay.
_SMALL = 1 << 20

Make = Callable[[NDArray[Any]], Iterable[tuple[SliceBox, NDArray[Any]]]]


@dataclass
class MadeEdit:
    """A step that is computed but not yet written into the layer.

    `part` is None if no pixel changes; `table` is None if no fact about an object changes.
    """

    values: NDArray[Any]
    part: Difference | None
    #: The sizes of the objects after the step, and the ids that appear or disappear.
    census: Census
    turned: set[int]
    known_before: dict[int, Any] = field(default_factory=dict)
    known_after: dict[int, Any] = field(default_factory=dict)
    table: pd.DataFrame | None = None
    #: For an undo or redo: the step, and the number of pixels left unchanged because something else has changed them.
    step: EditStep | None = None
    left: int = 0
    #: The greatest new pixel value.
    largest: int = 0


@dataclass(eq=False)
class _Order:
    name: str
    prepare: Callable[[], tuple[Make, Facts]]
    done: Callable[[bool | Exception], None]
    progress: EditProgress
    #: For an undo or redo: returns the step to apply.
    step: Callable[[], EditStep | None] | None = None


class BackgroundEdits(QObject):
    """The queue of edits of one layer that are computed in the background.

    Parameters
    ----------
    layer : napari.layers.Labels
        The layer.
    counted : ObjectCounts
        The sizes of the layer's objects.
    write : callable
        Takes a name and a `MadeEdit`, writes it into the layer, and returns whether anything changed.
    """

    #: The edit that is being computed has changed, or the queue is empty.
    changed = Signal()

    def __init__(self, layer: Labels, counted: ObjectCounts, write: Callable[[str, MadeEdit], bool]) -> None:
        super().__init__()
        self._layer = layer
        self._counted = counted
        self._write = write
        self._orders: deque[_Order] = deque()
        self._released = False
        self._array: NDArray[Any] | None = None
        self._revision = -1
        self._result: bool | Exception = False
        #: Whether the first edit is already in the layer, and only its `done` has not been called yet.
        self._is_written = False
        self._thread = NumpyThread("edits")
        self._thread.done.connect(self._computed)

    @property
    def name(self) -> str:
        """Name of the edit that is being computed; empty if there is none."""
        return self._orders[0].name if self._orders else ""

    @property
    def progress(self) -> EditProgress | None:
        """Progress of the edit that is being computed; None if there is none."""
        return self._orders[0].progress if self._orders else None

    def ask(
        self,
        name: str,
        prepare: Callable[[], tuple[Make, Facts]],
        done: Callable[[bool | Exception], None],
        progress: EditProgress | None = None,
    ) -> None:
        """Queue an edit after those requested earlier; the parameters are those of `LabelsHistory.write_soon`."""
        self._orders.append(_Order(name, prepare, done, progress or EditProgress()))
        if len(self._orders) == 1:
            self._start()
        self.changed.emit()

    @property
    def is_stepping(self) -> bool:
        """Whether an undo or redo is being computed."""
        return bool(self._orders) and self._orders[0].step is not None

    def apply(self, name: str, step: Callable[[], EditStep | None], done: Callable[[bool | Exception], None]) -> None:
        """Queue an undo or redo.

        `step` is called when the edit reaches the front of the queue. It returns None if there is nothing to undo or
        redo.
        """
        self._orders.append(_Order(name, lambda: (lambda _: (), {}), done, EditProgress(), step))
        if len(self._orders) == 1:
            self._start()
        self.changed.emit()

    def cancel(self) -> bool:
        """Cancel all edits that are not yet in the layer; return whether there were any."""
        orders = list(self._orders)[int(self._is_written) :]
        for order in orders:
            order.progress.cancel()
        return bool(orders)

    def release(self) -> None:
        """Cancel all edits without calling their `done`, because the layer is gone."""
        self._released = True
        self.cancel()
        self._orders.clear()
        resume_collections(self)
        self.changed.emit()

    def _start(self) -> None:
        order = self._orders[0]
        postpone_collections(self)
        try:
            make, known = order.prepare()
            step = None if order.step is None else order.step()
        except Exception as error:  # noqa: BLE001 - passed to `done`
            self._finish(error)
            return
        if order.step is not None and step is None:
            self._finish(False)
            return
        array = self._array = self._layer.data
        self._revision = self._counted.revision
        axes, columns = measured_columns(self._layer)
        table = indexed_features(self._layer)
        census = self._counted.census.copy()
        progress = order.progress

        def work() -> MadeEdit:
            progress.report(progress.done)
            if step is not None:
                return _applied(array, step, census, table)
            return _made(array, make, known, census, axes, columns, table, progress)

        self._thread.ask(work)

    def _computed(self, number: int, result: Any) -> None:
        if self._released or number != self._thread.number or not self._orders:
            return
        order = self._orders[0]
        if order.progress.cancelled:
            self._finish(EditCancelled("it was cancelled"))
        elif isinstance(result, Exception):
            self._finish(result)
        elif self._array is not self._layer.data or self._revision != self._counted.revision:
            self._start()
        else:
            try:
                self._result = self._write(order.name, result)
            except Exception as error:  # noqa: BLE001 - passed to `done`
                self._result = error
            self._is_written = True
            if result.values.size <= _SMALL:
                self._finish(self._result)
            else:
                # The window can draw and handle input between writing the edit, reporting it, and enabling the tools.
                QTimer.singleShot(0, self._finish_large)

    def _finish_large(self) -> None:
        if not self._released:
            self._report(self._result)
            QTimer.singleShot(0, self.changed.emit)

    def _finish(self, result: bool | Exception) -> None:
        self._report(result)
        self.changed.emit()

    def _report(self, result: bool | Exception) -> None:
        order = self._orders.popleft()
        self._is_written = False
        self._array = None
        resume_collections(self)
        others = bool(self._orders)
        order.done(result)
        if others and self._orders:
            self._start()


def _made(
    array: NDArray[Any],
    make: Make,
    known: Facts,
    census: Census,
    axes: str,
    columns: list[str],
    table: pd.DataFrame,
    progress: EditProgress,
) -> MadeEdit:
    """Compute a whole step in the background thread, so that the window's thread only has to write it."""
    made = composed(array, make(array))
    progress.report(progress.done)
    values, part = (np.zeros(0, array.dtype), None) if made is None else made
    parts = [] if part is None else [part]
    turned = census.take(parts)
    all_before = facts_of_table(table, INDEX, {*turned, *known, *edited_ids(parts)})
    after_labels = array
    if part is not None and set(columns) - {INDEX}:
        # The objects are measured as they will be after the step.
        after_labels = (
            array.astype(np.promote_types(array.dtype, values.dtype)) if _wraps(array, values) else array.copy()
        )
        after_labels[part.box] = values
    before, after = changed_facts(after_labels, axes, columns, parts, turned, census.size, all_before, known)
    progress.report(1.0)
    changed = with_facts(table, INDEX, after) if after else None
    return MadeEdit(values, part, census, turned, before, after, changed, largest=int(values.max(initial=0)))


def _applied(array: NDArray[Any], step: EditStep, census: Census, table: pd.DataFrame) -> MadeEdit:
    """Compute the result of undoing or redoing a step that has a single part."""
    (part,) = step.parts
    values, left = part.onto(array[part.box])
    turned = census.take(step.parts)
    after = dict(step.known_after)
    changed = with_facts(table, INDEX, after) if after else None
    largest = int(values.max(initial=0))
    return MadeEdit(values, part, census, turned, dict(step.known_before), after, changed, step, left, largest)


def _wraps(array: NDArray[Any], values: NDArray[Any]) -> bool:
    return int(values.max(initial=0)) > np.iinfo(array.dtype).max
