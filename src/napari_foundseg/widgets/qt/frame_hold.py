"""Draws a prompt and the mask that it gives in one frame, where the mask comes within a blink."""

from __future__ import annotations

from contextlib import suppress
from weakref import ref

from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QWidget

__all__ = ["OneFrame"]

#: Longest time in milliseconds that the window stands still; a person does not see it.
HELD = 60


class OneFrame(QObject):
    """Holds back the drawing of a window for a moment.

    Without a graphics card the frame that shows only the new point takes the processors from the model that decodes
    it: the mask came after half as much time again. Any change of a widget draws the whole window anew, so the whole
    window waits.
    """

    def __init__(self) -> None:
        super().__init__()
        self._window: ref[QWidget] | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.draw)

    def hold(self, window: QWidget | None) -> None:
        """Draw nothing until `draw` is called, or for 60 ms.

        Parameters
        ----------
        window : QWidget or None
            The whole window.
        """
        if self._window is None and window is not None and window.updatesEnabled():
            self._window = ref(window)
            window.setUpdatesEnabled(False)
            self._timer.start(HELD)

    def draw(self) -> None:
        """Draw again, and what has changed meanwhile."""
        self._timer.stop()
        held, self._window = self._window, None
        if held is not None and (window := held()) is not None:
            # Qt may have deleted it meanwhile.
            with suppress(RuntimeError):
                window.setUpdatesEnabled(True)
