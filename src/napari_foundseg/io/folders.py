"""The folders of files that are kept between sessions: the user's choice, else the platform's."""

from __future__ import annotations

from functools import cache as cached
from pathlib import Path

from napari_foundseg.io.preferences import preferences

__all__ = ["cache", "config", "data"]

_APP = "napari-foundseg"


def cache() -> Path:
    """Return the folder for files that can be made again. It need not exist."""
    return _folder("cache", preferences().cache)


def data() -> Path:
    """Return the folder for models and unsaved work. It need not exist."""
    return _folder("data", preferences().cache)


def config() -> Path:
    """Return the folder for the last values of forms. It need not exist."""
    return _folder("config", preferences().cache)


@cached
def _folder(kind: str, chosen: str | None) -> Path:
    # Cached, because a batch asks for it several times for each image.
    if chosen:
        return Path(chosen)
    import platformdirs

    return Path(getattr(platformdirs, f"user_{kind}_dir")(_APP))
