"""The files of a worklist's image: its pixels, its labels, and the facts about their objects."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.editing.object_facts import Facts, facts_of_table
from napari_foundseg.core.errors import WorklistError
from napari_foundseg.core.image import Image
from napari_foundseg.core.labels import label_dtype
from napari_foundseg.io.files.file_group import finish_writing
from napari_foundseg.io.files.known_files import KnownFiles
from napari_foundseg.io.layer_files import files_of_labels, holds_properties, properties_of
from napari_foundseg.io.naming import file_of, image_exists
from napari_foundseg.io.readers import read_image, read_labels, read_stored
from napari_foundseg.io.worklist import WorklistItem

__all__ = ["Content", "digest_of", "read_content"]


@dataclass(frozen=True, eq=False)
class Content:
    """The content of the files of an image.

    Parameters
    ----------
    labels : ndarray of unsigned int
        The labels, in the image's `shape`; zeros if there are none yet.
    known : dict of int to dict
        Facts about the objects: scores, review and notes.
    digest : bytes
        Digest of labels and facts.
    state : tuple
        State of the image's file when it was read.
    files : KnownFiles
        The files of the labels, as they were read.
    """

    image: Image
    labels: NDArray[np.unsignedinteger[Any]]
    known: Facts
    digest: bytes
    fingerprint: str
    state: tuple[Any, ...]
    files: KnownFiles


def read_content(item: WorklistItem, image: Image | None = None, ahead: Content | None = None) -> Content:
    """Read an image and its labels; slow, so not for the window's thread.

    By default, `image` is read from the item's file. `ahead` is content that was read in advance; it is returned if the
    files have not changed since then.
    files have not changed since.

    Raises
    ------
    FoundsegError
        If the image cannot be read, or if the labels do not fit it.
    """
    finish_writing(item.labels)
    state = _file_state(item.path)
    files = KnownFiles(*files_of_labels(item.labels))
    if ahead is not None and image is None and ahead.state == state and ahead.files.same_states(files):
        return ahead
    image = image or (read_image(str(item.path)) if item.read is None else item.read())
    there = image_exists(item.labels)
    labels = _read_labels(item.labels, image.shape) if there else np.zeros(image.shape, np.uint16)
    known = _read_known(item.labels) if there else {}
    # Records of earlier versions hold the fingerprint that includes the chosen channels.
    with_channels = image.fingerprint()
    fingerprint = with_channels if item.record.image == with_channels else image.identity()
    return Content(image, labels, known, digest_of(labels, known), fingerprint, state, files)


def digest_of(pixels: NDArray[Any], known: Facts) -> bytes:
    """Return a digest of labels and of the facts about their objects."""
    digest = blake2b(np.ascontiguousarray(pixels).data, digest_size=16)
    digest.update(json.dumps(sorted((i, sorted(facts.items())) for i, facts in known.items())).encode())
    return digest.digest()


def _file_state(path: Path | None) -> tuple[Any, ...]:
    """Return path, time and size of a file, which identify its version."""
    try:
        found = file_of(path).stat() if path is not None else None
    except OSError:
        found = None
    return (path, None) if found is None else (path, found.st_mtime_ns, found.st_size)


def _read_labels(path: Path, shape: tuple[int, ...]) -> NDArray[np.unsignedinteger[Any]]:
    """Read the labels of an image of this shape; raise a WorklistError if the file holds no labels or does not fit."""
    pixels = read_stored(path).data
    if pixels.dtype.kind not in "bui" or pixels.min(initial=0) < 0:
        raise WorklistError(
            f"{str(path)!r} holds {pixels.dtype} values, not labels. Rename it to start again, or choose "
            "another folder for the labels."
        )
    if tuple(n for n in pixels.shape if n > 1) != tuple(n for n in shape if n > 1):
        raise WorklistError(
            f"{str(path)!r} has the shape {pixels.shape}, its image {shape}: they do not belong together. Rename it to "
            "start again, or choose another folder for the labels."
        )
    # A copy, since the array of the file may be read-only.
    return np.array(pixels, label_dtype(int(pixels.max(initial=0)))).reshape(shape)


def _read_known(path: Path) -> Facts:
    inside = read_labels(path) if holds_properties(path) else None
    table = properties_of(path, inside)
    return {} if table is None else facts_of_table(table, "label")
