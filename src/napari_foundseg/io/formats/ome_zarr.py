"""OME-Zarr 0.4 and 0.5: images that are folders of chunks.

The metadata are a few JSON keys and are parsed here, since the libraries for OME-Zarr depend on clients of cloud
storage or on compilers. Version 0.4 uses zarr format 2, version 0.5 zarr format 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_foundseg.core.errors import AxesError, BadImageError
from napari_foundseg.io.formats.content import Colour, FileContent, LazyArray, check_memory, choose_axes, damaged_error
from napari_foundseg.io.formats.file_format import FileHead, Format
from napari_foundseg.io.formats.inside import alike, describe
from napari_foundseg.io.formats.integrity.zarr_metadata import (
    check_array,
    check_chunk_count,
    missing_chunks,
    read_metadata,
)
from napari_foundseg.io.formats.ome_zarr_images import check_chunks, is_bioformats2raw, zarr_images
from napari_foundseg.io.formats.ome_zarr_writer import (
    LEVELS_KEY,
    METADATA_FILES,
    UNITS_KEY,
    described_level,
    write_ome_zarr,
)
from napari_foundseg.io.formats.units import unit_symbol

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FORMATS", "read_ome_zarr"]

_VERSIONS = ("0.4", "0.5")
_TYPES = {"time": "T", "channel": "C"}
#: Most levels of an image, each of which has fewer pixels, and most images of a group. Each of them is opened.
_MOST_LEVELS = 64
_MOST_IMAGES = 1000


def read_ome_zarr(path: Path, axes: str | None) -> FileContent:
    """Open a multiscale image, or the largest image of a bioformats2raw folder. Chunks are read when they are needed.

    The levels of the pyramid that keep all slices are used. A translation is ignored.

    Raises
    ------
    BadImageError
        If it is damaged, of another version or a plate, or if one slice does not fit into memory.
    AxesError
        If its axes are ambiguous.
    """
    try:
        name, left_out = _choose_series(path)
        group, metadata = _opened(path / name)
        content = _content(path / name, group, metadata, axes)
    except (BadImageError, AxesError):
        raise
    except Exception as error:
        raise damaged_error(path, error) from error
    content.notes = (*left_out, *content.notes)
    content.inside = name if left_out else ""
    return content


def _choose_series(path: Path) -> tuple[str, tuple[str, ...]]:
    """Return the name of the largest image in a bioformats2raw folder, and a note about the others."""
    if not is_bioformats2raw(path):
        return "", ()
    inside = zarr_images(path)
    if not inside:
        return "0", ()
    chosen = alike(inside)[0]
    rest = [image for image in inside if image is not chosen]
    words = f"The folder holds {len(inside)} images: {describe([chosen])} is read. Left out: {describe(rest)}."
    return chosen.name, (f"{words} Give {path.name}/{rest[0].name} for another.",)


def _choose_multiscale(
    path: Path, group: Any, metadata: Mapping[str, Any]
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Return the largest of a group's multiscale images, and a note about the others, which have no path."""
    from napari_foundseg.io.formats.integrity.zarr_codecs import open_checked

    listed = list(metadata["multiscales"])
    if not 1 <= len(listed) <= _MOST_IMAGES:
        raise BadImageError(path, f"it is damaged: it names {len(listed)} multiscale images; copy or export it again")
    if len(listed) == 1:
        return listed[0], ()
    shapes = [open_checked(path, group, str(one["datasets"][0]["path"])).shape for one in listed]
    largest = max(range(len(listed)), key=lambda i: prod(shapes[i]))
    rest = ", ".join(" by ".join(map(str, shape)) for i, shape in enumerate(shapes) if i != largest)
    return listed[largest], (
        f"The group holds {len(listed)} multiscale images; the largest is read. Left out: {rest}.",
    )


def _opened(path: Path) -> tuple[Any, dict[str, Any]]:
    import zarr

    if {"chunks", "chunk_grid"} & set(read_metadata(path)):
        raise BadImageError(path, "this is an array of an OME-Zarr image; give the folder that contains it")
    # Consolidated metadata could describe arrays other than those that are checked.
    found = zarr.open_group(path, mode="r", use_consolidated=False)
    attributes = found.attrs.asdict()
    metadata: Any = attributes.get("ome", attributes)
    if "multiscales" in metadata:
        return found, metadata
    raise BadImageError(path, _no_image(path, metadata, found))


def _no_image(path: Path, metadata: Mapping[str, Any], group: Any) -> str:
    wells = (metadata.get("plate") or {}).get("wells") or ()
    inside = zarr_images(path)
    if wells and inside:
        return f"this is a plate of {len(wells)} wells; give one field of it, such as the folder {inside[0].name} in it"
    if "well" in metadata and inside:
        return f"this is a well of {len(inside)} fields; give one of them, such as the folder {inside[0].name} in it"
    if inside:
        return f"it holds {len(inside)} images; give one of them, such as the folder {inside[0].name} in it"
    labels = metadata.get("labels") or []
    if labels:
        return f"this is a group of labels; give one of them, such as the folder {labels[0]} in it"
    keys = ", ".join(sorted(group.keys())[:5]) or "nothing"
    return f"it holds no multiscale image of OME-Zarr, but {keys}; export it as OME-Zarr, or give an image in it"


def _content(path: Path, group: Any, metadata: Mapping[str, Any], axes: str | None) -> FileContent:
    multiscale, others = _choose_multiscale(path, group, metadata)
    version = str(metadata.get("version") or multiscale.get("version") or _VERSIONS[0])
    if version not in _VERSIONS:
        raise BadImageError(path, f"it is OME-Zarr {version}, and {' and '.join(_VERSIONS)} are read; convert it")
    described = [axis if isinstance(axis, Mapping) else {"name": axis} for axis in multiscale["axes"]]
    names = [str(dataset["path"]) for dataset in multiscale["datasets"]]
    if not 1 <= len(names) <= _MOST_LEVELS:
        raise BadImageError(path, f"it is damaged: it names {len(names)} levels; copy or export it again")
    arrays, notes = _arrays(path, group, names)
    notes = (*others, *notes, *check_chunks(path, path / names[0]))
    notes = (*notes, *_check_complete(path, arrays, group.attrs.get(LEVELS_KEY)))
    letters = _letters(path, described)
    shape = arrays[0].shape
    if len(letters) != len(shape):
        raise BadImageError(path, f"it is damaged: it names {len(letters)} axes of an array of shape {tuple(shape)}")
    if not prod(shape):
        raise BadImageError(path, f"the image has no pixels (shape {tuple(shape)})")
    plane = [letters.index(axis) for axis in "YX"]
    check_memory(path, [shape[i] for i in plane], arrays[0].dtype.itemsize)
    for array in arrays:
        check_chunk_count(path, array, plane)
    kept = choose_axes(letters, shape, axes)
    named = axes.upper() if axes is not None else "".join(letters[i] for i in kept)
    levels = _levels([LazyArray(path, array, kept) for array in arrays], named)
    spacing, units = _calibration(multiscale, described, letters)
    # Add units that have no name in the format.
    units |= {axis: str(unit) for axis, unit in dict(group.attrs.get(UNITS_KEY) or {}).items() if axis in spacing}
    labels = metadata.get("image-label") or {}
    return FileContent(
        levels if len(levels) > 1 else levels[0],
        named,
        {axis: size for axis, size in spacing.items() if axis in named},
        {axis: unit for axis, unit in units.items() if axis in named},
        _channels(metadata),
        _colours(labels.get("colors") or ()),
        _properties(labels.get("properties") or ()),
        notes,
    )


def _arrays(path: Path, group: Any, names: list[str]) -> tuple[list[Any], tuple[str, ...]]:
    """Return the arrays of the existing levels; raise `BadImageError` if the finest is missing."""
    from napari_foundseg.io.formats.integrity.zarr_codecs import open_checked

    for name in names:
        check_array(path, path / name)
    there = [name for name in names if name in group]
    if names[:1] != there[:1]:
        raise BadImageError(
            path,
            f"its finest level {names[0]!r} is missing: the folder was copied or written in part; copy all of it again",
        )
    absent = [name for name in names if name not in there]
    words = f"Of its levels, {', '.join(absent)} of {len(names)} are missing; the others are used."
    return [open_checked(path, group, name) for name in there], (words,) if absent else ()


def _check_complete(path: Path, arrays: list[Any], written: Any) -> tuple[str, ...]:
    """Return a note on missing chunks; for labels of this package, raise an error for any missing or changed part."""
    notes: tuple[str, ...] = ()
    for array in arrays:
        folder = path / array.path
        missing, total = missing_chunks(folder, array)
        if isinstance(written, Mapping):
            found = described_level(array.shape, array.dtype, array.chunks)
            if written.get(array.path) != found:
                raise BadImageError(
                    path,
                    f"its level {array.path} was {written.get(array.path)} when it was written and is {found}: its "
                    "metadata are damaged or were changed; copy the folder again",
                )
            if missing:
                raise BadImageError(
                    path,
                    f"{len(missing)} of the {total} chunks of its level {array.path} are missing, such as "
                    f"{missing[0]}: the folder was copied in part; copy all of it again",
                )
        elif missing and array is arrays[0] and len(missing) < total:
            notes = (f"{len(missing)} of its {total} chunks are not on the disk and are read as its fill value.",)
    return notes


def _letters(path: Path, described: list[Mapping[str, Any]]) -> str:
    """Return this package's letter of each axis: by its type, for spatial axes by name or else by their order."""
    kinds = [_TYPES.get(axis.get("type", ""), "") for axis in described]
    names = [str(axis["name"]).upper() for axis in described]
    if all(name in "TCZYX" for name in names):
        letters = "".join(names)
    else:
        spatial = [i for i, axis in enumerate(described) if axis.get("type", "space") == "space"]
        for i, letter in zip(reversed(spatial), "XYZ", strict=False):
            kinds[i] = letter
        letters = "".join(kind or "Q" for kind in kinds)
    if len(set(letters)) < len(letters) or not set("YX") <= set(letters) or len(letters) > 5:
        raise AxesError(
            f"{path}: an image has at most the axes T, C, Z, Y and X, and Y and X always; this file has "
            f"{', '.join(str(axis['name']) for axis in described)}. Split it along one axis."
        )
    return letters


def _levels(levels: list[LazyArray], axes: str) -> list[LazyArray]:
    """Return the levels that shrink, and only in rows and columns: then a slice has the same number in all."""
    slices = [i for i, axis in enumerate(axes) if axis not in "YX"]
    kept = levels[:1]
    for level in levels[1:]:
        same = [level.shape[i] for i in slices] == [kept[0].shape[i] for i in slices]
        if same and prod(level.shape) < prod(kept[-1].shape):
            kept.append(level)
    return kept


def _calibration(
    multiscale: Mapping[str, Any], described: list[Mapping[str, Any]], letters: str
) -> tuple[dict[str, float], dict[str, str]]:
    scale = np.ones(len(letters))
    transforms = [multiscale["datasets"][0], multiscale]
    for transform in (t for part in transforms for t in part.get("coordinateTransformations") or ()):
        if transform.get("type") == "scale":
            scale = scale * np.asarray(transform["scale"], float)
    units = {a: unit_symbol(str(axis["unit"])) for a, axis in zip(letters, described, strict=True) if axis.get("unit")}
    spacing = {
        axis: float(size)
        for axis, size in zip(letters, scale, strict=True)
        if axis in "TZYX" and np.isfinite(size) and size > 0 and (size != 1 or axis in units)
    }
    return spacing, {axis: unit for axis, unit in units.items() if axis in spacing and unit != "pixel"}


def _channels(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    channels = (metadata.get("omero") or {}).get("channels") or ()
    return tuple(str(channel.get("label", "")) for channel in channels)


def _colours(rows: Iterable[Mapping[str, Any]]) -> dict[int, Colour]:
    coloured = [(int(row["label-value"]), row["rgba"]) for row in rows if row.get("rgba")]
    return {label: (int(c[0]), int(c[1]), int(c[2]), int(c[3])) for label, c in coloured}


def _properties(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame | None:
    import pandas as pd

    table = pd.DataFrame([{"label": row["label-value"], **row} for row in rows])
    return table.drop(columns="label-value") if len(table) else None


def _is_ome_zarr(head: FileHead) -> bool:
    return head.holds(*METADATA_FILES)


FORMATS = (
    Format(
        name="OME-Zarr",
        read_endings=(".zarr",),
        recognises=_is_ome_zarr,
        read=read_ome_zarr,
        write_endings=(".ome.zarr", ".zarr"),
        write=write_ome_zarr,
        images=zarr_images,
        folder=True,
        properties=True,
        order=20,
    ),
)
