"""NumPy work on results in a background thread of the window's process; only the latest request counts."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined] # qtpy adds it

__all__ = ["NumpyThread"]

_pausing = threading.Lock()
#: For each work under way, whether garbage is to be looked for afterwards.
_paused: list[bool] = []


@cache
def _shared_thread(name: str) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"foundseg-{name}")


@contextmanager
def _collections_paused() -> Iterator[None]:
    """Let Python not look for garbage meanwhile: with many new objects, that stops the window for a moment."""
    with _pausing:
        _paused.append(gc.isenabled())
        gc.disable()
    try:
        yield
    finally:
        with _pausing:
            was_enabled = _paused.pop(0)
            if _paused:
                _paused[0] |= was_enabled
            elif was_enabled:
                gc.enable()


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
            with _collections_paused():
                result = work()
        except Exception as error:  # noqa: BLE001 - delivered to the window, which shows it
            result = error
        self.done.emit(number, result)
