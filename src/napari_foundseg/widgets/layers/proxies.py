"""napari's objects behind the proxies that it hands to plugins."""

from __future__ import annotations

from typing import Any

from napari.viewer import Viewer

__all__ = ["open_viewers", "unwrapped"]


def unwrapped(thing: Any) -> Any:
    """Return the object behind a proxy of napari; any other object as it is."""
    return getattr(thing, "__wrapped__", thing)


def open_viewers() -> list[Viewer]:
    """Return the viewers of this process; napari has no public name for them."""
    return list(getattr(Viewer, "_instances", ()))
