"""*Export tracks…*: the tracks of a layer, with its edits, as GEFF or as a result of the Cell Tracking Challenge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtWidgets import QFileDialog, QPushButton, QVBoxLayout, QWidget

from napari_foundseg.io.tracks.track_files import (
    GEFF_ENDING,
    check_tracks_place,
    parents_of_table,
    write_tracks,
)
from napari_foundseg.widgets.controls.message import Message
from napari_foundseg.widgets.controls.rows import wrapping_label
from napari_foundseg.widgets.editing.layer_file import layer_file
from napari_foundseg.widgets.layers.input_files import find_input_files
from napari_foundseg.widgets.layers.object_features import indexed_features
from napari_foundseg.widgets.qt.file_thread import FileThread
from napari_foundseg.widgets.qt.widget_release import is_alive
from napari_foundseg.widgets.saved.form_memory import recall, remember

if TYPE_CHECKING:
    from napari.layers import Labels
    from napari.viewer import Viewer

    from napari_foundseg.tasks.tracks.track import FilmLabels
    from napari_foundseg.widgets.tracks.tracks_layer import FilmLayer

__all__ = ["TrackExport"]

_GEFF = f"GEFF (*{GEFF_ENDING})"
_CTC = "Cell Tracking Challenge: a folder (*)"


class TrackExport(QWidget):
    """The button, and a line on the last export."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._files = FileThread()
        self.button = QPushButton("Export tracks…")
        self.button.setToolTip(
            "Write the tracks of the chosen layer, with its edits: as GEFF, or as a folder of the Cell Tracking "
            "Challenge (masks and res_track.txt)."
        )
        self.state = wrapping_label("")
        self.message = Message(viewer.theme)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.state)
        layout.addWidget(self.message)

    def export(self, layer: Labels, film: FilmLayer, labels: FilmLabels, path: str | None = None) -> None:
        """Write the tracks in a background thread; without a path, ask the user.

        Raises
        ------
        OutputError
            If the path is an input, or if a file or folder of that name was not written by this plugin.
        """
        self.state.setText("")
        chosen = self._ask(layer) if path is None else Path(path)
        if chosen is None:
            return
        check_tracks_place(chosen, self._inputs(layer), overwrite=True)
        # A copy, since the user may edit the layer meanwhile.
        pixels = film.pixels.copy() if isinstance(film.pixels, np.ndarray) else film.pixels
        parents = parents_of_table(indexed_features(layer))

        def work() -> list[str]:
            return write_tracks(chosen, pixels, parents, axes=labels.axes, spacing=labels.spacing, units=labels.units)

        self.state.setText(f"Exporting {chosen.name} …")
        self._files.ask(work, lambda result: self._show(chosen, result))

    def _show(self, path: Path, result: Any) -> None:
        if not is_alive(self):
            return
        if isinstance(result, Exception):
            self.state.setText("")
            self.message.say(f"The tracks were not exported. {result}")
            return
        self.state.setText("\n".join([f"Exported: {path}", *result]))

    def _ask(self, layer: Labels) -> Path | None:
        folder = Path(recall("tracks").get("folder") or Path.home())
        start = (folder if folder.is_dir() else Path.home()) / f"{layer.name}{GEFF_ENDING}"
        name, kind = QFileDialog.getSaveFileName(
            self, f"Export the tracks of {layer.name!r}", str(start), f"{_GEFF};;{_CTC}"
        )
        if not name:
            return None
        path = Path(name)
        if kind == _CTC and path.suffix.lower() == GEFF_ENDING:
            path = path.with_suffix("")
        elif kind == _GEFF and path.suffix.lower() != GEFF_ENDING:
            path = path.with_name(path.name + GEFF_ENDING)
        remember("tracks", {"folder": str(path.parent)})
        return path

    def _inputs(self, layer: Labels) -> list[str]:
        image = layer_file(layer).image
        own = layer_file(layer).path
        files = [str(path) for path in find_input_files(self._viewer)]
        return [*files, *([str(own)] if own else []), *([image.source] if image is not None and image.source else [])]
