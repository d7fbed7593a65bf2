"""The dock widget *Track objects*: tracks of existing labels, and their export."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Labels
from napari.viewer import Viewer
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QProgressBar, QPushButton

from napari_foundseg.core.editing.edit_progress import EditCancelled, EditProgress
from napari_foundseg.core.errors import AxesError, FoundsegError, PromptError
from napari_foundseg.core.films.lineage import Lineage
from napari_foundseg.core.result import Segmentation
from napari_foundseg.io.layer_files import RUN_PROVENANCE
from napari_foundseg.tasks.notes import what_was_chosen
from napari_foundseg.tasks.tracks.track import FilmLabels, TrackSettings, tracked_film, tracked_result
from napari_foundseg.widgets.controls.layer_choice import LayerChoice
from napari_foundseg.widgets.controls.rows import labelled_row, side_by_side, wrapping_label
from napari_foundseg.widgets.controls.usability import set_usable
from napari_foundseg.widgets.editing.kept_results import keep_result
from napari_foundseg.widgets.editing.layer_file import layer_file
from napari_foundseg.widgets.forms.dock import Dock
from napari_foundseg.widgets.forms.settings_form import SettingsForm
from napari_foundseg.widgets.layers.layer_axes import layer_axes, layer_units
from napari_foundseg.widgets.layers.result_layers import object_features
from napari_foundseg.widgets.layers.unique_name import unique_name
from napari_foundseg.widgets.qt.numpy_thread import NumpyThread
from napari_foundseg.widgets.tracks.track_export import TrackExport
from napari_foundseg.widgets.tracks.tracks_layer import FilmLayer, film_layer, is_tracked, update_tracks

__all__ = ["TrackWidget"]

_NO_LABELS = "There is no Labels layer. Segment the frames of a film first, for example with Automatic masks."
_NO_SLICES = "{!r} has no slices. Tracks need a film: labels with a time axis."
_WHICH = "Which axis of {!r} is time? Choose it at Time axis."
_TRANSFORMS = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")


class TrackWidget(Dock):
    """Tracks of the objects of a Labels layer along time."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer, "image", "settings")
        self._work = NumpyThread("tracking")
        self._progress: EditProgress | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(100)
        self._timer.timeout.connect(self._show_progress)
        self._build()
        self._work.done.connect(self._show_result)
        self._follow_layer()

    def _build(self) -> None:
        self.labels = LayerChoice(
            self.viewer,
            Labels,
            "The Labels layer whose objects are tracked. It is not changed: tracks are a new layer.",
        )
        self.time = QComboBox()
        self.time.setAccessibleName("Time axis")
        self.time.setToolTip("The axis of the frames. It is found where the layer's axes have names, such as t.")
        self.form = SettingsForm(TrackSettings, "track.overlap and distance")
        self.run_button = QPushButton("Track")
        self.run_button.setToolTip("Track the objects of the chosen layer (the tracks become new layers).")
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setToolTip("Stop tracking; no layer is changed.")
        self.bar = QProgressBar()
        self.bar.setRange(0, 100)
        self.result = wrapping_label("")
        self.notes = wrapping_label("")
        self.update_button = QPushButton("Update tracks")
        self.update_button.setToolTip(
            "Draw the tracks again after edits of the chosen layer. Ids stay as they are, and so do parents where they "
            "still fit."
        )
        self.export = TrackExport(self.viewer)
        self.messages["export"] = self.export.message
        line = QHBoxLayout()
        line.addWidget(self.run_button)
        line.addWidget(self.cancel_button)
        for widget in (
            labelled_row("Labels", self.labels),
            labelled_row("Time axis", self.time),
            self.messages["image"],
            self.form,
            self.messages["settings"],
        ):
            self._layout.addWidget(widget)
        self._layout.addLayout(line)
        for widget in (
            self.bar,
            self.messages["run"],
            self.result,
            self.notes,
            side_by_side(self.update_button, self.export.button),
            self.export,
        ):
            self._layout.addWidget(widget)
        self._layout.addStretch(1)
        self.labels.changed.connect(self._follow_layer)
        self.time.currentIndexChanged.connect(self._show_usability)
        self.run_button.clicked.connect(lambda: self.run())
        self.cancel_button.clicked.connect(self.cancel)
        self.update_button.clicked.connect(self.update_layer)
        self.export.button.clicked.connect(lambda: self.export_tracks())

    @property
    def settings(self) -> TrackSettings:
        """The settings in the form."""
        return TrackSettings.parse({"method": "overlap and distance", **self.form.values()})

    def run(self) -> None:
        """Track the objects of the chosen layer in a background thread."""
        if self._progress is not None:
            return
        self._clear_messages()
        self.result.setText("")
        self.notes.setText("")
        try:
            layer = self._chosen()
            film = self._film(layer)
            settings = self.settings
            labels = _film_labels(layer, film)
        except FoundsegError as error:
            self.fail(error)
            return
        self.form.remember()
        progress = self._progress = EditProgress()

        def work() -> tuple[Labels, FilmLayer, Segmentation]:
            found = tracked_film(labels, settings, progress.report)
            return layer, film, tracked_result(labels, found, settings)

        self._show_usability()
        self._timer.start()
        self._work.ask(work)

    def cancel(self) -> None:
        """Cancel the run; no layer was changed."""
        if self._progress is not None:
            self._progress.cancel()
            self._end()
            self.result.setText("Cancelled; no layer was changed.")

    def update_layer(self) -> None:
        """Draw the tracks of the chosen layer again, from its current labels."""
        self._clear_messages()
        self.result.setText("")
        self.notes.setText("")
        try:
            layer = self._chosen()
            film = self._film(layer)
            _film_labels(layer, film)
            update_tracks(self.viewer, layer, self._show_updated, self.time.currentData())
        except FoundsegError as error:
            self.fail(error)

    def export_tracks(self, path: str | None = None) -> None:
        """Export the tracks of the chosen layer with its edits; without a path, ask the user."""
        self._clear_messages()
        try:
            layer = self._chosen()
            film = self._film(layer)
            self.export.export(layer, film, _film_labels(layer, film), path)
        except FoundsegError as error:
            self.export.message.say(str(error))

    def unfinished(self) -> str:
        """Return a sentence with the progress of the run; empty if none is running."""
        return "" if self._progress is None else f"Track objects: {self.bar.value()} %"

    def stop_work(self) -> None:
        """Cancel the run."""
        self.cancel()

    def release(self) -> None:
        """Disconnect from the viewer and cancel the run."""
        self.cancel()
        self.labels.disconnect_viewer()
        super().release()

    def _chosen(self) -> Labels:
        layer: Labels | None = self.labels.layer
        if layer is None:
            raise PromptError(_NO_LABELS)
        if not self.time.count():
            raise AxesError(_NO_SLICES.format(layer.name))
        if self.time.currentData() is None:
            raise AxesError(_WHICH.format(layer.name))
        return layer

    def _film(self, layer: Labels) -> FilmLayer:
        return film_layer(layer, self.time.currentData())

    def _follow_layer(self) -> None:
        """Offer the slice axes of the chosen layer, and select the time axis."""
        layer = self.labels.layer
        self.time.blockSignals(True)
        self.time.clear()
        if layer is not None:
            self._list_axes(layer)
        self.time.blockSignals(False)
        self.messages["image"].say("")
        self._show_usability()

    def _list_axes(self, layer: Labels) -> None:
        try:
            letters = layer_axes(layer)
        except FoundsegError as error:
            self.fail(error)
            return
        shape = layer.data[0].shape if layer.multiscale else layer.data.shape
        slices = [i for i, letter in enumerate(letters) if letter not in "YXC"]
        named = {str(layer.axis_labels[i]).strip().lower() for i in slices} & {"t", "time", "z", "depth"}
        for i in slices:
            self.time.addItem(f"{letters[i]} ({shape[i]})" if named else f"axis {i} ({shape[i]})", i)
        # A depth axis is not used as time without asking. Axes without names are, since the user wants tracks.
        time = letters.find("T")
        if time >= 0 or (slices and not named):
            self.time.setCurrentIndex(slices.index(time) if time >= 0 else 0)
        elif slices:
            self.time.insertItem(0, "choose", None)
            self.time.setCurrentIndex(0)

    def _show_usability(self) -> None:
        layer = self.labels.layer
        why_not = "" if layer is not None else _NO_LABELS
        if layer is not None and not self.time.count():
            why_not = _NO_SLICES.format(layer.name)
        busy = "Tracking is under way." if self._progress is not None else ""
        set_usable(self.run_button, busy or why_not)
        self.cancel_button.setEnabled(bool(busy))
        self.bar.setVisible(bool(busy))
        tracked = layer is not None and is_tracked(layer)
        untracked = "" if tracked else "The ids of this layer are not tracks yet: press Track first."
        set_usable(self.update_button, busy or why_not or untracked)
        set_usable(self.export.button, busy or why_not or untracked)

    def _show_progress(self) -> None:
        if self._progress is not None:
            self.bar.setValue(round(100 * self._progress.done))

    def _end(self) -> None:
        self._progress = None
        self._timer.stop()
        self.bar.setValue(0)
        self._show_usability()

    def _show_result(self, number: int, result: Any) -> None:
        if number != self._work.number or self._progress is None:
            return
        self._end()
        if isinstance(result, EditCancelled):
            return
        if isinstance(result, MemoryError):
            self.messages["run"].say("There is not enough memory for the tracks. Export them on the command line.")
            return
        if isinstance(result, FoundsegError):
            self.fail(result)
            return
        if isinstance(result, Exception):
            self.messages["run"].say(f"The objects could not be tracked: {result!r}")
            return
        layer, film, found = result
        self._add_layers(layer, film, found)
        said = what_was_chosen(found.provenance)
        self.result.setText(said[0] if said else "")
        self.notes.setText("\n".join(said[1:]))

    def _add_layers(self, layer: Labels, film: FilmLayer, found: Segmentation) -> None:
        """Add the tracks as a new Labels layer, and a Tracks layer over the labels that were tracked."""
        pixels = found.labels
        if film.all_axes != film.axes:
            pixels = np.expand_dims(pixels, film.all_axes.index("C"))
        labels = Labels(
            pixels,
            name=unique_name(self.viewer.layers, f"{layer.name} tracked"),
            features=object_features(found),
            metadata={RUN_PROVENANCE: dict(found.provenance)},
            **{name: getattr(layer, name) for name in _TRANSFORMS},
        )
        # From now on, the axis is named as time.
        labels.axis_labels = tuple(letter.lower() for letter in film.all_axes)
        self.viewer.add_layer(labels)
        keep_result(labels, layer_file(layer).image)
        if film.all_axes[0] != "T":
            self.messages["run"].say(
                "napari shows lines of tracks only where time is the first axis; the ids are there."
            )
        update_tracks(self.viewer, labels, self._show_drawn, film.all_axes.index("T"))

    def _show_drawn(self, result: Lineage | Exception) -> None:
        if isinstance(result, Exception):
            self.messages["run"].say(f"The lines of the tracks could not be drawn: {result}")

    def _show_updated(self, result: Lineage | Exception) -> None:
        if isinstance(result, Exception):
            self.messages["run"].say(f"The tracks could not be drawn: {result}")
            return
        gaps = sum(map(len, result.gaps.values()))
        self.result.setText(
            f"{len(result.ids)} tracks, {result.divisions} divisions, {gaps} gaps, as the labels are now."
        )
        self.notes.setText("\n".join(result.notes))
        self._show_usability()


def _film_labels(layer: Labels, film: FilmLayer) -> FilmLabels:
    """Return the labels of a layer with their pixel sizes, in the order of the film's axes."""
    kept = [film.all_axes.index(axis) for axis in film.axes]
    units = layer_units(layer)
    names = {film.all_axes[i]: f"{units[i]:~P}" if units[i] else "" for i in kept}
    sizes = {film.all_axes[i]: abs(float(layer.scale[i])) for i in kept}
    known = {axis: unit for axis, unit in names.items() if unit not in ("", "px", "pixel")}
    return FilmLabels(film.pixels, film.axes, sizes, known)
