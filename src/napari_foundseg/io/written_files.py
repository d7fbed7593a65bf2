"""Find out by hashes which files this package wrote, and whether they were edited since.

The hash of a file is in the sidecar next to it, which can be moved with the results, or in a list in the plugin's data
folder. The list has only hashes, of names and of contents.
"""

from __future__ import annotations

import hashlib
import logging
import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Literal

from napari_foundseg.core.errors import BadImageError, OutputError
from napari_foundseg.io import folders
from napari_foundseg.io.atomic import atomic_write, named_errors
from napari_foundseg.io.files.json_file import read_json
from napari_foundseg.io.naming import file_of, sidecar_path
from napari_foundseg.io.worklist import STATE_FILE, worked_on_labels

__all__ = ["file_state", "hash_file", "note_written", "whose_file", "worked_on"]

_log = logging.getLogger(__name__)
_LIST = "written.txt"
#: Bytes of the list above which its older half is removed. A line has 82.
_LARGEST = 8_000_000
#: Lines of this process, which are used even if the list cannot be written.
_noted: set[bytes] = set()


def hash_file(path: Path) -> str:
    """Hash a file, or the files and names of a folder (OME-Zarr). For an image inside a file, hash that file."""
    path = file_of(path)
    try:
        if not path.is_dir():
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        whole = hashlib.sha256()
        for part in sorted(part for part in path.rglob("*") if part.is_file()):
            whole.update(f"{part.relative_to(path).as_posix()}\0{hash_file(part)}\n".encode("utf-8", "surrogateescape"))
        return whole.hexdigest()
    except OSError as error:
        raise BadImageError(path, f"the file cannot be read: {error.strerror or error}") from error


def file_state(path: Path) -> tuple[int, ...]:
    """Return inodes, sizes and times of a file, or of all files in a folder. They change when it is written."""
    path = file_of(path)
    files = [path, *sorted(path.rglob("*"))] if path.is_dir() else [path]
    return tuple(n for s in (file.stat() for file in files) for n in (s.st_ino, s.st_size, s.st_mtime_ns))


def note_written(path: Path) -> None:
    """Remember a file that was just written as this package's. Without a writable list, only this process remembers."""
    line = f"{hash_file(path)} {_name_hash(path)}\n".encode()
    _noted.add(line.strip())
    target = folders.data() / _LIST
    try:
        with named_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("ab") as file:
                file.write(line)
            if target.stat().st_size > _LARGEST:
                lines = target.read_bytes().splitlines(keepends=True)
                with atomic_write(target) as file:
                    file.writelines(lines[len(lines) // 2 :])
    except OutputError as error:
        _log.warning("Could not record that %s was written: %s", path, error)


def whose_file(path: Path) -> Literal["ours", "edited", "foreign"]:
    """Tell whether a file is as this package wrote it, was edited since, or is foreign."""
    recorded = _sidecar_hashes(path).get(path.name, set())
    name = _name_hash(path)
    # The name counts too: a copy that the user made elsewhere is the user's.
    noted = {line.decode("ascii", "replace").split()[0] for line in _lines() if line.endswith(name.encode())}
    if not recorded | noted:
        return "foreign"
    try:
        ours = hash_file(path) in recorded | noted
    except BadImageError:
        return "edited"
    return "ours" if ours and path.name not in worked_on(path.parent) else "edited"


def worked_on(folder: Path) -> frozenset[str]:
    """Return the labels files of a folder that the user has edited in the window, according to the worklist."""
    try:
        state = (folder / STATE_FILE).stat()
    except OSError:
        return frozenset()
    return _worked_on(folder, state.st_ino, state.st_size, state.st_mtime_ns)


@lru_cache(4)
def _worked_on(folder: Path, *_state_of_file: int) -> frozenset[str]:
    return worked_on_labels(folder)


def _lines() -> set[bytes]:
    try:
        return _noted | set((folders.data() / _LIST).read_bytes().splitlines())
    except OSError:
        return _noted


def _name_hash(path: Path) -> str:
    return hashlib.blake2b(os.fsencode(os.path.realpath(path)), digest_size=8).hexdigest()


def _sidecar_hashes(path: Path) -> dict[str, set[str]]:
    """Return the hashes in the sidecar next to a file, by name; empty if there is no sidecar."""
    found: dict[str, set[str]] = {}
    # Another file may have the sidecar's name.
    with suppress(OSError, ValueError, LookupError, AttributeError, TypeError):
        content = read_json(sidecar_path(path))
        for name, digest in (*content["outputs"].items(), *content["previous"].items()):
            found.setdefault(name, set()).add(digest)
    return found
