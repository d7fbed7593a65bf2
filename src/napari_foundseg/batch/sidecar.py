"""`Sidecar`: the file beside a result that says what it was made of and with, and whether it is complete."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue

from napari_foundseg.core.declared_fields import Declared
from napari_foundseg.core.errors import BadImageError
from napari_foundseg.io.atomic import atomic_write
from napari_foundseg.io.naming import sidecar_path

__all__ = ["Sidecar", "SourceFile", "digest_of", "read_sidecar", "sidecar_of", "state_of"]


class SourceFile(Declared):
    """The image of a result."""

    name: str
    """As the recipe's folder sees it."""
    sha256: str
    """Hash of the file."""
    index: tuple[int, ...] | None
    """The slice; null for the whole file."""
    axes: str | None
    """The axes that the run was told; null: what the file says."""


class Sidecar(Declared):
    """What is known of a result."""

    format: Literal["foundseg-result 1"] = "foundseg-result 1"
    """What this file is."""
    state: Literal["writing", "done"]
    """Writing: the files may be the old ones, the new ones, or some of each."""
    input: SourceFile
    """The image."""
    recipe: str
    """`Recipe.digest` of the recipe."""
    models: dict[str, str]
    """sha256 of the weights of each model."""
    outputs: dict[str, str]
    """sha256 of each file of the result."""
    previous: dict[str, str]
    """sha256 of files that earlier runs made and that may still be there."""
    objects: int
    """Number of objects."""
    steps: tuple[dict[str, JsonValue], ...] = Field(min_length=1)
    """Provenance of each step, as `tasks.provenance.record` makes it."""
    times: dict[str, float]
    """Seconds spent on each part."""

    def is_ours(self, name: str, digest: str) -> bool:
        """Tell whether a file is as a run wrote it.

        Parameters
        ----------
        name : str
            The file's name.
        digest : str
            Hash of its content.

        Returns
        -------
        bool
            False if a person has changed it.
        """
        return digest in (self.outputs.get(name), self.previous.get(name))

    def write(self, path: Path) -> None:
        """Write the sidecar.

        Parameters
        ----------
        path : Path
            Where to.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        with atomic_write(path) as file:
            # Not pydantic's own JSON: names of files may hold what is no letter. Python escapes it as JSON does.
            text = json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False)
            file.write(text.encode("utf-8", "backslashreplace"))


def sidecar_of(labels: Path) -> Path:
    """Return the path of the sidecar of a labels file.

    Parameters
    ----------
    labels : Path
        The labels file.

    Returns
    -------
    Path
        Beside it, with the ending ``.json`` instead of ``.tif``, ``.ome.tif`` or whatever it has.
    """
    return sidecar_path(labels)


def read_sidecar(path: Path) -> Sidecar | None:
    """Read a sidecar.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    Sidecar or None
        None if there is no such file.

    Raises
    ------
    ValueError
        If it is damaged, or something else.
    OSError
        If it cannot be read.
    """
    try:
        return Sidecar.model_validate(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path.name} is damaged or no {Sidecar.model_fields['format'].default!r}") from error


def digest_of(path: Path) -> str:
    """Hash a file, or all files of a folder (OME-Zarr) and their names.

    Parameters
    ----------
    path : Path
        The file or folder.

    Returns
    -------
    str
        Hexadecimal sha256.

    Raises
    ------
    BadImageError
        If it cannot be read.
    """
    try:
        if not path.is_dir():
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        whole = hashlib.sha256()
        for part in sorted(part for part in path.rglob("*") if part.is_file()):
            whole.update(f"{part.relative_to(path).as_posix()}\0{digest_of(part)}\n".encode("utf-8", "surrogateescape"))
        return whole.hexdigest()
    except OSError as error:
        raise BadImageError(path, f"the file cannot be read: {error.strerror or error}") from error


def state_of(path: Path) -> tuple[int, ...]:
    """Return what changes when a file is written, or anything in a folder.

    Parameters
    ----------
    path : Path
        The file or folder.

    Returns
    -------
    tuple of int
        Numbers, sizes and times as the disk knows them.

    Raises
    ------
    OSError
        If it is not there.
    """
    files = [path, *sorted(path.rglob("*"))] if path.is_dir() else [path]
    return tuple(n for s in (file.stat() for file in files) for n in (s.st_ino, s.st_size, s.st_mtime_ns))
