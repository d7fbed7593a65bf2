"""Sizes of weights as the user reads them."""

from __future__ import annotations

__all__ = ["bytes_text", "size_text"]


def size_text(size_mb: float) -> str:
    """Return the size of a model as text, such as ``9.5 MB``, ``375 MB`` or ``2.6 GB``; 0 is an unknown size."""
    if not size_mb:
        return "size unknown"
    if size_mb >= 1000:
        return f"{size_mb / 1000:.1f} GB"
    return f"{size_mb:.0f} MB" if size_mb >= 10 else f"{round(size_mb, 1):g} MB"


def bytes_text(done: int, total: int | None) -> str:
    """Return how many bytes of how many, such as ``120 of 375 MB``; ``120 MB`` where the total is not known."""
    return f"{done / 1e6:.0f} of {total / 1e6:.0f} MB" if total else f"{done / 1e6:.0f} MB"
