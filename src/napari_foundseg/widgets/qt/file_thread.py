"""Reading and writing of files in a background thread, in the order of the requests."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined] # qtpy adds it

__all__ = ["FileThread"]


class FileThread(QObject):
    """A thread for files. When the program ends, running and waiting work is finished first."""

    _done = Signal(object, object)

    def __init__(self) -> None:
        super().__init__()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="foundseg-files")
        self._over = False
        self._done.connect(self._hand_over)

    def ask(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Do some work in the thread, then something with its result in the window's.

        Parameters
        ----------
        work : callable
            Takes nothing.
        then : callable
            Takes what `work` returned, or the exception that it raised.
        """
        self._thread.submit(self._run_work, work, then)

    def finish(self, work: Callable[[], Any] | None = None) -> Any:
        """Wait until all is done, and a last piece of work; what was to follow is left out.

        Parameters
        ----------
        work : callable, optional
            Takes nothing; what it raises is raised here.
        """
        self._over = True
        last = None if work is None else self._thread.submit(work)
        self._thread.shutdown()
        return None if last is None else last.result()

    def leave(self) -> None:
        """Hand nothing over any more, and wait for nothing; what is under way is done, what was to follow left out."""
        self._over = True
        self._thread.shutdown(wait=False)

    def _run_work(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - delivered to the window, which shows it
            result = error
        if not self._over:
            self._done.emit(then, result)

    def _hand_over(self, then: Callable[[Any], None], result: Any) -> None:
        if not self._over:
            then(result)
