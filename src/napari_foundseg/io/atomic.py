"""Writes that happen wholly or not at all."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

import psutil

from napari_foundseg.core.errors import OutputError

__all__ = ["atomic_folder", "atomic_write", "named_errors", "publish", "sweep"]

#: A temporary name: which computer, which process, and which of its writes.
_PARTIAL = re.compile(r"\.([0-9a-f]{4})-(\d{1,10})-[0-9a-f]{16}\.partial")
#: Seconds after which nobody writes a temporary file any more, whoever made it.
_ABANDONED = 24 * 3600.0


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file for writing that takes its name only when all of it is on the disk.

    Whatever interrupts the writing, the file of that name stays as it was.

    Parameters
    ----------
    path : str or Path
        The file to make or replace.

    Yields
    ------
    file object
        Open for writing bytes, in the same folder.

    Raises
    ------
    OutputError
        If the file cannot be written; the message says why and what to do.
    """
    target = Path(path)
    with named_errors(target):
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        partial = _partial(target)
        file = partial.open("xb")
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Fill a folder that takes its name only when all of it is on the disk.

    Whatever interrupts the writing, the folder of that name stays as it was. An old one is exchanged in one step on
    Linux and macOS; where the disk cannot do that, it is moved aside for a moment.

    Parameters
    ----------
    path : str or Path
        The folder to make or replace.

    Yields
    ------
    Path
        An empty folder beside it, to be filled.

    Raises
    ------
    OutputError
        If the folder cannot be written; the message says why and what to do.
    """
    target = Path(path)
    with named_errors(target):
        if target.exists() and not target.is_dir():
            raise OutputError(f"{str(target)!r} cannot be written: it is a file, not a folder; give another name.")
        partial = _partial(target)
        partial.mkdir()
        try:
            yield partial
            for folder, _, files in os.walk(partial, topdown=False):
                for name in files:
                    _sync(Path(folder, name), os.O_RDWR)
                _sync_folder(Path(folder))
            _take_name(partial, target)
            _sync_folder(target.parent)
        finally:
            # What is here now is half written, or what the target was before.
            if partial.exists():
                shutil.rmtree(partial, ignore_errors=True)


def publish(staged: Path, target: Path) -> None:
    """Give a file or folder that is wholly on the disk its name, in one step where the disk can.

    Parameters
    ----------
    staged : Path
        What takes the name, on the same disk. Where the target is a folder, its old content may be here afterwards.
    target : Path
        What it is to be called; what has that name goes.

    Raises
    ------
    OutputError
        If it cannot take the name; the message says why and what to do.
    """
    with named_errors(target):
        if staged.is_dir():
            _take_name(staged, target)
        else:
            staged.replace(target)
        _sync_folder(target.parent)


def sweep(folder: str | Path) -> None:
    """Remove what writes that a crash cut short have left in a folder; files being written stay.

    Parameters
    ----------
    folder : str or Path
        The folder; those in it are left alone. It may be absent.
    """
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            with suppress(OSError):  # whoever writes it was quicker, or it is another person's
                if _stale(entry):
                    _remove(Path(entry.path))


def _partial(target: Path) -> Path:
    """Return a name beside the target; a short one, so that a target of the longest allowed name can be written."""
    return target.with_name(f".{_computer()}-{os.getpid()}-{secrets.token_hex(8)}.partial")


def _computer() -> str:
    return blake2b(platform.node().encode("utf-8", "surrogateescape"), digest_size=2).hexdigest()


def _stale(entry: os.DirEntry[str]) -> bool:
    named = _PARTIAL.fullmatch(entry.name)
    if named is None:
        return False
    if named[1] == _computer() and not _runs(int(named[2])):
        return True
    # Of another computer's processes nothing is known here, and a number may be another process's by now.
    return time.time() - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED


def _runs(number: int) -> bool:
    """Tell whether a process can still write; one that was killed may be listed for a while."""
    try:
        return bool(psutil.Process(number).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make the new name durable too; Windows does that by itself and has no such call."""
    if os.name == "posix":
        _sync(folder, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _take_name(partial: Path, target: Path) -> None:
    """Give a folder its name; what had that name before is at `partial` then."""
    if not os.path.lexists(target):
        partial.rename(target)
    elif not _exchange(partial, target):
        # Not a temporary name: whatever happens now, nobody sweeps the old folder away.
        aside = partial.with_suffix(".before")
        target.rename(aside)
        try:
            partial.rename(target)
        except OSError:
            aside.rename(target)
            raise
        _remove(aside)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; tell whether that succeeded."""
    first, second = os.fsencode(one), os.fsencode(other)
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            return bool(library.renamex_np(first, second, ctypes.c_uint(2)) == 0)  # RENAME_SWAP
        at = ctypes.c_int(-100)  # AT_FDCWD, then RENAME_EXCHANGE
        return bool(library.renameat2(at, first, at, second, ctypes.c_uint(2)) == 0)
    except (AttributeError, OSError, TypeError):  # no such call here
        return False


_WHAT_TO_DO = {
    errno.ENOENT: "its folder does not exist; make the folder or choose another",
    errno.ENOTDIR: "its folder is a file; choose another folder",
    errno.EISDIR: "it is a folder; give the name of a file",
    errno.EACCES: "writing is not permitted here; choose another folder or close the program that has the file open",
    errno.EPERM: "writing is not permitted here; choose another folder",
    errno.EROFS: "the disk is read-only; choose another folder",
    errno.ENOSPC: "the disk is full; free some space or choose another disk",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another disk",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Say of whatever the system refuses which file it is about, why and what to do.

    Parameters
    ----------
    path : Path
        What is written.

    Raises
    ------
    OutputError
        For every `OSError` inside.
    """
    if "\0" in str(path):
        raise OutputError(f"{str(path)!r} cannot be written: no name may hold a null character; choose another.")
    try:
        os.fsencode(path)
    except UnicodeEncodeError as error:
        raise OutputError(f"{str(path)!r} cannot be written: the disk has no such letters; rename it.") from error
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        reason = _WHAT_TO_DO.get(error.errno or 0, f"{error.strerror or error}; choose another folder")
        raise OutputError(f"{str(path)!r} cannot be written: {reason}.") from error
