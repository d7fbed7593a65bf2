"""Names of images and of results, which every disk accepts."""

from __future__ import annotations

import itertools
import os
import re
import sys
import unicodedata
from collections.abc import Container
from hashlib import blake2b
from pathlib import Path
from typing import Any

from napari_foundseg.io.formats.table import image_ending, is_folder_name, is_image_content, label_endings

__all__ = [
    "DEFAULT_LABEL_ENDING",
    "LABELS_SUFFIX",
    "address_of",
    "file_of",
    "flat_name",
    "folder_of",
    "free_stem",
    "image_exists",
    "is_address",
    "is_image_folder",
    "is_image_name",
    "join_name",
    "label_patterns",
    "labels_file",
    "name_key",
    "natural_key",
    "safe_name",
    "sidecar_path",
    "split_inside",
    "stem_of",
    "stem_of_labels",
    "table_path",
]

#: The name of every labels file ends with this, before the ending of its format.
LABELS_SUFFIX = "_labels"
#: The default ending of labels files.
DEFAULT_LABEL_ENDING = ".tif"
#: Most bytes of a name. With the longest ending it is below the 255 that disks allow.
_MAX_BYTES = 200
#: A scheme has two or more letters, since one letter is a drive. In a path, one slash of an address's two is left.
_ADDRESS = re.compile(r"(^|/)[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
#: Names that Windows reserves for devices, whatever their extension.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def stem_of(name: str) -> str:
    """Return a file name without its image ending, such as ``.ome.tif``; unchanged if it has none."""
    ending = image_ending(name)
    stem = name[: -len(ending)] if ending else name
    return stem[:-4] if ending and stem.lower().endswith(".ome") and len(stem) > 4 else stem


def stem_of_labels(name: str) -> str:
    """Return ``a`` for a labels file ``a_labels.ome.tif``. Names of other files are returned unchanged."""
    endings = (f"{LABELS_SUFFIX}{ending}" for ending in label_endings())
    return next((name[: -len(end)] for end in endings if name.casefold().endswith(end) and len(name) > len(end)), name)


def is_image_name(name: str) -> bool:
    """Tell from its name whether a file is an image, and neither labels nor a hidden or temporary file."""
    if name.startswith(".") or not image_ending(name):
        return False
    return not stem_of(name).casefold().endswith(LABELS_SUFFIX)


def is_image_folder(path: Path) -> bool:
    """Tell from its name or content whether a path is a folder of a format such as OME-Zarr."""
    return path.is_dir() and (is_folder_name(path.name) or is_image_content(path))


def image_exists(path: Path) -> bool:
    """Tell whether an image or labels exist, as a file, in a file, or as a folder of a format such as OME-Zarr."""
    return path.is_file() or is_image_folder(path) or file_of(path) != path


def is_address(path: Path) -> bool:
    """Tell whether a path that does not exist is an address such as ``https://host/a.tif``, also after a folder."""
    return _ADDRESS.search(path.as_posix()) is not None and not path.exists()


def address_of(path: Path) -> str:
    """Return the address from which a path was made, with both slashes."""
    text = path.as_posix()
    found = _ADDRESS.search(text)
    return text if found is None else f"{text[found.start() : found.end()].lstrip('/')}/{text[found.end() :]}"


def file_of(path: Path) -> Path:
    """Return the file that contains an image, such as ``a.tif`` for ``a.tif/1``; else `path`."""
    container, inside = split_inside(path)
    return container if inside and container.is_file() else path


def folder_of(path: Path) -> Path:
    """Return the folder of an image's file, also for an image inside a file or an OME-Zarr folder."""
    return split_inside(path)[0].parent


def split_inside(path: Path) -> tuple[Path, str]:
    """Split the path of an image inside a file or folder of a format, by names only.

    Parameters
    ----------
    path : Path
        Such as ``plate.ome.zarr/A/2/0``, ``a.tif/1`` or ``a.tif``.

    Returns
    -------
    tuple of (Path, str)
        Such as ``plate.ome.zarr`` and ``A/2/0``. The name is empty if the path itself has the ending of an image, or
        if none of its folders has.
    """
    if not image_ending(path.name):
        for folder in path.parents:
            if image_ending(folder.name):
                return folder, path.relative_to(folder).as_posix()
    return path, ""


def flat_name(name: str) -> str:
    """Return a file name for the path of an image: ``plate_A_2_0.ome.zarr`` for ``x/plate.ome.zarr/A/2/0``."""
    last = name.rpartition("/")[2] or name
    container, inside = (Path(last), "") if image_ending(last) else split_inside(Path(name))
    if not inside:
        return last
    stem = stem_of(container.name)
    return f"{stem}_{inside.replace('/', '_')}{container.name[len(stem) :]}"


def safe_name(text: str) -> str:
    """Convert any text, such as a layer's name, to a file name that every disk accepts.

    Letters of any language, digits and ``._()+=,-`` are kept. Other characters become underscores. A name that is too
    long is cut, and a hash of the whole is appended.
    """
    name = re.sub(r"[^\w .()+=,-]", "_", text.encode("utf-8", "replace").decode()).strip(" .") or "_"
    if _DEVICES.fullmatch(name):
        name = f"_{name}"
    if len(name.encode()) > _MAX_BYTES:
        mark = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
        name = f"{name.encode()[: _MAX_BYTES - 9].decode(errors='ignore').strip()}_{mark}"
    return name


def name_key(name: str) -> str:
    """Return a key that is equal for names that some disks treat as equal (case, spelling of accents)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def free_stem(name: str, used: Container[str]) -> str:
    """Return a stem for the results of an image that is not in use.

    Parameters
    ----------
    name : str
        File name of the image.
    used : container of str
        The `name_key` of every stem in use.

    Returns
    -------
    str
        The name without its ending if that is free, else the whole name, else the whole name with a number.
    """
    stem = safe_name(stem_of(name))
    whole = safe_name(name)
    numbered = (f"{whole}_{i}" for i in itertools.count(2))
    return next(text for text in itertools.chain((stem, whole), numbered) if name_key(text) not in used)


def natural_key(name: str) -> tuple[list[Any], str]:
    """Return a sort key that puts image 2 before image 10."""
    parts: list[Any] = re.split(r"(\d+)", name.casefold())
    parts[1::2] = map(int, parts[1::2])
    return parts, name


def join_name(folder: Path, name: str) -> Path:
    """Join a folder and a name so that the result is the same file in every locale."""
    if sys.getfilesystemencoding() == "utf-8":
        return folder / name
    # In an ASCII locale, Python expects other characters as escaped bytes.
    return folder / os.fsdecode(name.encode("utf-8", "surrogateescape"))


def labels_file(folder: Path, stem: str) -> Path | None:
    """Return the existing labels file of an image, the first in the order of `label_endings`; None if there is none."""
    paths = (folder / f"{stem}{LABELS_SUFFIX}{ending}" for ending in label_endings())
    return next(filter(image_exists, paths), None)


def table_path(labels: Path) -> Path:
    """Return the path of the CSV table of a labels file, in the same folder."""
    return labels.with_name(f"{_result_stem(labels.name)}.csv")


def sidecar_path(labels: Path) -> Path:
    """Return the path of the JSON file with the provenance of a labels file, in the same folder."""
    return labels.with_name(f"{_result_stem(labels.name)}.json")


def label_patterns() -> list[str]:
    """Return the file name patterns of labels files, such as ``*_labels.tif``, for the npe2 manifest."""
    return [f"*{LABELS_SUFFIX}{ending}" for ending in label_endings()]


def _result_stem(name: str) -> str:
    """Return a name without the ending of its format, or without its last extension if it has no format."""
    stem = stem_of(name)
    return stem if stem != name else re.sub(r"(?<=.)(\.ome)?\.\w+$", "", name, flags=re.IGNORECASE)
