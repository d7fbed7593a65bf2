"""The files of a package: a folder, or a ZIP archive, which is read without unpacking."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path, PurePosixPath

from napari_foundseg.core.errors import CheckpointError

__all__ = ["DESCRIPTIONS", "PackageFiles", "is_package"]

#: Names of the file with the description.
DESCRIPTIONS = ("rdf.yaml", "bioimageio.yaml", "rdf.yml", "bioimageio.yml")
#: Largest description, in bytes: about a thousand times the largest published one.
_MOST_BYTES = 16_000_000
#: Largest file of weights or of a test array, in bytes.
_MOST_WEIGHTS = 16 * 10**9


def is_package(path: Path) -> bool:
    """Return whether a folder or file is a bioimage.io package, that is, contains a file with a description."""
    if path.is_dir():
        return any((path / name).is_file() for name in DESCRIPTIONS)
    try:
        with zipfile.ZipFile(path) as archive:
            return _folder_in(archive) is not None
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return False


class PackageFiles:
    """Reads the files of a package by the names in its description."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def description(self) -> bytes:
        """Return the bytes of the description; raise CheckpointError if it is missing or too large."""
        for name in DESCRIPTIONS:
            if self._size(name) is not None:
                return self.read(name, _MOST_BYTES)
        raise CheckpointError(f"{self.path} has none of {', '.join(DESCRIPTIONS)}: it is not a bioimage.io package.")

    def has(self, name: str) -> bool:
        """Return whether the package has a file of this name."""
        return self._size(_inside(self.path, name)) is not None

    def read(self, name: str, most: int = _MOST_WEIGHTS) -> bytes:
        """Return the bytes of a file.

        Raises CheckpointError if it is missing, is outside the package, cannot be read, or has more than `most` bytes.
        """
        name = _inside(self.path, name)
        size = self._size(name)
        if size is None:
            raise CheckpointError(
                f"{self.path} lacks {name!r:.100}, which its description names. Get the whole package again."
            )
        if size > most:
            raise CheckpointError(f"{name!r:.100} of {self.path} has {size / 1e6:.0f} MB; {most / 1e6:.0f} can be.")
        try:
            if self.path.is_dir():
                return (self.path / name).read_bytes()
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{_folder_in(archive)}{name}") as file:
                # The size that the archive states may be wrong.
                content = file.read(size + 1)
        except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, EOFError) as error:
            raise CheckpointError(f"{name!r:.100} of {self.path} cannot be read ({error}). Get it again.") from error
        if len(content) != size:
            raise CheckpointError(f"{name!r:.100} of {self.path} is damaged. Get the package again.")
        return content

    def checked(self, name: str, sha256: str | None) -> bytes:
        """Return the bytes of a file; raise CheckpointError if its hash differs from the one in the description."""
        content = self.read(name)
        found = hashlib.sha256(content).hexdigest()
        if sha256 and found != sha256.lower():
            raise CheckpointError(
                f"{name!r:.100} of {self.path} is not the file that the package describes: sha256 {found[:12]}… "
                f"instead of {sha256[:12]}…. Get the package again."
            )
        return content

    def _size(self, name: str) -> int | None:
        try:
            if self.path.is_dir():
                file = self.path / name
                return file.stat().st_size if file.is_file() else None
            with zipfile.ZipFile(self.path) as archive:
                return archive.getinfo(f"{_folder_in(archive)}{name}").file_size
        except (OSError, KeyError, zipfile.BadZipFile, ValueError, NotImplementedError):
            return None


def _folder_in(archive: zipfile.ZipFile) -> str | None:
    """Return the folder of an archive with the description: the top or the only subfolder; None if there is none."""
    names = [name for name in archive.namelist() if name.rpartition("/")[2] in DESCRIPTIONS]
    folders = {name.rpartition("/")[0] for name in names if name.count("/") <= 1 and not name.startswith("__MACOSX")}
    if "" in folders:
        return ""
    return f"{folders.pop()}/" if len(folders) == 1 else None


def _inside(path: Path, name: str) -> str:
    """Return the plain name of a package's file; CheckpointError for a web address or a path outside the package."""
    if "://" in name:
        raise CheckpointError(
            f"{path} names {name!r:.120}, which is not in the package and is not fetched. Get the whole package: the "
            "ZIP file that bioimage.io offers for download."
        )
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or ":" in name or not parts.parts:
        raise CheckpointError(f"{path} names {name!r:.120}, which lies outside the package; nothing of it was read.")
    return str(parts)
