"""Output of commands to the terminal."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from functools import cache
from itertools import zip_longest
from textwrap import wrap
from typing import TYPE_CHECKING

import typer

from napari_foundseg.core.errors import FoundsegError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

__all__ = ["console", "make_progress", "printable", "show_error", "show_line", "show_table"]


@cache
def console() -> Console:
    """Return the terminal of progress bars. It is made on demand, since rich is slow to import and often not needed."""
    from rich.console import Console

    return Console(stderr=True)


def show_error(error: FoundsegError) -> None:
    """Write a named error in one line, whatever the terminal's width, so that programs can read it."""
    console().print(f"[red]{type(error).__name__}[/red]: ", end="")
    show_line(printable(str(error)))


def show_line(text: str) -> None:
    """Write an unbroken line to stderr, so that programs that read results from stdout do not get it."""
    typer.echo(text, err=True)


def show_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a table that fits the terminal, or one line per row without a terminal. The first column is not wrapped."""
    columns = list(zip(head, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    words = [max(len(word) for cell in column for word in cell.split() or [cell]) for column in columns]
    least = [widths[0], *words[1:]]
    free = shutil.get_terminal_size((sum(widths) + 2 * len(widths), 0)).columns - 2 * (len(widths) - 1)
    while sum(widths) > free and widths != least:
        widest = max(range(len(widths)), key=lambda i: (widths[i] > least[i], widths[i]))
        widths[widest] -= 1
    rule = ["─" * width for width in widths]
    for row in (head, rule, *rows):
        cells = [wrap(cell, width) if len(cell) > width else [cell] for cell, width in zip(row, widths, strict=True)]
        for parts in zip_longest(*cells, fillvalue=""):
            typer.echo("  ".join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip())


def printable(text: str) -> str:
    """Return text that any terminal can show. File names may contain line breaks and unprintable characters."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def make_progress(bar: Progress, title: str) -> Callable[[float, str], None]:
    """Return a progress callback that advances a bar."""
    done = bar.add_task(title, total=1.0)
    return lambda share, words, *_: bar.update(done, completed=share, description=words)
