"""Checks that workers on other computers see this computer's files under the same paths, before they get an item."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from napari_foundseg.batch.ledger import Folder, renumber_folder
from napari_foundseg.core.errors import FilesNotSharedError
from napari_foundseg.engine.worker import check_row
from napari_foundseg.io.atomic import named_errors
from napari_foundseg.io.naming import image_exists

if TYPE_CHECKING:
    from napari_foundseg.batch.items import BatchItem
    from napari_foundseg.engine.stages import StageContext

__all__ = ["SharedFiles", "check_shared_files", "mark_shared_files"]

#: Number of images that each worker looks for at most, one per folder.
_IMAGES = 50
#: Seconds that a network disk may take to show a new file on the other computer.
_MARKER_SECONDS = 5.0
_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class SharedFiles:
    """The files that a worker must see.

    Paths are strings: a Windows `Path` cannot be unpickled on other systems, and the worker would raise another error.

    Parameters
    ----------
    system : str
        `os.name` of this computer.
    folder : str
        The folder of the results.
    device, inode : int
        As in `ledger.Folder`.
    marker : str
        Name of a file in the folder that this run made; it contains its own name.
    images : tuple of str
        Some of the images.
    rows : tuple of dict
        The models' rows in the catalogue.
    """

    system: str
    folder: str
    device: int
    inode: int
    marker: str
    images: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]


@contextmanager
def mark_shared_files(
    folder: Folder, items: Iterable[BatchItem], rows: Iterable[dict[str, Any]]
) -> Iterator[SharedFiles]:
    """Write the marker file into the folder of the results, and remove it afterwards."""
    marker = folder.hidden / f"{uuid4().hex}.shared"
    try:
        with named_errors(marker):
            marker.write_text(marker.name)
        yield SharedFiles(
            os.name, str(folder.path), folder.device, folder.inode, marker.name, _choose_images(items), tuple(rows)
        )
    finally:
        marker.unlink(missing_ok=True)


def check_shared_files(files: SharedFiles, context: StageContext) -> None:  # noqa: ARG001 - a stage
    """Raise a FilesNotSharedError if this worker does not see the files; add models that its catalogue lacks."""
    host = socket.gethostname()
    if os.name != files.system:
        raise FilesNotSharedError(
            f"The worker on {host} runs another operating system ({os.name}) than this computer ({files.system}), so "
            "that paths differ. Use a scheduler whose workers run the same, or leave the engine's address empty."
        )
    folder = Folder(Path(files.folder), files.device, files.inode)
    if not _has_marker(folder.hidden / files.marker):
        raise FilesNotSharedError(_not_seen(host, files.folder))
    for image in files.images:
        if not image_exists(Path(image)):
            raise FilesNotSharedError(_not_seen(host, image))
    for row in files.rows:
        check_row(row)
    renumber_folder(folder)


def _not_seen(host: str, path: str) -> str:
    return (
        f"The worker on {host} does not see {path!r}. Mount its disk there under the same path, or leave the engine's "
        "address empty to run on this computer."
    )


def _has_marker(path: Path) -> bool:
    end = time.monotonic() + _MARKER_SECONDS
    while True:
        try:
            return path.read_text() == path.name
        except OSError:
            if time.monotonic() > end:
                return False
        time.sleep(_POLL_SECONDS)


def _choose_images(items: Iterable[BatchItem]) -> tuple[str, ...]:
    """Return one image per folder, only of those that exist on this computer."""
    chosen: dict[Path, Path] = {}
    for item in items:
        if item.path.parent not in chosen and image_exists(item.path):
            chosen[item.path.parent] = item.path
            if len(chosen) == _IMAGES:
                break
    return tuple(str(path) for path in chosen.values())
