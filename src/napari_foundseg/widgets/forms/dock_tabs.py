"""Tabs for docks that the menu opens, so that each has the full height of the window; and raising a dock."""

from __future__ import annotations

from contextlib import suppress

from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

__all__ = ["raise_dock", "tabify"]


def raise_dock(dock: QWidget) -> None:
    """Show a dock that is closed or hidden by another tab."""
    frame = _dock_of(dock)
    if frame is not None:
        frame.show()
        frame.raise_()


def tabify(form: QWidget, kind: type[QWidget]) -> None:
    """Make the dock of a form a tab of an open dock of class `kind` in the same area, and raise it.

    Docks that the user has closed, moved to another side or made floating are not changed.
    """
    with suppress(RuntimeError):  # Qt has destroyed it
        _tabify(form, kind)


def _tabify(form: QWidget, kind: type[QWidget]) -> None:
    dock = _dock_of(form)
    window = None if dock is None else dock.parentWidget()
    if dock is None or not isinstance(window, QMainWindow) or dock.isFloating() or window.tabifiedDockWidgets(dock):
        return
    others = [
        other
        for other in (_dock_of(other) for other in window.findChildren(kind))
        if other is not None
        and other is not dock
        and other.parentWidget() is window
        and not other.isFloating()
        and not other.isHidden()
        and window.dockWidgetArea(other) == window.dockWidgetArea(dock)
    ]
    if others:
        window.tabifyDockWidget(others[-1], dock)
        dock.raise_()


def _dock_of(form: QWidget) -> QDockWidget | None:
    widget: QWidget | None = form
    while widget is not None and not isinstance(widget, QDockWidget):
        widget = widget.parentWidget()
    return widget
