"""Run Qt's event loop briefly, so that the window redraws during longer work."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QEventLoop, QTimer

__all__ = ["draw_once", "draw_until"]

#: Milliseconds between two calls of `done`.
_INTERVAL = 5


def draw_until(done: Callable[[], bool]) -> None:
    """Let the window draw until `done` returns true; clicks and keys are handled afterwards.

    Parameters
    ----------
    done : callable
        Called every few milliseconds; returns whether to stop.
    """
    loop = QEventLoop()
    timer = QTimer()
    timer.timeout.connect(lambda: loop.quit() if done() else None)
    timer.start(_INTERVAL)
    loop.exec(QEventLoop.ProcessEventsFlag.ExcludeUserInputEvents)
    timer.stop()


def draw_once() -> None:
    """Let the window redraw once."""
    draw_until(lambda: True)
