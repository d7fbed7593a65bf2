"""Free memory of the computer."""

from __future__ import annotations

from pathlib import Path

import psutil

__all__ = ["available_memory", "format_bytes"]

_CGROUP = Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Return the bytes of memory that can be used without swapping, also within a container's limit."""
    available = int(psutil.virtual_memory().available)
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        # Not in a container, or in one without a limit ("max").
        return available
    return min(available, max(0, limit - used))


def format_bytes(size: float) -> str:
    """Return a number of bytes as text, such as ``"1.4 GB"``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
