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

#: Minimum width in pixels: the widest row with open folds, and a vertical scroll bar.
_WIDTH = 310


class Dock(QScrollArea):
    """A scrolling page of controls, with messages beside them.

    Parameters
    ----------
    *parts : str
        Parts of the form, as `part_of` names them, that have a message of their own beside ``run``.
    """

    #: Whether it lists all work that is in no file, and not only what is to be offered.
    lists_everything = False

    def __init__(self, viewer: ViewerModel, *parts: str) -> None:
        # Before the form reads values of the last session and looks for unsaved work.
        wait_for_preferences()
        super().__init__()
        #: Whether it becomes a tab of another form when it is first shown: the menu has opened it.
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
        """Show an error beside the control that it is about."""
        message = self.messages.get(part_of(error), self.messages["run"])
        message.say(str(error))
        self.ensureWidgetVisible(message)

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Ask from now on before the user closes the dock during a run, or the window over unsaved work."""
        super().showEvent(event)
        guard_closing(self)
        if self.becomes_tab:
            self.becomes_tab = False
            # Qt may be laying out the docks at present.
            QTimer.singleShot(0, partial(tabify, self, Dock))

    # Overridden by forms.

    def unfinished(self) -> str:
        """Return, without a full stop, what is under way and would be lost, such as ``Batch: 3 of 200 done``."""
        return ""

    def stop_work(self) -> None:
        """Stop what is under way: the user closes the form."""

    def save_work(self) -> str:
        """Save what the form saves by itself; return why that is not possible."""
        return ""

    def release(self) -> None:
        """Disconnect from the viewer: the widget is being closed."""
        self.recovery.release()
        self.viewer.events.theme.disconnect(self)

    def _clear_messages(self) -> None:
        for message in self.messages.values():
            message.say("")

    def _retheme(self, _event: Any = None) -> None:
        for message in self.messages.values():
            message.set_theme(self.viewer.theme)
