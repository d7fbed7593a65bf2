"""The journal: every change of a label image is on the disk within moments, so that a crash loses nothing.

A journal is a file of records: a header, the labels at the beginning, then the steps in the order in which they were
done (an undo is a step too). An end mark follows whenever the labels were saved to a file. Records are only appended.
An incomplete last record is ignored; a damaged one is left out and counted. Applying the steps to an empty array gives
the labels and the facts about their objects. A journal is unsaved work if its last step is after the last end mark and
no process is writing it. Unsaved work is offered for recovery and never deleted.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, BinaryIO

from numpy.typing import NDArray

from napari_foundseg.core.editing.history import EditStep
from napari_foundseg.core.editing.object_facts import Facts
from napari_foundseg.io import folders
from napari_foundseg.io.journals.files import (
    KEPT,
    Kept,
    Recovered,
    discard_journal,
    end_journal,
    kept_journal,
    kept_journals,
    open_journals,
    prune_journals,
    read_journal,
    reoffer_journal,
)
from napari_foundseg.io.journals.header import END, Header, base_records, first_records, is_step, note
from napari_foundseg.io.journals.process import ALIVE
from napari_foundseg.io.journals.records import MAGIC, packed

__all__ = [
    "KEPT", "Header", "Journal", "Kept", "Recovered", "discard_journal", "end_journal", "journal_folder",
    "kept_journal", "kept_journals", "read_journal", "reoffer_journal",
]  # fmt: skip

#: Delay before a failed write is tried again. It doubles with each failure, up to 16 times as much.
_RETRY_SECONDS = 2.0
#: Seconds for which writes of a closed journal are tried again.
_PATIENCE = 300.0
#: Attempts to make a record before it is given up.
_ATTEMPTS = 3


def journal_folder() -> Path:
    """Return the folder of journals. It need not exist."""
    return folders.data() / "journal"


@dataclass
class _Job:
    """Records to write. They are made just before they are written, so that they need no memory before."""

    make: Callable[[], Iterable[bytes]]
    #: Whether the records contain anything to recover.
    has_content: Callable[[], bool] = lambda: False
    nbytes: int = 0
    #: Values of the header that the records change.
    values: Mapping[str, Any] = field(default_factory=dict)
    attempts: int = 0
    error: Exception | None = None


class Journal:
    """Writer of the steps of one Labels layer, in a background thread.

    Only `close` and `abandon` stop the thread. A failed write is tried again, and a removed file is written again.

    Parameters
    ----------
    folder : Path
        Folder of the journal. It is made if it does not exist.
    header : Header or callable
        The label image. A callable is called in the journal's thread when the header is first needed.
    on_saved : callable
        Called in the journal's thread when everything added is on the disk, with the time in seconds since 1970.
    on_failed : callable
        Called with the error when a write fails. The write is then tried again.
    """

    def __init__(
        self,
        folder: Path,
        header: Header | Callable[[], Header],
        on_saved: Callable[[float], None],
        on_failed: Callable[[Exception], None],
    ) -> None:
        self._folder = folder
        self._header_source = header
        self._on_saved = on_saved
        self._on_failed = on_failed
        self._waiting: SimpleQueue[_Job | None] = SimpleQueue()
        self._pending: list[_Job] = []
        self._file: BinaryIO | None = None
        #: The file; None before the first write.
        self.file_path: Path | None = None
        #: Good length of the file, number of steps in it, and length of its header.
        self._good = self._steps = self._empty = 0
        self._failures = 0
        self._settled = threading.Event()
        self._is_written = self._is_abandoned = False
        #: Whether a step is missing in the file, because it could not be made or the file was lost.
        self.incomplete = False
        self._thread = threading.Thread(target=self._serve, name="foundseg-journal", daemon=True)
        self._thread.start()

    @cached_property
    def _header(self) -> Header:
        return self._header_source if isinstance(self._header_source, Header) else self._header_source()

    @cached_property
    def path(self) -> Path:
        """The file. It exists after the first write."""
        header = self._header
        name = f"{header.stem}-{header.began.replace(':', '')}-{header.process}-{id(self):x}.journal"
        return self._folder / name

    @property
    def waiting_bytes(self) -> int:
        """Memory of the records that could not be written yet, in bytes."""
        return sum(job.nbytes for job in self._pending)

    def add(self, step: EditStep) -> None:
        """Queue a step that was done, undone or redone, and return at once."""
        self._waiting.put(_Job(lambda: [step.to_bytes()], lambda: True, step.nbytes))

    def add_all(self, labels: NDArray[Any], read_facts: Callable[[], Facts]) -> None:
        """Queue a whole label image, with the facts about its objects, as the base of the later steps.

        Parameters
        ----------
        labels : ndarray of int
            Array in the header's shape. It is read in the background. Changes in the meantime must be added as steps.
        read_facts : callable
            Returns the facts by id of the object; called in the background.
        """
        known = cache(read_facts)
        self._waiting.put(_Job(lambda: base_records(labels, known()), lambda: bool(known()) or bool(labels.any())))

    def mark_saved(self) -> None:
        """Record that everything added so far is saved to a file."""
        self._waiting.put(_Job(lambda: [END]))

    def mark_discarded(self) -> None:
        """Record that the user does not want anything that was added so far."""
        self._waiting.put(_Job(lambda: [note(discarded=True)]))

    def rename(self, layer: str) -> None:
        """Record the layer's new name."""
        self._waiting.put(_Job(lambda: [note(layer=layer)], values={"layer": layer}))

    def close(self, timeout: float = 5.0, *, unsaved: bool = False) -> bool:
        """Write everything queued and the end mark, and return whether all is on the disk within `timeout` seconds.

        A failed write is tried again for some minutes. With `unsaved`, the labels are offered for recovery, since they
        are in no file.
        """
        self._waiting.put(_Job(lambda: [note(closed=True) if unsaved else END]))
        self._waiting.put(None)
        self._settled.wait(timeout)
        return self._is_written

    def abandon(self) -> None:
        """Stop writing, since another journal has the same labels."""
        self._is_abandoned = True
        self._waiting.put(None)

    # The following methods run in the thread.

    def _serve(self) -> None:
        try:
            self._write_until_closed()
        finally:
            if self._file is not None:
                with contextlib.suppress(OSError):
                    self._file.close()
                open_journals.discard(self.path)
            self._settled.set()

    def _write_until_closed(self) -> None:
        closing: float | None = None
        while True:
            if self._receive(self._delay()) and closing is None:
                closing = time.monotonic()
            if self._is_abandoned:
                return
            try:
                written = self._write_pending()
            except Exception as error:  # noqa: BLE001 - the thread must not end: later steps would never be written
                self._failures += 1
                self._tell(self._on_failed, error)
            else:
                self._failures = 0
                if written and not self.incomplete:
                    self._tell(self._on_saved, time.time())
            if closing is not None:
                self._is_written = not self._pending and not self.incomplete
                if not self._pending or time.monotonic() - closing > _PATIENCE:
                    return
                # The caller of `close` does not wait until there is room on the disk.
                self._settled.set()

    def _delay(self) -> float | None:
        """Return the seconds to wait for more jobs; None to wait without a limit."""
        if self._pending:
            return _RETRY_SECONDS * min(16.0, 2.0 ** (self._failures - 1))
        return None if self._file is None else ALIVE

    def _tell(self, listener: Callable[[Any], None], what: Any) -> None:
        with contextlib.suppress(Exception):  # the window may be closed
            listener(what)

    def _receive(self, timeout: float | None) -> bool:
        """Take all queued jobs, and return whether the journal is being closed."""
        closing = False
        with contextlib.suppress(Empty):
            while True:
                job = self._waiting.get(timeout=timeout)
                if job is None:
                    closing = True
                else:
                    self._pending.append(job)
                timeout = 0
        return closing

    def _write_pending(self) -> bool:
        """Write all pending jobs, and return whether there were any."""
        if self._file is None and not any(job.has_content() for job in self._pending):
            # Without labels there is nothing to recover, so there is no file.
            self._forget_pending()
            return False
        if not self._pending:
            self._mark_in_use()
            return False
        if self._file is None:
            self._begin()
        elif not self._is_there():
            self._begin_again()
        file = self._file
        assert file is not None
        steps = self._steps
        try:
            file.seek(self._good)
            for job in self._pending:
                for record in self._made(job):
                    steps += is_step(record)
                    file.write(packed(record, steps, time.time()))
                # The gap in the numbers shows that a step is missing.
                steps += job.attempts >= _ATTEMPTS
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            self._give_up()
            raise
        self._good = file.tell()
        self._steps = steps
        missing = [job.error for job in self._pending if job.attempts >= _ATTEMPTS and job.error is not None]
        self._pending = []
        if missing:
            self.incomplete = True
            self._tell(self._on_failed, missing[0])
        return True

    def _made(self, job: _Job) -> Iterable[bytes]:
        """Return the records of a job; none if they could not be made in several attempts."""
        if job.attempts >= _ATTEMPTS:
            return []
        try:
            return job.make()
        except (OSError, MemoryError):
            raise
        except Exception as error:
            job.attempts += 1
            job.error = error
            raise

    def _forget_pending(self) -> None:
        """Drop jobs that came before there are any labels, but keep a new name."""
        for job in self._pending:
            if job.values:
                self.__dict__["_header"] = replace(self._header, **job.values)
        self._pending = []

    def _mark_in_use(self) -> None:
        """Show other computers that this journal is in use."""
        with contextlib.suppress(OSError):
            os.utime(self.path)

    def _begin(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        prune_journals(self._folder, self._header.stem)
        self._file = self.path.open("x+b")
        self.file_path = self.path
        open_journals.add(self.path)
        try:
            self._file.write(MAGIC)
            for record in first_records(self._header):
                self._file.write(packed(record, 0, time.time()))
            self._good = self._file.tell()
            self._empty = self._good
        except BaseException:
            self._empty = self._good = 0
            self._give_up()
            raise

    def _is_there(self) -> bool:
        """Tell whether the file is still in its folder."""
        assert self._file is not None
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False

    def _begin_again(self) -> None:
        """Write a removed or replaced file again, from the data that the system still has of it."""
        old = self._file
        assert old is not None
        self._folder.mkdir(parents=True, exist_ok=True)
        open_journals.discard(self.path)
        if self.path.exists():
            self.__dict__["path"] = self.path.with_stem(f"{self.path.stem}-{time.monotonic_ns():x}")
        new = self.path.open("x+b")
        try:
            old.seek(0)
            left = self._good
            while left and (data := old.read(min(left, 1 << 20))):
                new.write(data)
                left -= len(data)
            self.incomplete |= left > 0
        except BaseException:
            with contextlib.suppress(OSError):
                new.close()
            self.path.unlink(missing_ok=True)
            raise
        self._file = new
        self.file_path = self.path
        self._good -= left
        open_journals.add(self.path)
        with contextlib.suppress(OSError):
            old.close()

    def _give_up(self) -> None:
        """Remove a file without any complete record. In other files, the next attempt overwrites an incomplete one."""
        assert self._file is not None
        if self._good > self._empty:
            return
        file = self._file
        self._file = None
        with contextlib.suppress(OSError):
            file.close()
        open_journals.discard(self.path)
        self.path.unlink(missing_ok=True)
