"""Detection of models that were imported or removed, here, in another form or on the command line."""

from __future__ import annotations

from functools import cache

from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined] # qtpy adds it

from napari_foundseg.models.catalog import catalog, damaged_rows
from napari_foundseg.models.store import state
from napari_foundseg.widgets.qt.file_thread import FileThread
from napari_foundseg.widgets.qt.numpy_thread import window_first

__all__ = ["CatalogueWatch", "catalogue_watch"]

_EVERY_MS = 2000
#: (name, hash, state) of each model, and (path, reason, "damaged") of each damaged row.
_States = list[tuple[str, str, str]]


class CatalogueWatch(QObject):
    """A check every two seconds, in a background thread, for changes of the catalogue and the installed weights."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._seen: _States | None = None
        #: Whether the last check found changes. Forms may have read a newer state; they read again when it is stable.
        self._moving = True
        self._asked = False
        self._files = FileThread()
        self.destroyed.connect(self._files.leave)
        self._look()
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._look)
        self._timer.start(_EVERY_MS)

    def check(self) -> None:
        """Check now, and wait for the result."""
        # The background thread may be reading an older state, so ignore its result.
        self._asked = False
        self._compare(_read_states())

    def _look(self) -> None:
        if not self._asked:
            self._asked = True
            self._files.ask(_read_beside_window, self._use)

    def _use(self, now: _States | Exception) -> None:
        if self._asked and not isinstance(now, Exception):
            if self._seen is None:
                self._seen = now
            else:
                self._compare(now)
        self._asked = False

    def _compare(self, now: _States) -> None:
        if now != self._seen:
            self._seen = now
            self._moving = True
            self.changed.emit()
        elif self._moving:
            self._moving = False
            self.changed.emit()


@cache
def catalogue_watch() -> CatalogueWatch:
    """Return the one watch of this process."""
    return CatalogueWatch()


def _read_beside_window() -> _States:
    with window_first():
        return _read_states()


def _read_states() -> _States:
    rows = [(row.name, row.sha256, state(row)) for row in catalog().values()]
    return [*rows, *((path, reason, "damaged") for path, reason in damaged_rows().items())]
