"""List the images in a folder, or in a file with several images, by one rule for the whole package.

An image has the ending of a format. Hidden files are skipped. So are results of this plugin, and masks and label images
next to the image of the same name. A file that the user names is used whatever its name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_foundseg.core.errors import FoundsegError
from napari_foundseg.io.files.json_file import parse_json
from napari_foundseg.io.formats.inside import alike, describe
from napari_foundseg.io.formats.ome_zarr_images import is_bioformats2raw
from napari_foundseg.io.formats.table import data_set_file, image_ending, images_inside, is_folder_name
from napari_foundseg.io.naming import (
    join_name,
    name_key,
    natural_key,
    sidecar_path,
    stem_of,
    stem_of_labels,
)

__all__ = ["Inside", "can_read_whole", "images_of", "list_images", "pick_images"]

#: Endings of the names of masks and label images, before the ending of their format.
_MASKS = re.compile(r"(?<=.)[_-](labels?|masks?|cp_masks|seg)$", re.IGNORECASE)
#: Bytes at the start of a sidecar that contain its format.
_START = 256
#: Rows and columns to inspect to tell a label image from a photograph.
_LOOK = 512


@dataclass(frozen=True)
class Inside:
    """The images of one file.

    Parameters
    ----------
    paths : tuple of Path
        The file itself, or each image in it, such as ``plate.ome.zarr/A/2/0``.
    all_paths : tuple of Path
        All images, also those that are left out, in the order of the file.
    left_out : str
        Description of the images that are left out because they are of another kind; empty if none are.
    """

    paths: tuple[Path, ...]
    all_paths: tuple[Path, ...]
    left_out: str = ""


def images_of(path: Path) -> Inside:
    """Return the images of a file or folder of a format: itself, or the images inside that are of one kind."""
    inside = images_inside(path)
    if not inside:
        return Inside((path,), (path,))
    kept = alike(inside)
    rest = [image for image in inside if image not in kept]
    return Inside(
        tuple(path / image.name for image in kept), tuple(path / image.name for image in inside), describe(rest)
    )


def can_read_whole(path: Path) -> bool:
    """Tell whether a file with several images may also be read by its own path. A plate may not."""
    return path.is_file() or is_bioformats2raw(path)


def list_images(folder: Path) -> list[Path]:
    """Return the images of a folder in natural order, without those in subfolders.

    Raises
    ------
    OSError
        If the folder cannot be read.
    """
    with os.scandir(folder) as entries:
        here = {entry.name: entry.is_dir() for entry in entries}
    return [join_name(folder, name) for name in sorted(pick_images(folder, here, here), key=natural_key)]


def pick_images(folder: Path, names: Mapping[str, bool], neighbours: Iterable[str]) -> list[str]:
    """Return the names of those files and folders that are images.

    Parameters
    ----------
    folder : Path
        Their folder.
    names : mapping of str to bool
        The names to choose from, and whether each is a folder.
    neighbours : iterable of str
        Names of all files of the folder.
    """
    wanted = [name for name, is_folder in names.items() if not name.startswith(".") and _is_image(name, is_folder)]
    stems = {name_key(stem_of(name)) for name in wanted}
    others = {name_key(name) for name in neighbours}
    images = [name for name in wanted if not _is_result(folder / name, stems, others)]
    there = set(images)
    # A data set of several files is one image.
    return [name for name in images if (first := data_set_file(folder / name).name) == name or first not in there]


def _is_image(name: str, is_folder: bool) -> bool:
    return bool(image_ending(name)) and is_folder_name(name) == is_folder


def _is_result(path: Path, stems: set[str], others: set[str]) -> bool:
    """Tell whether a file is a result of this package, or a mask or label image of an image next to it."""
    sidecar = sidecar_path(path)
    described = name_key(sidecar.name) in others
    found = _MASKS.search(stem_of(path.name))
    if found is None:
        return described and path.name in _results(sidecar)
    if described or name_key(stem_of(path.name)[: found.start()]) in stems:
        return True
    return stem_of_labels(path.name) != path.name and not _is_photograph(path)


def _results(sidecar: Path) -> frozenset[str]:
    """Return the names of the files that a run has written, from its sidecar; empty for other JSON files."""
    if not sidecar.is_file():
        return frozenset()
    with suppress(OSError, ValueError, LookupError, TypeError), sidecar.open("rb") as file:
        start = file.read(_START)
        if b'"foundseg-result ' in start:
            found = parse_json(start + file.read())
            return frozenset({*found["outputs"], *found["previous"]})
    return frozenset()


def _is_photograph(path: Path) -> bool:
    """Tell whether pixels cannot be ids of objects: colours, fractions, or neighbours that are rarely equal."""
    from napari_foundseg.io.readers import read_image

    try:
        image = read_image(path)
        rows, columns = (min(n, _LOOK) - 1 for n in image.plane_shape)
        middle = image.raw(tuple(n // 2 for n in image.slice_shape), (0, 0, rows, columns))
    except (FoundsegError, OSError):
        return False
    if middle.ndim > 2 or middle.dtype.kind == "f":
        return True
    inside = (middle[:, 1:] > 0) | (middle[:, :-1] > 0)
    equal = middle[:, 1:] == middle[:, :-1]
    return bool(inside.any() and np.mean(equal[inside]) < 0.5)
