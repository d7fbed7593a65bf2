"""The name that a Save dialog proposes for labels, and the formats that it offers."""

from __future__ import annotations

import os
import re
from pathlib import Path

from napari_foundseg.io.formats.file_format import Format
from napari_foundseg.io.formats.table import all_formats, format_to_write, image_ending, is_folder_name
from napari_foundseg.io.naming import DEFAULT_LABEL_ENDING, LABELS_SUFFIX, labels_file, safe_name, stem_of

__all__ = ["label_formats", "proposed_labels_path", "with_label_ending"]

#: Pattern of texts that look like the ending of a format; ``.5um`` and ``. Day 2`` do not.
_ENDING = re.compile(r"\.[a-z]\w{1,5}$", re.IGNORECASE)


def label_formats(axes: str, largest: int) -> list[Format]:
    """Return the formats that support labels with these axes and ids up to `largest`."""
    return [row for row in all_formats() if row.can_hold(axes, largest)]


def proposed_labels_path(source: str | None, layer: str, before: Path | None, folder: Path) -> Path:
    """Propose a file for the labels of a layer: their former file, else one next to their image.

    Parameters
    ----------
    source : str or None
        The image's file.
    layer : str
        Name of the Labels layer.
    before : Path or None
        The file from which the labels were opened, or in which they were last saved.
    folder : Path
        Folder for labels whose image has no file, or a file in a read-only folder.

    Returns
    -------
    Path
        A name that no existing labels have, unless it is `before`.
    """
    if before is not None and format_to_write(before.name) is not None and before.parent.is_dir():
        return before
    own = safe_name(re.sub(r"[ _]labels$", "", layer)) or "objects"
    beside = None if source is None else _outermost(Path(source))
    if beside is None or not (beside.exists() and os.access(beside.parent, os.W_OK)):
        stems = [own]
    else:
        folder = beside.parent
        stem = safe_name(stem_of(beside.name))
        stems = [stem, own if own.startswith(stem) else f"{stem} {own}"]
    stems += [f"{stems[-1]} {number}" for number in range(2, 1000)]
    stem = next((stem for stem in stems if labels_file(folder, stem) is None), stems[-1])
    return folder / f"{stem}{LABELS_SUFFIX}{DEFAULT_LABEL_ENDING}"


def with_label_ending(path: Path, ending: str = DEFAULT_LABEL_ENDING) -> Path:
    """Return a path with an ending if it has none. An unsupported ending is kept, so that the error names it."""
    known = format_to_write(path.name) is not None or image_ending(path.name) or _ENDING.search(path.name)
    return path if known else path.with_name(f"{path.name}{ending}")


def _outermost(path: Path) -> Path:
    """Return the OME-Zarr folder that contains a path, or else the path itself."""
    return next((folder for folder in reversed(path.parents) if is_folder_name(folder.name)), path)
