"""Files and folders that are written completely or not at all."""

from __future__ import annotations

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
from typing import BinaryIO, Literal

from napari_foundseg.core.errors import OutputError

__all__ = [
    "atomic_folder",
    "atomic_write",
    "is_abandoned",
    "named_errors",
    "partial_path",
    "publish",
    "staging",
    "sweep",
    "sync_name",
]

#: Pattern of temporary names: computer, process, and a random number.
_PARTIAL = re.compile(r"\.([0-9a-f]{4})-(\d{1,10})-[0-9a-f]{16}\.partial")
#: Staging folders of this process, whose files do not have their final names yet.
_stages: set[Path] = set()
#: Seconds after which a temporary file counts as abandoned.
_ABANDONED = 24 * 3600.0


@contextmanager
def atomic_write(path: str | Path, *, synced: Literal["name", "content", "nothing"] = "name") -> Iterator[BinaryIO]:
    """Open a file for writing bytes. It gets its name only when it is completely on the disk.

    If the writing is interrupted, an older file of that name remains unchanged.

    Parameters
    ----------
    path : str or Path
        The file.
    synced : {'name', 'content', 'nothing'}
        State after a crash of the computer, once this has returned. Name: the file exists. Content: either the file
        or the older one exists, for files that `publish` renames. Nothing: the file may be incomplete, for files
        that can be made again.

    Raises
    ------
    OutputError
        If the file cannot be written. The message has the reason and a remedy.
    """
    target = Path(path)
    with named_errors(target):
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        partial = partial_path(target)
        file = partial.open("xb")
        try:
            with file:
                yield file
                file.flush()
                if synced != "nothing":
                    os.fsync(file.fileno())
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        if synced == "name" and target.parent not in _stages:
            _sync_folder(target.parent)


@contextmanager
def staging(folder: Path) -> Iterator[None]:
    """Do not flush the entries of a folder whose files `publish` renames. After a crash it is useless anyway."""
    _stages.add(folder)
    try:
        yield
    finally:
        _stages.discard(folder)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary folder to fill. It gets its name only when it is completely on the disk.

    If the writing is interrupted, an older folder of that name remains unchanged. Linux and macOS exchange the two in
    one step. On disks that cannot do that, the older folder has another name for a moment.

    Raises
    ------
    OutputError
        If the folder cannot be written. The message has the reason and a remedy.
    """
    target = Path(path)
    with named_errors(target):
        if target.exists() and not target.is_dir():
            raise OutputError(f"{str(target)!r} cannot be written: it is a file, not a folder; give another name.")
        partial = partial_path(target)
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
            # It is either incomplete or the former folder of the target.
            if partial.exists():
                shutil.rmtree(partial, ignore_errors=True)


def publish(staged: Path, target: Path) -> None:
    """Rename a complete file or folder to its final name, in one step if the disk can. Call `sync_name` afterwards.

    Parameters
    ----------
    staged : Path
        The file or folder, on the same disk as the target. If the target is a folder, its old content may be here
        afterwards.
    target : Path
        The final name. A file or folder of that name is replaced.

    Raises
    ------
    OutputError
        If it cannot be renamed. The message has the reason and a remedy.
    """
    with named_errors(target):
        if staged.is_dir():
            _take_name(staged, target)
        else:
            staged.replace(target)


def sync_name(path: Path) -> None:
    """Flush the name of a file, and all others in its folder, to the disk.

    Raises
    ------
    OutputError
        If it cannot be flushed.
    """
    with named_errors(path):
        _sync_folder(path.parent)


def sweep(folder: str | Path) -> None:
    """Remove temporary files that a crash has left in a folder, which may be missing. Those in use are kept."""
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            # It may have been renamed in the meantime, or belong to another user.
            with suppress(OSError):
                if is_abandoned(Path(entry.path), entry.name):
                    _remove(Path(entry.path))


def partial_path(target: Path) -> Path:
    """Return a temporary name in the target's folder. It is short, since the target's may have the largest length."""
    return target.with_name(f".{_computer()}-{os.getpid()}-{secrets.token_hex(8)}.partial")


def _computer() -> str:
    return blake2b(platform.node().encode("utf-8", "surrogateescape"), digest_size=2).hexdigest()


def is_abandoned(path: Path, name: str) -> bool:
    """Tell whether a file or folder has a temporary name from a process that has ended.

    `name` is its temporary name, which `path` need not have any more.
    """
    named = _PARTIAL.fullmatch(name)
    if named is None:
        return False
    if named[1] == _computer() and not _runs(int(named[2])):
        return True
    # Processes of another computer cannot be checked, and a process id may have been reused.
    return time.time() - path.lstat().st_mtime > _ABANDONED


def _runs(number: int) -> bool:
    """Tell whether a process can still write. A killed process may remain as a zombie, which cannot."""
    import psutil

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
    """Flush the entries of a folder to the disk. Windows does that automatically and has no such call."""
    if os.name == "posix":
        _sync(folder, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _take_name(partial: Path, target: Path) -> None:
    """Rename a folder to `target`. An old folder of that name is at `partial` afterwards, or removed."""
    if not os.path.lexists(target):
        partial.rename(target)
    elif not _exchange(partial, target):
        # This is not a temporary name, so `sweep` does not remove the old folder if this process ends now.
        aside = partial.with_suffix(".before")
        target.rename(aside)
        try:
            partial.rename(target)
        except OSError:
            aside.rename(target)
            raise
        _remove(aside)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step, and return whether that succeeded."""
    import ctypes

    first = os.fsencode(one)
    second = os.fsencode(other)
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            return bool(library.renamex_np(first, second, ctypes.c_uint(2)) == 0)  # RENAME_SWAP
        # AT_FDCWD and RENAME_EXCHANGE.
        working_folder = ctypes.c_int(-100)
        exchange = ctypes.c_uint(2)
        return bool(library.renameat2(working_folder, first, working_folder, second, exchange) == 0)
    except (AttributeError, OSError, TypeError):
        # The system has no such call.
        return False


_WHAT_TO_DO = {
    errno.ENOENT: "its folder does not exist; make the folder or choose another",
    errno.EEXIST: "a file, or a link to a place that is not there, is in its way; remove that or choose another folder",
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
    """Raise an `OutputError` with the file, the reason and a remedy for every `OSError` in the context."""
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
