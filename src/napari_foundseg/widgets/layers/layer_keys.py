"""Keys that act while a layer is active, and are let go again.

None of them is one of napari's own for that kind of layer, but for Ctrl+Z and Ctrl+Shift+Z.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

__all__ = ["bind_keys", "unbind_keys"]


def bind_keys(layer: Any, keys: Mapping[str, Callable[[], Any]]) -> None:
    """Bind keys on one layer and nowhere else.

    Parameters
    ----------
    layer : napari.layers.Layer
        The layer.
    keys : mapping of str to callable
        What each key does, without arguments.
    """
    for key, act in keys.items():
        layer.bind_key(key, _ignoring_layer(act), overwrite=True)


def unbind_keys(layer: Any, keys: Iterable[str]) -> None:
    """Let keys of a layer go.

    Parameters
    ----------
    layer : napari.layers.Layer
        The layer.
    keys : iterable of str
        Those that were bound; others are left out.
    """
    for key in keys:
        layer.bind_key(key, None)


def _ignoring_layer(act: Callable[[], Any]) -> Callable[[Any], None]:
    def on_key(_layer: Any) -> None:
        act()

    return on_key
