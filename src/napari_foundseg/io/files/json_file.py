"""Read JSON files that others may have written or damaged. Every fault is a ValueError in plain words."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

__all__ = ["parse_json", "read_json"]

#: Most bytes of a file. A record with painted masks has a few megabytes.
_LARGEST = 64 << 20


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    OSError
        If there is no such file, or it cannot be read.
    ValueError
        If it is not a file, is too large, or is no JSON that `parse_json` accepts.
    """
    size = path.stat().st_size
    if not path.is_file():
        # Opening a pipe would wait for another process.
        raise ValueError("it is not a file")
    if size > _LARGEST:
        raise ValueError(f"it is larger than {_LARGEST >> 20} MB")
    return parse_json(path.read_bytes())


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises
    ------
    ValueError
        If it is not JSON, is nested too deeply, has a field twice, or has a number that is too long.
    """
    try:
        return json.loads(text, object_pairs_hook=_fields)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        times = Counter(name for name, _ in pairs)
        raise ValueError(f"the field {times.most_common(1)[0][0]!r} appears twice")
    return fields
