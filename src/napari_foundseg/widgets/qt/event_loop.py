"""Turns of the window's event loop, taken in the middle of a longer piece of work: the window draws meanwhile."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QEventLoop, QTimer

__all__ = ["draw_until", "next_turn"]

#: Milliseconds between two looks whether something is done.
_LOOK = 5


def draw_until(done: Callable[[], bool]) -> None:
    """Let the window draw until something is done; clicks and keys are taken afterwards.

    Parameters
    ----------
    done : callable
        Asked every few milliseconds.
    """
    loop, timer = QEventLoop(), QTimer()
    timer.timeout.connect(lambda: loop.quit() if done() else None)
    timer.start(_LOOK)
    loop.exec(QEventLoop.ProcessEventsFlag.ExcludeUserInputEvents)
    timer.stop()


def next_turn() -> None:
    """Let the window draw once."""
    draw_until(lambda: True)
