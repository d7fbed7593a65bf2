"""The objects on which the tools of *Correct* act."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined] # qtpy adds it

__all__ = ["ChosenObjects"]


class ChosenObjects(QObject):
    """Ids of the chosen objects, in the order in which the user clicked them."""

    #: Emitted even if the same objects are chosen again: their notes may differ.
    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._ids: tuple[int, ...] = ()

    @property
    def ids(self) -> list[int]:
        """The ids, as a copy."""
        return list(self._ids)

    @property
    def last(self) -> int | None:
        """The object that was clicked last, or None."""
        return self._ids[-1] if self._ids else None

    def choose(self, ids: Sequence[int]) -> None:
        """Choose these objects instead of the current ones."""
        self._ids = tuple(ids)
        self.changed.emit()

    def add(self, label: int) -> None:
        """Choose one more object; if it is chosen already, it becomes the last."""
        self.choose([*(i for i in self._ids if i != label), label])
