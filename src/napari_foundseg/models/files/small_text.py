"""Text files of bounded size, such as settings and rows, which may come from anyone."""

from __future__ import annotations

from pathlib import Path

__all__ = ["read_small_text"]

#: Largest size of a file. The largest published files have a hundredth of it.
_MOST_BYTES = 16_000_000


def read_small_text(path: Path) -> str:
    """Return the text of a file.

    Raises ValueError if it is not a regular file (but a pipe, say), or has more than 16 MB.
    """
    if not path.is_file() or path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"expected a file of up to {_MOST_BYTES / 1e6:.0f} MB")
    return path.read_text(encoding="utf-8")
