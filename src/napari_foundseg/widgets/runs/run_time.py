"""How long a run will take, learnt from the runs before."""

from __future__ import annotations

from napari_foundseg.core.image import Image
from napari_foundseg.tasks import Inputs, Settings
from napari_foundseg.widgets.saved.form_memory import recall, remember

__all__ = ["estimate", "in_words", "learn"]

#: Seconds per unit of work on two cores with the built-in model, before any run was measured.
_FIRST = {"decoder": 4.0, "grid": 12.0, "sam": 0.1}


def estimate(image: Image, inputs: Inputs, settings: Settings, model: str) -> float:
    """Return how long a run will take.

    Parameters
    ----------
    image : Image
        The image.
    inputs : Inputs
        Where to look.
    settings : Settings
        The method.
    model : str
        The model's name.

    Returns
    -------
    float
        Seconds.
    """
    method = _method(settings)
    rate = recall("speed").get(f"{model}/{method}", _FIRST.get(method, 5.0))
    return float(rate) * _work(image, inputs, settings)


def learn(image: Image, inputs: Inputs, settings: Settings, model: str, seconds: float) -> None:
    """Keep the speed of a run for the next estimate.

    Parameters
    ----------
    image, inputs, settings, model
        As for `estimate`.
    seconds : float
        How long it took.
    """
    remember("speed", {**recall("speed"), f"{model}/{_method(settings)}": seconds / _work(image, inputs, settings)})


def in_words(seconds: float) -> str:
    """Return a time as a person says it.

    Parameters
    ----------
    seconds : float
        Seconds.

    Returns
    -------
    str
        Such as ``about 4 s``.
    """
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def _method(settings: Settings) -> str:
    return str(getattr(settings, "method", ""))


def _work(image: Image, inputs: Inputs, settings: Settings) -> float:
    """Megapixels, or for a grid of points thousands of points; for each slice."""
    height, width = image.plane_shape
    y0, x0, y1, x1 = getattr(inputs, "region", None) or (0, 0, height - 1, width - 1)
    slices = 1
    if getattr(inputs, "index", None) is None and not hasattr(inputs, "prompts"):
        for n in image.slice_shape:
            slices *= n
    pixels = (y1 - y0 + 1) * (x1 - x0 + 1) / 1e6
    points = getattr(settings, "points_per_side", 0) ** 2 / 1e3
    return max(slices * (pixels + points), 1e-3)
