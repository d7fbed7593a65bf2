"""Labels as OME-Zarr 0.5: a pyramid of chunks with the colours and properties of the objects.

The folder itself is the multiscale label image, so any reader opens it. It is not a group of labels in an OME-Zarr
image, since the image may be a file of another format.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import KeptError
from napari_foundseg.io.atomic import atomic_folder
from napari_foundseg.io.files.zarr_folder import zarr_folder
from napari_foundseg.io.formats.content import Colour, FileContent
from napari_foundseg.io.formats.units import unit_name

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LEVELS_KEY", "METADATA_FILES", "UNITS_KEY", "described_level", "write_ome_zarr"]

#: Attribute with units that have no name in the format.
UNITS_KEY = "napari-foundseg-units"
#: Attribute with shape, dtype and chunks of each level. All chunks of these levels were written.
LEVELS_KEY = "napari-foundseg-levels"
#: A folder of zarr format 3 or 2 contains one of these files.
METADATA_FILES = ("zarr.json", ".zgroup", ".zarray")

#: Rows and columns of a chunk. Levels are added until a slice fits into one chunk.
CHUNK = 1024
#: Type of each axis, in the order that the format requires.
_TYPES = {"T": "time", "Q": "other", "Z": "space", "Y": "space", "X": "space"}


def write_ome_zarr(path: Path, content: FileContent) -> None:
    """Write labels as OME-Zarr 0.5, axes in the order T, Q, Z, Y, X. Equal labels give equal bytes.

    Every chunk is written, even if empty, and has a checksum. So a missing or damaged chunk is not taken for
    background.

    Raises
    ------
    OutputError
        If it cannot be written, or if the existing folder contains anything but a label image; it is not replaced.
    """
    import zarr
    from zarr.codecs import Crc32cCodec, ZstdCodec

    if path.is_dir() and any(path.iterdir()) and not _holds_labels_alone(path):
        raise KeptError(
            f"{str(path)!r} was kept: it is a folder with other things in it than a label image, which would be gone. "
            "Give another name."
        )
    axes = content.axes
    ordered = "".join(sorted(axes, key=list(_TYPES).index))
    levels = list(_levels(content.data.transpose([axes.index(axis) for axis in ordered]), ordered))
    described = _described(ordered, len(levels), content.spacing, content.units)
    image_label = {"colors": _colours(content.colours), "properties": _properties(content.properties)}
    metadata = {"version": "0.5", **described, "image-label": {k: v for k, v in image_label.items() if v}}
    other_units = {axis: unit for axis, unit in content.units.items() if unit != "pixel" and not unit_name(unit)}
    chunks = [
        tuple(min(n, CHUNK) if a in "YX" else 1 for n, a in zip(level.shape, ordered, strict=True)) for level in levels
    ]
    written = {
        str(i): described_level(level.shape, level.dtype, chunk)
        for i, (level, chunk) in enumerate(zip(levels, chunks, strict=True))
    }
    attributes = {"ome": metadata, LEVELS_KEY: written, **({UNITS_KEY: other_units} if other_units else {})}
    with atomic_folder(path) as folder, zarr_folder(folder) as store:
        group = zarr.create_group(store, zarr_format=3, attributes=attributes)
        for i, level in enumerate(levels):
            array = group.create_array(
                str(i),
                shape=level.shape,
                chunks=chunks[i],
                dtype=level.dtype.newbyteorder("="),
                compressors=[ZstdCodec(level=3), Crc32cCodec()],
                fill_value=0,
                dimension_names=list(ordered.lower()),
                config={"write_empty_chunks": True},
            )
            array[...] = level


def described_level(shape: Sequence[int], dtype: Any, chunks: Sequence[int]) -> dict[str, Any]:
    """Return the stored description of a level, which is compared when the level is read."""
    return {"shape": [int(n) for n in shape], "dtype": np.dtype(dtype).name, "chunks": [int(n) for n in chunks]}


def _holds_labels_alone(path: Path) -> bool:
    """Tell whether a folder is a label image from this module, to which nobody has added anything."""
    try:
        content = json.loads((path / "zarr.json").read_bytes())
        labelled = "image-label" in content["attributes"]["ome"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False
    return labelled and all(entry.name == "zarr.json" or entry.name.isdecimal() for entry in path.iterdir())


def _levels(labels: NDArray[Any], axes: str) -> Iterator[NDArray[Any]]:
    """Yield the levels, each with every second row and column of the one before, since ids have no mean."""
    y = axes.index("Y")
    x = axes.index("X")
    yield labels
    while max(labels.shape[y], labels.shape[x]) > CHUNK:
        step = [slice(None)] * labels.ndim
        step[y] = step[x] = slice(None, None, 2)
        labels = labels[tuple(step)]
        yield labels


def _described(
    axes: str, levels: int, spacing: Mapping[str, float], units: Mapping[str, str]
) -> dict[str, list[dict[str, Any]]]:
    named: list[dict[str, str]] = []
    for axis in axes:
        name = unit_name(units.get(axis, "pixel"))
        unit = {"unit": name} if name else {}
        named.append({"name": axis.lower(), "type": _TYPES[axis], **unit})
    datasets = []
    for i in range(levels):
        # The first pixel of each level is that of the finest level, so there is no translation.
        scale = [float(spacing.get(axis, 1.0)) * (2**i if axis in "YX" else 1) for axis in axes]
        datasets.append({"path": str(i), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    return {"multiscales": [{"axes": named, "datasets": datasets}]}


def _colours(colours: Mapping[int, Colour]) -> list[dict[str, Any]]:
    return [{"label-value": int(label), "rgba": list(colours[label])} for label in sorted(colours)]


def _properties(table: pd.DataFrame | None) -> list[dict[str, Any]]:
    if table is None:
        return []
    rows = table.rename(columns={"label": "label-value"}).to_dict("records")
    return [{str(name): _plain(value) for name, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    """Return a value that JSON supports, without NaN and NumPy types."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
