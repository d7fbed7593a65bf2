"""The journal: every change of a label image on the disk within moments, so that a crash loses nothing.

A journal is a file of records, each with its length and checksum: a header, then steps in the order they were done
(an undo is a step too), and at an orderly end a mark. It grows at its end only; what a crash leaves half written there
is left out when it is read. The labels, and what is known of their objects, are what the steps make of an empty array.
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
from napari_foundseg.core.editing.history import Step
from napari_foundseg.core.editing.object_facts import Facts
from napari_foundseg.core.errors import BadImageError
from napari_foundseg.io import folders

__all__ = ["Header", "Journal", "Kept", "Recovered", "end_journal", "journal_folder", "kept_journals", "read_journal"]

#: Journals that are kept of each image.
KEPT = 3
_MAGIC = b"foundseg-journal 1\n"
_RECORD = struct.Struct("<II")
_END = b""
#: How long a failed write waits for the next try.
_RETRY_SECONDS = 2.0


def journal_folder() -> Path:
    """Return the folder of journals. It need not exist."""
    return folders.data() / "journal"


@dataclass(frozen=True)
class Header:
    """Whose labels a journal holds.

    Parameters
    ----------
    image : str
        Fingerprint of the image's content.
    layer : str
        Name of the Labels layer.
    shape : tuple of int
        Of the labels.
    source : str or None
        The image's file.
    began : str
        When, as ISO 8601.
    process : int
        Number of the process that writes.
    """

    image: str
    layer: str
    shape: tuple[int, ...]
    source: str | None
    began: str
    process: int

    @classmethod
    def now(cls, image: str, layer: str, shape: tuple[int, ...], source: str | None) -> Self:
        """Make a header for a journal that begins now in this process.

        Parameters
        ----------
        image, layer, shape, source
            The fields of those names.

        Returns
        -------
        Header
            The header.
        """
        return cls(image, layer, tuple(shape), source, datetime.now().isoformat(timespec="milliseconds"), os.getpid())


@dataclass(frozen=True)
class Kept:
    """A journal on the disk.

    Parameters
    ----------
    path : Path
        The file.
    header : Header
        Whose labels.
    steps : int
        How many steps are whole.
    ended : bool
        Whether it was closed in order.
    changed : float
        When it was last written, in seconds since 1970.
    """

    path: Path
    header: Header
    steps: int
    ended: bool
    changed: float

    @property
    def lost(self) -> bool:
        """Whether its process ended without closing it: what it holds may be nowhere else."""
        return bool(self.steps) and not self.ended and not _running(self.header)


class Journal:
    """Writes the steps of one Labels layer, on a thread of its own.

    Parameters
    ----------
    folder : Path
        Where; made where it is absent.
    header : Header or callable
        Whose labels; a callable is asked for it on the journal's thread, when it is first needed.
    on_saved : callable
        Told the time, in seconds since 1970, when all that was added is on the disk; on the journal's thread.
    on_failed : callable
        Told the error when that does not succeed; it is tried again.
    """

    def __init__(
        self,
        folder: Path,
        header: Header | Callable[[], Header],
        on_saved: Callable[[float], None],
        on_failed: Callable[[OSError], None],
    ) -> None:
        self._folder, self._asked = folder, header
        self._on_saved, self._on_failed = on_saved, on_failed
        self._waiting: SimpleQueue[Callable[[], bytes] | None] = SimpleQueue()
        self._file: BinaryIO | None = None
        self._good = 0
        self._thread = threading.Thread(target=self._serve, name="foundseg-journal", daemon=True)
        self._thread.start()

    @cached_property
    def _header(self) -> Header:
        return self._asked if isinstance(self._asked, Header) else self._asked()

    @cached_property
    def path(self) -> Path:
        """The file, which is there once something was written."""
        header = self._header
        name = f"{header.image[:16]}-{header.began.replace(':', '')}-{header.process}-{id(self):x}.journal"
        return self._folder / name

    def add(self, step: Step) -> None:
        """Have a step written; returns at once.

        Parameters
        ----------
        step : Step
            What was done, undone or redone.
        """
        self._waiting.put(step.to_bytes)

    def add_all(self, labels: NDArray[Any], known: Facts) -> None:
        """Have a whole label image written, as a step from an empty one.

        Parameters
        ----------
        labels : ndarray of int
            Of the header's shape; not to be changed any more.
        known : mapping of int to mapping of str
            What is known of its objects.
        """

        def packed() -> bytes:
            part = Difference.between((0,) * labels.ndim, np.zeros_like(labels), labels)
            return Step("start", () if part is None else (part,), known_after=known).to_bytes()

        self._waiting.put(packed)

    def close(self, timeout: float = 5.0) -> bool:
        """Write what is left and the mark of an orderly end.

        Parameters
        ----------
        timeout : float
            Seconds.

        Returns
        -------
        bool
            Whether all was written in that time.
        """
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
                return  # nothing was ever written
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
        """Return the records that wait, all of them, and whether no more will come."""
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
        """Take away what was written in part, so that the next try begins where the last good record ends."""
        assert self._file is not None
        if self._good > len(_MAGIC):
            return
        file, self._file = self._file, None
        with contextlib.suppress(OSError):
            file.close()
        self.path.unlink(missing_ok=True)


def kept_journals(folder: Path, image: str | None = None) -> list[Kept]:
    """Return the journals in a folder, the latest first.

    Parameters
    ----------
    folder : Path
        Where; it may be absent.
    image : str, optional
        Fingerprint of the image whose journals are wanted; all by default.

    Returns
    -------
    list of Kept
        Files that are no journal are left out.
    """
    found = []
    for path in folder.glob("*.journal" if image is None else f"{image[:16]}-*.journal"):
        try:
            with path.open("rb") as file:
                records = _records(file)
                header = _header(next(records))
                steps, ended = 0, False
                for record in records:
                    ended = record == _END
                    steps += not ended
            found.append(Kept(path, header, steps, ended, path.stat().st_mtime))
        except (OSError, ValueError, KeyError, TypeError, StopIteration):
            continue
    return sorted((kept for kept in found if image in (None, kept.header.image)), key=lambda k: k.changed, reverse=True)


class Recovered(NamedTuple):
    """What a journal holds: whose labels, the labels after the last whole step, what was known of their objects."""

    header: Header
    labels: NDArray[np.unsignedinteger[Any]]
    known: dict[int, Any]


def read_journal(path: Path) -> Recovered:
    """Return the labels that a journal holds.

    Parameters
    ----------
    path : Path
        The journal.

    Returns
    -------
    Recovered
        Header, labels and what is known of the objects.

    Raises
    ------
    BadImageError
        If the file is no journal.
    """
    try:
        with path.open("rb") as file:
            records = _records(file)
            header = _header(next(records))
            steps = [Step.from_bytes(record) for record in records if record != _END]
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
    """Mark a journal as ended in order: what it holds is not wanted any more, or is elsewhere.

    Parameters
    ----------
    path : Path
        The journal; what a crash left half written at its end is cut off.
    """
    with path.open("r+b") as file:
        end = len(_MAGIC) + sum(_RECORD.size + len(record) for record in _records(file))
        file.truncate(end)
        file.seek(end)
        file.write(_RECORD.pack(0, zlib.crc32(_END)))


def _records(file: BinaryIO) -> Iterator[bytes]:
    if file.read(len(_MAGIC)) != _MAGIC:
        raise ValueError("it begins otherwise")
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
    """Make room for one more journal of an image; those of running processes stay."""
    others = [kept for kept in kept_journals(folder, image) if not _running(kept.header)]
    for kept in others[KEPT - 1 :]:
        kept.path.unlink(missing_ok=True)


def _running(header: Header) -> bool:
    """Tell whether the writing process lives; one that began later only has its number."""
    import psutil

    try:
        born = psutil.Process(header.process).create_time()
    except psutil.Error:
        return False
    return bool(born <= datetime.fromisoformat(header.began).timestamp() + 1)
