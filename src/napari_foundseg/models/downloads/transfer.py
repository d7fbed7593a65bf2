"""The transfer of one file from a server to the disk. It continues earlier attempts, and hashes while writing."""

from __future__ import annotations

import hashlib
import os
import re
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from email.message import Message
from pathlib import Path
from typing import BinaryIO

from napari_foundseg.core.errors import Cancelled, DownloadError, OutputError
from napari_foundseg.io.atomic import named_errors, sync_name
from napari_foundseg.models.downloads.places import PART, PlannedFile
from napari_foundseg.models.downloads.web import Answer, DroppedError, HttpStatusError, Request

__all__ = ["Transfer", "transfer"]

_CHUNK = 1 << 20
#: Seconds to wait before each new attempt after a lost connection. An attempt that brings bytes resets the count.
WAITS = (0.5, 2.0, 5.0)
#: Bytes of a file that show whether it is text.
_START = 1024
#: Characters that text does not contain, but the first bytes of every format of weights do.
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
#: Endings of the files of a model that are text, or may be.
_TEXTS = (".json", ".txt", ".model", ".spm", ".jinja", ".md", ".yaml", ".yml", ".py")
#: Codings of an answer that Python cannot undo.
_OTHER_CODINGS = ("br", "zstd", "compress", "x-compress")
#: First bytes of web pages, and of Git LFS pointers in place of files.
_PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*(<!--.*?-->\s*)*<(!doctype html|html|head|body)", re.IGNORECASE | re.DOTALL)
_POINTER = b"version https://git-lfs.github.com/spec/"


class _RestartError(Exception):
    """The part on the disk does not match the file on the server: it has to be fetched from the beginning."""


@dataclass
class Transfer:
    """Callbacks and token of a transfer.

    Parameters
    ----------
    cancelled : callable
        Returns whether to stop.
    reached : callable
        Called with the position in the file, in bytes.
    learned : callable
        Called with the file after the server has stated its size or version.
    need : callable
        Called with the number of bytes still to be written; raises OutputError if the disk has no space for them.
    token : str or None
        Sent only to the server of the address, not to other servers that it redirects to.
    """

    cancelled: Callable[[], bool]
    reached: Callable[[int], None]
    learned: Callable[[PlannedFile], None]
    need: Callable[[int], None]
    token: str | None = None


class _Part:
    """The incomplete file on the disk, with its hashes."""

    def __init__(self, path: Path, size: int | None, by: Transfer) -> None:
        self.path = path
        self._by = by
        self._size = size
        self._looked = 0.0
        self.file: BinaryIO = path.open("r+b" if path.exists() else "x+b", buffering=0)
        self.cut(os.fstat(self.file.fileno()).st_size)

    def cut(self, length: int) -> None:
        """Truncate the file to its first bytes, and hash them."""
        self.position = 0
        self.sha256 = hashlib.sha256()
        self.git = hashlib.sha1(f"blob {self._size}\0".encode(), usedforsecurity=False)
        self.file.truncate(length)
        self.file.seek(0)
        while chunk := self.file.read(_CHUNK):
            if self._by.cancelled():
                raise Cancelled("The download was cancelled.")
            self._count(chunk)

    def write(self, chunk: bytes) -> None:
        """Append bytes; raise OutputError if the disk is full or the folder was removed."""
        left = memoryview(chunk)
        while left:
            written = self.file.write(left)
            self._count(left[:written])
            left = left[written:]
        if time.monotonic() > self._looked + 0.5:
            self._looked = time.monotonic()
            self.check_place()

    def check_place(self) -> None:
        """Raise OutputError if the file is no longer at its path."""
        try:
            same = os.path.samestat(self.path.stat(), os.fstat(self.file.fileno()))
        except OSError:
            same = False
        if not same:
            raise OutputError(f"{self.path.parent} was removed or replaced during the download. Download again.")

    def _count(self, chunk: bytes | memoryview) -> None:
        self.sha256.update(chunk)
        self.git.update(chunk)
        self.position += len(chunk)
        self._by.reached(self.position)


def transfer(file: PlannedFile, path: Path, by: Transfer, source: Path | None = None) -> str:
    """Fetch a file, or copy it from `source`, and return its sha256. The part of an earlier attempt is continued.

    Raises
    ------
    Cancelled
        If `by.cancelled` returned True; the part is kept.
    DownloadError
        If the file cannot be fetched, or its content is wrong. The part is kept unless its content is wrong.
    OutputError
        If the file cannot be written; the part is kept.
    """
    place = path.with_name(path.name + PART)
    with named_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = _Part(place, file.size, by)
        with part.file:
            try:
                if source is not None:
                    _copy(source, part)
                else:
                    file = _fetch(file, part, by)
                part.check_place()
                _check(file, part)
            except _WrongBytesError as error:
                part.file.close()
                place.unlink(missing_ok=True)
                raise DownloadError(str(error)) from None
            os.fsync(part.file.fileno())
        place.replace(path)
        sync_name(path)
    return part.sha256.hexdigest()


class _WrongBytesError(Exception):
    """The downloaded bytes are wrong; none of them can be used."""


def _copy(source: Path, part: _Part) -> None:
    part.cut(0)
    with source.open("rb") as file:
        while chunk := file.read(_CHUNK):
            if part._by.cancelled():
                raise Cancelled("The download was cancelled.")
            part.write(chunk)


def _fetch(file: PlannedFile, part: _Part, by: Transfer) -> PlannedFile:
    """Fetch until the file is complete; return it with the size and version that the server stated."""
    if file.size is not None and part.position > file.size:
        part.cut(0)
    furthest, tries, whole = part.position, 0, False
    while file.size is None or part.position < file.size:
        try:
            file, complete = _fetch_once(file, part, by, whole=whole)
            _check_end(part, complete=complete)
            break
        except _RestartError as error:
            if whole:
                raise DownloadError(f"{file.url}: {error}; try again later.") from None
            whole = True
        except DroppedError as error:
            tries = 0 if part.position > furthest else tries + 1
            furthest = max(furthest, part.position)
            if tries >= len(WAITS):
                kept = " The downloaded part is kept; Download continues from there." if part.position else ""
                raise DownloadError(f"{file.name} is not complete: {error}{kept}") from error
            whole = False
            _wait(WAITS[tries], by.cancelled)
    return file


def _check_end(part: _Part, *, complete: bool) -> None:
    if not complete:
        raise DroppedError(f"The connection ended at {part.position / 1e6:.1f} MB.")


def _fetch_once(file: PlannedFile, part: _Part, by: Transfer, *, whole: bool) -> tuple[PlannedFile, bool]:
    """Send one request and write its bytes; return the file as the server states it, and whether it is complete."""
    # In compressed answers the byte positions would differ from those in the file.
    headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
    start = 0 if whole or not _can_resume(file) else part.position
    if start:
        headers["Range"] = f"bytes={start}-"
        if file.etag:
            headers["If-Range"] = file.etag
    try:
        with Request(file.url, headers, by.cancelled, by.token) as answer:
            return _take(file, part, by, answer, start)
    except HttpStatusError as error:
        if error.status == 416 and start:
            raise _RestartError("it does not send the rest of the file") from error
        raise


def _take(file: PlannedFile, part: _Part, by: Transfer, answer: Answer, start: int) -> tuple[PlannedFile, bool]:
    offset, total = _sent_range(answer, start)
    coding = answer.headers.get("Content-Encoding", "identity").strip().lower()
    if coding in _OTHER_CODINGS:
        raise DownloadError(
            f"{answer.url} sends {file.name} in the coding {coding!r}, which cannot be read here: get the file with a "
            "browser, and import it."
        )
    packed = coding in ("gzip", "x-gzip", "deflate")
    chunks = _unpacked(answer, packed=packed)
    first = _start(chunks)
    _refuse_page(file, answer, first if offset == 0 else b"")
    told = replace(file, etag=_version(answer.headers))
    known = bool(file.sha256 or file.git_sha1) and file.size is not None
    if not known:
        told = replace(told, size=None if packed else total or None)
    elif total is not None and total != file.size and not packed:
        raise DownloadError(f"{file.url} has {total} bytes, not the {file.size} that its page says; try again later.")
    if offset:
        if packed or offset > part.position or (file.etag and told.etag and told.etag != file.etag and not known):
            raise _RestartError("it sends another part of the file than was asked for")
        if not known and file.size is not None and total != file.size:
            raise _RestartError("the file has changed meanwhile")
    if told != file:
        by.learned(told)
    if told.size is not None:
        by.need(told.size - offset)
    if offset != part.position:
        part.cut(offset)
    part.write(first)
    for chunk in chunks:
        part.write(chunk)
    return told, told.size is None or part.position >= told.size


def _can_resume(file: PlannedFile) -> bool:
    """Return whether a part can be continued: a version or a hash shows if the file on the server has changed."""
    return bool(file.etag or file.sha256)


def _sent_range(answer: Answer, start: int) -> tuple[int, int | None]:
    """Return where the body begins in the file, and the file's size. Does not rely on the status code alone."""
    found = re.fullmatch(r"\s*bytes\s+(\d+)-(\d+)/(\d+|\*)\s*", answer.headers.get("Content-Range", ""))
    if found:
        return int(found[1]), None if found[3] == "*" else int(found[3])
    if answer.status == 206 and start:
        raise _RestartError("it does not say which part of the file it sends")
    length = answer.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _version(headers: Message) -> str:
    """Return a value for the header If-Range: a strong ETag, else the date; empty if there is neither."""
    etag = headers.get("ETag", "").strip()
    return etag if etag.startswith('"') else headers.get("Last-Modified", "").strip()


def _start(chunks: Iterator[bytes]) -> bytes:
    """Return the first bytes of a body: enough to see what it is, or all of it."""
    found = b""
    while len(found) < _START and (chunk := next(chunks, None)) is not None:
        found += chunk
    return found


def _refuse_page(file: PlannedFile, answer: Answer, first: bytes) -> None:
    """Raise DownloadError if the answer is a web page, a Git LFS pointer or other text instead of the file."""
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml") or _PAGE.match(first):
        raise DownloadError(
            f"{file.url} sends a web page in place of {file.name}: a network may ask for a login first, or the file "
            "was moved. Open the address in a browser; then download again."
        )
    if first.startswith(_POINTER):
        size = re.search(rb"\nsize (\d+)", first)
        real = f" of {int(size[1]) / 1e6:.0f} MB" if size else ""
        raise DownloadError(f"{file.url} sends a Git LFS pointer in place of {file.name}{real}; its address is wrong.")
    # A message of the server. The hub states git's hash of files that are text.
    is_text = file.git_sha1 or file.name.lower().endswith(_TEXTS)
    if first and not is_text and not _CONTROL.search(first[:_START]):
        said = " ".join(first[:200].decode("utf-8", "replace").split())
        raise DownloadError(
            f"{file.url} sends text in place of {file.name}: {said!r}. Open the address in a browser; then download "
            "again."
        )


def _unpacked(answer: Answer, *, packed: bool) -> Iterator[bytes]:
    if not packed:
        yield from answer.chunks
        return
    # The server compresses although the request excluded that.
    opened = zlib.decompressobj(47)
    try:
        for chunk in answer.chunks:
            yield opened.decompress(chunk)
        yield opened.flush()
    except zlib.error as error:
        raise _WrongBytesError(f"{answer.url} sends compressed bytes that are damaged ({error}); try again.") from None
    if not opened.eof:
        raise _RestartError("it sends compressed bytes that end early")


def _check(file: PlannedFile, part: _Part) -> None:
    """Raise _WrongBytesError if size or hash differ from the expected ones."""
    found = part.sha256.hexdigest()
    again = "Nothing of it is kept. Download again; if that happens again, the file was replaced or a proxy changes it."
    if file.size is not None and part.position != file.size:
        raise _WrongBytesError(f"{file.name} has {part.position} bytes, not {file.size}. {again}")
    if not found.startswith(file.sha256):
        raise _WrongBytesError(
            f"{file.name} is not what it should be: sha256 {found[:12]}… instead of {file.sha256[:12]}…. {again}"
        )
    if file.git_sha1 and file.size is not None and part.git.hexdigest() != file.git_sha1:
        raise _WrongBytesError(f"{file.name} is not what it should be: another git hash. {again}")
    if part.position == 0 and not (file.sha256 or file.git_sha1):
        raise _WrongBytesError(f"{file.url} sends an empty file. {again}")


def _wait(seconds: float, cancelled: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if cancelled():
            raise Cancelled("The download was cancelled.")
        time.sleep(0.05)
