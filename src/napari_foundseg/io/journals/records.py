"""The records of a journal: after the magic bytes of the file, each with its own head.

A head has the number of steps up to its record, the time, and checksums of itself and of the record. So the next intact
record after a damaged place can be found, and the number of steps between is known. Journals of format 1 have length
and checksum only. They can be read, and records appended to one have its format.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

from napari_foundseg.io.journals.header import END, is_step

__all__ = ["MAGIC", "Records", "appended", "packed"]

MAGIC = b"foundseg-journal 2\n"
_MAGIC_1 = b"foundseg-journal 1\n"
_SYNC = b"\xf7jr\x1e"
#: Mark, length of the record, number of steps including it, time, checksum of the record. A checksum of these follows.
_HEAD = struct.Struct("<4sIIdI")
_SUM = struct.Struct("<I")
_HEAD_1 = struct.Struct("<II")
#: Bytes to read at once in the search for the next head.
_CHUNK = 1 << 20


def packed(record: bytes, steps: int, when: float) -> bytes:
    """Return a record with its head."""
    head = _HEAD.pack(_SYNC, len(record), steps, when, zlib.crc32(record))
    return head + _SUM.pack(zlib.crc32(head)) + record


def appended(file: BinaryIO, *added: bytes, when: float) -> None:
    """Write records after the last intact one of a journal, in the journal's format. Anything after it is removed."""
    found = Records(file)
    for _ in found:
        pass
    steps = found.steps
    data = b"".join(_packed_1(record) if found.is_first_format else packed(record, steps, when) for record in added)
    file.truncate(found.end)
    file.seek(found.end)
    file.write(data)


def _packed_1(record: bytes) -> bytes:
    return _HEAD_1.pack(len(record), zlib.crc32(record)) + record


class _Head(NamedTuple):
    size: int
    steps: int
    when: float
    checksum: int

    @classmethod
    def read(cls, data: bytes) -> _Head | None:
        """Return a head; None if it is damaged."""
        mark, *values = _HEAD.unpack_from(data)
        whole = mark == _SYNC and _SUM.unpack_from(data, _HEAD.size)[0] == zlib.crc32(data[: _HEAD.size])
        return cls(*values) if whole else None


class Records(Iterable[bytes]):
    """The intact records of a journal in their order, the header first. Damaged ones are left out.

    Parameters
    ----------
    file : binary file
        The journal. It is read during iteration.

    Raises
    ------
    ValueError
        If it is not a journal.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        #: Number of damaged steps so far.
        self.lost = 0
        #: Whether any record is damaged.
        self.damaged = False
        #: Number of steps so far, including lost ones.
        self.steps = 0
        #: Position after the last intact record.
        self.end = 0
        #: Time of that record, in seconds since 1970; None if unknown.
        self.when: float | None = None
        file.seek(0)
        magic = file.read(len(MAGIC))
        self.is_first_format = magic == _MAGIC_1
        if magic != MAGIC and not self.is_first_format and self._next_head(0) is None:
            self.is_first_format = (self._first_format_record(len(MAGIC)) or END).startswith(b"{")
            if not self.is_first_format:
                raise ValueError("not a foundseg journal (wrong header)")

    def __iter__(self) -> Iterator[bytes]:
        self.end = len(MAGIC)
        return self._read_first_format() if self.is_first_format else self._read()

    def _read(self) -> Iterator[bytes]:
        file = self._file
        at = len(MAGIC)
        length = _HEAD.size + _SUM.size
        while True:
            file.seek(at)
            data = file.read(length)
            if len(data) < length:
                return
            head = _Head.read(data)
            if head is None:
                self.damaged = True
                following = self._next_head(at + 1)
                if following is None:
                    # The number of lost steps is unknown. It is at least one unless this is a note or the end mark.
                    rest = file.read(4) if file.seek(at + length) else b""
                    self.lost += any(data) and rest not in (b"note", b"")
                    return
                at = following
                continue
            record = file.read(head.size)
            if len(record) < head.size:
                # The last record, which a crash has cut off.
                return
            at += length + head.size
            whole = zlib.crc32(record) == head.checksum
            self.damaged |= not whole
            self.lost += max(0, head.steps - self.steps - int(whole and is_step(record)))
            self.steps = head.steps
            if whole:
                self.end = at
                self.when = head.when
                yield record

    def _next_head(self, start: int) -> int | None:
        """Return the position of the next intact head; None if there is none."""
        file = self._file
        length = _HEAD.size + _SUM.size
        while True:
            file.seek(start)
            data = file.read(_CHUNK)
            if len(data) < length:
                return None
            at = data.find(_SYNC)
            while 0 <= at <= len(data) - length:
                if _Head.read(data[at : at + length]) is not None:
                    return start + at
                at = data.find(_SYNC, at + 1)
            start += len(data) - length + 1

    def _read_first_format(self) -> Iterator[bytes]:
        at = len(MAGIC)
        while True:
            record = self._first_format_record(at)
            if record is None:
                following = self._after_damage(at)
                if following is None:
                    return
                self.damaged = True
                self.lost += 1
                at = following
                continue
            at += _HEAD_1.size + len(record)
            self.end = at
            yield record

    def _first_format_record(self, at: int) -> bytes | None:
        """Return the record at a position; None if it is damaged or cut off."""
        self._file.seek(at)
        head = self._file.read(_HEAD_1.size)
        if len(head) < _HEAD_1.size:
            return None
        size, checksum = _HEAD_1.unpack(head)
        record = self._file.read(size)
        return record if len(record) == size and zlib.crc32(record) == checksum else None

    def _after_damage(self, at: int) -> int | None:
        """Return the start of the next intact record of format 1, or the file's end; None if the last is cut off."""
        self._file.seek(at)
        rest = self._file.read()
        if len(rest) < _HEAD_1.size:
            return None
        follows = _HEAD_1.size + int(_HEAD_1.unpack_from(rest)[0])
        if follows == len(rest):
            return at + follows
        if follows < len(rest) and self._first_format_record(at + follows) is not None:
            return at + follows
        # The length is damaged. A step starts with a length and the list with its name; a note starts with its mark.
        for mark, before in ((b'["', _HEAD_1.size + 4), (b"note{", _HEAD_1.size)):
            found = rest.find(mark, before + 1)
            while found >= 0:
                if self._first_format_record(at + found - before) is not None:
                    return at + found - before
                found = rest.find(mark, found + 1)
        return None
