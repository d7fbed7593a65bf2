"""What commands write to the terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from napari_foundseg.core.errors import FoundsegError

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["console", "make_progress", "printable", "show_error", "show_line"]

console = Console(stderr=True)


def show_error(error: FoundsegError) -> None:
    """Write a named error in one line, whatever the terminal's width: programs read it too."""
    show_line(f"[red]{type(error).__name__}[/red]: {escape(printable(str(error)))}")


def show_line(markup: str) -> None:
    """Write a line that is not broken."""
    console.print(markup, highlight=False, soft_wrap=True)


def printable(text: str) -> str:
    """Return text that any terminal can show: names of files may hold line breaks and what is no letter at all."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def make_progress(bar: Progress, title: str) -> Callable[[float, str], None]:
    """Return a progress callback that moves a bar."""
    done = bar.add_task(title, total=1.0)
    return lambda share, words, *_: bar.update(done, completed=share, description=words)
