"""Sizes of weights as text for the user."""

from __future__ import annotations

import math

__all__ = ["bytes_text", "megabytes", "size_text"]


def size_text(size_mb: float) -> str:
    """Return the size of a model as text, such as ``34 kB``, ``9.5 MB`` or ``2.6 GB``; 0 means unknown."""
    if not size_mb:
        return "size unknown"
    if size_mb >= 1000:
        return f"{size_mb / 1000:.1f} GB"
    if size_mb < 1:
        return _in_kilobytes(size_mb * 1e6)
    return f"{size_mb:.0f} MB" if size_mb >= 10 else f"{round(size_mb, 1):g} MB"


def bytes_text(done: int, total: int | None) -> str:
    """Return progress as text, such as ``120 of 375 MB``; ``120 MB`` if the total is unknown.

    If the total is less than 1 MB, both numbers are in kB.
    """
    small = (total or done) < 1e6
    here = _in_kilobytes(done) if small else f"{done / 1e6:.0f} MB"
    if not total:
        return here
    return f"{here.partition(' ')[0]} of {_in_kilobytes(total) if small else f'{total / 1e6:.0f} MB'}"


def megabytes(count: int) -> float:
    """Convert bytes to MB for a row of the catalogue, with more digits for small files so that none has 0 MB."""
    return round(count / 1e6, 1 if count >= 1e6 else 6)


def _in_kilobytes(count: float) -> str:
    return f"{math.ceil(count / 1e3)} kB"
