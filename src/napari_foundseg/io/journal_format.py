"""The format of a journal: a mark, then records, each with its length and checksum.

The first record is the header as JSON. Each other one is a step, a note (JSON that changes the header's values), or the
end mark, which is empty: everything before it is in a file, or is not wanted.
"""

from __future__ import annotations

import json
import os
import platform
import struct
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from hashlib import blake2b
from typing import Any, BinaryIO, Self

__all__ = ["END", "MAGIC", "Header", "is_step", "note", "packed", "position_after", "records", "with_note"]

MAGIC = b"foundseg-journal 1\n"
END = b""
#: As the length that a step begins with it would be 1.7 GB.
_NOTE = b"note"
_RECORD = struct.Struct("<II")
#: Seconds after which the journal of another computer counts as abandoned.
_ABANDONED = 24 * 3600.0


@dataclass(frozen=True)
class Header:
    """The label image that a journal belongs to.

    Parameters
    ----------
    image : str
        Fingerprint of the image's content; empty for a layer without an image.
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
    computer : str
        Identifies the computer of that process; empty in journals of older versions.
    place : dict
        Scale, units and the like of the layer, by name.
    closed : bool
        Whether the process is done with it although the labels are in no file.
    """

    image: str
    layer: str
    shape: tuple[int, ...]
    source: str | None
    began: str
    process: int
    computer: str = ""
    place: Mapping[str, Any] = field(default_factory=dict)
    closed: bool = False

    @classmethod
    def now(
        cls,
        image: str,
        layer: str,
        shape: tuple[int, ...],
        source: str | None,
        place: Mapping[str, Any] | None = None,
    ) -> Self:
        """Make a header for a journal that this process begins now."""
        began = datetime.now().isoformat(timespec="milliseconds")
        return cls(image, layer, tuple(shape), source, began, os.getpid(), _computer(), place or {})

    @classmethod
    def from_json(cls, record: bytes) -> Self:
        """Read a header; values that a later version has added are left out."""
        known = {part.name for part in fields(cls)}
        values = {name: value for name, value in json.loads(record).items() if name in known}
        return cls(**{**values, "shape": tuple(values["shape"])})

    def to_json(self) -> bytes:
        """Return the header as the first record."""
        return json.dumps(asdict(self)).encode()

    @property
    def stem(self) -> str:
        """The beginning of the names of all journals of this label image."""
        if self.image:
            return self.image[:16]
        return f"layer_{blake2b(json.dumps([self.layer, self.shape]).encode(), digest_size=5).hexdigest()}"

    @property
    def is_own(self) -> bool:
        """Whether this process writes it, or a process wrote it that had the same id."""
        return self.process == os.getpid() and self.computer in ("", _computer())

    def in_use(self, changed: float) -> bool:
        """Tell whether another process is still writing the journal, last at the time `changed`."""
        if self.closed:
            return False
        if self.computer not in ("", _computer()):
            return time.time() - changed < _ABANDONED
        return self._runs()

    def _runs(self) -> bool:
        """Tell whether the writing process is running; a process that started later only has the same id."""
        import psutil

        try:
            born = psutil.Process(self.process).create_time()
        except psutil.Error:
            return False
        return bool(born <= datetime.fromisoformat(self.began).timestamp() + 1)


def note(**values: Any) -> bytes:
    """Return a record that changes values of the header from now on."""
    return _NOTE + json.dumps(values).encode()


def with_note(header: Header, record: bytes) -> Header:
    """Return a header with the values of a note; of any other record, unchanged."""
    return replace(header, **json.loads(record[len(_NOTE) :])) if record.startswith(_NOTE) else header


def is_step(record: bytes) -> bool:
    """Tell whether a record after the header is a step."""
    return record != END and not record.startswith(_NOTE)


def packed(record: bytes) -> bytes:
    """Return a record with its length and checksum."""
    return _RECORD.pack(len(record), zlib.crc32(record)) + record


def records(file: BinaryIO) -> Iterator[bytes]:
    """Return the complete records of a journal, the header first."""
    if file.read(len(MAGIC)) != MAGIC:
        raise ValueError("not a foundseg journal (wrong header)")
    while len(head := file.read(_RECORD.size)) == _RECORD.size:
        size, checksum = _RECORD.unpack(head)
        record = file.read(size)
        if len(record) < size or zlib.crc32(record) != checksum:
            return
        yield record


def position_after(file: BinaryIO) -> int:
    """Return the position after the last complete record."""
    return len(MAGIC) + sum(_RECORD.size + len(record) for record in records(file))


def _computer() -> str:
    return blake2b(platform.node().encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()
