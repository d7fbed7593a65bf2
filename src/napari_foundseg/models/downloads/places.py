"""Paths of downloads in the models' folder, and the record of an unfinished download."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from napari_foundseg.io.atomic import atomic_write, sweep
from napari_foundseg.models.catalog import CatalogRow, models_folder

__all__ = [
    "DOWNLOADS",
    "PART",
    "Plan",
    "PlannedFile",
    "bytes_here",
    "download_folder",
    "file_name",
    "read_plan",
    "record_path",
    "target",
    "write_plan",
]

#: Folder in the models' folder, with a subfolder for each model.
DOWNLOADS = "downloads"
#: Suffix of files that are not complete.
PART = ".part"
_RECORD = "download.json"
#: Largest record that is read, in bytes.
_LARGEST_RECORD = 10_000_000


@dataclass(frozen=True)
class PlannedFile:
    """A file to download.

    Parameters
    ----------
    name : str
        Its path in the model's folder.
    url : str
        Its address.
    size : int or None
        Its size in bytes; None if the server does not state it.
    etag : str
        The server's name for this version of the file; empty if the server does not state it.
    sha256, git_sha1 : str
        Expected hashes; empty if unknown. `sha256` may be the start of a hash. `git_sha1` is git's hash of the file.
    """

    name: str
    url: str
    size: int | None = None
    etag: str = ""
    sha256: str = ""
    git_sha1: str = ""


@dataclass(frozen=True)
class Plan:
    """The files of a download, and their version.

    Parameters
    ----------
    files : tuple of PlannedFile
        In the order in which they are downloaded.
    revision : str
        Commit of a repository on the hub; empty for other sources.
    """

    files: tuple[PlannedFile, ...]
    revision: str = ""

    @property
    def size(self) -> int | None:
        """Total size of all files in bytes; None if the size of one is unknown."""
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size for size in sizes if size is not None)


def download_folder(row: CatalogRow) -> Path:
    """Return the folder of a model's downloads. It may not exist yet."""
    return models_folder() / DOWNLOADS / row.name


def target(row: CatalogRow) -> Path:
    """Return the path of the file or folder that a download of a model creates."""
    if row.source.startswith("hf:"):
        leaf = row.source.rpartition("/")[2]
    else:
        leaf = PurePosixPath(row.file.replace("\\", "/")).name or file_name(row.source)
    return download_folder(row) / leaf


def file_name(url: str) -> str:
    """Return a file name for an address, valid on every file system. The part after ``#``, if any, is the name."""
    parts = urlsplit(url)
    name = unquote(parts.fragment or parts.path).rpartition("/")[2]
    return re.sub(r'[\x00-\x1f<>:"/\\|?*]', "_", name).strip(". ") or "weights"


def record_path(row: CatalogRow) -> Path:
    """Return the path of the record of a model's unfinished download."""
    return download_folder(row) / _RECORD


def read_plan(row: CatalogRow) -> Plan | None:
    """Return the recorded plan of an unfinished download; None if there is no record or it is damaged."""
    path = record_path(row)
    with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        if path.stat().st_size <= _LARGEST_RECORD:
            values = json.loads(path.read_text(encoding="utf-8"))
            files = tuple(PlannedFile(**file) for file in values["files"])
            if files and all(_is_plain(file) for file in files):
                return Plan(files, str(values["revision"]))
    return None


def write_plan(row: CatalogRow, plan: Plan) -> None:
    """Record an unfinished download; raise OutputError if the record cannot be written."""
    sweep(download_folder(row))
    with atomic_write(record_path(row)) as file:
        file.write(json.dumps(asdict(plan), indent=1).encode())


def bytes_here(row: CatalogRow) -> int:
    """Return the number of bytes of a model's unfinished download that are on the disk."""
    found = 0
    with suppress(OSError):
        for path in download_folder(row).rglob("*"):
            with suppress(OSError):
                found += path.stat().st_size if path.is_file() and path.name != _RECORD else 0
    return found


def _is_plain(file: PlannedFile) -> bool:
    texts = (file.name, file.url, file.etag, file.sha256, file.git_sha1)
    return (
        all(isinstance(text, str) for text in texts)
        and (file.size is None or isinstance(file.size, int))
        and is_inside(file.name)
    )


def is_inside(name: str) -> bool:
    """Return whether a relative path with slashes stays inside its folder on every operating system."""
    parts = name.split("/")
    return bool(name) and not re.search(r'[\x00-\x1f<>:"\\|?*]', name) and not {"", ".", ".."} & set(parts)
