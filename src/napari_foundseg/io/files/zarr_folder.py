"""A folder for zarr, into which zarr writes nothing more after a failure."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["zarr_folder"]

#: Longest wait for chunks that are still being written when another fails.
_SECONDS = 30.0


@contextmanager
def zarr_folder(folder: Path) -> Iterator[Any]:
    """Yield a zarr store for a folder.

    zarr writes several chunks in parallel. If one fails, such as on a full disk, zarr writes the others in its threads
    all the same, and would make the folder again after it was removed.
    """
    from zarr.storage import LocalStore

    class Store(LocalStore):
        closed = False
        busy = 0

        async def set(self, key: str, value: Any) -> None:
            if self.closed:
                raise OSError("nothing more is written, since a chunk could not be")
            self.busy += 1
            try:
                await super().set(key, value)
            finally:
                self.busy -= 1

    store = Store(folder)
    try:
        yield store
    except BaseException:
        store.closed = True
        until = time.monotonic() + _SECONDS
        while store.busy and time.monotonic() < until:
            time.sleep(0.005)
        raise
