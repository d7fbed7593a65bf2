"""The engine that all forms of this process share."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING

from qtpy.QtCore import QCoreApplication, QTimer

from napari_foundseg.io.preferences import preferences
from napari_foundseg.widgets.qt.file_thread import Background
from napari_foundseg.widgets.saved.preferences import reload_preferences

if TYPE_CHECKING:
    from napari_foundseg.engine.client import Engine
    from napari_foundseg.io.preferences import Preferences

__all__ = ["close_engine", "engine_started", "make_engine", "shared_engine", "start_engine"]

#: The engine, and the preferences that it was made with.
_shared: tuple[Preferences, Engine] | None = None
#: Imports the engine's modules for the first engine.
_starting: Background | None = None

#: Milliseconds after which a form that has just been opened is drawn.
_DRAWN = 600


def make_engine(address: str | None, device: str) -> Engine:
    """Make an engine.

    Parameters
    ----------
    address : str or None
        Where to join one; None for a process of our own.
    device : str
        Where models run.

    Returns
    -------
    Engine
        Not started.
    """
    from napari_foundseg.engine.client import Engine

    return Engine(address=address, device=device)


def shared_engine() -> Engine:
    """Return the process's engine, a new one where the preferences have changed.

    Returns
    -------
    Engine
        Shared by all widgets; ended with the application.
    """
    global _shared
    reload_preferences()
    chosen = preferences()
    # All that an engine process is started with.
    key = replace(chosen, default_model="")
    if _shared is not None and _shared[0] == key:
        return _shared[1]
    close_engine()
    _shared = (key, make_engine(chosen.address, chosen.device))
    if (app := QCoreApplication.instance()) is not None:
        app.aboutToQuit.connect(close_engine)
    return _shared[1]


def start_engine() -> None:
    """Start the engine in the background, so that the first run finds it warm.

    The engine's modules are imported in the background, too: a form that is being opened would have to wait for them.
    """
    global _starting
    if _shared is not None:
        shared_engine().start()
    elif _starting is None:
        _starting = starting = Background()
        QTimer.singleShot(_DRAWN, lambda: _read_and_start(starting))


def _read_and_start(starting: Background) -> None:
    if _starting is starting:
        starting.ask(lambda: import_module("napari_foundseg.engine.client"), lambda _: shared_engine().start())


def engine_started() -> bool:
    """Tell whether a widget has asked for the engine.

    Returns
    -------
    bool
        False before; nothing is started.
    """
    return _shared is not None or _starting is not None


def close_engine() -> None:
    """End the process's engine, if there is one."""
    global _shared, _starting
    if _starting is not None:
        _starting.leave()
        _starting = None
    if _shared is not None:
        engine, _shared = _shared[1], None
        engine.close()
