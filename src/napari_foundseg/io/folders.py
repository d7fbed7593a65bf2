"""The folders of files that are kept between sessions: one that the user chose, else the platform's."""

from __future__ import annotations

from functools import cache as cached
from pathlib import Path

from napari_foundseg.io.preferences import preferences

__all__ = ["cache", "config", "data"]

_APP = "napari-foundseg"


def cache() -> Path:
    """Return the folder for files that can be made again. It need not exist."""
    return Path(preferences().cache or _platform_folder("cache"))


def data() -> Path:
    """Return the folder for models and unsaved work. It need not exist."""
    return Path(preferences().cache or _platform_folder("data"))


def config() -> Path:
    """Return the folder for the values that forms show again. It need not exist."""
    return Path(preferences().cache or _platform_folder("config"))


@cached
def _platform_folder(kind: str) -> str:
    import platformdirs

    folder: str = getattr(platformdirs, f"user_{kind}_dir")(_APP)
    return folder
