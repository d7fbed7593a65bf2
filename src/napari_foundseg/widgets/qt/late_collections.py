"""Postpone full garbage collections while something is computed, since each stops the window for about 0.2 s.

Only the threshold of Python's oldest generation is raised, and it is restored afterwards, because the process is
napari's. Explicit collections, such as napari's when it removes a layer, run as usual.
"""

from __future__ import annotations

import gc
from functools import cache
from weakref import WeakSet

from qtpy.QtCore import QObject, QTimer

__all__ = ["postpone_collections", "resume_collections"]

#: Factor by which these collections become rarer. It is finite, so that work of hours does not pile up garbage.
_RARER = 1000
#: Milliseconds from the end of the work until the threshold is restored; meanwhile, the result is drawn.
_QUIET = 2000

#: The objects that are computing something.
_busy: WeakSet[QObject] = WeakSet()
#: The thresholds to restore; empty if none was raised.
_usual: list[tuple[int, int, int]] = []


def postpone_collections(user: QObject) -> None:
    """Make full collections rare until `user` calls `resume_collections` or is deleted."""
    _busy.add(user)
    if not _usual:
        now = gc.get_threshold()
        _usual.append(now)
        gc.set_threshold(*now[:2], now[2] * _RARER)
    _timer().start()


def resume_collections(user: QObject) -> None:
    """Note that `user` has finished; calling it twice does nothing."""
    if user in _busy:
        _busy.discard(user)
        _timer().start()


@cache
def _timer() -> QTimer:
    timer = QTimer()
    timer.setInterval(_QUIET)
    timer.timeout.connect(_restore)
    return timer


def _restore() -> None:
    if not _busy and _usual:
        before = _usual.pop()
        # Not if something else has set thresholds meanwhile.
        if gc.get_threshold() == (*before[:2], before[2] * _RARER):
            gc.set_threshold(*before)
        _timer().stop()
