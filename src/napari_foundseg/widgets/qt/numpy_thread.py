"""NumPy work on results in a background thread of the window's process; only the latest request counts."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined] # qtpy adds it

__all__ = ["NumpyThread", "collections_short", "window_first"]

#: Seconds after which a thread in Python lets the window go on: drawing asks for that at each call of OpenGL.
_TURN = 1e-4

_pausing = threading.Lock()
#: For each work under way, whether garbage is to be looked for afterwards, and the seconds of a turn.
_paused: list[tuple[bool, float]] = []


@cache
def _shared_thread(name: str) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"foundseg-{name}")


@contextmanager
def window_first() -> Iterator[None]:
    """Let the window go on soon whenever it wants to, and Python not look for garbage, which stops it for a moment."""
    with _pausing:
        _paused.append((gc.isenabled(), sys.getswitchinterval()))
        gc.disable()
        sys.setswitchinterval(_TURN)
    try:
        yield
    finally:
        with _pausing:
            was_enabled, turn = _paused.pop(0)
            if _paused:
                _paused[0] = (was_enabled or _paused[0][0], turn)
            else:
                sys.setswitchinterval(turn)
                if was_enabled:
                    gc.enable()


@contextmanager
def collections_short() -> Iterator[None]:
    """Let napari not look through all objects when a layer leaves, 0.2 s: what is garbage is found later."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class NumpyThread(QObject):
    """Runs the latest of many requests and drops the waiting ones before it.

    Parameters
    ----------
    thread : str
        Of which thread: what may take long has one of its own.
    """

    done = Signal(int, object)

    def __init__(self, thread: str = "numpy") -> None:
        super().__init__()
        self._name = thread
        self.number = 0

    def ask(self, work: Callable[[], Any]) -> None:
        """Do some work in the thread; its result comes with the signal `done`.

        Parameters
        ----------
        work : callable
            Takes nothing; an exception is delivered in place of the result.
        """
        self.number += 1
        _shared_thread(self._name).submit(self._run_work, self.number, work)

    def _run_work(self, number: int, work: Callable[[], Any]) -> None:
        if number != self.number:
            return
        try:
            with window_first():
                result = work()
        except Exception as error:  # noqa: BLE001 - delivered to the window, which shows it
            result = error
        self.done.emit(number, result)
