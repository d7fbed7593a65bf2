"""A folder of things that can be made again, within a bound: the least recently used go first.

Any number of processes may use one folder. What is read back is whole and undamaged or counts as absent; what cannot be
written is not kept, and nobody is disturbed.
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
#: Writes after which the folder is measured again: other processes write, too.
_MEASURE_EVERY = 32


class DiskCache:
    """Bytes by name.

    Parameters
    ----------
    folder : Path
        Where they lie; made when something is first written.
    limit : int
        Bytes that are kept at most.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self._writes = 0
        self._told = False
        sweep(folder)

    def get(self, name: str) -> bytes | None:
        """Return what was kept, and count it as used now.

        Parameters
        ----------
        name : str
            Its name, of letters and digits.

        Returns
        -------
        bytes or None
            None where there is none, or where it is damaged.
        """
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
        """Keep something.

        Parameters
        ----------
        name : str
            Its name, of letters and digits.
        data : bytes
            The content; equal names mean equal content.

        Returns
        -------
        bool
            Whether it is on the disk. It is not where the disk is full or may not be written to; the log says so once.
        """
        path = self._path(name)
        try:
            with named_errors(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as file:
                file.write(blake2b(data, digest_size=_DIGEST).digest())
                file.write(data)
        except OutputError as error:
            if not self._told:
                _log.warning("Nothing more is kept in the cache: %s", error)
            self._told = True
            return False
        self._writes += 1
        if self._writes % _MEASURE_EVERY == 1:
            self.trim()
        return True

    def trim(self) -> None:
        """Remove the least recently used until a tenth of the limit is free."""
        files = self._files()
        size = sum(n for _, n, _ in files)
        if size <= self.limit:
            return
        for _, n, path in sorted(files):
            if size <= 0.9 * self.limit:
                break
            with suppress(OSError):  # another process may read it or have removed it
                path.unlink()
                size -= n

    def size(self) -> int:
        """Return how many bytes are kept.

        Returns
        -------
        int
            Of all processes.
        """
        return sum(n for _, n, _ in self._files())

    def clear(self) -> int:
        """Remove everything.

        Returns
        -------
        int
            How many bytes were freed.
        """
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
