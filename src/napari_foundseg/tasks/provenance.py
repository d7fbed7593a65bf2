"""Provenance: what is needed to run a task again, as plain JSON."""

from __future__ import annotations

import platform
import time
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_foundseg.core.image import Image
    from napari_foundseg.models.protocols import Model
    from napari_foundseg.tasks.settings import Inputs, Settings

__all__ = ["record", "versions"]

_PACKAGES = ("napari-foundseg", "torch", "segment-anything", "numpy", "scikit-image")


def record(task: str, image: Image, inputs: Inputs, settings: Settings, model: Model, started: float) -> dict[str, Any]:
    """Describe a run.

    Parameters
    ----------
    task : str
        The task's name.
    image : Image
        The image.
    inputs : Inputs
        The task's inputs.
    settings : Settings
        The method's settings.
    model : Model
        The loaded model.
    started : float
        `time.perf_counter` at the start.

    Returns
    -------
    dict
        JSON-able.
    """
    return {
        "task": task,
        "model": {"name": model.name, "key": model.key, "device": model.device},
        "settings": settings.model_dump(mode="json"),
        "inputs": inputs.model_dump(mode="json"),
        "image": {
            "source": image.source,
            "fingerprint": image.fingerprint(),
            "shape": list(image.shape),
            "dtype": str(image.dtype),
            "axes": image.label_axes,
            "channels": list(image.channels) if isinstance(image.channels, tuple) else image.channels,
            "normalisation": image.normalisation.model_dump(mode="json"),
            "limits": list(image.limits),
            "spacing": dict(image.spacing),
            "units": dict(image.units),
        },
        "versions": versions(),
        "seconds": round(time.perf_counter() - started, 3),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@cache
def versions() -> dict[str, str]:
    """Return the versions, looked up once: a click must not wait for the file system."""
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}
