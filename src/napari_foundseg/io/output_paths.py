"""The one rule for writing: never replace an input, a foreign file, or a result that was edited since.

Every write to a user's file name is checked here, before the run and again before the file is replaced. After a Save
dialog, which has already asked, only `refuse_inputs` applies. The demo, reports and caches are exempt. If a window
saves a file that others have written since it was opened, the write is refused (`files.known_files`), and the window
asks.
"""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from napari_foundseg.core.errors import InputReplacedError, KeptError, OutputError
from napari_foundseg.io.atomic import named_errors
from napari_foundseg.io.files.file_group import finish_writing
from napari_foundseg.io.formats.file_format import FileHead
from napari_foundseg.io.formats.ome_zarr_writer import METADATA_FILES
from napari_foundseg.io.formats.table import is_folder_name
from napari_foundseg.io.naming import address_of, file_of, image_exists, is_address
from napari_foundseg.io.written_files import whose_file

__all__ = ["check_outputs", "check_place", "find_files", "free_path", "refuse_inputs", "refuse_kept"]


def check_outputs(outputs: Iterable[str | Path], inputs: Iterable[str | Path] = (), *, overwrite: bool = False) -> None:
    """Check before a run that its outputs are no inputs, replace nothing of the user's, and can be written.

    Raises
    ------
    OutputError
        If one of them must not or cannot be written. The message has the reason and a remedy.
    """
    paths = [Path(output) for output in outputs]
    refuse_inputs(paths, inputs)
    for path in paths:
        refuse_kept(path, overwrite=overwrite)
        check_place(path)


def refuse_inputs(outputs: Iterable[str | Path], inputs: Iterable[str | Path]) -> None:
    """Raise `InputReplacedError` if an output is an input, is inside one, or is a folder that contains one.

    Links, other spellings and other cases of a name are the same file if the disk treats them so. An output inside an
    OME-Zarr folder is always refused, since the folder is one image.
    """
    read: dict[Any, Path] = {}
    around: dict[Any, Path] = {}
    known: dict[Path, list[Any]] = {}
    #: Folders that passed the checks. Each is checked only once, since there may be many outputs.
    allowed: set[Path] = set()
    for given in map(file_of, map(Path, inputs)):
        real = _real(given)
        read |= dict.fromkeys(_keys(real), given)
        for folder in real.parents:
            around |= dict.fromkeys(_known_keys(folder, known), given)
    for output in map(Path, outputs):
        real = _real(output)
        own = _keys(real)
        if found := _first(own, read):
            raise InputReplacedError(
                f"{str(output)!r} was not written: it is the input {str(found)!r}, which is never replaced. Give "
                "another name."
            )
        if found := _first(own, around):
            raise InputReplacedError(
                f"{str(output)!r} was not written: this folder contains the input {str(found)!r}, which would be gone. "
                "Give another name."
            )
        if real.parent in allowed:
            continue
        for folder in real.parents:
            if found := _first(_known_keys(folder, known), read):
                raise InputReplacedError(
                    f"{str(output)!r} was not written: it is inside the input {str(found)!r}, which is never changed. "
                    "Choose another folder."
                )
        for folder in real.parents:
            if FileHead(folder).holds(*METADATA_FILES):
                raise InputReplacedError(
                    f"{str(output)!r} was not written: it is inside the OME-Zarr {str(folder)!r}, to which nothing is "
                    "added. Choose another folder."
                )
        allowed.add(real.parent)


def refuse_kept(path: str | Path, *, overwrite: bool) -> None:
    """Raise `KeptError` if the path has a file that a run must not replace.

    Without `overwrite` that is every file. With it, only foreign files and files that were edited since.
    """
    path = Path(path)
    _refuse_address(path)
    finish_writing(path)
    with named_errors(path):
        if path.is_symlink():
            raise KeptError(f"{str(path)!r} was kept: it is a link to another place. Remove it, or give another name.")
        if not os.path.lexists(path):
            return
        if path.is_dir() and not is_folder_name(path.name):
            raise KeptError(f"{str(path)!r} is a folder; give the name of a file.")
        if path.is_dir() and not any(path.iterdir()):
            return
    whose = whose_file(path)
    if whose == "ours":
        if not overwrite:
            raise KeptError(
                f"{str(path)!r} was kept: this result exists already. Replace it with --overwrite, or give another "
                "name."
            )
        return
    if path.is_dir() and not FileHead(path).holds(*METADATA_FILES):
        why = "it is a folder with other things in it"
    elif whose == "edited":
        why = "it was edited after napari-foundseg wrote it"
    else:
        why = "it was not made by napari-foundseg, or not known to be"
    raise KeptError(f"{str(path)!r} was kept: {why}. Move or rename it, or give another name.")


def check_place(path: str | Path) -> None:
    """Raise `OutputError` if a file with this name cannot be made. A missing folder is allowed: it would be made."""
    _refuse_address(Path(path))
    path = Path(path).absolute()
    with named_errors(path):
        with suppress(FileNotFoundError, NotADirectoryError):
            # A name that is too long fails here.
            path.lstat()
        there = next((folder for folder in path.parents if os.path.lexists(folder)), path.parents[-1])
        probe = there / f".{secrets.token_hex(8)}.partial"
        # The stated permissions may differ from the real ones, above all on network disks, so try.
        probe.mkdir()
        probe.rmdir()


def free_path(path: Path) -> Path:
    """Return the path itself if it is free, else the path with the next free number."""
    stem, dot, ending = path.name.partition(".")
    numbered = (path.with_name(f"{stem}_{i}{dot}{ending}") for i in itertools.count(2))
    return next(one for one in itertools.chain((path,), numbered) if not os.path.lexists(one))


def find_files(values: Any) -> Iterator[Path]:
    """Yield the files and image folders that are named in a text, or in a list or mapping of any depth."""
    if isinstance(values, Mapping):
        values = list(values.values())
    if isinstance(values, str | Path):
        with suppress(OSError, ValueError):
            path = Path(values)
            if path.is_file() or image_exists(path):
                yield path
    elif isinstance(values, list | tuple):
        for value in values:
            yield from find_files(value)


def _refuse_address(path: Path) -> None:
    """Raise `OutputError` for a URL; as a path it would be a new folder, such as ``file:``."""
    if is_address(path):
        raise OutputError(f"{address_of(path)!r} is an address (URL), to which nothing is written; give a file's name.")


def _real(path: Path) -> Path:
    if "\0" in str(path):
        raise OutputError(f"{str(path)!r} cannot be written: no name may hold a null character; choose another.")
    return Path(os.path.realpath(path))


def _keys(real: Path) -> list[Any]:
    """Return keys that are equal for two names of one file or folder: resolved path, and inode if it exists."""
    keys: list[Any] = [os.path.normcase(real)]
    with suppress(OSError, ValueError):
        state = real.stat()
        keys.append((state.st_dev, state.st_ino))
    return keys


def _known_keys(folder: Path, known: dict[Path, list[Any]]) -> list[Any]:
    if folder not in known:
        known[folder] = _keys(folder)
    return known[folder]


def _first(keys: list[Any], found: Mapping[Any, Path]) -> Path | None:
    return next((found[key] for key in keys if key in found), None)
