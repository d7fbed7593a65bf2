"""Reading and writing of files in a background thread, in the order of the requests."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined] # qtpy adds it

__all__ = ["FileThread"]


class FileThread(QObject):
    """A thread for file access; running and waiting work is finished before the program ends."""

    _done = Signal(object, object)

    def __init__(self) -> None:
        super().__init__()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="foundseg-files")
        self._over = False
        self._done.connect(self._hand_over)

    def ask(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Run `work` in the thread, then call `then` with its result in the window's thread.

        Parameters
        ----------
        work : callable
            Takes no arguments.
        then : callable
            Takes the result of `work`, or the exception that it raised.
        """
        self._thread.submit(self._run_work, work, then)

    def finish(self, work: Callable[[], Any] | None = None) -> Any:
        """Wait until all work is done, including a last piece; no `then` is called any more.

        Parameters
        ----------
        work : callable, optional
            Takes no arguments; its exceptions are raised here.
        """
        self._over = True
        last = None if work is None else self._thread.submit(work)
        self._thread.shutdown()
        return None if last is None else last.result()

    def leave(self) -> None:
        """Call no `then` any more, and do not wait; work that was already requested still runs."""
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
