"""Waits for the window: for its layout, for what is posted to it, for the timers of a form."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from napari_foundseg.widgets.qt.numpy_thread import NumpyThread

__all__ = ["wait_for_layout", "wait_for_numpy_thread", "wait_for_posted", "wait_for_timers"]


def wait_for_layout(qtbot: Any, viewer: Any) -> None:
    """Wait until a new dock has its place, so that a position on the canvas stays where it is."""
    native = viewer.window._qt_viewer.canvas.native  # napari has no public name for it
    sizes = [None]

    def is_stable() -> bool:
        QApplication.processEvents()
        sizes.append(native.size())
        return bool(sizes[-1] == sizes[-2])

    qtbot.waitUntil(is_stable)


def wait_for_posted(qtbot: Any) -> None:
    """Wait until everything that was posted to the window so far, such as the end of a job, is delivered."""
    delivered: list[bool] = []
    QTimer.singleShot(0, lambda: delivered.append(True))
    qtbot.waitUntil(lambda: bool(delivered))


def wait_for_numpy_thread(qtbot: Any) -> None:
    """Wait until the window has the results of everything that its thread for NumPy work was asked so far."""
    thread, answers = NumpyThread(), []
    thread.done.connect(lambda *_: answers.append(True))
    thread.ask(lambda: None)
    qtbot.waitUntil(lambda: bool(answers))
    wait_for_posted(qtbot)


def wait_for_timers(qtbot: Any, form: Any) -> None:
    """Wait until no timer of a form is running: what it would do a moment after the last event, it has done."""
    wait_for_posted(qtbot)
    single = [timer for timer in form.findChildren(QTimer) if timer.isSingleShot()]
    assert single, "a form without timers has nothing to wait for"
    qtbot.waitUntil(lambda: not any(timer.isActive() for timer in single))
