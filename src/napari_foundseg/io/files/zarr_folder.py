"""A folder that zarr writes into, and into which it writes nothing more once that has failed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["zarr_folder"]

#: Longest wait for chunks that are being written when another fails.
_SECONDS = 30.0


@contextmanager
def zarr_folder(folder: Path) -> Iterator[Any]:
    """Yield a store of zarr for a folder.

    zarr writes several chunks at a time. If one fails, such as on a full disk, it goes on with the others in its
    threads, and would make the folder again that was removed meanwhile.
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
