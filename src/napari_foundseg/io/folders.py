"""The folders of files that are kept between sessions: one that the user chose, else the platform's."""

from __future__ import annotations

from pathlib import Path

import platformdirs

from napari_foundseg.io.preferences import preferences

__all__ = ["cache", "config", "data"]

_APP = "napari-foundseg"


def cache() -> Path:
    """Return the folder for files that can be made again. It need not exist."""
    return Path(preferences().cache or platformdirs.user_cache_dir(_APP))


def data() -> Path:
    """Return the folder for models and unsaved work. It need not exist."""
    return Path(preferences().cache or platformdirs.user_data_dir(_APP))


def config() -> Path:
    """Return the folder for the values that forms show again. It need not exist."""
    return Path(preferences().cache or platformdirs.user_config_dir(_APP))
