"""The memory of forms between sessions: last values and measured speeds, in one small JSON file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from napari_foundseg.io import folders
from napari_foundseg.io.atomic import atomic_write
from napari_foundseg.io.files.json_file import read_json

__all__ = ["recall", "remember"]


def recall(key: str) -> dict[str, Any]:
    """Return the values that were stored under a key.

    Empty if there are none, or if the file is damaged: a form then shows its defaults.
    """
    value = _read().get(key)
    return value if isinstance(value, dict) else {}


def remember(key: str, values: dict[str, Any]) -> None:
    """Store values under a key for later sessions."""
    path = _path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, synced="content") as file:
            file.write(json.dumps({**_read(), key: values}, indent=1).encode())
    except OSError:
        # If the folder cannot be written, a form does not remember its values, but the run must not fail.
        return


def _path() -> Path:
    return folders.config() / "forms.json"


def _read() -> dict[str, Any]:
    try:
        value = read_json(_path())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
