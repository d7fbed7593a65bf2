"""Places of downloads below the models' folder, and the record of an unfinished one."""

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

#: Folder in the models' folder with one folder a model.
DOWNLOADS = "downloads"
#: Ending of the name of a file that is not complete.
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
        Its bytes, where the server says.
    etag : str
        Its version as the server calls it; empty where the server does not say.
    sha256, git_sha1 : str
        Known hashes, git's own or the start of one too; empty where none is known.
    """

    name: str
    url: str
    size: int | None = None
    etag: str = ""
    sha256: str = ""
    git_sha1: str = ""


@dataclass(frozen=True)
class Plan:
    """The files of a download, and the version that they are of.

    Parameters
    ----------
    files : tuple of PlannedFile
        In the order in which they are downloaded.
    revision : str
        Commit of a hub's repository; empty for others.
    """

    files: tuple[PlannedFile, ...]
    revision: str = ""

    @property
    def size(self) -> int | None:
        """Bytes of all files, None if that of one is not known."""
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size for size in sizes if size is not None)


def download_folder(row: CatalogRow) -> Path:
    """Return the folder of a model's downloads. It need not exist."""
    return models_folder() / DOWNLOADS / row.name


def target(row: CatalogRow) -> Path:
    """Return the file or folder that a download of a model makes."""
    if row.source.startswith("hf:"):
        leaf = row.source.rpartition("/")[2]
    else:
        leaf = PurePosixPath(row.file.replace("\\", "/")).name or file_name(row.source)
    return download_folder(row) / leaf


def file_name(url: str) -> str:
    """Return a name for the file of an address that any file system can have; what follows ``#`` is one, if given."""
    parts = urlsplit(url)
    name = unquote(parts.fragment or parts.path).rpartition("/")[2]
    return re.sub(r'[\x00-\x1f<>:"/\\|?*]', "_", name).strip(". ") or "weights"


def record_path(row: CatalogRow) -> Path:
    """Return the record of an unfinished download of a model."""
    return download_folder(row) / _RECORD


def read_plan(row: CatalogRow) -> Plan | None:
    """Return what is recorded of an unfinished download; None where there is none or it is damaged."""
    path = record_path(row)
    with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        if path.stat().st_size <= _LARGEST_RECORD:
            values = json.loads(path.read_text(encoding="utf-8"))
            files = tuple(PlannedFile(**file) for file in values["files"])
            if files and all(_is_plain(file) for file in files):
                return Plan(files, str(values["revision"]))
    return None


def write_plan(row: CatalogRow, plan: Plan) -> None:
    """Record an unfinished download; OutputError if it cannot be written."""
    sweep(download_folder(row))
    with atomic_write(record_path(row)) as file:
        file.write(json.dumps(asdict(plan), indent=1).encode())


def bytes_here(row: CatalogRow) -> int:
    """Return how many bytes of an unfinished download of a model are here."""
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
    """Tell whether a relative path with slashes stays in its folder, whatever the system."""
    parts = name.split("/")
    return bool(name) and not re.search(r'[\x00-\x1f<>:"\\|?*]', name) and not {"", ".", ".."} & set(parts)
