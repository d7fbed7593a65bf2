"""Every write into a Labels layer that a person works on: one undo for all of them, journalled as they happen."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined] # qtpy adds it

from napari_foundseg.core.history import Box, Difference, History, Step
from napari_foundseg.core.labels import label_dtype
from napari_foundseg.io.journal import Header, Journal, journal_folder
from napari_foundseg.widgets.keys import bind_keys, unbind_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_foundseg.core.image import Image

__all__ = ["LabelsHistory", "shared_history"]

#: Changed pixels up to which only their box is redrawn; beyond, naming each costs more than drawing the slice.
_FEW = 300_000


_shared: WeakKeyDictionary[Labels, LabelsHistory] = WeakKeyDictionary()


def shared_history(layer: Labels, image: Image | None) -> LabelsHistory:
    """Return the history of a layer, one for all widgets that work on it; each calls its `leave` at the end.

    Parameters
    ----------
    layer : napari.layers.Labels
        The layer.
    image : Image or None
        The image that it belongs to.

    Returns
    -------
    LabelsHistory
        Joined.
    """
    if layer not in _shared:
        _shared[layer] = LabelsHistory(layer, image)
    _shared[layer].join()
    return _shared[layer]


class LabelsHistory(QObject):
    """Undo, redo and journal of one Labels layer. Begins to keep anything with the first change.

    Ctrl+Z and Ctrl+Shift+Z act on it while the layer is active; napari's own undo would know of strokes only.

    Parameters
    ----------
    layer : napari.layers.Labels
        The layer; its data are a NumPy array.
    image : Image or None
        The image that it belongs to; without one the journal cannot be offered with an image again.
    """

    #: Something was done, undone or redone; in words, or empty.
    changed = Signal(str)
    #: A step was done, undone or redone; the `Step`, as it was written.
    stepped = Signal(object)
    #: All changes are on the disk; the time in seconds since 1970.
    saved = Signal(float)
    #: They are not; why.
    failed = Signal(str)

    def __init__(self, layer: Labels, image: Image | None) -> None:
        super().__init__()
        self.layer = layer
        self._image = image
        self._array = layer.data
        self._steps = History()
        self._journal: Journal | None = None
        self._busy = False
        self._users = 0
        layer.events.paint.connect(self._painted)
        layer.events.data.connect(self._replaced)
        self.bind(layer)

    @property
    def undo_name(self) -> str | None:
        """What undo would take back."""
        return self._steps.undo_name

    @property
    def redo_name(self) -> str | None:
        """What redo would do again."""
        return self._steps.redo_name

    def bind(self, layer: Any) -> None:
        """Let Ctrl+Z and Ctrl+Shift+Z act on this history while a layer is active.

        Parameters
        ----------
        layer : napari.layers.Layer
            The layer, or one that a person points on.
        """
        bind_keys(layer, {"Control-Z": self.undo, "Control-Shift-Z": self.redo})

    def write(self, name: str, pieces: Iterable[tuple[Box, NDArray[Any]]]) -> bool:
        """Write into the layer as one step.

        Parameters
        ----------
        name : str
            What is done.
        pieces : iterable of (tuple of slice, ndarray of int)
            Boxes of the array and what they are to hold. Each is asked for when those before it are written, so that
            a generator can make it of what they left. If it raises, all of them are taken back.

        Returns
        -------
        bool
            Whether anything changed.
        """
        self._begin()
        parts: list[Difference] = []
        try:
            for box, values in pieces:
                self._widen(int(values.max(initial=0)))
                before = np.array(self.layer.data[box])
                part = Difference.between([s.start for s in box], before, values)
                if part is not None:
                    parts.append(part)
                    self._put(box, before, values)
        except BaseException:
            for part in reversed(parts):
                self._do(part.reversed())
            raise
        if parts:
            self._remember(Step(name, tuple(parts)))
        return bool(parts)

    def keep(self) -> None:
        """Save what the layer holds now, before anything changes."""
        self._begin()

    def undo(self) -> None:
        """Take the last step back."""
        self._apply(self._steps.undo(), "Undone")

    def redo(self) -> None:
        """Do the step again that was undone last."""
        self._apply(self._steps.redo(), "Redone")

    def join(self) -> None:
        """Count one more widget that works on the layer."""
        self._users += 1

    def leave(self) -> None:
        """Count one less; the last one lets go of the layer."""
        self._users -= 1
        if self._users <= 0:
            self.release()

    def release(self) -> None:
        """Let go of the layer and close the journal."""
        _shared.pop(self.layer, None)
        self.layer.events.paint.disconnect(self._painted)
        self.layer.events.data.disconnect(self._replaced)
        unbind_keys(self.layer, ("Control-Z", "Control-Shift-Z"))
        if self._journal is not None:
            journal, self._journal = self._journal, None
            journal.close()

    def _begin(self) -> None:
        if self._journal is not None:
            return
        data = self.layer.data
        image = self._image
        whose = ("no image", None) if image is None else (image.fingerprint(), image.source)
        header = Header.now(whose[0], self.layer.name, data.shape, whose[1])
        self._journal = Journal(journal_folder(), header, self.saved.emit, self._tell_failure)
        if data.any():
            self._journal.add_all(data.copy())

    def _tell_failure(self, error: OSError) -> None:
        self.failed.emit(f"{error.strerror or error}: {error.filename or journal_folder()}")

    def _apply(self, step: Step | None, done: str) -> None:
        if step is None:
            self.changed.emit("")
            return
        skipped = sum(self._do(part) for part in step.parts)
        assert self._journal is not None
        self._journal.add(step)
        self.stepped.emit(step)
        note = f" {skipped} pixels that something else had changed were left alone." if skipped else ""
        self.changed.emit(f"{done}: {step.name}.{note}")

    def _do(self, part: Difference) -> int:
        """Write what a part of a step says; return how many pixels were left alone."""
        before = np.array(self.layer.data[part.box])
        after, left = part.onto(before)
        self._put(part.box, before, after)
        return left

    def _remember(self, step: Step) -> None:
        self._begin()
        assert self._journal is not None
        self._steps.add(step)
        self._journal.add(step)
        self.stepped.emit(step)
        self.changed.emit("")

    def _put(self, box: Box, before: NDArray[Any], values: NDArray[Any]) -> None:
        """Write a box and redraw no more than needed."""
        changed = np.nonzero(before != values)
        if not len(changed[0]):
            return
        with self._writing():
            if len(changed[0]) > _FEW:
                self.layer.data[box] = values
                self.layer.refresh()
            else:
                where = tuple(axis + part.start for axis, part in zip(changed, box, strict=True))
                self.layer.data_setitem(where, values[changed])

    def _widen(self, largest: int) -> None:
        """Give the layer room for larger ids; nothing ever wraps."""
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

    def _painted(self, event: Any) -> None:
        if not self._busy and (step := Step.from_paint("painting", self.layer.data, event.value)) is not None:
            self._remember(step)

    def _replaced(self, _event: Any = None) -> None:
        """Note that something else gave the layer a new array: it can be undone like anything else."""
        old, self._array = self._array, self.layer.data
        if self._busy or self._journal is None or old is self._array:
            return
        if old.shape != self._array.shape:
            # Other pixels altogether: no step fits them, and they want a journal of their own.
            self._steps = History()
            journal, self._journal = self._journal, None
            journal.close()
            self.changed.emit("The layer has another shape now; what was done before cannot be undone.")
            return
        part = Difference.between((0,) * old.ndim, old, np.asarray(self._array))
        if part is not None:
            self._remember(Step("new data", (part,)))
