"""A cache folder of limited size, from which the least recently used files are removed first.

It is for data that can be made again. Any number of processes may share one folder. Damaged files count as missing. A
failure to write raises no error; the data are then not cached.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from napari_foundseg.core.errors import OutputError
from napari_foundseg.io.atomic import atomic_write, named_errors, sweep

__all__ = ["DiskCache"]

_log = logging.getLogger(__name__)
_DIGEST = 16
#: Number of writes after which the size of the folder is measured again, since other processes write too.
_MEASURE_EVERY = 32


class DiskCache:
    """Bytes by name, in files of a folder.

    Parameters
    ----------
    folder : Path
        Folder of the files. It is made at the first write.
    limit : int
        Largest size of the folder in bytes.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        self._writes = 0
        self._warned = False
        sweep(folder)

    def get(self, name: str) -> bytes | None:
        """Return the data of a name and mark them as used; None if they are missing or damaged."""
        path = self._path(name)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        if blake2b(data[_DIGEST:], digest_size=_DIGEST).digest() != data[:_DIGEST]:
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            os.utime(path)
        return data[_DIGEST:]

    def put(self, name: str, data: bytes) -> bool:
        """Store data and return whether they are on the disk. A failure is logged once.

        Parameters
        ----------
        name : str
            Letters and digits. Equal names mean equal data.
        data : bytes
            The data.
        """
        path = self._path(name)
        try:
            with named_errors(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as file:
                file.write(blake2b(data, digest_size=_DIGEST).digest())
                file.write(data)
        except OutputError as error:
            if not self._warned:
                _log.warning("Nothing more is kept in the cache: %s", error)
            self._warned = True
            return False
        self._writes += 1
        if self._writes % _MEASURE_EVERY == 1:
            self.trim()
        return True

    def trim(self) -> None:
        """If the limit is exceeded, remove the least recently used files until a tenth of it is free."""
        files = self._files()
        size = sum(n for _, n, _ in files)
        if size <= self.limit:
            return
        for _, n, path in sorted(files):
            if size <= 0.9 * self.limit:
                break
            # Another process may be reading or have removed it.
            with suppress(OSError):
                path.unlink()
                size -= n

    def size(self) -> int:
        """Return the total size of the files in bytes, including those of other processes."""
        return sum(n for _, n, _ in self._files())

    def clear(self) -> int:
        """Remove all files and return the number of bytes freed."""
        freed = 0
        for _, n, path in self._files():
            with suppress(OSError):
                path.unlink()
                freed += n
        return freed

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.kept"

    def _files(self) -> list[tuple[float, int, Path]]:
        found = []
        with suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.name.endswith(".kept"):
                        stat = entry.stat()
                        found.append((stat.st_mtime, stat.st_size, Path(entry.path)))
        return found
