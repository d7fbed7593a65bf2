"""The journal: every change of a label image is on the disk within moments, so that a crash loses nothing.

A journal is a file of records, each with its length and checksum: a header, then the steps in the order in which they
were done (an undo is a step too), and an end mark if it was closed. Records are only appended; an incomplete last
record is ignored. Applying the steps to an empty array gives the labels and the facts about their objects.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, BinaryIO, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.editing.difference import Difference
from napari_foundseg.core.editing.history import EditStep
from napari_foundseg.core.editing.object_facts import Facts
from napari_foundseg.core.errors import BadImageError
from napari_foundseg.io import folders

__all__ = ["Header", "Journal", "Kept", "Recovered", "end_journal", "journal_folder", "kept_journals", "read_journal"]

#: Number of journals that are kept of each image.
KEPT = 3
_MAGIC = b"foundseg-journal 1\n"
_RECORD = struct.Struct("<II")
_END = b""
#: Delay before a failed write is tried again.
_RETRY_SECONDS = 2.0


def journal_folder() -> Path:
    """Return the folder of journals. It need not exist."""
    return folders.data() / "journal"


@dataclass(frozen=True)
class Header:
    """The label image that a journal belongs to.

    Parameters
    ----------
    image : str
        Fingerprint of the image's content.
    layer : str
        Name of the Labels layer.
    shape : tuple of int
        Shape of the labels.
    source : str or None
        The image's file.
    began : str
        Time of the first record, as ISO 8601.
    process : int
        Id of the process that writes it.
    """

    image: str
    layer: str
    shape: tuple[int, ...]
    source: str | None
    began: str
    process: int

    @classmethod
    def now(cls, image: str, layer: str, shape: tuple[int, ...], source: str | None) -> Self:
        """Make a header for a journal that this process begins now."""
        return cls(image, layer, tuple(shape), source, datetime.now().isoformat(timespec="milliseconds"), os.getpid())


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
        Whether it was closed.
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
        """Whether its process ended without closing it, so that the labels may be saved nowhere else."""
        return bool(self.steps) and not self.ended and not _running(self.header)


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
        name = f"{header.image[:16]}-{header.began.replace(':', '')}-{header.process}-{id(self):x}.journal"
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

    def close(self, timeout: float = 5.0) -> bool:
        """Write everything queued and the end mark; return whether that was done within `timeout` seconds."""
        self._waiting.put(lambda: _END)
        self._waiting.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _serve(self) -> None:
        pending: list[bytes] = []
        closing = False
        while not closing or pending:
            added, closing = self._received(closing, _RETRY_SECONDS if pending else None)
            pending += added
            if pending == [_END] and self._file is None:
                # Nothing was ever written, so there is no journal to end.
                return
            try:
                self._write(pending)
            except OSError as error:
                self._on_failed(error)
                if closing:
                    return
            else:
                pending = []
                self._on_saved(time.time())
        if self._file is not None:
            self._file.close()

    def _received(self, closing: bool, timeout: float | None) -> tuple[list[bytes], bool]:
        """Return all queued records, and whether the journal is being closed."""
        records: list[bytes] = []
        with contextlib.suppress(Empty):
            while True:
                record = self._waiting.get(timeout=timeout)
                if record is None:
                    return records, True
                records.append(record())
                timeout = 0
        return records, closing

    def _write(self, records: list[bytes]) -> None:
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            _prune(self._folder, self._header.image)
            self._file = self.path.open("xb")
            records = [json.dumps(asdict(self._header)).encode(), *records]
            self._file.write(_MAGIC)
            self._good = len(_MAGIC)
        try:
            self._file.seek(self._good)
            for record in records:
                self._file.write(_RECORD.pack(len(record), zlib.crc32(record)) + record)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError:
            self._give_up()
            raise
        self._good = self._file.tell()

    def _give_up(self) -> None:
        """Remove a file without any complete record; in others, the next try overwrites the incomplete one."""
        assert self._file is not None
        if self._good > len(_MAGIC):
            return
        file = self._file
        self._file = None
        with contextlib.suppress(OSError):
            file.close()
        self.path.unlink(missing_ok=True)


def kept_journals(folder: Path, image: str | None = None) -> list[Kept]:
    """Return the journals in a folder, latest first; of one image only if its fingerprint is given."""
    found = []
    for path in folder.glob("*.journal" if image is None else f"{image[:16]}-*.journal"):
        try:
            with path.open("rb") as file:
                records = _records(file)
                header = _header(next(records))
                steps = 0
                ended = False
                for record in records:
                    ended = record == _END
                    steps += not ended
            found.append(Kept(path, header, steps, ended, path.stat().st_mtime))
        except (OSError, ValueError, KeyError, TypeError, StopIteration):
            continue
    return sorted((kept for kept in found if image in (None, kept.header.image)), key=lambda k: k.changed, reverse=True)


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
            records = _records(file)
            header = _header(next(records))
            steps = [EditStep.from_bytes(record) for record in records if record != _END]
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
        end = len(_MAGIC) + sum(_RECORD.size + len(record) for record in _records(file))
        file.truncate(end)
        file.seek(end)
        file.write(_RECORD.pack(0, zlib.crc32(_END)))


def _records(file: BinaryIO) -> Iterator[bytes]:
    if file.read(len(_MAGIC)) != _MAGIC:
        raise ValueError("not a foundseg journal (wrong header)")
    while len(head := file.read(_RECORD.size)) == _RECORD.size:
        size, checksum = _RECORD.unpack(head)
        record = file.read(size)
        if len(record) < size or zlib.crc32(record) != checksum:
            return
        yield record


def _header(record: bytes) -> Header:
    values = json.loads(record)
    return Header(**{**values, "shape": tuple(values["shape"])})


def _prune(folder: Path, image: str) -> None:
    """Remove the oldest journals of an image to make room for one more, but none of a running process."""
    others = [kept for kept in kept_journals(folder, image) if not _running(kept.header)]
    for kept in others[KEPT - 1 :]:
        kept.path.unlink(missing_ok=True)


def _running(header: Header) -> bool:
    """Tell whether the writing process is running; a process that started later only has the same id."""
    import psutil

    try:
        born = psutil.Process(header.process).create_time()
    except psutil.Error:
        return False
    return bool(born <= datetime.fromisoformat(header.began).timestamp() + 1)
