"""Progress and cancellation of an edit that takes long."""

from __future__ import annotations

__all__ = ["EditCancelled", "EditProgress"]


class EditCancelled(Exception):  # noqa: N818 - nothing has gone wrong
    """The user cancelled an edit while it was being computed."""


class EditProgress:
    """The progress of one edit, read in one thread and reported in another."""

    def __init__(self) -> None:
        #: The share that is done, 0 to 1.
        self.done = 0.0
        self.cancelled = False

    def report(self, done: float) -> None:
        """Record the share that is done.

        Raises
        ------
        EditCancelled
            If the user has cancelled the edit.
        """
        if self.cancelled:
            raise EditCancelled("it was cancelled")
        self.done = done

    def cancel(self) -> None:
        """Make the next report raise `EditCancelled`."""
        self.cancelled = True
