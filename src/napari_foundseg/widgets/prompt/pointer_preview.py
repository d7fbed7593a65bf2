"""What a click would make, shown while the pointer moves. It writes nothing, and a click comes first."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QCheckBox, QVBoxLayout, QWidget

from napari_foundseg.widgets.controls.rows import quiet_label
from napari_foundseg.widgets.runs.run import Run

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Points

    from napari_foundseg.core.masks import Mask

__all__ = ["PointerPreview"]

#: Milliseconds between two looks at where the pointer is.
_PAUSE = 40
#: Seconds within which a model answers that is asked without being told to.
_QUICK = 0.1
_TEXT = "Preview under the pointer"


class PointerPreview(QWidget):
    """A check box, and while it is checked the outline of what a click at the pointer would make.

    Unless the person says otherwise it is on where one of the model's last three answers came within 100 ms. One place
    is asked about at a time; when the answer is there, the pointer's newest place is next.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: bool | None = None
        self._times: deque[float] = deque(maxlen=3)
        self._viewer: ViewerModel | None = None
        self._points: Points | None = None
        self._run: Run | None = None
        self._started = 0.0
        self._position: Any = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._ask)
        self.box = QCheckBox(_TEXT)
        self.box.setToolTip(
            "Outline what a click would make while the pointer moves over the image in the points layer. "
            "By itself it is on when the model answers within 0.1 s. Nothing is written, and a click comes first."
        )
        self.note = quiet_label("")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.box)
        layout.addWidget(self.note)
        self.box.clicked.connect(self._say)
        self.forget()

    def follow(
        self,
        viewer: ViewerModel,
        points: Points,
        make: Callable[[Any], Run | None],
        show: Callable[[Mask | None], None],
    ) -> None:
        """Follow the pointer while a layer of points is active.

        Parameters
        ----------
        viewer : ViewerModel
            The viewer.
        points : napari.layers.Points
            The layer.
        make : callable
            Returns the run for a place in the world; None where there is nothing to ask.
        show : callable
            Shows the outline of a mask, or takes it away.
        """
        self._viewer, self._points, self._make, self._show = viewer, points, make, show
        points.mouse_move_callbacks.append(self._moved)
        viewer.events.mouse_over_canvas.connect(self._left)

    def leave(self) -> None:
        """Let the layer go."""
        if self._run is not None:
            self._run.cancel()
        self.stop()
        if self._viewer is not None:
            self._viewer.events.mouse_over_canvas.disconnect(self._left)
        if self._points is not None and self._moved in self._points.mouse_move_callbacks:
            self._points.mouse_move_callbacks.remove(self._moved)
        self._viewer = self._points = None

    def stop(self) -> None:
        """Drop what is being asked and take the outline away; the next move asks again.

        The question is not cancelled: it ends by itself, what was encoded for it serves the click, and a worker that
        is slow to stop would be replaced.
        """
        self._timer.stop()
        self._position = self._run = None
        if self._points is not None:
            self._show(None)

    def forget(self) -> None:
        """Forget how quick the answers were: another model is chosen."""
        self._times.clear()
        self._update()

    def learn(self, seconds: float) -> None:
        """Note how long an answer took.

        Parameters
        ----------
        seconds : float
            From the question to the mask.
        """
        self._times.append(seconds)
        self._update()

    def _say(self, on: bool) -> None:
        self._said = on
        self._update()

    def _update(self) -> None:
        # A single slow answer may have waited for the engine or for an image to be encoded.
        usual = min(self._times, default=None)
        quick = usual is not None and usual <= _QUICK
        on = quick if self._said is None else self._said
        self.box.setChecked(on)
        slow = self._said is None and len(self._times) > 1 and not quick
        self.note.setText(f"Off: the model takes {usual:.1f} s for a mask. Check it to have it anyway." if slow else "")
        self.note.setVisible(slow)
        if not on:
            self.stop()

    def _moved(self, points: Points, event: Any) -> None:
        if not self.box.isChecked() or points.mode != "add" or event.is_dragging:
            return
        self._position = tuple(event.position)
        if self._run is None and not self._timer.isActive():
            self._timer.start(_PAUSE)

    def _left(self, _event: Any = None) -> None:
        if self._viewer is not None and not self._viewer.mouse_over_canvas:
            self.stop()

    def _ask(self) -> None:
        position, self._position = self._position, None
        run = None if position is None else self._make(position)
        if run is None:
            self.stop()
            return
        self._run, self._started = run, time.perf_counter()
        run.ended.connect(self._ended, Qt.ConnectionType.QueuedConnection)
        run.start()

    def _ended(self, run: Run, job: Any) -> None:
        if run is not self._run:
            return
        self._run = None
        if job.state == "done":
            masks = run.at_full_resolution(job.result).masks or ()
            self._show(masks[0] if masks else None)
            self.learn(time.perf_counter() - self._started)
        else:
            # What is wrong with the model is said where a person clicks.
            self._show(None)
        if self._position is not None:
            self._timer.start(_PAUSE)
