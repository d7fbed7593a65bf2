"""Estimate of a run's duration, from the speed of earlier runs or from the measurement of *Time it*."""

from __future__ import annotations

from napari_foundseg.io.preferences import preferences
from napari_foundseg.models.catalog import catalog
from napari_foundseg.models.choosing.times import recall_times
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.widgets.saved.form_memory import recall, remember

__all__ = ["estimate", "forget", "in_words", "learn"]


def estimate(request: RunRequest) -> float:
    """Return the estimated seconds that a run will take."""
    speed = recall("speed").get(_key(request)) or _measured(request) or request.settings.first_speed
    return float(speed) * request.work


def learn(request: RunRequest, seconds: float) -> None:
    """Store the speed of a run for the next estimate."""
    remember("speed", {**recall("speed"), _key(request): seconds / request.work})


def forget(model: str) -> None:
    """Remove the speeds of earlier runs of a model, since it has been measured again."""
    kept = {key: speed for key, speed in recall("speed").items() if key.rpartition("/")[0] != model}
    remember("speed", kept)


def in_words(seconds: float) -> str:
    """Return a duration as text, such as ``about 4 s``."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def _key(request: RunRequest) -> str:
    return f"{request.model}/{request.settings.method}"


def _measured(request: RunRequest) -> float | None:
    """Return the speed that *Time it* has measured on the preferred device, or None."""
    known = catalog().get(request.model)
    times = None if known is None else recall_times(known)
    device = None if times is None else times.on(preferences().device)
    return None if device is None else device.speeds.get(str(getattr(request.settings, "method", "")))
