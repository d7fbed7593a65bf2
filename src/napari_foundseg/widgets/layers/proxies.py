"""Access to the napari objects inside the proxies that napari passes to plugins."""

from __future__ import annotations

from typing import Any

from napari.viewer import Viewer

__all__ = ["open_viewers", "unwrapped"]


def unwrapped(thing: Any) -> Any:
    """Return the object inside a napari proxy; return any other object unchanged."""
    return getattr(thing, "__wrapped__", thing)


def open_viewers() -> list[Viewer]:
    """Return the viewers of this process; napari has no public function for them."""
    return list(getattr(Viewer, "_instances", ()))
