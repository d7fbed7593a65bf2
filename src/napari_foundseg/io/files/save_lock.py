"""A lock for saves in a folder by several windows of one computer, so that each sees the files of the others."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

from filelock import FileLock, Timeout

from napari_foundseg.io import folders

__all__ = ["save_lock"]

_log = logging.getLogger(__name__)
#: Longest wait for the lock, longer than the largest labels take to be written.
_SECONDS = 120.0


@contextmanager
def save_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder. Some folders share a lock. Without a place for locks, nothing is locked."""
    name = blake2b(os.fsencode(os.path.normcase(os.path.realpath(folder))), digest_size=1).hexdigest()
    lock = FileLock(folders.cache() / "locks" / f"{name}.lock", timeout=_SECONDS)
    try:
        Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except (OSError, Timeout) as error:
        _log.warning("Files in %s are saved without a lock: %s", folder, error)
    try:
        yield
    finally:
        lock.release()
