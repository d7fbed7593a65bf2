"""Preferences: napari's own page for this plugin, and the environment, which wins."""

from __future__ import annotations

import os
from dataclasses import dataclass

__all__ = ["Preferences", "read_preferences"]

PLUGIN = "napari-foundseg"


@dataclass(frozen=True)
class Preferences:
    """Where models run and where their files lie.

    Parameters
    ----------
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    address : str or None
        ``tls://host:port`` of a running scheduler; None for a process of the plugin's own.
    cache : str or None
        Folder for downloaded models; None for the platform's cache folder.
    """

    device: str = "auto"
    address: str | None = None
    cache: str | None = None


def read_preferences() -> Preferences:
    """Return the preferences as they stand.

    Returns
    -------
    Preferences
        ``FOUNDSEG_DEVICE``, ``FOUNDSEG_ENGINE`` and ``FOUNDSEG_CACHE`` where they are set, otherwise what the
        Preferences dialog holds, otherwise the defaults.
    """
    page = _page()
    return Preferences(
        device=os.environ.get("FOUNDSEG_DEVICE") or str(getattr(page, "device", "auto")),
        address=os.environ.get("FOUNDSEG_ENGINE") or str(getattr(page, "address", "")).strip() or None,
        cache=os.environ.get("FOUNDSEG_CACHE") or str(getattr(page, "cache", "")).strip() or None,
    )


def _page() -> object | None:
    """Return this plugin's page; None where the plugin was not found by napari, as when run from a script."""
    from napari.settings import get_plugin_settings

    try:
        return getattr(get_plugin_settings(PLUGIN), "engine", None)
    except KeyError:
        return None
