"""Destroyed widgets: clean-up when Qt destroys a widget, and a check whether it has."""

from __future__ import annotations

from typing import Protocol

from qtpy.compat import isalive
from qtpy.QtWidgets import QWidget

__all__ = ["ReleaseOnDestroy", "is_alive"]


def is_alive(widget: QWidget) -> bool:
    """Return whether Qt has not yet destroyed a widget; background work may end after its form was closed."""
    return bool(isalive(widget))  # type: ignore[no-untyped-call]


class _Releasable(Protocol):
    def release(self) -> None:
        """Disconnect from everything outside the widget."""


class ReleaseOnDestroy:
    """A callback that calls a widget's `release()` once, when Qt destroys the widget."""

    def __init__(self, widget: _Releasable) -> None:
        self._widget: _Releasable | None = widget

    def __call__(self) -> None:
        """Release the widget."""
        widget = self._widget
        self._widget = None
        if widget is None:
            return
        try:
            widget.release()
        except RuntimeError as error:
            # When the application quits, Qt may already have destroyed an object to which the widget is connected.
            if "deleted" not in str(error):
                raise
