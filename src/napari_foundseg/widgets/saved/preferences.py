"""napari's page of preferences for this plugin: read once before any form is made, and again before a run."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import fields, replace

from napari_foundseg.io.preferences import Preferences, chosen_preferences, set_preferences
from napari_foundseg.widgets.qt.event_loop import draw_until

__all__ = ["load_preferences", "reload_preferences", "wait_for_preferences"]

PLUGIN = "napari-foundseg"

_lock = threading.Lock()
_loaded = threading.Event()
#: The folders on the page when the user was last told that a change needs a restart.
_announced: dict[str, str | None] = {}


def load_preferences() -> None:
    """Apply the page to this process, once; call it in a thread, since napari searches all plugins for the page."""
    with _lock:
        if not _loaded.is_set():
            set_preferences(_read_page())
            _loaded.set()


def wait_for_preferences() -> None:
    """Load the preferences in a background thread, unless they are loaded; the window redraws meanwhile."""
    if _loaded.is_set():
        return
    thread = threading.Thread(target=_try_to_load, name="foundseg-preferences", daemon=True)
    thread.start()
    draw_until(lambda: not thread.is_alive())
    # If loading failed in the thread, it fails here again, and napari shows the error.
    load_preferences()


def reload_preferences() -> None:
    """Apply changes to the page; tell the user if a changed folder needs a restart of napari."""
    load_preferences()
    page = _read_page()
    now = chosen_preferences()
    # Forms, catalogue and journals of this session have already used the previous folder.
    set_preferences(replace(page, cache=now.cache, models=now.models))
    for name in ("cache", "models"):
        chosen = getattr(page, name)
        if chosen in (getattr(now, name), _announced.get(name, getattr(now, name))):
            continue
        from napari.utils.notifications import show_info

        _announced[name] = chosen
        show_info(f"FoundSeg uses the new {name} folder when napari is started again.")


def _try_to_load() -> None:
    with suppress(Exception):
        load_preferences()


def _read_page() -> Preferences:
    """Return the page's values; the defaults if napari does not know the plugin, as in a script."""
    try:
        from napari.settings import get_plugin_settings

        page = get_plugin_settings(PLUGIN).engine
    except (ImportError, KeyError, AttributeError):  # napari before 0.9 has no pages of plugins
        return Preferences()
    there = {field.name: getattr(page, field.name) for field in fields(Preferences) if hasattr(page, field.name)}
    for name in ("device", "address", "cache", "models", "default_model"):
        # A choice from a list is an enumeration in some versions of napari.
        text = str(getattr(there.get(name), "value", there.get(name)) or "").strip()
        there[name] = text or getattr(Preferences, name)
    return Preferences(**there)
