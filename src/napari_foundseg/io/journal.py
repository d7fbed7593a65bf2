"""The journal: every change of a label image is on the disk within moments, so that a crash loses nothing.

A journal is a file of records: a header, then the steps in the order in which they were done (an undo is a step too),
with an end mark wherever the labels were in a file. Records are only appended; an incomplete last record is ignored.
Applying the steps to an empty array gives the labels and the facts about their objects. A journal whose last step is
behind the last end mark, and which no process is writing, is unsaved work: it is offered, and never deleted.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.editing.difference import Difference
from napari_foundseg.core.editing.history import EditStep
from napari_foundseg.core.editing.object_facts import Facts
from napari_foundseg.core.errors import BadImageError
from napari_foundseg.io import folders
from napari_foundseg.io.journal_format import (
    END,
    MAGIC,
    Header,
    is_step,
    note,
    packed,
    position_after,
    records,
    with_note,
)

__all__ = ["Header", "Journal", "Kept", "Recovered", "end_journal", "journal_folder", "kept_journals", "read_journal"]

#: Number of journals of each image that are kept although they are saved or not wanted.
KEPT = 3
#: Delay before a failed write is tried again.
_RETRY_SECONDS = 2.0
#: The journals that this process is writing.
_open: set[Path] = set()


def journal_folder() -> Path:
    """Return the folder of journals. It need not exist."""
    return folders.data() / "journal"


@dataclass(frozen=True)
class Kept:
    """A journal on the disk.

    Parameters
    ----------
    path : Path
        The file.
    header : Header
        Its label image.
    steps : int
        Number of complete steps.
    ended : bool
        Whether everything in it is in a file, or is not wanted.
    changed : float
        Time of the last write, in seconds since 1970.
    """

    path: Path
    header: Header
    steps: int
    ended: bool
    changed: float

    @property
    def lost(self) -> bool:
        """Whether its labels are in no file, as far as is known, and no process is working on them."""
        return bool(self.steps) and not self.ended and not self.in_use

    @property
    def in_use(self) -> bool:
        """Whether a process is still writing it."""
        return self.path in _open if self.header.is_own else self.header.in_use(self.changed)


class Journal:
    """Writes the steps of one Labels layer in a background thread.

    Parameters
    ----------
    folder : Path
        Folder of the journal; it is made if it does not exist.
    header : Header or callable
        The label image; a callable is called in the journal's thread, when the header is first needed.
    on_saved : callable
        Called with the time, in seconds since 1970, when everything added is on the disk; in the journal's thread.
    on_failed : callable
        Called with the error when a write fails; it is then tried again.
    """

    def __init__(
        self,
        folder: Path,
        header: Header | Callable[[], Header],
        on_saved: Callable[[float], None],
        on_failed: Callable[[OSError], None],
    ) -> None:
        self._folder = folder
        self._header_source = header
        self._on_saved = on_saved
        self._on_failed = on_failed
        self._waiting: SimpleQueue[Callable[[], bytes] | None] = SimpleQueue()
        self._file: BinaryIO | None = None
        self._good = 0
        self._thread = threading.Thread(target=self._serve, name="foundseg-journal", daemon=True)
        self._thread.start()

    @cached_property
    def _header(self) -> Header:
        return self._header_source if isinstance(self._header_source, Header) else self._header_source()

    @cached_property
    def path(self) -> Path:
        """The file, which exists after the first write."""
        header = self._header
        name = f"{header.stem}-{header.began.replace(':', '')}-{header.process}-{id(self):x}.journal"
        return self._folder / name

    def add(self, step: EditStep) -> None:
        """Queue a step that was done, undone or redone; returns at once."""
        self._waiting.put(step.to_bytes)

    def add_all(self, labels: NDArray[Any], known: Facts) -> None:
        """Queue a whole label image with the facts about its objects, as a step from an empty one.

        Parameters
        ----------
        labels : ndarray of int
            Array of the header's shape; it must not change afterwards.
        known : mapping of int to mapping of str
            Facts by id of the object.
        """

        def packed() -> bytes:
            part = Difference.between((0,) * labels.ndim, np.zeros_like(labels), labels)
            return EditStep("start", () if part is None else (part,), known_after=known).to_bytes()

        self._waiting.put(packed)

    def mark_saved(self) -> None:
        """Note that everything added so far is in a file, or is not wanted."""
        self._waiting.put(lambda: END)

    def rename(self, layer: str) -> None:
        """Note the layer's new name."""
        self._waiting.put(lambda: note(layer=layer))

    def close(self, timeout: float = 5.0, *, unsaved: bool = False) -> bool:
        """Write everything queued and the end mark; return whether that was done within `timeout` seconds.

        `unsaved`: offer the labels for recovery, since they are in no file.
        """
        self._waiting.put(lambda: note(closed=True) if unsaved else END)
        self._waiting.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _serve(self) -> None:
        self._write_until_closed()
        if self._file is not None:
            self._file.close()
            _open.discard(self.path)

    def _write_until_closed(self) -> None:
        pending: list[bytes] = []
        closing = False
        while not closing or pending:
            added, closing = self._received(closing, _RETRY_SECONDS if pending else None)
            pending += added
            if self._file is None and not any(map(is_step, pending)):
                # Without a step there is nothing to recover, so there is no file.
                pending = []
                continue
            try:
                self._write(pending)
            except OSError as error:
                self._on_failed(error)
                if closing:
                    return
            else:
                pending = []
                self._on_saved(time.time())

    def _received(self, closing: bool, timeout: float | None) -> tuple[list[bytes], bool]:
        """Return all queued records, and whether the journal is being closed."""
        queued: list[bytes] = []
        with contextlib.suppress(Empty):
            while True:
                record = self._waiting.get(timeout=timeout)
                if record is None:
                    return queued, True
                queued.append(record())
                timeout = 0
        return queued, closing

    def _write(self, added: list[bytes]) -> None:
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            _prune(self._folder, self._header.stem)
            self._file = self.path.open("xb")
            _open.add(self.path)
            added = [self._header.to_json(), *added]
            self._file.write(MAGIC)
            self._good = len(MAGIC)
        try:
            self._file.seek(self._good)
            for record in added:
                self._file.write(packed(record))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError:
            self._give_up()
            raise
        self._good = self._file.tell()

    def _give_up(self) -> None:
        """Remove a file without any complete record; in others, the next try overwrites the incomplete one."""
        assert self._file is not None
        if self._good > len(MAGIC):
            return
        file = self._file
        self._file = None
        with contextlib.suppress(OSError):
            file.close()
        _open.discard(self.path)
        self.path.unlink(missing_ok=True)


def kept_journals(folder: Path, image: str | None = None) -> list[Kept]:
    """Return the journals in a folder, latest first; of one image only if its fingerprint is given."""
    found = _kept(folder, "*.journal" if image is None else f"{image[:16]}-*.journal")
    return [kept for kept in found if image in (None, kept.header.image)]


def _kept(folder: Path, pattern: str) -> list[Kept]:
    found = []
    for path in folder.glob(pattern):
        try:
            with path.open("rb") as file:
                found_records = records(file)
                header = Header.from_json(next(found_records))
                steps = 0
                ended = False
                for record in found_records:
                    header = with_note(header, record)
                    if is_step(record):
                        steps += 1
                    ended = record == END or (ended and not is_step(record))
            found.append(Kept(path, header, steps, ended, path.stat().st_mtime))
        except (OSError, ValueError, KeyError, TypeError, StopIteration):
            continue
    return sorted(found, key=lambda kept: kept.changed, reverse=True)


class Recovered(NamedTuple):
    """Content of a journal: header, labels after the last complete step, facts about their objects."""

    header: Header
    labels: NDArray[np.unsignedinteger[Any]]
    known: dict[int, Any]


def read_journal(path: Path) -> Recovered:
    """Return the labels in a journal.

    Raises
    ------
    BadImageError
        If the file is not a journal.
    """
    try:
        with path.open("rb") as file:
            found = records(file)
            header = Header.from_json(next(found))
            steps = []
            for record in found:
                header = with_note(header, record)
                if is_step(record):
                    steps.append(EditStep.from_bytes(record))
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise BadImageError(path, f"it is no journal of napari-foundseg, or its beginning is lost ({error})") from error
    dtypes = [np.dtype(part.dtype) for step in steps for part in step.parts]
    labels = np.zeros(header.shape, np.result_type(np.uint16, *dtypes))
    known: dict[int, Any] = {}
    for step in steps:
        step.apply(labels)
        known |= step.known_after
    return Recovered(header, labels, {label: facts for label, facts in known.items() if facts})


def end_journal(path: Path) -> None:
    """Append the end mark after the last complete record: the labels are saved elsewhere or not wanted."""
    with path.open("r+b") as file:
        end = position_after(file)
        file.truncate(end)
        file.seek(end)
        file.write(packed(END))


def _prune(folder: Path, stem: str) -> None:
    """Remove the oldest journals of a label image to make room for one more, but none that is unsaved or in use."""
    over = [kept for kept in _kept(folder, f"{stem}-*.journal") if kept.ended or not kept.steps]
    for kept in [kept for kept in over if not kept.in_use][KEPT - 1 :]:
        kept.path.unlink(missing_ok=True)
