"""What is left to do when Qt has destroyed a widget."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Ending"]


class _Releasable(Protocol):
    def release(self) -> None:
        """Let go of everything outside the widget."""


class Ending:
    """Releases a widget when it is called, once; holds it until then.

    Parameters
    ----------
    widget : object with a method ``release``
        What to release.
    """

    def __init__(self, widget: _Releasable) -> None:
        self._widget: _Releasable | None = widget

    def __call__(self) -> None:
        """Release the widget."""
        widget, self._widget = self._widget, None
        if widget is None:
            return
        try:
            widget.release()
        except RuntimeError as error:
            # At the application's end Qt may have destroyed already what a widget would let go of.
            if "deleted" not in str(error):
                raise
