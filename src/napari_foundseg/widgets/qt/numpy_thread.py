"""NumPy work on results in a background thread of the window's process; only the latest request counts."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined] # qtpy adds it

__all__ = ["NumpyThread"]


@cache
def _shared_thread(name: str) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"foundseg-{name}")


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
            result = work()
        except Exception as error:  # noqa: BLE001 - delivered to the window, which shows it
            result = error
        self.done.emit(number, result)
