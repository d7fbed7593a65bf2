"""Colours of RGB layers: measured in a background thread, and kept until the layer's pixels change."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from napari.layers import Layer

from napari_foundseg.core.errors import BadImageError, FoundsegError
from napari_foundseg.widgets.layers.layer_conversion import image_from_layer

if TYPE_CHECKING:
    from napari.layers import Image as ImageLayer

    from napari_foundseg.core.pixels.colour import FoundColour

__all__ = ["ask_colour", "known_colour", "settle_colour"]

_thread = ThreadPoolExecutor(1, thread_name_prefix="foundseg-colour")
#: The pixels of each measured layer, and the future with their colours.
_asked: WeakKeyDictionary[Layer, tuple[Any, Future[FoundColour | None]]] = WeakKeyDictionary()


def ask_colour(layer: ImageLayer) -> Future[FoundColour | None] | None:
    """Measure the colours of a layer in a background thread; return None if it is not RGB or not usable."""
    if not layer.rgb:
        return None
    pixels = layer.data[0] if layer.multiscale else layer.data
    known = _asked.get(layer)
    if known is None or known[0] is not pixels:
        try:
            image = image_from_layer(layer)
        except FoundsegError:
            return None
        known = pixels, _thread.submit(lambda: image.found_colour)
        _asked[layer] = known
    return known[1]


def known_colour(layer: ImageLayer) -> FoundColour | None:
    """Return the measured colours of a layer; None if they are not measured yet or cannot be read."""
    asked = ask_colour(layer)
    return asked.result() if asked is not None and asked.done() and asked.exception() is None else None


def settle_colour(layer: ImageLayer, seconds: float) -> None:
    """Wait until the colours of a layer are measured.

    Reading errors are not raised here, but where the pixels are used.

    Raises
    ------
    BadImageError
        If measuring takes longer than `seconds`.
    """
    asked = ask_colour(layer)
    if asked is None:
        return
    try:
        asked.exception(seconds)
    except TimeoutError as error:
        raise BadImageError(
            None, f"the colours of {layer.name!r} are still being read. Try again in a moment"
        ) from error
