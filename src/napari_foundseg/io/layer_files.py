"""The npe2 reader and writer of labels layers, as plain layer data.

Two files in the same folder are read and written with a labels file: the table of its objects (``<name>.csv``) and its
provenance (``<name>.json``).
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import KeptError, OutputError
from napari_foundseg.core.labels import label_dtype
from napari_foundseg.io.atomic import atomic_write
from napari_foundseg.io.files.file_group import finish_writing, writing_together
from napari_foundseg.io.files.json_file import read_json
from napari_foundseg.io.files.known_files import KnownFiles
from napari_foundseg.io.files.object_cells import measured_properties
from napari_foundseg.io.formats.content import Colour, FileContent
from napari_foundseg.io.formats.table import format_to_write
from napari_foundseg.io.formats.units import is_known_unit, unit_symbol
from napari_foundseg.io.naming import sidecar_path, stem_of, stem_of_labels, table_path
from napari_foundseg.io.output_paths import find_files, refuse_inputs
from napari_foundseg.io.readers import read_labels
from napari_foundseg.io.save_names import with_label_ending
from napari_foundseg.io.writers import replace_labels, replace_table
from napari_foundseg.io.written_files import hash_file, whose_file

if TYPE_CHECKING:
    import pandas as pd

    from napari_foundseg.core.image import Image

__all__ = [
    "FILE_PROVENANCE",
    "RUN_PROVENANCE",
    "files_of_labels",
    "holds_properties",
    "labels_reader",
    "opened_files",
    "properties_of",
    "read_layer",
    "write_layer",
    "write_with_properties",
]

LayerData = tuple[Any, dict[str, Any], str]
#: Key of a layer's metadata for the content of its file's sidecar.
FILE_PROVENANCE = "napari-foundseg"
#: Key of a layer's metadata for the provenance of the run that made it.
RUN_PROVENANCE = "foundseg"
#: Hashes of the tables that this process has read or written, by their resolved paths.
_tables: dict[str, str] = {}
#: The files of arrays that were read as layers, by the `id` of the array.
_opened: dict[int, tuple[ref[NDArray[Any]], KnownFiles]] = {}
#: Colour of ids without a colour, in a file that has colours for other ids.
_GREY = (0.5, 0.5, 0.5, 1.0)
#: Colour of the background.
_CLEAR = (0.0, 0.0, 0.0, 0.0)


def labels_reader(path: str | list[str]) -> Callable[[str], list[LayerData]] | None:
    """Return `read_layer` for the name of a labels file, else None. npe2 passes a list of paths for a stack."""
    is_labels = isinstance(path, str) and stem_of_labels(Path(path).name) != Path(path).name
    return read_layer if is_labels else None


def read_layer(path: str) -> list[LayerData]:
    """Read a labels file with its table and provenance as one layer: array, attributes, type.

    Raises
    ------
    FoundsegError
        If the labels cannot be read. A table or a sidecar that cannot be read is left out with a warning.
    """
    file = Path(path)
    finish_writing(file)
    known = KnownFiles(*files_of_labels(file))
    content = read_labels(file)
    table = properties_of(file, content)
    provenance = _read_optional(sidecar_path(file), _provenance)
    units = [content.units.get(axis, "pixel") for axis in content.axes]
    attributes: dict[str, Any] = {
        "name": stem_of(file.name),
        "scale": [content.spacing.get(axis, 1.0) for axis in content.axes],
        "units": [unit if is_known_unit(unit) else "pixel" for unit in units],
        "axis_labels": [axis.lower() for axis in content.axes],
        "metadata": {} if provenance is None else {FILE_PROVENANCE: provenance},
    }
    if table is not None:
        attributes["features"] = table.rename(columns={"label": "index"})
    if content.colours:
        colours = {label: np.array(colour) / 255 for label, colour in content.colours.items()}
        attributes["colormap"] = {None: _GREY, 0: _CLEAR, **colours}
    number = id(content.data)
    _opened[number] = (ref(content.data, lambda _: _opened.pop(number, None)), known)
    return [(content.data, attributes, "labels")]


def opened_files(data: Any) -> KnownFiles | None:
    """Return the files from which a layer's array was read, in their state at that time; None for other arrays."""
    array, known = _opened.get(id(data), (None, None))
    return known if array is not None and array() is data else None


def write_layer(
    path: str, data: Any, attributes: Mapping[str, Any], *, image: Image | None = None, replace: bool = False
) -> list[str]:
    """Write a Labels layer: scale, units and colours in its file, features and provenance in files of the same name.

    Parameters
    ----------
    path : str
        The file, with the ending ``.tif``, ``.ome.tif``, ``.ome.zarr`` or ``.png``. Without an ending it gets ``.tif``.
    data : array-like of int
        The layer's data. For a multiscale layer it is the list of its levels.
    attributes : mapping
        Attributes from `Layer.as_layer_data_tuple`.
    image : Image, optional
        The image of the labels, on which edited objects are measured again.
    replace : bool
        As for `write_with_properties`.

    Returns
    -------
    list of str
        The files written.

    Raises
    ------
    FoundsegError
        If the files cannot be written, if the name is that of the image from which the labels were made, or if the
        name of the table is taken by another kind of file.
    """
    file = with_label_ending(Path(path))
    metadata = attributes.get("metadata") or {}
    provenance = metadata.get(FILE_PROVENANCE) or metadata.get(RUN_PROVENANCE)
    refuse_inputs([file], find_files(_sources(provenance)))
    content = _content(file, data[0] if attributes.get("multiscale") else data, attributes)
    content.properties = measured_properties(content, image)
    written = write_with_properties(file, content, replace=replace)
    sidecar = sidecar_path(file)
    # Keep an existing sidecar: it describes the former file, and its hash shows that the file has changed since.
    if provenance and not sidecar.exists():
        with atomic_write(sidecar) as out:
            out.write(json.dumps(provenance, indent=1, default=str).encode())
        written.append(sidecar)
    return [str(name) for name in written]


def properties_of(path: Path, content: FileContent | None = None) -> pd.DataFrame | None:
    """Return the properties of the objects of a labels file, from its content or else from its table.

    Parameters
    ----------
    path : Path
        The labels file.
    content : FileContent, optional
        The file's content, if it has been read.

    Returns
    -------
    pandas.DataFrame or None
        A table with the column ``label``; None if there is none. An unreadable table is left out with a warning.
    """
    if content is not None and content.properties is not None:
        return content.properties
    table: pd.DataFrame | None = _read_optional(table_path(path), _table)
    if table is not None:
        _remember_table(table_path(path))
    return table


def write_with_properties(path: Path, content: FileContent, *, replace: bool = False) -> list[Path]:
    """Write labels, and the properties of their objects, into the same file or a table in the same folder.

    Parameters
    ----------
    path : Path
        As for `write_labels`.
    content : FileContent
        Labels, spacing, units, colours and properties. Without properties, no table is made, but an existing one is
        emptied.
    replace : bool
        Whether the user agreed to replace a table that was edited elsewhere.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    OutputError
        If the files cannot be written, or the name of the table is taken by another kind of file. Then nothing is
        written.
    KeptError
        If the table was edited since it was read or written here. Then nothing is written.
    """
    sizes = content.spacing, content.units, content.colours
    if holds_properties(path):
        replace_labels(path, content.data, content.axes, *sizes, content.properties)
        return [path]
    table = table_path(path)
    properties = content.properties
    if table.exists() and properties is None:
        properties = _empty_table()
    if properties is not None and table.exists():
        _check_table(table, path, replace=replace)
    if properties is None:
        replace_labels(path, content.data, content.axes, *sizes)
        return [path]
    with writing_together(path) as place:
        replace_labels(place / path.name, content.data, content.axes, *sizes)
        replace_table(place / table.name, properties)
    _remember_table(table)
    return [path, table]


def files_of_labels(path: Path) -> list[Path]:
    """Return the files that saving labels under this name may replace: the labels, and the table of their objects."""
    return [path] if holds_properties(path) else [path, table_path(path)]


def holds_properties(path: Path) -> bool:
    """Tell whether the format of a labels file contains the table of its objects."""
    row = format_to_write(path.name)
    return row is not None and row.properties


def _sources(provenance: Any) -> list[Any]:
    """Return the images that a run, or the steps in a sidecar, read."""
    steps = provenance.get("steps", [provenance]) if isinstance(provenance, Mapping) else []
    images = (step.get("image") for step in steps if isinstance(step, Mapping))
    return [image.get("source") for image in images if isinstance(image, Mapping)]


def _empty_table() -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({"label": np.array([], np.int64)})


def _content(path: Path, data: Any, attributes: Mapping[str, Any]) -> FileContent:
    labels = np.asarray(data)
    if labels.min(initial=0) < 0:
        raise OutputError(f"{str(path)!r} was not written: ids of objects are not negative, got {labels.min()}.")
    labels = labels.astype(label_dtype(int(labels.max(initial=0))), copy=False)
    scale = [abs(float(size)) for size in attributes["scale"]]
    units = [_unit(unit) for unit in attributes.get("units") or ["pixel"] * labels.ndim]
    names = [str(name).upper() for name in attributes.get("axis_labels") or ()]
    if names.count("C") == 1 and labels.shape[names.index("C")] == 1:
        # Labels of an image with channels keep the channel axis, with length 1.
        channels = names.index("C")
        labels = labels.squeeze(channels)
        del names[channels], scale[channels], units[channels]
    content = FileContent(labels, _axes(path, names, labels.ndim))
    content.spacing = dict(zip(content.axes, scale, strict=True))
    content.units = {axis: unit for axis, unit in zip(content.axes, units, strict=True) if unit != "pixel"}
    content.colours = _colours(labels, attributes.get("colormap"))
    content.properties = _properties(attributes.get("features"))
    return content


def _axes(path: Path, names: list[str], ndim: int) -> str:
    """Return a layer's axes: their names if these are valid letters, else the usual letters for their number."""
    axes = "".join(names)
    if len(axes) == len(set(axes)) == ndim and set("YX") <= set(axes) <= set("QTZYX"):
        return axes
    if not 2 <= ndim <= 5:
        raise OutputError(f"{str(path)!r} was not written: labels have 2 to 5 axes, got {ndim}.")
    return "QTZYX"[-ndim:]


def _unit(unit: Any) -> str:
    """Return the symbol of a unit, which is text or a pint unit."""
    name = f"{unit:~P}" if hasattr(unit, "dimensionality") else unit_symbol(str(unit))
    return "pixel" if name in ("", "px", "pixel") else name


def _colours(labels: NDArray[Any], colormap: Any) -> dict[int, Colour]:
    """Return the colours of the ids if the user chose them; napari's cyclic colours are not saved."""
    chosen = getattr(colormap, "color_dict", None)
    if chosen is None:
        return {}
    ids = {int(label) for label in np.unique(labels)} | {label for label in chosen if label is not None}
    default = chosen.get(None, _CLEAR)
    return {label: _bytes(chosen.get(label, default)) for label in ids - {0}}


def _bytes(colour: Any) -> Colour:
    red, green, blue, *opacity = (round(255 * float(part)) for part in colour)
    return red, green, blue, opacity[0] if opacity else 255


def _properties(features: pd.DataFrame | None) -> pd.DataFrame | None:
    """Return one row per object, with column ``label`` first. napari has a row for each id, or a column ``index``."""
    if features is None or not len(features.columns):
        return None
    if "index" not in features:
        features = features.assign(index=np.arange(len(features)))
    features = (
        features[features["index"] != 0].drop(columns="label", errors="ignore").rename(columns={"index": "label"})
    )
    table = features[["label", *(name for name in features if name != "label")]].reset_index(drop=True)
    return table if len(table) and len(table.columns) > 1 else None


def _read_optional(path: Path, read: Callable[[Path], Any]) -> Any:
    """Read a file that belongs to labels, if it exists. Damage is only a warning, so that the labels still open."""
    if not path.is_file():
        return None
    try:
        return read(path)
    except (OSError, ValueError, RecursionError) as error:
        warnings.warn(f"{str(path)!r} was not read: {error}", stacklevel=2)
        return None


def _table(path: Path) -> pd.DataFrame:
    import pandas as pd

    table = pd.read_csv(path, encoding="utf-8-sig")
    if not len(table) and "label" in table:
        # The table is empty, and pandas cannot infer the dtypes of columns without rows.
        return table.astype({"label": np.int64})
    if "label" not in table or not table["label"].is_unique or table["label"].dtype.kind not in "iu":
        raise ValueError("it has no column 'label' with each id once")
    for name in table.columns:
        if table[name].dtype.kind not in "biuf":
            table[name] = table[name].fillna("").astype(object)
    return table


def _provenance(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - handled like other damage
    return found


def _remember_table(table: Path) -> None:
    """Remember the content of a table whose rows are in a layer."""
    _tables[os.path.realpath(table)] = hash_file(table)


def _check_table(table: Path, labels: Path, *, replace: bool) -> None:
    """Raise `OutputError` if a file is not a table of labels, or has changes that no layer has."""
    if not _is_table(table):
        raise OutputError(
            f"{str(table)!r} is not a table of labels and would be replaced by that of {labels.name!r}: rename it, or "
            "save under another name."
        )
    if replace:
        return
    known = _tables.get(os.path.realpath(table))
    if whose_file(table) == "edited" if known is None else hash_file(table) != known:
        raise KeptError(
            f"{str(table)!r} was kept: it was edited in another program, and saving {labels.name!r} would replace it. "
            "Rename the table, or save the labels under another name."
        )


def _is_table(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.readline().removeprefix(b"\xef\xbb\xbf").split(b",")[0].strip() == b"label"
    except OSError:
        return False
