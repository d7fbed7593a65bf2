"""The table of file formats, which answers every question about which files are images or labels.

The rows are collected from the modules of this folder that have ``FORMATS``. `register_format` adds a row from
elsewhere.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path

from napari_foundseg.core.errors import OutputError
from napari_foundseg.io.formats.file_format import FileHead, Format
from napari_foundseg.io.formats.inside import ImageInside

__all__ = [
    "all_formats",
    "data_set_file",
    "format_of_labels",
    "format_to_write",
    "image_ending",
    "image_endings",
    "image_formats",
    "is_folder_name",
    "label_endings",
    "listed",
    "register_format",
]

#: Endings with their formats, by the last part of the ending.
_Rows = dict[str, list[tuple[str, Format]]]

_registered: list[Format] = []


def register_format(row: Format) -> ExitStack:
    """Add a file format, until the returned value is closed.

    Parameters
    ----------
    row : Format
        The format. Its files are then read, listed and written in this process. Workers of the engine are other
        processes, which have only the formats in `io.formats`.

    Returns
    -------
    ExitStack
        Closing it, or leaving it as a context (``with register_format(row): …``), removes the format.

    Raises
    ------
    ValueError
        If another format has its name or one of its endings.
    """
    for other in all_formats():
        reads = set(row.read_endings) & set(other.read_endings)
        writes = set(row.write_endings) & set(other.write_endings)
        if row.name == other.name or reads or writes:
            clash = ", ".join(sorted(reads | writes)) or "this name"
            raise ValueError(f"{row.name}: the format {other.name} has {clash} already. Choose others.")
    _registered.append(row)
    _forget()
    undo = ExitStack()
    undo.callback(_forget)
    undo.callback(_registered.remove, row)
    return undo


@cache
def all_formats() -> tuple[Format, ...]:
    """Return all formats, in the order of lists."""
    return tuple(sorted((*_packaged(), *_registered), key=lambda row: row.order))


def image_formats() -> list[Format]:
    """Return the formats that can be read."""
    return [row for row in all_formats() if row.read is not None]


@cache
def image_endings() -> tuple[str, ...]:
    """Return the endings of the files that are read as images."""
    return tuple(ending for row in all_formats() for ending in row.read_endings)


@cache
def label_endings() -> tuple[str, ...]:
    """Return the preferred ending of each format in which labels can be written."""
    return tuple(row.write_endings[0] for row in all_formats() if row.write_endings)


def image_ending(name: str) -> str:
    """Return the ending of an image's name in lower case; empty if no format has it, or nothing comes before it."""
    return _ending(name, _readers())[0]


def format_to_write(name: str) -> Format | None:
    """Return the format in which labels of this name are written; None if no format has the ending."""
    return _ending(name, _writers())[1]


def format_of_labels(path: Path, axes: str = "YX", largest_id: int = 0) -> Format:
    """Return the format for writing labels to a path.

    Parameters
    ----------
    path : Path
        The labels file or folder.
    axes : str
        The axes of the labels.
    largest_id : int
        Their largest id, if it is known.

    Returns
    -------
    Format
        The format of the path's ending.

    Raises
    ------
    OutputError
        If no format has the ending, or the format does not support the labels. The message names formats that do.
    """
    row = format_to_write(path.name)
    if row is not None and row.can_hold(axes, largest_id):
        return row
    would = listed([one.write_endings[0] for one in all_formats() if one.can_hold(axes, largest_id)])
    if row is None:
        raise OutputError(f"{str(path)!r} cannot be written: labels are saved as {would}.")
    holds = "one slice" if row.axes == "YX" else f"the axes {', '.join(row.axes)}"
    got = f"axes {axes}" + (f" and ids up to {largest_id}" if largest_id > row.largest_id else "")
    raise OutputError(
        f"{str(path)!r} cannot be written: {row.name} holds {holds} with ids up to {row.largest_id}, got {got}. Write "
        f"{would} instead."
    )


def is_folder_name(name: str) -> bool:
    """Tell whether an image or labels of this name are a folder, such as OME-Zarr."""
    row = _ending(name, _readers())[1]
    return row is not None and row.folder


def is_image_content(folder: Path) -> bool:
    """Tell from its content whether a folder of any name has a format such as OME-Zarr."""
    head = FileHead(folder)
    return any(row.folder and row.recognises is not None and row.recognises(head) for row in all_formats())


def images_inside(path: Path) -> list[ImageInside]:
    """List the images in a file or folder with several; empty if it is one image, or cannot be read."""
    with suppress(OSError, ValueError):
        is_folder = path.is_dir()
        if is_folder or path.is_file():
            head = FileHead(path)
            for row in all_formats():
                if row.images and row.folder == is_folder and row.recognises and row.recognises(head):
                    return row.images(path)
    return []


def data_set_file(path: Path) -> Path:
    """Return the file that represents the data set of a file: itself, unless several files are one image."""
    row = _ending(path.name, _readers())[1]
    return path if row is None or row.data_set is None else row.data_set(path)


def listed(words: Sequence[str], link: str = "or") -> str:
    """Return words as in a sentence, such as ``TIFF, PNG or JPEG``."""
    return f" {link} ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)


def _ending(name: str, rows: _Rows) -> tuple[str, Format | None]:
    dot = name.rfind(".")
    for ending, row in rows.get(name[dot:].lower(), ()) if dot > 0 else ():
        # Lower the slice and not the name, since some letters change length.
        if len(name) > len(ending) and name[-len(ending) :].lower() == ending:
            return ending, row
    return "", None


@cache
def _readers() -> _Rows:
    return _by_last_part((ending, row) for row in all_formats() for ending in row.read_endings)


@cache
def _writers() -> _Rows:
    return _by_last_part((ending, row) for row in all_formats() for ending in row.write_endings)


def _by_last_part(rows: Iterable[tuple[str, Format]]) -> _Rows:
    """Group endings by their last part, longest first, so that ``.ome.tif`` is tried before ``.tif``."""
    grouped: _Rows = {}
    for ending, row in sorted(rows, key=lambda pair: -len(pair[0])):
        grouped.setdefault(ending[ending.rindex(".") :], []).append((ending, row))
    return grouped


@cache
def _packaged() -> tuple[Format, ...]:
    found = pkgutil.iter_modules([str(Path(__file__).parent)], f"{__package__}.")
    modules = [importlib.import_module(module.name) for module in found if module.name != __name__]
    return tuple(row for module in modules for row in getattr(module, "FORMATS", ()))


def _forget() -> None:
    for cached in (all_formats, image_endings, label_endings, _readers, _writers):
        cached.cache_clear()
