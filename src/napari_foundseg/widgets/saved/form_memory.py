"""What forms remember between sessions: last values and measured speeds, in one small JSON file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from napari_foundseg.io import folders
from napari_foundseg.io.atomic import atomic_write
from napari_foundseg.io.files.json_file import read_json

__all__ = ["recall", "remember"]


def recall(key: str) -> dict[str, Any]:
    """Return what was remembered.

    Empty where nothing was, or where the file is damaged: a form then shows its defaults.
    """
    value = _read().get(key)
    return value if isinstance(value, dict) else {}


def remember(key: str, values: dict[str, Any]) -> None:
    """Keep values for the next time."""
    path = _path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, synced="content") as file:
            file.write(json.dumps({**_read(), key: values}, indent=1).encode())
    except OSError:
        # A folder that cannot be written costs the memory of a form, never the run.
        return


def _path() -> Path:
    return folders.config() / "forms.json"


def _read() -> dict[str, Any]:
    try:
        value = read_json(_path())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
