"""How far an edit is that takes long, and that the user does not want it any more."""

from __future__ import annotations

__all__ = ["EditCancelled", "EditProgress"]


class EditCancelled(Exception):  # noqa: N818 - nothing has gone wrong
    """The user has cancelled an edit that is being computed."""


class EditProgress:
    """The progress of one edit; read in one thread, and reported in another."""

    def __init__(self) -> None:
        #: The part that is done, 0 to 1.
        self.done = 0.0
        self.cancelled = False

    def report(self, done: float) -> None:
        """Note the part that is done.

        Raises
        ------
        EditCancelled
            If the user has cancelled the edit.
        """
        if self.cancelled:
            raise EditCancelled("it was cancelled")
        self.done = done

    def cancel(self) -> None:
        """Let the edit end at its next report."""
        self.cancelled = True
