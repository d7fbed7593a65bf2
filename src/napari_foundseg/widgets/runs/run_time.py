"""How long a run will take, estimated from the speed of earlier runs."""

from __future__ import annotations

from napari_foundseg.core.image import Image
from napari_foundseg.tasks import Inputs, Settings
from napari_foundseg.widgets.saved.form_memory import recall, remember

__all__ = ["estimate", "in_words", "learn"]


def estimate(image: Image, inputs: Inputs, settings: Settings, model: str) -> float:
    """Return how many seconds a run will take."""
    speed = recall("speed").get(_key(settings, model), settings.first_speed)
    return float(speed) * _work(image, inputs, settings)


def learn(image: Image, inputs: Inputs, settings: Settings, model: str, seconds: float) -> None:
    """Keep the speed of a run for the next estimate."""
    remember("speed", {**recall("speed"), _key(settings, model): seconds / _work(image, inputs, settings)})


def in_words(seconds: float) -> str:
    """Return a duration as text, such as ``about 4 s``."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def _key(settings: Settings, model: str) -> str:
    return f"{model}/{settings.method}"


def _work(image: Image, inputs: Inputs, settings: Settings) -> float:
    """Return megapixels plus thousands of prompts, over all slices: time grows with either."""
    slices, pixels = inputs.extent(image)
    return max(slices * (pixels / 1e6 + settings.prompts_per_slice / 1e3), 1e-3)
