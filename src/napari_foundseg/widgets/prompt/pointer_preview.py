"""The mask that a click would give, shown while the pointer moves."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QCheckBox, QVBoxLayout, QWidget

from napari_foundseg.widgets.controls.rows import wrapping_label
from napari_foundseg.widgets.runs.run_follower import RunFollower

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Points

    from napari_foundseg.core.masks import Mask
    from napari_foundseg.core.result import Segmentation
    from napari_foundseg.widgets.prompt.acceptance import Role
    from napari_foundseg.widgets.runs.run import Run

__all__ = ["PointerPreview"]

#: Milliseconds from a move of the pointer to the next run.
_PAUSE = 40
#: Seconds within which a model must answer for the preview to be on by default.
_QUICK = 0.1
_TEXT = "Preview under the pointer"


class PointerPreview(QWidget):
    """A check box; while it is checked, the mask that a click at the pointer would give is outlined.

    Unless the user decides, it is on if at least one of the model's last three answers took less than 100 ms. The
    model computes one position at a time; after its answer, it gets the newest position of the pointer.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: bool | None = None
        self._times: deque[float] = deque(maxlen=3)
        self._viewer: ViewerModel | None = None
        self._points: Points | None = None
        self._follower = RunFollower(self)
        self._follower.done.connect(self._show_answer)
        self._follower.failed.connect(self._not_answered)
        self._follower.cancelled.connect(self._not_answered)
        #: The mask that is outlined, and its role when it is accepted.
        self.guess: tuple[Mask, Role] | None = None
        self._role: Role | None = None
        #: The last position of the pointer, and whether Alt was held.
        self._position: tuple[Any, bool] | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._start_run)
        self.box = QCheckBox(_TEXT)
        self.box.setToolTip(
            "Outline the mask that a click would give while the pointer moves over the image; with Alt, a click of the "
            "other sign. Key C accepts it without a click. On by default if the model answers within 0.1 s."
        )
        self.note = wrapping_label("")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.box)
        layout.addWidget(self.note)
        self.box.clicked.connect(self._set_by_user)
        self.forget()

    def follow(
        self,
        viewer: ViewerModel,
        points: Points,
        make: Callable[[Any, bool], tuple[Run, Role] | None],
        show: Callable[[Mask | None], None],
    ) -> None:
        """Follow the pointer while a Points layer is active.

        Parameters
        ----------
        make : callable
            Takes a position in world coordinates and whether Alt is held. Returns the run and the role of its mask,
            or None if there is nothing to show.
        show : callable
            Shows the outline of a mask; None hides it.
        """
        self._viewer = viewer
        self._points = points
        self._make = make
        self._show = show
        points.mouse_move_callbacks.append(self._on_move)
        viewer.events.mouse_over_canvas.connect(self._on_leave)

    def leave(self) -> None:
        """Stop following the pointer."""
        self._follower.cancel()
        self.stop()
        if self._viewer is not None:
            self._viewer.events.mouse_over_canvas.disconnect(self)
        if self._points is not None and self._on_move in self._points.mouse_move_callbacks:
            self._points.mouse_move_callbacks.remove(self._on_move)
        self._viewer = self._points = None

    def stop(self) -> None:
        """Ignore the current run and hide the outline; the next move starts again.

        The run is not cancelled: its encoding is useful for the click, and a worker that is slow to stop would be
        replaced.
        """
        self._timer.stop()
        self._follower.drop()
        self._position = None
        if self._points is not None:
            self._outline(None)

    def forget(self) -> None:
        """Discard the measured times, because another model was chosen."""
        self._times.clear()
        self._update_state()

    def learn(self, seconds: float) -> None:
        """Record the time from a prompt to its mask, in seconds."""
        self._times.append(seconds)
        self._update_state()

    def _set_by_user(self, on: bool) -> None:
        self._said = on
        self._update_state()

    def _update_state(self) -> None:
        # A single slow answer may have waited for the engine or for the encoding.
        usual = min(self._times, default=None)
        quick = usual is not None and usual <= _QUICK
        on = quick if self._said is None else self._said
        self.box.setChecked(on)
        slow = self._said is None and len(self._times) > 1 and not quick
        self.note.setText(
            f"Off, because the model takes {usual:.1f} s for a mask. Check the box to use it all the same."
            if slow
            else ""
        )
        self.note.setVisible(slow)
        if not on:
            self.stop()

    def _on_move(self, points: Points, event: Any) -> None:
        if not self.box.isChecked() or points.mode != "add" or event.is_dragging:
            return
        self._position = tuple(event.position), "Alt" in event.modifiers
        if self._follower.run is None and not self._timer.isActive():
            self._timer.start(_PAUSE)

    def _on_leave(self, _event: Any = None) -> None:
        if self._viewer is not None and not self._viewer.mouse_over_canvas:
            self.stop()

    def _start_run(self) -> None:
        position = self._position
        self._position = None
        asked = None if position is None else self._make(*position)
        if asked is None:
            self.stop()
            return
        run, self._role = asked
        self._follower.start(run)

    def _show_answer(self, run: Run, result: Segmentation) -> None:
        masks = run.at_full_resolution(result).masks or ()
        self._outline(masks[0] if masks and masks[0].crop.size else None)
        self.learn(self._follower.seconds)
        self._ask_soon()

    def _not_answered(self) -> None:
        # The error is shown when the user clicks.
        self._outline(None)
        self._ask_soon()

    def _outline(self, mask: Mask | None) -> None:
        self.guess = None if mask is None or self._role is None else (mask, self._role)
        self._show(mask)

    def _ask_soon(self) -> None:
        if self._position is not None:
            self._timer.start(_PAUSE)
