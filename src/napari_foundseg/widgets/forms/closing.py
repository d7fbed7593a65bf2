"""Questions before the user closes a window or a dock with unsaved work or a run in progress.

Closing by a script does not ask. Two signs show that the user closes the window: its X sends a spontaneous event, and
the entries of the menu *File* call the window's `close` with ``confirm_need``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet, ref

from qtpy.QtCore import QEvent, QObject
from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import QMainWindow, QMessageBox, QWidget

from napari_foundseg.widgets.editing.label_saving import mark_unwanted, save_and_wait
from napari_foundseg.widgets.editing.layer_file import unsaved_layers
from napari_foundseg.widgets.layers.proxies import open_viewers

if TYPE_CHECKING:
    from napari.layers import Labels

__all__ = ["guard_closing"]

#: Greatest number of layer names that a question lists.
_NAMED = 8


class _Form(Protocol):
    """The methods of a form that the guards call."""

    def parent(self) -> Any:
        """Return the Qt parent."""

    def unfinished(self) -> str:
        """Return a description of the work in progress; empty if there is none."""

    def stop_work(self) -> None:
        """Stop the work in progress."""

    def save_work(self) -> str:
        """Save the form's own data; return the reason if that is not possible, else an empty text."""


_forms: WeakSet[Any] = WeakSet()


def guard_closing(form: _Form) -> None:
    """Ask from now on before the user closes the dock or window of a form; a second call has no effect."""
    _forms.add(form)
    for widget in _parents(form):
        if hasattr(widget, "foundseg_guard"):
            continue
        if hasattr(widget, "destroyOnClose"):
            widget.foundseg_guard = _DockGuard(widget, form)
        elif isinstance(widget, QMainWindow):
            setattr(widget, "foundseg_guard", _WindowGuard(widget))  # noqa: B010 - Qt's class has no such attribute


def _parents(form: _Form) -> Iterator[Any]:
    widget: Any = form
    with suppress(RuntimeError):  # Qt has destroyed it
        while (widget := widget.parent()) is not None:
            yield widget


class _DockGuard:
    """A question before the user closes a dock with its ✕ while work is in progress."""

    def __init__(self, dock: Any, form: _Form) -> None:
        self._form = ref(form)
        dock.destroyOnClose = partial(self._close, ref(dock), type(dock).destroyOnClose)

    def _close(self, dock: Callable[[], Any], close: Callable[[Any], None]) -> None:
        form = self._form()
        words = "" if form is None else form.unfinished()
        if words and form is not None:
            if not _ask(dock(), [words], []):
                return
            form.stop_work()
        close(dock())


class _WindowGuard(QObject):
    """A question before the user closes a napari window with unsaved work or a run in progress."""

    def __init__(self, window: Any) -> None:
        super().__init__(window)
        self._window: Callable[[], Any] = ref(window)
        window.installEventFilter(self)
        for name in ("close", "restart"):
            if hasattr(type(window), name):
                setattr(window, name, partial(self._close, name))

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Ask when the user closes the window with its X."""
        window = self._window()
        if window is None or watched != window or not isinstance(event, QCloseEvent) or not event.spontaneous():
            return False
        asked, may_close = self._ask(everywhere=False)
        if not may_close:
            event.ignore()
            return True
        tasks = getattr(getattr(window, "_window", None), "_task_status_manager", None)
        if not asked or (tasks is not None and tasks.is_busy()):
            # Let napari ask its own question.
            return False
        own = QCloseEvent()
        window.closeEvent(own)
        event.setAccepted(own.isAccepted())
        return True

    def _close(self, name: str, quit_app: bool = False, confirm_need: bool = False) -> Any:
        """Close or restart the window; ask if the menu was used, but not if a script calls."""
        window = self._window()
        assert window is not None
        if name == "restart":
            return type(window).restart(window) if self._ask(everywhere=True)[1] else None
        if confirm_need:
            asked, may_close = self._ask(everywhere=quit_app)
            if not may_close:
                return None
            # The user has answered our question, so napari does not ask another.
            confirm_need = not asked
        return type(window).close(window, quit_app=quit_app, confirm_need=confirm_need)

    def _ask(self, *, everywhere: bool) -> tuple[bool, bool]:
        """Ask about all work that closing would lose; return whether a dialog was shown, and whether to close.

        `everywhere` includes the work in all windows, not only in this one.
        """
        window = self._window()
        viewers = [viewer for viewer in open_viewers() if everywhere or _window_of(viewer) is window]
        windows = [_window_of(viewer) for viewer in viewers]
        forms = [form for form in _forms if any(parent in windows for parent in _parents(form))]
        for form in forms:
            if reason := form.save_work():
                QMessageBox.warning(window, "Not closed", reason)
                return True, False
        runs = [words for form in forms if (words := form.unfinished())]
        layers = unsaved_layers(layer for viewer in viewers for layer in viewer.layers)
        if not runs and not layers:
            return False, True
        may_close = _ask(window, runs, layers)
        if may_close:
            for form in forms:
                form.stop_work()
        return True, may_close


def _ask(parent: QWidget | None, runs: Sequence[str], layers: Sequence[Labels]) -> bool:
    """Ask whether to close, and save the layers if the user chooses so; return whether to close."""
    box = QMessageBox(parent)
    box.setIcon(QMessageBox.Icon.Warning)
    lines = [f"{words}. It stops when this is closed." for words in runs]
    cancel = box.addButton("Cancel", QMessageBox.ButtonRole.RejectRole)
    save: Any = None
    if layers:
        lines.append(f"In no file: {_listed(layer.name for layer in layers)}.")
        box.setInformativeText("Unsaved changes are discarded: they are not offered for recovery.")
        save = box.addButton("Save…", QMessageBox.ButtonRole.AcceptRole)
        box.addButton("Don't save", QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(save)
    else:
        box.addButton("Stop and close", QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(cancel)
    box.setWindowTitle("Unsaved work" if layers else "A run is under way")
    box.setText("\n".join(lines))
    box.setEscapeButton(cancel)
    box.exec()
    chosen = box.clickedButton()
    box.deleteLater()
    if chosen is cancel or chosen is None:
        return False
    if chosen is save and save is not None:
        return all(save_and_wait(parent, layer) for layer in layers)
    for layer in layers:
        mark_unwanted(layer)
    return True


def _listed(names: Iterable[str]) -> str:
    quoted = [repr(name) for name in names]
    more = len(quoted) - _NAMED
    return ", ".join(quoted) if more <= 0 else f"{', '.join(quoted[:_NAMED])} and {more} more"


def _window_of(viewer: Any) -> Any:
    return viewer.window._qt_window  # napari has no public name for it
