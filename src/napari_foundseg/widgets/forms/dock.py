"""`Dock`: the base class of all dock widgets, with a scrolling page and error messages."""

from __future__ import annotations

from functools import partial
from typing import Any

from napari.components import ViewerModel
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget

from napari_foundseg.core.errors import FoundsegError
from napari_foundseg.widgets.controls.message import Message, part_of
from napari_foundseg.widgets.editing.napari_saves import watch_saves
from napari_foundseg.widgets.editing.recovery import RecoveryRow
from napari_foundseg.widgets.forms.closing import guard_closing
from napari_foundseg.widgets.forms.dock_tabs import tabify
from napari_foundseg.widgets.qt.widget_release import ReleaseOnDestroy
from napari_foundseg.widgets.saved.preferences import wait_for_preferences

__all__ = ["Dock"]

#: Minimum width in pixels: the widest row with open folds, plus a vertical scroll bar.
_WIDTH = 310


class Dock(QScrollArea):
    """A scrolling page of controls, with messages next to them.

    Parameters
    ----------
    *parts : str
        Parts of the form, as named by `part_of`, that have their own message in addition to ``run``.
    """

    #: Whether the dock lists all unsaved work, including work that is no longer offered.
    lists_everything = False

    def __init__(self, viewer: ViewerModel, *parts: str) -> None:
        # Must come before the form reads values of the last session and searches for unsaved work.
        wait_for_preferences()
        super().__init__()
        #: Whether the dock becomes a tab of another form when it is first shown, because the menu opened it.
        self.becomes_tab = False
        watch_saves()
        self.viewer = viewer
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMinimumWidth(_WIDTH)
        page = QWidget()
        self._layout = QVBoxLayout(page)
        self._layout.setContentsMargins(6, 6, 6, 6)
        self.setWidget(page)
        self.recovery = RecoveryRow(viewer, everything=self.lists_everything)
        self._layout.addWidget(self.recovery)
        self.messages = {name: Message(viewer.theme) for name in (*parts, "run")}
        self.messages["recovery"] = self.recovery.message
        viewer.events.theme.connect(self._retheme)
        self.destroyed.connect(ReleaseOnDestroy(self))

    def fail(self, error: FoundsegError) -> None:
        """Show an error next to the control to which it refers."""
        message = self.messages.get(part_of(error), self.messages["run"])
        message.say(str(error))
        self.ensureWidgetVisible(message)

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Guard against closing the dock or window over unsaved work, and become a tab if the menu opened the dock."""
        super().showEvent(event)
        guard_closing(self)
        if self.becomes_tab:
            self.becomes_tab = False
            # Qt may be in the middle of laying out the docks.
            QTimer.singleShot(0, partial(tabify, self, Dock))

    # Overridden by forms.

    def unfinished(self) -> str:
        """Describe the work in progress that closing would lose, such as ``Batch: 3 of 200 done``; no full stop."""
        return ""

    def stop_work(self) -> None:
        """Stop the work in progress, because the user closes the form."""

    def save_work(self) -> str:
        """Save the form's own data; return the reason if that is not possible, else an empty text."""
        return ""

    def release(self) -> None:
        """Disconnect from the viewer, because the widget is being closed."""
        self.recovery.release()
        self.viewer.events.theme.disconnect(self)

    def _clear_messages(self) -> None:
        for message in self.messages.values():
            message.say("")

    def _retheme(self, _event: Any = None) -> None:
        for message in self.messages.values():
            message.set_theme(self.viewer.theme)
