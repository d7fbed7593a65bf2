"""Undo and redo of a Labels layer."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined] # qtpy adds it

from napari_foundseg.core.arrays import in_memory
from napari_foundseg.core.editing.difference import Difference, SliceBox
from napari_foundseg.core.editing.history import EditStep, History, composed, painted
from napari_foundseg.core.editing.step_facts import changed_facts, edited_ids
from napari_foundseg.core.labels import label_dtype
from napari_foundseg.widgets.editing.background_edits import BackgroundEdits, MadeEdit
from napari_foundseg.widgets.editing.labels_journal import LabelsJournal
from napari_foundseg.widgets.editing.layer_file import layer_file
from napari_foundseg.widgets.editing.object_counts import ObjectCounts
from napari_foundseg.widgets.editing.write_checks import why_not_writable
from napari_foundseg.widgets.layers.layer_keys import bind_keys, unbind_keys
from napari_foundseg.widgets.layers.layer_presence import LayerPresence
from napari_foundseg.widgets.layers.object_features import REJECTED, measured_columns, read_facts, write_facts
from napari_foundseg.widgets.layers.proxies import unwrapped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_foundseg.core.editing.edit_progress import EditProgress
    from napari_foundseg.core.editing.object_facts import Facts
    from napari_foundseg.core.image import Image

__all__ = ["LabelsHistory", "open_histories", "open_history", "shared_history"]

#: Greatest number of changed pixels to update one by one; for more, redrawing the slice is faster.
_FEW = 300_000
#: A box is written and redrawn on its own if its size is at most 1/_PART of the layer.
_PART = 8
#: Greatest number of pixels of a step that is undone in the window's thread; larger steps run in the background.
_LARGE = 1 << 20
#: Bytes of undo steps that are kept for a layer that no form follows.
_LEFT = 64 << 20

_shared: WeakKeyDictionary[Labels, LabelsHistory] = WeakKeyDictionary()


def open_history(layer: Labels) -> LabelsHistory | None:
    """Return the history of a layer; None if it has none."""
    return _shared.get(layer)


def open_histories() -> list[LabelsHistory]:
    """Return all histories that currently exist."""
    return list(_shared.values())


def shared_history(layer: Labels, image: Image | None, user: Hashable) -> LabelsHistory:
    """Return the one history of a layer, and register `user` with it.

    After every `user` has called `leave`, the history lives on while the layer is in a viewer, so that no change is
    lost.
    """
    layer = unwrapped(layer)
    if layer not in _shared:
        _shared[layer] = LabelsHistory(layer, image)
    _shared[layer].join(user)
    return _shared[layer]


class LabelsHistory(QObject):
    """Undo and redo of one Labels layer; each step is also written into its journal.

    Ctrl+Z and Ctrl+Shift+Z act on it while the layer is active; napari's own undo only covers paint strokes.

    Parameters
    ----------
    layer : napari.layers.Labels
        The layer; its data must be a NumPy array.
    image : Image or None
        The image that the labels belong to.
    """

    #: A step was written, undone or redone; a sentence for the user, or empty.
    changed = Signal(str)
    #: A step was written, undone or redone; the `EditStep` in the direction in which it was written.
    stepped = Signal(object)

    def __init__(self, layer: Labels, image: Image | None) -> None:
        super().__init__()
        self.layer = layer
        self._array = layer.data
        #: The size of each object; the free ids follow from it.
        self.counted = ObjectCounts(layer)
        self._steps = History()
        #: Opened by the first change.
        self.journal = LabelsJournal(layer, image)
        #: Which file holds the labels, if any.
        self.file = layer_file(layer)
        self.file.look_again()
        self._busy = False
        #: Whether the layer's features are being changed by a step that is reported with `stepped` soon.
        self.step_follows = False
        self._users: set[Hashable] = set()
        self._presence = LayerPresence(layer, self.release)
        self._applied: MadeEdit | None = None
        #: Slow edits, computed in a background thread.
        self.background = BackgroundEdits(layer, self.counted, self._write_made)
        layer.events.paint.connect(self._on_paint)
        layer.events.data.connect(self._on_new_array)
        self.bind(layer)

    @property
    def undo_name(self) -> str | None:
        """Name of the step that undo would revert; None if there is none."""
        return self._steps.undo_name

    @property
    def redo_name(self) -> str | None:
        """Name of the step that redo would repeat; None if there is none."""
        return self._steps.redo_name

    @property
    def last(self) -> EditStep | None:
        """The step that undo would revert; None if there is none."""
        return self._steps.last

    def bind(self, layer: Any) -> None:
        """Let Ctrl+Z and Ctrl+Shift+Z act on this history while a layer is active."""
        bind_keys(layer, {"Control-Z": self.undo, "Control-Shift-Z": self.redo})

    def free_id(self) -> int:
        """Return the next free id; ids of rejected objects are not reused."""
        rejected = (label for label, facts in read_facts(self.layer).items() if facts.get("review") == REJECTED)
        return max(self.counted.census.largest, *rejected, 0) + 1

    def write(self, name: str, pieces: Iterable[tuple[SliceBox, NDArray[Any]]], known: Facts | None = None) -> bool:
        """Write pieces into the layer as one undoable step; return whether anything changed.

        Parameters
        ----------
        pieces : iterable of (tuple of slice, ndarray of int)
            Boxes of the array and their new values; where boxes overlap, the later one wins. Nothing is written until
            all pieces have been produced.
        known : mapping of int to mapping of str, optional
            New facts about objects; read only after all pieces have been produced. Facts about other objects that
            appear or disappear with the step are removed.
        """
        self.journal.open()
        made = composed(self.layer.data, pieces)
        if made is None:
            return self._record_step(name, [], known or {})
        values, part = made
        self._widen_dtype(int(values.max(initial=0)))
        self._write_box(part.box, np.array(self.layer.data[part.box]), values)
        return self._record_step(name, [part], known or {})

    def write_more(
        self,
        name: str,
        pieces: Iterable[tuple[SliceBox, NDArray[Any]]],
        step: EditStep | None,
        known: Facts | None = None,
    ) -> EditStep | None:
        """Write pieces as `write` does, and join them with `step` if that is still the last step.

        Return the last step.
        """
        before = self._steps.last
        if not self.write(name, pieces, known) or step is None or before is not step:
            return self._steps.last
        joined = self._steps.join_last()
        self.changed.emit("")
        return joined

    def write_soon(
        self,
        name: str,
        prepare: Callable[[], tuple[Callable[[NDArray[Any]], Iterable[tuple[SliceBox, NDArray[Any]]]], Facts]],
        done: Callable[[bool | Exception], None],
        progress: EditProgress | None = None,
    ) -> None:
        """Compute pieces in a background thread, then write them into the layer as one step.

        Parameters
        ----------
        prepare : callable
            Returns a function and the new facts about objects. The function computes pieces from the label image
            and must not change it. `prepare` is called again if something else was written in the meantime.
        done : callable
            Called with whether anything changed, or with the error; after an error nothing has changed. Not called
            if the layer is gone.
        progress : EditProgress, optional
            Used to cancel the edit; `done` is then called with an EditCancelled.
        """
        self.journal.open()
        self.background.ask(name, prepare, done, progress)

    def _write_made(self, name: str, made: MadeEdit) -> bool:
        """Write a computed edit into the layer; return whether anything changed.

        The edit was computed in a background thread from the layer's current pixels.
        """
        if made.part is not None:
            self._widen_dtype(made.largest)
            box = made.part.box
            if made.values.size <= min(_FEW, self.layer.data.size // _PART):
                self._write_box(box, np.array(self.layer.data[box]), made.values)
            else:
                with self._writing():
                    self.layer.data[box] = made.values
                    self.layer.refresh()
        if made.part is None and not made.known_after:
            return False
        if made.table is not None:
            self.step_follows = True
            try:
                self.layer.features = made.table
            finally:
                self.step_follows = False
        if made.step is not None:
            self._applied = made
            return True
        parts = () if made.part is None else (made.part,)
        self.counted.replace(made.census)
        self._add_step(EditStep(name, parts, made.known_before, made.known_after))
        return True

    def note(self, name: str, ids: Iterable[int], **values: str) -> bool:
        """Set facts about objects, such as the user's note, as one step.

        Other facts stay. Return whether anything changed.
        """
        self.journal.open()
        ids = list(ids)
        before = read_facts(self.layer, ids)
        return self._record_step(name, [], {i: {**before.get(i, {}), **values} for i in ids})

    def undo(self) -> None:
        """Revert the last step; if an edit other than an undo or redo is being computed, cancel it instead."""
        if self.background.is_stepping or not self.background.cancel():
            self.revert()

    def revert(self) -> None:
        """Revert the last step, even while an edit is being computed."""
        self._apply_step("undo", lambda: self._steps.last_reversed, self._steps.undo, "Undone")

    def redo(self) -> None:
        """Repeat the step that was undone last."""
        self._apply_step("redo", lambda: self._steps.next, self._steps.redo, "Redone")

    def join(self, user: Hashable) -> None:
        """Register a user of the history, so that it stays open until `leave`."""
        if self._presence.is_watched:
            self._presence.forget()
            self.counted.resume()
        self._users.add(user)

    def leave(self, user: Hashable) -> None:
        """Unregister a user; after the last one, the history follows the layer until no viewer holds it."""
        if user not in self._users:
            return
        self._users.remove(user)
        if self._users:
            return
        # If nothing has changed, there is nothing to keep.
        if not self.journal.is_open or not self._presence.watch():
            self.release()
            return
        self._steps.shrink(_LEFT)
        self.counted.pause()

    def release(self) -> None:
        """Disconnect from the layer and close the journal."""
        _shared.pop(self.layer, None)
        self._presence.forget()
        self.background.release()
        self.layer.events.paint.disconnect(self)
        self.layer.events.data.disconnect(self)
        unbind_keys(self.layer, ("Control-Z", "Control-Shift-Z"))
        self.counted.release()
        self.journal.close()
        if self.file.untouched and self.file.journal is not None:
            QTimer.singleShot(0, self.file.discard_if_removed)
        # The layer may be gone, so nothing can be undone any more.
        self._steps = History()
        self.changed.emit("")

    def _apply_step(
        self, name: str, look: Callable[[], EditStep | None], take: Callable[[], EditStep | None], done: str
    ) -> None:
        if why := why_not_writable(self.layer):
            self.changed.emit(f"Nothing was changed: {self.layer.name!r} is {why}.")
            return
        step = look()
        large = step is not None and len(step.parts) == 1 and np.prod(step.parts[0].shape) > _LARGE
        if self.background.is_stepping or large:
            words = f"{name.capitalize()} {'' if step is None else step.name}…"
            self.background.apply(name, look, lambda result: self._stepping_done(result, take, done))
            self.changed.emit(words)
            return
        if take() is None or step is None:
            self.changed.emit("")
            return
        skipped = sum(self._write_part(part) for part in step.parts)
        write_facts(self.layer, step.known_after)
        self._note_applied(step, done, skipped, self.counted.take(step.parts))

    def _stepping_done(self, result: bool | Exception, take: Callable[[], EditStep | None], done: str) -> None:
        made = self._applied
        self._applied = None
        if made is None or made.step is None:
            failed = isinstance(result, Exception)
            self.changed.emit(f"Nothing was changed: {result}." if failed else "")
            return
        take()
        self.counted.replace(made.census)
        self._note_applied(made.step, done, made.left, made.turned)

    def _note_applied(self, step: EditStep, done: str, skipped: int, turned: set[int]) -> None:
        self.journal.open()
        self.journal.add(step)
        self.file.note_work()
        self.stepped.emit(step)
        note = f" {skipped} pixels that something else had changed were left as they are." if skipped else ""
        self.changed.emit(f"{done}: {step.name}.{self.counted.describe(turned)}{note}")

    def _write_part(self, part: Difference) -> int:
        """Write a part of an undo or redo; return how many pixels are left, since something else has changed them."""
        before = np.array(self.layer.data[part.box])
        after, left = part.onto(before)
        self._write_box(part.box, before, after)
        return left

    def _record_step(self, name: str, parts: Sequence[Difference], known: Facts) -> bool:
        """Record a step that is already in the layer, and write the new facts; return whether anything changed."""
        self.journal.open()
        turned = self.counted.take(parts)
        all_before = read_facts(self.layer, {*turned, *known, *edited_ids(parts)})
        axes, columns = measured_columns(self.layer)
        size = self.counted.census.size
        before, after = changed_facts(self.layer.data, axes, columns, parts, turned, size, all_before, known)
        if not parts and not after:
            return False
        write_facts(self.layer, after)
        self._add_step(EditStep(name, tuple(parts), before, after))
        return True

    def _add_step(self, step: EditStep) -> None:
        self._steps.add(step)
        self.journal.add(step)
        self.file.note_work()
        self.stepped.emit(step)
        self.changed.emit("")

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
        """Widen the layer's dtype if `largest` does not fit, so that no id wraps around."""
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

    @contextmanager
    def rewriting(self) -> Iterator[None]:
        """Let a form replace its own result: no undo step is recorded, and the journal is written again as a whole."""
        with self._writing():
            yield
        if self._array.shape != self.layer.data.shape:
            self._steps = History()
        self._array = self.layer.data
        self.counted.restart()
        self.journal.begin_soon()

    def _on_new_array(self, _event: Any = None) -> None:
        """Record a step when something else has given the layer a new array."""
        old = self._array
        self._array = self.layer.data
        if self._busy or not self.journal.is_open or old is self._array:
            return
        if old.shape != self._array.shape:
            # Earlier steps do not fit the new shape, and the journal holds labels of the old shape.
            self._steps = History()
            self.counted.restart()
            self.journal.close()
            self.changed.emit("The layer has another shape now; earlier steps cannot be undone.")
            return
        part = Difference.between((0,) * old.ndim, in_memory(old), in_memory(self._array))
        if part is not None:
            self._record_step("new data", [part], {})
