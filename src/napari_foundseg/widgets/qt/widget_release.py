"""`ReleaseOnDestroy`: clean-up when Qt destroys a widget."""

from __future__ import annotations

from typing import Protocol

__all__ = ["ReleaseOnDestroy"]


class _Releasable(Protocol):
    def release(self) -> None:
        """Disconnect from everything outside the widget."""


class ReleaseOnDestroy:
    """Calls `release()` of a widget once, when Qt destroys it."""

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
            # When the application quits, Qt may have destroyed already what the widget is connected to.
            if "deleted" not in str(error):
                raise
