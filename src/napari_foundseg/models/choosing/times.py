"""Measured times of models on this computer, in a small JSON file in the data folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from napari_foundseg.core.declared_fields import Declared
from napari_foundseg.io import folders
from napari_foundseg.io.atomic import atomic_write, named_errors
from napari_foundseg.io.files.json_file import read_json
from napari_foundseg.models.catalog import CatalogRow

__all__ = ["DeviceTimes", "ModelTimes", "recall_times", "remember_times", "seconds_text"]


class DeviceTimes(Declared):
    """Times of a model on one device, in seconds, for the standard picture."""

    encode: float | None = None
    """Seconds to encode it for clicks; None if the model takes no clicks."""
    click: float | None = None
    """Seconds to decode a click in the encoded picture."""
    runs: dict[str, float] = Field(default_factory=dict)
    """Seconds of whole runs, by task and method, such as ``automatic.decoder``."""
    speeds: dict[str, float] = Field(default_factory=dict)
    """Seconds per unit of `RunRequest.work`, by method."""


class ModelTimes(Declared):
    """The measured times of a model."""

    key: str
    """Name and hash of the weights: other weights of the same name have other times."""
    auto: str
    """The device that ``auto`` selected."""
    devices: dict[str, DeviceTimes]
    """Times by device."""

    def on(self, device: str) -> DeviceTimes | None:
        """Return the times on a device, by its name in the preferences; None if nothing was measured there."""
        return self.devices.get(self.auto if device == "auto" else device)


def recall_times(row: CatalogRow) -> ModelTimes | None:
    """Return the measured times of a model; None if there are none, or they are for other weights."""
    try:
        times = ModelTimes.model_validate(_read()[row.name])
    except (KeyError, ValidationError):
        return None
    return times if times.key == row.key else None


def remember_times(name: str, times: ModelTimes) -> None:
    """Save the measured times of a model; raise OutputError if they cannot be written."""
    path = _path()
    with named_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, synced="content") as file:
        file.write(json.dumps({**_read(), name: times.model_dump(mode="json")}, indent=1).encode())


def seconds_text(seconds: float) -> str:
    """Return a measured time as text, such as ``12 ms`` or ``3.4 s``."""
    if seconds < 0.995:
        return f"{max(1, round(1000 * seconds))} ms"
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min"


def _path() -> Path:
    return folders.data() / "model_times.json"


def _read() -> dict[str, Any]:
    try:
        value = read_json(_path())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
