"""The preferences of this process: environment variables first, then the user's choice, then the defaults."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import lru_cache

__all__ = [
    "Preferences",
    "chosen_preferences",
    "engine_environment",
    "offline_switch",
    "preferences",
    "set_preferences",
]


@dataclass(frozen=True)
class Preferences:
    """The device and process of models, and the folders of files.

    Parameters
    ----------
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
    address : str or None
        ``tls://host:port`` of a running scheduler; None for a separate process of the plugin.
    cache : str or None
        Folder for all files that are kept between sessions; None for the platform's folders.
    cache_gb : float
        Largest size of the disk cache of encoded images, in 10⁹ bytes; 0 for no cache.
    models : str or None
        Folder for models; None for the folder ``models`` in that of other files.
    offline : bool
        Whether any use of the network is an error.
    default_model : str
        Model that a form chooses first if it supports the form's task; empty for the first of the catalogue.
    """

    device: str = "auto"
    address: str | None = None
    cache: str | None = None
    cache_gb: float = 4.0
    models: str | None = None
    offline: bool = False
    default_model: str = ""


#: Variables that forbid the network. The Hugging Face libraries read the last two.
_OFFLINE = ("FOUNDSEG_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
#: Variables that override the user's choice.
_VARIABLES = ("FOUNDSEG_DEVICE", "FOUNDSEG_ENGINE", "FOUNDSEG_CACHE", "FOUNDSEG_CACHE_GB", "FOUNDSEG_MODELS", *_OFFLINE)
_chosen = Preferences()


def set_preferences(chosen: Preferences) -> None:
    """Apply the user's choice to this process and to the engine processes that it starts."""
    global _chosen
    _chosen = chosen


def chosen_preferences() -> Preferences:
    """Return the user's choice, regardless of the environment."""
    return _chosen


def preferences() -> Preferences:
    """Return the effective preferences: environment variables override the user's choice."""
    return _in_force(_chosen, *map(os.environ.get, _VARIABLES))


@lru_cache(maxsize=8)
def _in_force(chosen: Preferences, *variables: str | None) -> Preferences:
    # Cached, because tables ask for it several times for each row.
    device, address, cache, cache_gb, models, *_ = variables
    return replace(
        chosen,
        device=device or chosen.device,
        address=address or chosen.address,
        cache=cache or chosen.cache,
        cache_gb=_number(cache_gb, chosen.cache_gb),
        models=models or chosen.models,
        offline=bool(offline_switch()),
    )


def offline_switch() -> str:
    """Return the switch that forbids the network, in words; empty if none does.

    Variables override the user's choice.
    """
    for name in _OFFLINE:
        if _switch(os.environ.get(name), False):
            return f"{name} is set"
    if any(os.environ.get(name) for name in _OFFLINE[:2]):
        return ""
    return "'Work offline' is chosen in the preferences" if _chosen.offline else ""


def engine_environment() -> dict[str, str]:
    """Return the environment of an engine process: that of this process, with the preferences as variables."""
    now = preferences()
    environment = dict(os.environ)
    if now.cache:
        environment["FOUNDSEG_CACHE"] = now.cache
    environment["FOUNDSEG_CACHE_GB"] = str(now.cache_gb)
    if now.models:
        environment["FOUNDSEG_MODELS"] = now.models
    if now.offline:
        environment |= dict.fromkeys(_OFFLINE, "1")
    return environment


def _number(text: str | None, default: float) -> float:
    try:
        return float(text) if text else default
    except ValueError:
        return default


def _switch(text: str | None, default: bool) -> bool:
    # The same rule as huggingface_hub uses for its own variable.
    return text.upper() in ("1", "ON", "YES", "TRUE") if text else default
