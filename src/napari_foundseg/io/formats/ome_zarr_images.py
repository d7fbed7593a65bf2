"""List the images in an OME-Zarr folder: fields of a plate, series of bioformats2raw, images of a group."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_foundseg.core.errors import BadImageError
from napari_foundseg.io.formats.file_format import FileHead
from napari_foundseg.io.formats.inside import ImageInside
from napari_foundseg.io.formats.integrity.zarr_metadata import read_metadata
from napari_foundseg.io.formats.ome_zarr_writer import METADATA_FILES

__all__ = ["check_chunks", "is_bioformats2raw", "read_attributes", "zarr_images"]

#: Elements of a group that are not images.
_OTHERS = frozenset({"labels", "tables", "points", "shapes", "OME"})
#: Deepest nesting of groups to search.
_DEEPEST = 3


def read_attributes(path: Path) -> Mapping[str, Any]:
    """Return the attributes of a group, or those under the key ``ome`` if it exists; empty if there are none."""
    try:
        if (path / "zarr.json").is_file():
            found = json.loads((path / "zarr.json").read_bytes()).get("attributes", {})
        else:
            found = json.loads((path / ".zattrs").read_bytes())
        ome = found.get("ome", found)
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
    return ome if isinstance(ome, Mapping) else {}


def zarr_images(path: Path) -> list[ImageInside]:
    """List the images in a group that is no image itself. Names in a plate are ``row/column/field``."""
    names = list(_names(path, path, _DEEPEST))
    if "plate" in read_attributes(path) or "well" in read_attributes(path):
        # Do not open the fields: all are of one kind, and a plate has thousands.
        return [ImageInside(name) for name in names]
    if len(names) == 1 and is_bioformats2raw(path):
        return []
    return [_describe(path, name) for name in names]


def is_bioformats2raw(path: Path) -> bool:
    """Tell whether a group is a file that bioformats2raw has converted. One of its series is opened by default."""
    known = read_attributes(path)
    return "bioformats2raw.layout" in known and "plate" not in known


def _describe(path: Path, name: str) -> ImageInside:
    try:
        multiscale = read_attributes(path / name)["multiscales"][0]
        array = path / name / str(multiscale["datasets"][0]["path"])
        known = read_metadata(array)
        version3 = "data_type" in known
        axes = "".join(str(a["name"] if isinstance(a, Mapping) else a)[:1].upper() for a in multiscale["axes"])
        dtype = str(known["data_type"]) if version3 else np.dtype(known["dtype"]).name
        shape = tuple(int(n) for n in known["shape"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ImageInside(name)
    if len(axes) != len(shape):
        return ImageInside(name)
    return ImageInside(name, axes, shape, dtype, str(multiscale.get("name") or ""))


def check_chunks(path: Path, array: Path) -> tuple[str, ...]:
    """Raise an error if the chunks of an array have names other than in its metadata; return a note if there are none.

    zarr reads a missing chunk as the fill value, which is right for empty places of an image.
    """
    try:
        known = read_metadata(array)
        version3 = "chunk_key_encoding" in known
        found = next((entry for entry in array.iterdir() if entry.name[0] != "." and entry.name != "zarr.json"), None)
        if version3:
            encoding = known["chunk_key_encoding"]
            by_c = encoding["name"] == "default"
            separator = (encoding.get("configuration") or {}).get("separator", "/" if by_c else ".")
        else:
            by_c = False
            separator = known.get("dimension_separator") or "."
        dimensions = len(known["shape"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ()
    if found is None:
        return ("None of its chunks is on the disk: every pixel is the fill value.",)
    expected = separator.join((*(["c"] if by_c else []), *["0"] * dimensions))
    nested = found.is_dir()
    if (by_c or dimensions > 1) and nested != (separator == "/"):
        raise BadImageError(
            path,
            f"its chunks are {'folders' if nested else 'files'} such as {found.name!r}, but its metadata name them "
            f"{expected!r}: no pixel would be read. Correct dimension_separator in its metadata, or export it again",
        )
    return ()


def _names(root: Path, path: Path, deepest: int) -> Iterator[str]:
    known = read_attributes(path)
    if "multiscales" in known:
        if path != root:
            yield path.relative_to(root).as_posix()
    elif isinstance(known.get("plate"), Mapping) and deepest > 1:
        for well in _paths(known["plate"].get("wells")):
            # An unreadable well is one item, which then fails.
            inside = list(_names(root, path / well, 1))
            yield from inside or [(path / well).relative_to(root).as_posix()]
    elif isinstance(known.get("well"), Mapping):
        yield from ((path / field).relative_to(root).as_posix() for field in _paths(known["well"].get("images")))
    elif deepest > 0:
        for name in _series(path):
            yield from _names(root, path / name, deepest - 1)


def _paths(rows: Any) -> Iterator[str]:
    listed = rows if isinstance(rows, list) else []
    yield from _inner(row["path"] for row in listed if isinstance(row, Mapping) and row.get("path"))


def _inner(names: Iterable[Any]) -> list[str]:
    """Return names of groups, each once, without those that lead out of the group or back to it."""
    plain = (str(name).strip("/") for name in names)
    return [name for name in dict.fromkeys(plain) if name and not {"", ".", ".."} & set(name.split("/"))]


def _series(path: Path) -> list[str]:
    """Return the groups in a group, in the order that bioformats2raw has stored, else sorted with numbers first."""
    listed = read_attributes(path / "OME").get("series")
    if isinstance(listed, list) and listed:
        return _inner(listed)
    try:
        names = [entry.name for entry in path.iterdir() if FileHead(entry).holds(*METADATA_FILES)]
    except OSError:
        return []
    return sorted(set(names) - _OTHERS, key=lambda name: (not name.isdigit(), len(name) if name.isdigit() else 0, name))
