"""Names of result files: made of the images' names, safe on every disk, no two alike."""

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

from napari_foundseg.io.formats.table import image_ending, is_folder_name, label_endings

__all__ = [
    "DEFAULT_LABEL_ENDING",
    "LABELS_SUFFIX",
    "free_stem",
    "image_exists",
    "is_image_folder",
    "is_image_name",
    "join_name",
    "label_patterns",
    "labels_file",
    "name_key",
    "natural_key",
    "safe_name",
    "sidecar_path",
    "stem_of",
    "stem_of_labels",
    "table_path",
]

#: What the name of every labels file ends with, before its ending.
LABELS_SUFFIX = "_labels"
#: The ending of labels files where the user has not chosen one.
DEFAULT_LABEL_ENDING = ".tif"
#: Bytes of a name, so that the longest ending fits into the 255 that disks allow.
_LONGEST = 200
#: Names that Windows keeps for devices, whatever their extension.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def stem_of(name: str) -> str:
    """Return a name without the extensions of images, such as ``.ome.tif``.

    Parameters
    ----------
    name : str
        A file's name.

    Returns
    -------
    str
        The name itself if it has none of these extensions.
    """
    ending = image_ending(name)
    stem = name[: -len(ending)] if ending else name
    return stem[:-4] if ending and stem.lower().endswith(".ome") and len(stem) > 4 else stem


def stem_of_labels(name: str) -> str:
    """Return what the name of a labels file begins with.

    Parameters
    ----------
    name : str
        Such as ``a_labels.ome.tif``.

    Returns
    -------
    str
        Such as ``a``; the name itself if it ends like no labels file.
    """
    endings = (f"{LABELS_SUFFIX}{ending}" for ending in label_endings())
    return next((name[: -len(end)] for end in endings if name.casefold().endswith(end) and len(name) > len(end)), name)


def is_image_name(name: str) -> bool:
    """Tell whether a file's name is that of an image, and not of labels or of a temporary file.

    Parameters
    ----------
    name : str
        The file's name.

    Returns
    -------
    bool
        By its extension; the file is not looked at.
    """
    if name.startswith(".") or not image_ending(name):
        return False
    return not stem_of(name).casefold().endswith(LABELS_SUFFIX)


def is_image_folder(path: Path) -> bool:
    """Tell whether a path is a folder whose name is that of an image, such as OME-Zarr."""
    return is_folder_name(path.name) and path.is_dir()


def image_exists(path: Path) -> bool:
    """Tell whether an image or labels are there: a file, or the folder that some formats are.

    Parameters
    ----------
    path : Path
        Where they would be.

    Returns
    -------
    bool
        False for other folders.
    """
    return path.is_dir() if is_folder_name(path.name) else path.is_file()


def safe_name(text: str) -> str:
    """Return a text as a name that every disk takes.

    Parameters
    ----------
    text : str
        Anything, such as a layer's name or a file's with a line break in it.

    Returns
    -------
    str
        Letters of any language, digits and ``._()+=,-`` stay; the rest become underscores. What is too long is cut
        and gets a hash of the whole.
    """
    name = re.sub(r"[^\w .()+=,-]", "_", text.encode("utf-8", "replace").decode()).strip(" .") or "_"
    if _DEVICES.fullmatch(name):
        name = f"_{name}"
    if len(name.encode()) > _LONGEST:
        mark = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
        name = f"{name.encode()[: _LONGEST - 9].decode(errors='ignore').strip()}_{mark}"
    return name


def name_key(name: str) -> str:
    """Return what two names have in common that some disks take for one.

    Parameters
    ----------
    name : str
        A name.

    Returns
    -------
    str
        Without regard to case and to how accents are written.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def free_stem(name: str, taken: Container[str]) -> str:
    """Return what the names of an image's results begin with.

    Parameters
    ----------
    name : str
        The image's name.
    taken : container of str
        The `name_key` of what others begin with.

    Returns
    -------
    str
        The name without its extension, else with it, else with a number behind it.
    """
    stem, whole = safe_name(stem_of(name)), safe_name(name)
    numbered = (f"{whole}_{i}" for i in itertools.count(2))
    return next(text for text in itertools.chain((stem, whole), numbered) if name_key(text) not in taken)


def natural_key(name: str) -> tuple[list[Any], str]:
    """Return a key that sorts numbers in names by their value.

    Parameters
    ----------
    name : str
        A name.

    Returns
    -------
    tuple
        For `sorted`: image 2 comes before image 10.
    """
    parts: list[Any] = re.split(r"(\d+)", name.casefold())
    parts[1::2] = map(int, parts[1::2])
    return parts, name


def join_name(folder: Path, name: str) -> Path:
    """Return the path of a file whose name is text.

    Parameters
    ----------
    folder : Path
        Its folder.
    name : str
        Its name.

    Returns
    -------
    Path
        Of the same file in every locale: where one has no letters beyond ASCII, Python wants names as bytes.
    """
    if sys.getfilesystemencoding() == "utf-8":
        return folder / name
    return folder / os.fsdecode(name.encode("utf-8", "surrogateescape"))


def labels_file(folder: Path, stem: str) -> Path | None:
    """Return the labels file of an image, if there is one.

    Parameters
    ----------
    folder : Path
        The folder of the labels.
    stem : str
        What its name begins with.

    Returns
    -------
    Path or None
        The first that is there, in the order of `label_endings`.
    """
    paths = (folder / f"{stem}{LABELS_SUFFIX}{ending}" for ending in label_endings())
    return next(filter(image_exists, paths), None)


def table_path(labels: Path) -> Path:
    """Return the path of the table of a labels file's objects, in the same folder."""
    return labels.with_name(f"{_result_stem(labels.name)}.csv")


def sidecar_path(labels: Path) -> Path:
    """Return the path of the JSON file that says how a labels file was made, in the same folder."""
    return labels.with_name(f"{_result_stem(labels.name)}.json")


def label_patterns() -> list[str]:
    """Return the patterns of the names of labels files, as a manifest of npe2 wants them."""
    return [f"*{LABELS_SUFFIX}{ending}" for ending in label_endings()]


def _result_stem(name: str) -> str:
    """Return a name without the ending of its format, or whatever ending it has."""
    stem = stem_of(name)
    return stem if stem != name else re.sub(r"(?<=.)(\.ome)?\.\w+$", "", name, flags=re.IGNORECASE)
