"""How much memory there is for an image."""

from __future__ import annotations

from pathlib import Path

import psutil

__all__ = ["available_memory", "format_bytes"]

_CGROUP = Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Return the memory that can be used without swapping, in bytes.

    Returns
    -------
    int
        The system's available memory, or what is left of a container's limit where that is less.
    """
    available = int(psutil.virtual_memory().available)
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return available
    return min(available, max(0, limit - used))


def format_bytes(size: float) -> str:
    """Return a number of bytes as a person reads it.

    Parameters
    ----------
    size : float
        Bytes.

    Returns
    -------
    str
        Such as ``"1.4 GB"``.
    """
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
