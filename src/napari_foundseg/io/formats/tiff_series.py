"""The images of a TIFF: the choice of one, notes about the others, and errors for missing pages, tiles or files.

tifffile fills missing pixels with zeros. Such pixels are no picture, so the missing parts are named and the file is not
read.
"""

from __future__ import annotations

import html
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from napari_foundseg.core.errors import BadImageError
from napari_foundseg.io.formats.inside import ImageInside, alike, describe
from napari_foundseg.io.formats.tiff_damage import open_tiff

__all__ = [
    "check_complete",
    "choose_series",
    "companion_text",
    "data_set_file",
    "members",
    "metadata_of",
    "missing_files",
    "split_series",
    "tiff_images",
]

#: Kinds of slide files. In them, all images except the first are pictures of the slide.
_SLIDES = frozenset({"svs", "ndpi", "scn", "bif", "qpi", "philips", "avs"})
#: Most missing files or planes that a message names.
_NAMED = 5
#: The tag with OME-XML.
_DESCRIPTION = 270
#: Most entries of a page, and most bytes of a description, that are read.
_MOST_ENTRIES = 4096
_MOST_TEXT = 1 << 26
_FILE_NAME = re.compile(r"""<(?:\w+:)?UUID\b[^>]*\bFileName=["']([^"']+)["']""")
_BINARY_ONLY = re.compile(r"""<(?:\w+:)?BinaryOnly\b[^>]*\bMetadataFile=["']([^"']+)["']""")


def tiff_images(path: Path) -> list[ImageInside]:
    """List the images in a TIFF; empty if it has only one."""
    if not _start(path, *_state(path)).has_more_pages and len(members(path)) < 2:
        return []
    try:
        file, xml = metadata_of(path)
        with open_tiff(path, file, xml) as tiff:
            images = _images(tiff)
    except Exception:  # noqa: BLE001 - reading it will say what is wrong
        return []
    return images if len(images) > 1 else []


def _images(tiff: Any) -> list[ImageInside]:
    found = []
    for i, series in enumerate(tiff.series):
        title = str(series.name or "").strip()
        if (series.kind in _SLIDES and i) or series.keyframe.is_reduced:
            title = f"{title} preview".strip()
        axes = series.get_axes(True).replace("S", "C")
        found.append(ImageInside(str(i), axes, tuple(series.get_shape(True)), str(series.dtype), title))
    return found


def split_series(path: Path) -> tuple[Path, str]:
    """Split ``a.tif/1`` into the file and the name of an image in it. The name is empty for the path of a file."""
    file = next((folder for folder in path.parents if folder.is_file()), path)
    return file, "" if file == path else path.relative_to(file).as_posix()


def choose_series(path: Path, tiff: Any) -> tuple[int, str, tuple[str, ...]]:
    """Return the number of the image for a path, its name if it was chosen here, and notes about the others.

    Raises
    ------
    BadImageError
        If there is no such image.
    """
    file, name = split_series(path)
    images = _images(tiff)
    if name:
        number = next((i for i, image in enumerate(images) if image.name == name), None)
        if number is None:
            there = f"holds {describe(images)}" if len(images) > 1 else "holds one image only"
            raise BadImageError(path, f"there is no image {name} in it: {file.name} {there}")
        return number, "", ()
    gone = missing_files(path)
    told = (f"{len(gone)} files of this data set are missing: {_listed(gone)}.",) if gone else ()
    if len(images) == 1:
        return 0, "", told
    number = int(alike(images)[0].name)
    rest = [image for i, image in enumerate(images) if i != number]
    words = f"The file holds {len(images)} images: {describe([images[number]])} is read. Left out: {describe(rest)}."
    return number, str(number), (*told, f"{words} Give {file.name}/{rest[0].name} for another.")


def check_complete(path: Path, series: Any) -> None:
    """Raise an error for an image with missing planes or files.

    Raises
    ------
    BadImageError
        If pixels would have to be invented. The message names the files or planes.
    """
    pages = list(series.pages)
    gone = [i for i, page in enumerate(pages) if page is None]
    if gone:
        raise BadImageError(path, _missing_planes(path, len(pages), gone))
    for number, page in enumerate(pages):
        if len(page.databytecounts) and not any(page.databytecounts):
            raise BadImageError(
                path, f"page {number + 1} has no pixels in {page.parent.filename}; copy or export the file again"
            )


def missing_files(path: Path) -> tuple[str, ...]:
    """Return the names of the missing files of a data set."""
    file = split_series(path)[0]
    return tuple(name for name in members(file) if not (file.parent / name).exists())


def _missing_planes(path: Path, total: int, gone: list[int]) -> str:
    if files := missing_files(path):
        return (
            f"{len(files)} of the {len(members(split_series(path)[0]))} files of this data set are missing: "
            f"{_listed(files)}. Copy them beside it"
        )
    return (
        f"{len(gone)} of the {total} planes that its metadata name are not in it (numbers "
        f"{_listed([str(i + 1) for i in gone])}); the recording was stopped, or the file is damaged. Export it again"
    )


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def data_set_file(path: Path) -> Path:
    """Return the first file of a data set of several files, which represents it; else the path itself."""
    there = [name for name in members(path) if (path.parent / name).is_file()]
    return path.parent / there[0] if len(there) > 1 and path.name in there else path


def members(path: Path) -> tuple[str, ...]:
    """Return the names of a data set's pixel files, as listed in its metadata; empty for other files."""
    own = _start(path, *_state(path))
    if not own.metadata_file:
        return own.members
    there = path.with_name(own.metadata_file)
    if there.suffix.lower() == ".ome":
        return _file_names(companion_text(there))
    return _start(there, *_state(there)).members


def metadata_of(path: Path) -> tuple[Path, str | None]:
    """Return the file to open for a file with metadata in another one, and the text if that other one is XML."""
    other = _start(path, *_state(path)).metadata_file
    there = path.with_name(other) if other else path
    if there == path or not there.is_file():
        return path, None
    return (path, companion_text(there)) if there.suffix.lower() == ".ome" else (there, None)


def companion_text(path: Path) -> str:
    """Return the text of an XML file of metadata; empty if it cannot be read."""
    try:
        small = path.is_file() and path.stat().st_size <= _MOST_TEXT
        return path.read_text(encoding="utf-8", errors="replace") if small else ""
    except OSError:
        return ""


def _file_names(text: str) -> tuple[str, ...]:
    """Return the file names in OME-XML, each once, without names that lead to other folders."""
    found = dict.fromkeys(html.unescape(name) for name in _FILE_NAME.findall(text))
    return tuple(name for name in found if not set(name) & set("/\\\0"))


@dataclass(frozen=True)
class _Start:
    """Facts from the first page of a TIFF.

    Parameters
    ----------
    has_more_pages : bool
        Whether another page follows.
    members : tuple of str
        The files that its OME-XML names.
    metadata_file : str
        The file with its OME-XML, if that is another one.
    """

    has_more_pages: bool = False
    members: tuple[str, ...] = ()
    metadata_file: str = ""


def _state(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


@lru_cache(1 << 10)
def _start(path: Path, *_state_of_file: int) -> _Start:
    """Read only the first page, since folders have thousands of files."""
    # Opening a pipe blocks until another process writes to it.
    if not path.is_file():
        return _Start()
    try:
        with path.open("rb") as file:
            header = file.read(16)
            order = {b"II": "<", b"MM": ">"}[header[:2]]
            big = struct.unpack(order + "H", header[2:4])[0] == 43
            (position,) = struct.unpack_from(order + ("Q" if big else "I"), header, 8 if big else 4)
            file.seek(position)
            (count,) = struct.unpack(order + ("Q" if big else "H"), file.read(8 if big else 2))
            width = 20 if big else 12
            entries = file.read(width * min(count, _MOST_ENTRIES))
            (following,) = struct.unpack(order + ("Q" if big else "I"), file.read(8 if big else 4))
            text = b""
            for i in range(len(entries) // width):
                entry = entries[width * i : width * (i + 1)]
                if struct.unpack(order + "H", entry[:2])[0] == _DESCRIPTION:
                    length, offset = struct.unpack(order + ("QQ" if big else "II"), entry[4:])
                    inline = 8 if big else 4
                    if length > inline:
                        file.seek(offset)
                        text = file.read(min(length, _MOST_TEXT))
                    break
    except (OSError, KeyError, struct.error, OverflowError, ValueError, MemoryError):
        return _Start()
    if b"OME" not in text:
        return _Start(following != 0)
    described = text.rstrip(b"\0").decode("utf-8", "replace")
    other = _BINARY_ONLY.search(described)
    elsewhere = html.unescape(other[1]) if other else ""
    return _Start(following != 0, _file_names(described), "" if set(elsewhere) & set("/\\\0") else elsewhere)
