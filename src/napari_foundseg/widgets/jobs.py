"""The window's way to the engine: one engine for the process, and runs whose news arrive as Qt signals."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QCoreApplication, QObject, QTimer, Signal  # type: ignore[attr-defined] # qtpy adds it

from napari_foundseg.tasks.level_inputs import at_level
from napari_foundseg.widgets.background import Background
from napari_foundseg.widgets.preferences import read_preferences

if TYPE_CHECKING:
    from napari_foundseg.core.image import Image
    from napari_foundseg.core.levels import Level
    from napari_foundseg.core.result import Segmentation
    from napari_foundseg.engine.client import Engine, Job
    from napari_foundseg.tasks import Inputs, Settings

__all__ = ["Run", "close_engine", "engine_started", "shared_engine", "start_engine"]

_shared: tuple[tuple[str | None, str], Engine] | None = None
#: Reads the preferences for the first engine.
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
    wanted = read_preferences()
    key = (wanted.address, wanted.device)
    if _shared is not None and _shared[0] == key:
        return _shared[1]
    close_engine()
    if wanted.cache:
        os.environ.setdefault("FOUNDSEG_CACHE", wanted.cache)
    _shared = (key, make_engine(*key))
    if (app := QCoreApplication.instance()) is not None:
        app.aboutToQuit.connect(close_engine)
    return _shared[1]


def start_engine() -> None:
    """Start the engine in the background, so that the first run finds it warm.

    The first time, napari looks through all plugins for the preferences and the engine's modules are imported: that is
    done beside the window, too, and not while a form is being opened, which would have to wait for it.
    """
    global _starting
    if _shared is not None:
        shared_engine().start()
    elif _starting is None:
        _starting = starting = Background()
        QTimer.singleShot(_DRAWN, lambda: _read_and_start(starting))


def _read_and_start(starting: Background) -> None:
    if _starting is starting:
        starting.ask(_prepare, lambda _: shared_engine().start())


def _prepare() -> None:
    read_preferences()
    import_module("napari_foundseg.engine.client")


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


class Run(QObject):
    """One run of a task.

    The engine calls back on threads of its own; here its calls become signals, which Qt delivers on the
    window's thread to every receiver that is a method of a Qt object.

    Parameters
    ----------
    task : str
        Name of the task.
    image : Image
        The image.
    inputs : Inputs
        What the task works on besides.
    settings : Settings
        How.
    model : str
        Name of the model.
    replace : str, optional
        Of waiting runs of one such name only the latest is done.
    level : Level, optional
        The level of the image's pyramid to run on; the finest by default. What is given is in the finest pixels.
    """

    progressed = Signal(float, str)
    #: Of a fit: what there is to show, a dict.
    shown = Signal(object)
    ended = Signal(object, object)

    def __init__(
        self,
        task: str,
        image: Image,
        inputs: Inputs,
        settings: Settings,
        model: str,
        replace: str | None = None,
        level: Level | None = None,
    ) -> None:
        super().__init__()
        self.image = image
        self.inputs = inputs
        self.settings = settings
        self.model = model
        self.level = level
        if level is not None:
            image, (inputs, settings) = level.image, at_level(inputs, settings, level)
        self._arguments = (task, image, inputs, settings, model)
        self._replace = replace
        self._job: Job | None = None

    def start(self) -> None:
        """Hand the run to the engine; returns at once."""
        self._job = shared_engine().submit(*self._arguments, progress=self._tell, done=self._end, replace=self._replace)

    def at_full_resolution(self, found: Segmentation) -> Segmentation:
        """Return a result in the image's finest pixels.

        Parameters
        ----------
        found : Segmentation
            What the run gave, or what was derived of it.

        Returns
        -------
        Segmentation
            The same where the run was on the finest level.
        """
        return found if self.level is None else self.level.result(found)

    def cancel(self) -> None:
        """Stop the run; its late result is dropped."""
        if self._job is not None:
            self._job.cancel()

    def _tell(self, share: float, words: str, shown: Any = None) -> None:
        self.progressed.emit(share, words)
        if shown:
            self.shown.emit(shown)

    def _end(self, job: Any) -> None:
        self.ended.emit(self, job)
