"""The input files of a viewer, which must not be overwritten, and the npe2 writer of labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari

from napari_foundseg.io.layer_files import holds_properties, write_layer
from napari_foundseg.io.naming import table_path
from napari_foundseg.io.output_paths import refuse_inputs

if TYPE_CHECKING:
    from napari import Viewer

__all__ = ["find_input_files", "save_labels_layer"]


def find_input_files(viewer: Viewer | None, but: str | None = None) -> list[Path]:
    """Return the files of all layers, and of the images in the open worklists and batches.

    Parameters
    ----------
    viewer : Viewer or None
        The viewer; with None, the list is empty.
    but : str, optional
        Name of a layer whose own file is left out, because the layer is saved to it.
    """
    if viewer is None:
        return []
    shown = (layer.source.path for layer in viewer.layers if layer.name != but)
    return [*(Path(path) for path in shown if path), *_listed_files(viewer)]


def save_labels_layer(path: str, data: Any, attributes: Mapping[str, Any]) -> list[str]:
    """Write a Labels layer as `write_layer` does, but never over the file of another layer (npe2 writer).

    Raises
    ------
    FoundsegError
        If the file cannot be written, or is an input of the viewer.
    """
    file = Path(path)
    outputs = [file] if holds_properties(file) else [file, table_path(file)]
    refuse_inputs(outputs, find_input_files(napari.current_viewer(), attributes.get("name")))
    return write_layer(path, data, attributes)


def _listed_files(viewer: Viewer) -> Iterator[Path]:
    """Yield the image files of the open worklists and batches."""
    for dock in viewer.window.dock_widgets.values():
        session: Any = getattr(dock, "session", None)
        items: Any = getattr(session, "items", None) or getattr(getattr(session, "runner", None), "items", ())
        yield from (item.path for item in items or () if getattr(item, "path", None) is not None)
