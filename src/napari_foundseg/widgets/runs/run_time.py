"""How long a run will take, estimated from the speed of earlier runs."""

from __future__ import annotations

from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.widgets.saved.form_memory import recall, remember

__all__ = ["estimate", "in_words", "learn"]


def estimate(request: RunRequest) -> float:
    """Return how many seconds a run will take."""
    speed = recall("speed").get(_key(request), request.settings.first_speed)
    return float(speed) * _work(request)


def learn(request: RunRequest, seconds: float) -> None:
    """Keep the speed of a run for the next estimate."""
    remember("speed", {**recall("speed"), _key(request): seconds / _work(request)})


def in_words(seconds: float) -> str:
    """Return a duration as text, such as ``about 4 s``."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def _key(request: RunRequest) -> str:
    return f"{request.model}/{request.settings.method}"


def _work(request: RunRequest) -> float:
    """Return megapixels plus thousands of prompts, over all slices: time grows with either."""
    slices, pixels = request.inputs.extent(request.image)
    return max(slices * (pixels / 1e6 + request.settings.prompts_per_slice / 1e3), 1e-3)
