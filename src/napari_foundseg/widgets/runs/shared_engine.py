"""The engine that all forms share."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING

from qtpy.QtCore import QCoreApplication, QTimer

from napari_foundseg.io.preferences import preferences
from napari_foundseg.widgets.qt.file_thread import FileThread
from napari_foundseg.widgets.saved.preferences import reload_preferences

if TYPE_CHECKING:
    from napari_foundseg.engine.client import Engine
    from napari_foundseg.io.preferences import Preferences

__all__ = ["close_engine", "engine_started", "files_engine", "make_engine", "shared_engine", "start_engine"]

#: The engine, and the preferences with which it was made.
_shared: tuple[Preferences, Engine] | None = None
#: The engine on this computer, if the shared one is elsewhere.
_of_files: Engine | None = None
#: Imports the engine's modules for the first engine.
_starting: FileThread | None = None

#: Milliseconds until a newly opened form has been drawn.
_DRAWN = 600


def make_engine(address: str | None, device: str) -> Engine:
    """Return an engine that is not started; without an address, it gets its own process."""
    from napari_foundseg.engine.client import Engine

    return Engine(address=address, device=device)


def shared_engine() -> Engine:
    """Return the shared engine; a new one if the preferences have changed."""
    global _shared
    reload_preferences()
    chosen = preferences()
    # Everything that an engine process is started with.
    key = replace(chosen, default_model="")
    if _shared is not None and _shared[0] == key:
        return _shared[1]
    close_engine()
    _shared = (key, make_engine(chosen.address, chosen.device))
    if (app := QCoreApplication.instance()) is not None:
        app.aboutToQuit.connect(close_engine)
    return _shared[1]


def files_engine() -> Engine:
    """Return the engine that writes the files of models: the shared one, or one here if that is elsewhere."""
    global _of_files
    if not preferences().address:
        return shared_engine()
    if _of_files is None:
        _of_files = make_engine("", "cpu")
        if (app := QCoreApplication.instance()) is not None:
            app.aboutToQuit.connect(close_engine)
    return _of_files


def start_engine() -> None:
    """Start the engine in the background, before the first run.

    The engine's modules are imported in a background thread: a form that is being opened would have to wait for them.
    """
    global _starting
    if _shared is not None:
        shared_engine().start()
    elif _starting is None:
        _starting = starting = FileThread()
        QTimer.singleShot(_DRAWN, lambda: _read_and_start(starting))


def _read_and_start(starting: FileThread) -> None:
    if _starting is starting:
        starting.ask(lambda: import_module("napari_foundseg.engine.client"), lambda _: shared_engine().start())


def engine_started() -> bool:
    """Tell whether a widget has started the engine; does not start it."""
    return _shared is not None or _starting is not None


def close_engine() -> None:
    """Close the shared engine, if there is one."""
    global _shared, _starting, _of_files
    if _of_files is not None:
        here, _of_files = _of_files, None
        here.close()
    if _starting is not None:
        _starting.leave()
        _starting = None
    if _shared is not None:
        engine, _shared = _shared[1], None
        engine.close()
