"""Undo and redo of a Labels layer."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined] # qtpy adds it

from napari_foundseg.core.arrays import in_memory
from napari_foundseg.core.editing.difference import Difference, SliceBox
from napari_foundseg.core.editing.edited_objects import edited_facts
from napari_foundseg.core.editing.history import EditStep, History, compared, painted
from napari_foundseg.core.errors import AxesError
from napari_foundseg.core.labels import label_dtype
from napari_foundseg.widgets.editing.labels_journal import LabelsJournal
from napari_foundseg.widgets.editing.layer_file import layer_file
from napari_foundseg.widgets.editing.object_counts import ObjectCounts
from napari_foundseg.widgets.editing.write_checks import why_not_writable
from napari_foundseg.widgets.layers.layer_axes import layer_axes
from napari_foundseg.widgets.layers.layer_keys import bind_keys, unbind_keys
from napari_foundseg.widgets.layers.object_features import REJECTED, read_facts, write_facts
from napari_foundseg.widgets.qt.numpy_thread import NumpyThread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_foundseg.core.editing.object_facts import Facts
    from napari_foundseg.core.image import Image

__all__ = ["LabelsHistory", "open_history", "shared_history"]

#: Greatest number of changed pixels to update one by one; beyond, redrawing the slice is faster.
_FEW = 300_000
#: Greatest number of objects whose ids are named after undo; beyond, their number is.
_NAMED = 5

_shared: WeakKeyDictionary[Labels, LabelsHistory] = WeakKeyDictionary()


def open_history(layer: Labels) -> LabelsHistory | None:
    """Return the history of a layer; None where no form follows the layer."""
    return _shared.get(layer)


def shared_history(layer: Labels, image: Image | None, user: Hashable) -> LabelsHistory:
    """Return the one history of a layer; it is released when every `user` has called `leave`."""
    if layer not in _shared:
        _shared[layer] = LabelsHistory(layer, image)
    _shared[layer].join(user)
    return _shared[layer]


class LabelsHistory(QObject):
    """Undo and redo of one Labels layer; each step is kept in its journal.

    Ctrl+Z and Ctrl+Shift+Z act on it while the layer is active; napari's own undo knows only strokes.

    Parameters
    ----------
    layer : napari.layers.Labels
        The layer; its data are a NumPy array.
    image : Image or None
        The image that the labels belong to.
    """

    #: A step was written, undone or redone; in words, or empty.
    changed = Signal(str)
    #: A step was written, undone or redone; the `EditStep` in the direction in which it was written.
    stepped = Signal(object)

    def __init__(self, layer: Labels, image: Image | None) -> None:
        super().__init__()
        self.layer = layer
        self._array = layer.data
        #: The size of each object, and so the free ids.
        self.counted = ObjectCounts(layer)
        self._steps = History()
        #: Opened with the first change.
        self.journal = LabelsJournal(layer, image)
        #: Where the labels are.
        self.file = layer_file(layer)
        self.file.look_again()
        self._busy = False
        self._users: set[Hashable] = set()
        self._later = NumpyThread()
        layer.events.paint.connect(self._on_paint)
        layer.events.data.connect(self._on_new_array)
        self.bind(layer)

    @property
    def undo_name(self) -> str | None:
        """Name of the step that undo would revert."""
        return self._steps.undo_name

    @property
    def redo_name(self) -> str | None:
        """Name of the step that redo would repeat."""
        return self._steps.redo_name

    @property
    def last(self) -> EditStep | None:
        """The step that undo would revert."""
        return self._steps.last

    def bind(self, layer: Any) -> None:
        """Let Ctrl+Z and Ctrl+Shift+Z act on this history while a layer is active."""
        bind_keys(layer, {"Control-Z": self.undo, "Control-Shift-Z": self.redo})

    def free_id(self) -> int:
        """Return the next free id; ids of rejected objects are not free."""
        rejected = (label for label, facts in read_facts(self.layer).items() if facts.get("review") == REJECTED)
        return max(self.counted.census.largest, *rejected, 0) + 1

    def write(self, name: str, pieces: Iterable[tuple[SliceBox, NDArray[Any]]], known: Facts | None = None) -> bool:
        """Write into the layer as one step.

        Parameters
        ----------
        pieces : iterable of (tuple of slice, ndarray of int)
            Boxes of the array and their new values. Each is generated when those before it have been written, so it
            can depend on them. If the generator raises, all are reverted.
        known : mapping of int to mapping of str, optional
            Facts about objects from now on; read when all pieces are written. Facts about other objects that appear
            or disappear with the step are removed.
        """
        self.journal.open()
        parts: list[Difference] = []
        try:
            for box, values in pieces:
                self._widen_dtype(int(values.max(initial=0)))
                before = np.array(self.layer.data[box])
                part = Difference.between([s.start for s in box], before, values)
                if part is not None:
                    parts.append(part)
                    self._write_box(box, before, values)
        except BaseException:
            for part in reversed(parts):
                self._write_part(part.reversed())
            raise
        return self._record_step(name, parts, known or {})

    def write_soon(
        self,
        name: str,
        prepare: Callable[[], tuple[Callable[[NDArray[Any]], Iterable[tuple[SliceBox, NDArray[Any]]]], Facts]],
        done: Callable[[bool | Exception], None],
    ) -> None:
        """Compute pieces in a background thread, then write them into the layer as one step.

        Parameters
        ----------
        prepare : callable
            Returns a function that makes pieces from the label image, without changing it, and the facts about
            objects. Called again if something else was written in the meantime.
        done : callable
            Gets whether anything changed, or the error; after an error nothing has changed.
        """
        self.journal.open()
        make, known = prepare()
        array = self.layer.data
        revision = self.counted.revision

        def write(_number: int, result: Any) -> None:
            self._later.done.disconnect(write)
            if isinstance(result, Exception):
                done(result)
            elif not self.journal.is_open or array is not self.layer.data or revision != self.counted.revision:
                self.write_soon(name, prepare, done)
            else:
                for box, values, _part in result:
                    self._widen_dtype(int(values.max(initial=0)))
                    with self._writing():
                        self.layer.data[box] = values
                if result:
                    with self._writing():
                        self.layer.refresh()
                done(self._record_step(name, [part for *_, part in result], known))

        self._later.done.connect(write)
        self._later.ask(lambda: compared(array, make(array)))

    def note(self, name: str, ids: Iterable[int], **values: str) -> bool:
        """Set facts about objects, such as the user's note, as one step; other facts stay."""
        self.journal.open()
        ids = list(ids)
        before = read_facts(self.layer, ids)
        return self._record_step(name, [], {i: {**before.get(i, {}), **values} for i in ids})

    def undo(self) -> None:
        """Revert the last step."""
        self._apply_step(self._steps.undo, "Undone")

    def redo(self) -> None:
        """Repeat the step that was undone last."""
        self._apply_step(self._steps.redo, "Redone")

    def join(self, user: Hashable) -> None:
        """Register a user of the history."""
        self._users.add(user)

    def leave(self, user: Hashable) -> None:
        """Unregister a user; the last one releases the layer. Leaving twice does nothing."""
        if user in self._users:
            self._users.remove(user)
            if not self._users:
                self.release()

    def release(self) -> None:
        """Disconnect from the layer and close the journal."""
        _shared.pop(self.layer, None)
        self.layer.events.paint.disconnect(self)
        self.layer.events.data.disconnect(self)
        unbind_keys(self.layer, ("Control-Z", "Control-Shift-Z"))
        self.counted.release()
        self.journal.close()
        # Nothing can be undone any more where the layer is gone.
        self._steps = History()
        self.changed.emit("")

    def _apply_step(self, take: Callable[[], EditStep | None], done: str) -> None:
        if why := why_not_writable(self.layer):
            self.changed.emit(f"Nothing was changed: {self.layer.name!r} is {why}.")
            return
        if (step := take()) is None:
            self.changed.emit("")
            return
        skipped = sum(self._write_part(part) for part in step.parts)
        write_facts(self.layer, step.known_after)
        turned = self.counted.take(step.parts)
        self.journal.open()
        self.journal.add(step)
        self.file.note_work()
        self.stepped.emit(step)
        note = f" {skipped} pixels that something else had changed were left as they are." if skipped else ""
        self.changed.emit(f"{done}: {step.name}.{self._describe_objects(turned)}{note}")

    def _describe_objects(self, turned: set[int]) -> str:
        """Say which objects a step has removed or brought back."""
        census = self.counted.census
        back = [label for label in sorted(turned) if census.size(label)]
        gone = sorted(turned - set(back))
        said = ((gone, "removed"), (back, "is back" if len(back) == 1 else "are back"))
        return "".join(f" {_name_objects(ids)} {what}." for ids, what in said if ids)

    def _write_part(self, part: Difference) -> int:
        """Write a part of a step; return how many pixels were left unchanged since something else has changed them."""
        before = np.array(self.layer.data[part.box])
        after, left = part.onto(before)
        self._write_box(part.box, before, after)
        return left

    def _record_step(self, name: str, parts: Sequence[Difference], known: Facts) -> bool:
        """Record a written step with the facts about objects from now on; return whether anything changed."""
        self.journal.open()
        turned = self.counted.take(parts)
        edited = {label for part in parts for label in part.ids if label > 0}
        before = read_facts(self.layer, {*turned, *known, *edited})
        # Ids are reused: facts about an object are removed with it.
        given = {i: _without_empty(known.get(i, {})) for i in {*turned, *known}}
        now = given | self._describe_edited(edited, parts, before, given)
        after = {i: facts for i, facts in now.items() if facts != before.get(i, {})}
        if not parts and not after:
            return False
        write_facts(self.layer, after)
        step = EditStep(name, tuple(parts), {i: before.get(i, {}) for i in after}, after)
        self._steps.add(step)
        self.journal.add(step)
        self.file.note_work()
        self.stepped.emit(step)
        self.changed.emit("")
        return True

    def _describe_edited(
        self, edited: set[int], parts: Sequence[Difference], before: Facts, given: Facts
    ) -> dict[int, dict[str, Any]]:
        """Return what is known of objects that have lost or gained pixels: no scores of what they were before."""
        census = self.counted.census
        there = [label for label in sorted(edited) if census.size(label)]
        data = self.layer.data
        boxes = [part.box for part in parts]
        columns = list(map(str, self.layer.features))
        try:
            axes = layer_axes(self.layer)
        except AxesError:
            axes, columns = "", []
        return edited_facts(data, axes, columns, before, given, there, boxes, census.size)

    def _write_box(self, box: SliceBox, before: NDArray[Any], values: NDArray[Any]) -> None:
        """Write a box and redraw as little as possible."""
        differs = before != values
        count = int(np.count_nonzero(differs))
        if not count:
            return
        with self._writing():
            if count > _FEW:
                self.layer.data[box] = values
                self.layer.refresh()
            else:
                changed = np.nonzero(differs)
                where = tuple(axis + part.start for axis, part in zip(changed, box, strict=True))
                self.layer.data_setitem(where, values[changed])

    def _widen_dtype(self, largest: int) -> None:
        """Widen the layer's dtype for larger ids, so that none wraps around."""
        if largest > np.iinfo(self.layer.data.dtype).max:
            with self._writing():
                self.layer.data = self.layer.data.astype(label_dtype(largest))
                self._array = self.layer.data

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def _on_paint(self, event: Any) -> None:
        if not self._busy and (part := painted(self.layer.data, event.value)) is not None:
            self._record_step("painting", [part], {})

    def _on_new_array(self, _event: Any = None) -> None:
        """Record, as a step, that something else has given the layer a new array."""
        old = self._array
        self._array = self.layer.data
        if self._busy or not self.journal.is_open or old is self._array:
            return
        if old.shape != self._array.shape:
            # No earlier step fits the new shape, and the journal has the old one.
            self._steps = History()
            self.counted.restart()
            self.journal.close()
            self.changed.emit("The layer has another shape now; earlier steps cannot be undone.")
            return
        part = Difference.between((0,) * old.ndim, in_memory(old), in_memory(self._array))
        if part is not None:
            self._record_step("new data", [part], {})


def _without_empty(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts without empty ones."""
    return {name: value for name, value in facts.items() if value not in ("", None) and value == value}


def _name_objects(ids: Sequence[int]) -> str:
    if len(ids) > _NAMED:
        return f"{len(ids)} objects"
    return f"Object{'s' if len(ids) > 1 else ''} {', '.join(map(str, ids))}"
