"""Drawing a prompt and its mask in the same frame, if the mask is computed quickly."""

from __future__ import annotations

from contextlib import suppress
from weakref import ref

from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QWidget

__all__ = ["FrameHold"]

#: Milliseconds for which the window may stop drawing without being noticed.
HELD = 60


class FrameHold(QObject):
    """A short delay of the drawing of a window.

    Without a graphics card, a frame that shows only the new point takes CPU time from the model, and the mask takes 1.5
    times as long. Any change of a widget redraws the whole window, so the drawing of the whole window is delayed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._window: ref[QWidget] | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.draw)

    def hold(self, window: QWidget | None) -> None:
        """Draw nothing until `draw` is called, but at most for 60 ms."""
        if self._window is None and window is not None and window.updatesEnabled():
            self._window = ref(window)
            window.setUpdatesEnabled(False)
            self._timer.start(HELD)

    def draw(self) -> None:
        """Draw everything that has changed since `hold`."""
        self._timer.stop()
        held = self._window
        self._window = None
        if held is not None and (window := held()) is not None:
            # Qt may have deleted the window meanwhile.
            with suppress(RuntimeError):
                window.setUpdatesEnabled(True)
