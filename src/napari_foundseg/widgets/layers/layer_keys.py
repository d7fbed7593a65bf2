"""Key bindings of single layers.

They do not replace napari's keys for that kind of layer, with two exceptions: Ctrl+Z and Ctrl+Shift+Z, and Ctrl+Y in
the layers of marks. There, Ctrl+Y means redo instead of the 3-D view, in which prompts are not possible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

__all__ = ["bind_keys", "unbind_keys"]


def bind_keys(layer: Any, keys: Mapping[str, Callable[[], Any]]) -> None:
    """Bind keys that act only while one layer is active.

    Parameters
    ----------
    keys : mapping of str to callable
        A function without arguments for each key.
    """
    for key, act in keys.items():
        layer.bind_key(key, _ignoring_layer(act), overwrite=True)


def unbind_keys(layer: Any, keys: Iterable[str]) -> None:
    """Remove key bindings of a layer; keys that are not bound are ignored."""
    for key in keys:
        layer.bind_key(key, None)


def _ignoring_layer(act: Callable[[], Any]) -> Callable[[Any], None]:
    def on_key(_layer: Any) -> None:
        act()

    return on_key
