"""Saving the labels of a layer in a file that the user chooses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Labels
from qtpy.QtWidgets import QFileDialog, QMessageBox, QWidget

from napari_foundseg.core.arrays import in_memory
from napari_foundseg.core.errors import ChangedError, FoundsegError, OutputError
from napari_foundseg.io.files.save_lock import save_lock
from napari_foundseg.io.layer_files import files_of_labels, write_layer
from napari_foundseg.io.naming import image_exists
from napari_foundseg.io.output_paths import refuse_inputs
from napari_foundseg.io.save_names import label_formats, proposed_labels_path, with_label_ending
from napari_foundseg.widgets.editing.labels_history import open_history
from napari_foundseg.widgets.editing.layer_file import layer_file
from napari_foundseg.widgets.layers.input_files import find_input_files
from napari_foundseg.widgets.layers.layer_axes import layer_axes
from napari_foundseg.widgets.layers.proxies import open_viewers
from napari_foundseg.widgets.qt.changed_files import ask_about_change
from napari_foundseg.widgets.qt.event_loop import draw_until
from napari_foundseg.widgets.qt.file_thread import FileThread
from napari_foundseg.widgets.qt.widget_release import is_alive
from napari_foundseg.widgets.saved.form_memory import recall, remember

__all__ = ["ask_path", "mark_saved", "mark_unwanted", "save_and_wait", "saved_in_words", "saving"]


def ask_path(parent: QWidget | None, layer: Labels) -> Path | None:
    """Ask with a dialog where to save labels; None if the user cancels."""
    file = layer_file(layer)
    pixels = layer.data[0] if layer.multiscale else layer.data
    formats = label_formats(_axes(layer), int(np.max(pixels, initial=0)))
    filters = [f"{row.name} ({' '.join(f'*{ending}' for ending in row.write_endings)})" for row in formats]
    folder = Path(recall("labels").get("folder") or Path.home())
    proposed = proposed_labels_path(
        None if file.image is None else file.image.source,
        layer.name,
        file.path,
        folder if folder.is_dir() else Path.home(),
    )
    name, chosen = QFileDialog.getSaveFileName(
        parent, f"Save the labels {layer.name!r}", str(proposed), ";;".join(filters)
    )
    if not name:
        return None
    ending = formats[filters.index(chosen)].write_endings[0] if chosen in filters else formats[0].write_endings[0]
    path = with_label_ending(Path(name), ending)
    if str(path) != name and image_exists(path):
        # The dialog only asked about the name without the ending.
        answer = QMessageBox.question(parent, "Save labels", f"{path.name!r} already exists. Replace it?")
        if answer != QMessageBox.StandardButton.Yes:
            return None
    remember("labels", {"folder": str(path.parent)})
    return path


def saving(layer: Labels, path: Path, *, replace: bool = False) -> Callable[[], list[str]]:
    """Return a function that writes the labels as they are now.

    The function is slow, so call it in a background thread. It raises a ChangedError if another window or program has
    written the file since the layer was opened or saved, unless `replace` is true.

    Raises
    ------
    OutputError
        If the file is an input; nothing is written.
    """
    refuse_inputs([path], _inputs(layer))
    data, attributes, _ = layer.as_layer_data_tuple()
    attributes = dict(attributes)
    if attributes.get("multiscale"):
        data = data[0]
        attributes["multiscale"] = False
    attributes["axis_labels"] = [letter.lower() for letter in _axes(layer)]
    attributes["features"] = attributes["features"].copy()
    # A copy, since the user may edit the labels meanwhile.
    pixels = data.copy() if isinstance(data, np.ndarray) else data
    known = layer_file(layer).known
    image = layer_file(layer).image
    files = files_of_labels(path)

    def save() -> list[str]:
        with save_lock(path.parent):
            if not replace:
                known.refuse_changed(*files)
            written = write_layer(str(path), in_memory(pixels), attributes, image=image, replace=replace)
            known.note(*files)
        return written

    return save


def mark_saved(layer: Labels, path: Path, edits: int | None = None, lost: str = "") -> None:
    """Note that the labels are saved in a file; `edits` and `lost` are those of `LayerFile.note_saved`."""
    layer_file(layer).note_saved(path, edits, lost)
    if not layer_file(layer).is_unsaved():
        _end_journal(layer)


def mark_unwanted(layer: Labels) -> None:
    """Note that the labels need not be saved or recovered."""
    layer_file(layer).note_unwanted()
    _end_journal(layer, unwanted=True)


def _end_journal(layer: Labels, *, unwanted: bool = False) -> None:
    layer_file(layer).end_journal(unwanted=unwanted)
    if (history := open_history(layer)) is not None:
        if unwanted:
            history.journal.mark_discarded()
        else:
            history.journal.mark_saved()


def saved_in_words(layer: Labels, path: Path, written: list[str]) -> str:
    """Describe the properties file that was also written, and the transforms that the file cannot hold; else empty."""
    beside = [Path(name).name for name in written if Path(name).suffix == ".csv"]
    words = [f"The properties of the objects are in {beside[0]}."] if beside else []
    moved = np.any(np.asarray(layer.translate) != 0)
    turned = not np.allclose(layer.rotate, np.eye(layer.ndim)) or not np.allclose(
        layer.affine.affine_matrix, np.eye(layer.ndim + 1)
    )
    if moved or turned:
        what = " and ".join([*(["position"] if moved else []), *(["rotation"] if turned else [])])
        words.append(f"{path.name} does not hold the layer's {what}.")
    return " ".join(words)


def save_and_wait(parent: QWidget | None, layer: Labels) -> bool:
    """Ask for a file, save the labels in it and wait; return whether they are saved.

    A failure is shown in a message box.
    """
    path = None
    ended: Any = None
    try:
        path = ask_path(parent, layer)
        if path is None:
            return False
        ended = _ended(saving(layer, path))
        parent = parent if parent is not None and is_alive(parent) else None
        if isinstance(ended, ChangedError):
            answer = ask_about_change(parent, ended)
            if answer == "elsewhere":
                return save_and_wait(parent, layer)
            if answer == "cancel":
                return False
            ended = _ended(saving(layer, path, replace=True))
    except FoundsegError as error:
        ended = error
    if path is None or isinstance(ended, Exception):
        QMessageBox.warning(parent, "Save labels", f"{layer.name!r} was not saved. {ended}")
        return False
    mark_saved(layer, path)
    return True


def _ended(work: Callable[[], Any]) -> Any:
    """Run `work` in a background thread while the window stays drawn; return its result or exception."""
    ended: list[Any] = []
    files = FileThread()
    files.ask(work, ended.append)
    draw_until(lambda: bool(ended))
    files.leave()
    return ended[0]


def _inputs(layer: Labels) -> list[str]:
    """Return the files that must not be overwritten.

    These are the files of all other layers, open worklists and batches, and of the labels' image.
    """
    paths = [str(path) for viewer in open_viewers() for path in find_input_files(viewer, but=layer.name)]
    image = layer_file(layer).image
    return [*paths, *([image.source] if image is not None and image.source else [])]


def _axes(layer: Labels) -> str:
    """Return the axis letters of the labels: the image's if the shapes agree, else the layer's own."""
    image = layer_file(layer).image
    pixels = layer.data[0] if layer.multiscale else layer.data
    if image is not None and len(image.label_axes) == pixels.ndim and image.shape == pixels.shape:
        return image.label_axes
    try:
        return layer_axes(layer)
    except FoundsegError as error:
        raise OutputError(str(error)) from error
