"""Files that belong together, such as labels, their table and their record: all get their names, or none.

They are made in a hidden folder, which is renamed when they are complete. From then on its list has the files that must
still get their final names. If the process ends before that is done, the next reader or writer of the first file
finishes it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path

from napari_foundseg.core.errors import BadImageError, OutputError
from napari_foundseg.io.atomic import (
    atomic_write,
    is_abandoned,
    named_errors,
    partial_path,
    publish,
    staging,
    sweep,
    sync_name,
)
from napari_foundseg.io.written_files import hash_file

__all__ = ["finish_writing", "writing_together"]

#: List in the folder: the name of the temporary folder, then for each file the hash of its former version and its name.
_LIST = ".files"


@contextmanager
def writing_together(first: Path) -> Iterator[Path]:
    """Yield a folder to write files into. All of them get their names next to `first`, or none does.

    Raises
    ------
    OutputError
        If they cannot be written. Then all files are unchanged.
    """
    finish_writing(first)
    # Remove the temporary folders of saves that ended before they were complete.
    sweep(first.parent)
    partial = partial_path(first)
    with named_errors(first):
        partial.mkdir()
        try:
            try:
                with staging(partial):
                    yield partial
                    names = sorted(path.name for path in partial.iterdir())
                    lines = [partial.name, *(f"{_hash(first.with_name(name))} {name}" for name in names)]
                    with atomic_write(partial / _LIST) as file:
                        file.write("\0".join(lines).encode("utf-8", "surrogateescape"))
            except OutputError as error:
                words = str(error).replace(str(partial / _LIST), str(first)).replace(str(partial), str(first.parent))
                raise type(error)(words) from error
            sync_name(partial / _LIST)
            complete = _complete(first)
            partial.rename(complete)
            sync_name(first)
            for name in names:
                publish(complete / name, first.with_name(name))
            sync_name(first)
            shutil.rmtree(complete, ignore_errors=True)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def finish_writing(first: Path) -> None:
    """Give final names to complete files that an ended process has left in a hidden folder.

    A file that others have written since is not replaced.
    """
    complete = _complete(first)
    if not os.path.lexists(complete):
        return
    # Another process may do this at the same time, and a reader may have no permission.
    with suppress(OSError, ValueError):
        listed = complete / _LIST
        if not listed.exists():
            # All files have their names; the folder was being removed.
            shutil.rmtree(complete)
            return
        writer, *lines = listed.read_bytes().decode("utf-8", "surrogateescape").split("\0")
        if not is_abandoned(complete, writer):
            return
        for before, name in (line.split(" ", 1) for line in lines):
            target = first.with_name(name)
            if os.path.lexists(complete / name) and _hash(target) == before:
                publish(complete / name, target)
        sync_name(first)
        shutil.rmtree(complete)


def _complete(first: Path) -> Path:
    """Return the folder's name for complete files. It is short, since the file's name may have the largest length."""
    return first.with_name(f".{blake2b(os.fsencode(first.name), digest_size=8).hexdigest()}.complete")


def _hash(path: Path) -> str:
    if not os.path.lexists(path):
        return "-"
    try:
        return hash_file(path)
    except BadImageError:
        return "?"
