"""Notice of models that were imported or removed, here, in another form or on the command line."""

from __future__ import annotations

from functools import cache

from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined] # qtpy adds it

from napari_foundseg.models.catalog import catalog, damaged_rows
from napari_foundseg.models.store import state

__all__ = ["CatalogueWatch", "catalogue_watch"]

_EVERY_MS = 2000


class CatalogueWatch(QObject):
    """Looks every two seconds whether the catalogue or what is on this computer has changed."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._seen: list[tuple[str, str, str]] | None = None
        # Not now: whoever asks for the watch first is being built, and the window waits for that.
        QTimer.singleShot(0, self._begin)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.check)
        self._timer.start(_EVERY_MS)

    def check(self) -> None:
        """Look now."""
        now = _read_states()
        if now != self._seen:
            self._seen = now
            self.changed.emit()

    def _begin(self) -> None:
        if self._seen is None:
            self._seen = _read_states()


@cache
def catalogue_watch() -> CatalogueWatch:
    """Return the watch of this window."""
    return CatalogueWatch()


def _read_states() -> list[tuple[str, str, str]]:
    rows = [(row.name, row.sha256, state(row)) for row in catalog().values()]
    return [*rows, *((path, reason, "damaged") for path, reason in damaged_rows().items())]
