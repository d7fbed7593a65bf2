"""The tool *Split* of the form *Correct*: clicks in each part of an object, or a line across it.

If a model is chosen, it runs in the engine, and the parts are written when they arrive. If the model cannot split the
object, it is split here, by its outline and the brightness of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QPushButton

from napari_foundseg.core.editing import split_edits
from napari_foundseg.core.errors import FoundsegError, PromptError
from napari_foundseg.core.measuring.grey_values import grey_values
from napari_foundseg.tasks.side_tasks.split_object import inputs_of
from napari_foundseg.widgets.layers.layer_axes import displayed_axes
from napari_foundseg.widgets.objects.chosen_objects import ChosenObjects
from napari_foundseg.widgets.objects.slice_scope import SliceScope
from napari_foundseg.widgets.objects.split_model import SplitModel
from napari_foundseg.widgets.objects.split_run import SplitRun
from napari_foundseg.widgets.runs.shared_engine import start_engine

if TYPE_CHECKING:
    from napari.layers import Labels
    from napari.viewer import Viewer

    from napari_foundseg.core.editing.difference import SliceBox
    from napari_foundseg.core.image import Image
    from napari_foundseg.widgets.objects.labels_dock import LabelsDock

__all__ = ["SplitButton"]

_Place = tuple[float, ...]
_Make = Callable[[Any], Iterable[tuple["SliceBox", Any]]]


class SplitButton(QPushButton):
    """A button that stays pressed while an object is being split.

    Parameters
    ----------
    dock : LabelsDock
        The form; its layer is edited, and its image shows where parts look different.
    write_edit : callable
        Writes an edit with a name as one step, and returns whether that was possible.
    scope : SliceScope
        Whether the whole object is split, or only its part in the current slice.
    """

    #: The next step for the user; empty after a split or if it was abandoned.
    asked = Signal(str)
    #: A model has started on an object; a message.
    started = Signal(str)
    #: An object was split; how, in words.
    done = Signal(str)

    def __init__(
        self,
        viewer: Viewer,
        dock: LabelsDock,
        chosen: ChosenObjects,
        write_edit: Callable[[str, _Make], bool],
        scope: SliceScope,
    ) -> None:
        super().__init__("Split (K)")
        self._viewer = viewer
        self._dock = dock
        self._chosen = chosen
        self._write_edit = write_edit
        self._scope = scope
        self._points: list[_Place] = []
        #: The choice of the model.
        self.model = SplitModel()
        #: Splits that wait for a model, by object.
        self._running: dict[int, SplitRun] = {}
        #: A message on splits that were abandoned.
        self._given_up = ""
        self.setCheckable(True)
        self.setToolTip(
            "Split the chosen object: click once in each of the two parts, anywhere in them, or drag a line across it. "
            "For more parts, Shift+click in all but the last. Key K on the layer splits the object under the pointer."
        )
        self.toggled.connect(self._arm)

    def press(self, start: _Place, end: _Place | None, more: bool) -> None:
        """Handle a click, or a line that was dragged to `end`, in data coordinates of the layer.

        `more` tells that clicks in further parts follow.
        """
        if self._viewer.dims.ndisplay != 2:
            words = "Splitting needs the 2-D view. Press the 2D/3D button below the layer list first."
            self._dock.fail(PromptError(words))
        elif end is not None:
            self._cut(start, end)
        else:
            self._add_point(start, more)

    def leave(self) -> None:
        """Stop splitting, since the user leaves the layer, and show which splits were abandoned."""
        self.setChecked(False)
        runs = list(self._running.values())
        self._running.clear()
        for run in runs:
            run.drop()
        if runs:
            ids = ("Object " if len(runs) == 1 else "Objects ") + ", ".join(str(run.label) for run in runs)
            self._given_up = f"{ids} stayed whole: the layer was left before the model answered."
            self._dock.message.say(self._given_up)

    def enter(self) -> None:
        """Start with a layer; show again which objects stayed whole on the previous layer."""
        if self._given_up:
            self._dock.message.say(self._given_up)
            self._given_up = ""

    def _arm(self, on: bool) -> None:
        self._points.clear()
        layer = self._dock.layer
        if layer is not None:
            layer.mouse_pan = not on
        if not on:
            self.asked.emit("")
            return
        self._dock.message.say("")
        if len(self._chosen.ids) != 1:
            self.setChecked(False)
            self._dock.fail(PromptError("To split, click one object first, then press Split."))
            return
        running = self._running.get(self._chosen.ids[0])
        if running is not None:
            self.setChecked(False)
            running.give_up("it was not waited for.")
            return
        if self.model.name and self._dock.chosen_image() is not None:
            # The engine starts while the user clicks.
            start_engine()
        self.asked.emit(f"Object {self._chosen.ids[0]}: click in each part, or drag a line across it.")

    def _add_point(self, point: _Place, more: bool) -> None:
        """Record a click in a part; a click elsewhere is refused, and the previous ones are kept."""
        layer = self._dock.layer
        assert layer is not None
        label = self._chosen.ids[0]
        pixel = _pixel(point)
        self._dock.message.say("")
        if not _holds(layer, pixel, label):
            self._dock.fail(PromptError(f"This click is not in object {label}. Click inside the object."))
            return
        if pixel in map(_pixel, self._points):
            self._dock.fail(PromptError("There is a click on this pixel already. Click in another part."))
            return
        self._points.append(point)
        if more or len(self._points) < 2:
            count = f" ({len(self._points)} clicked)" if len(self._points) > 1 else ""
            self.asked.emit(f"Object {label}: now click in the other part{count}; Shift+click where more follow.")
            return
        points = list(self._points)
        try:
            self._scope.check_clicks(layer, points)
        except PromptError as error:
            self._points.clear()
            self._dock.fail(error)
            return
        if not self._ask_model(layer, label, points):
            make, words = self._split_here(layer, label, points)
            self._finish(make, words)

    def _ask_model(self, layer: Labels, label: int, points: list[_Place]) -> bool:
        """Let the chosen model split an object; return False if no model can be used."""
        image = self._dock.chosen_image()
        name = self.model.name
        if not name or image is None or image.shape != layer.data.shape:
            return False
        try:
            inputs = inputs_of(layer.data, label, points, self._scope.spacing(layer))
        except FoundsegError:
            # The error is shown when the object is split here.
            return False
        run = self._running[label] = SplitRun(self, label, inputs, image, name)
        run.ended.connect(self._use)
        self.setChecked(False)
        self.started.emit(f"Splitting object {label} with {name}… To split it without the model, press Split again.")
        run.start()
        return True

    def _use(self, run: SplitRun) -> None:
        """Write the parts that a model has found; without any, split here."""
        self._running.pop(run.label, None)
        layer = self._dock.layer
        if layer is None:
            return
        free = self._free_id()
        box = run.inputs.box
        if run.parts is not None:
            parts = run.parts
            make: _Make = lambda labels: split_edits.split_as(labels, run.label, box, parts, free)  # noqa: E731
            by = f"by {run.model}, the image and its outline."
            if not run.evidence:
                by = f"by its outline and the image. {run.model} sees one slice at a time; the clicks are in several."
            words = f"Split into {len(run.inputs.clicks)}, {by}"
        else:
            points = [tuple(map(float, click)) for click in run.inputs.clicks]
            make_here, said = self._split_here(layer, run.label, points)

            def make(labels: Any) -> Iterable[tuple[SliceBox, Any]]:
                split_edits.check_unchanged(labels, run.label, box, run.inputs.mask)
                return make_here(labels)

            words = f"{said} {run.model} was not used: {run.why_not}"
        if self._write_edit("split", make):
            self.done.emit(words)

    def _split_here(self, layer: Labels, label: int, points: list[_Place]) -> tuple[_Make, str]:
        """Return the edit that splits an object without a model, and a description."""
        picture = _brightness(self._dock.chosen_image(), layer)
        spacing = self._scope.spacing(layer)
        free = self._free_id()
        by = "alone." if picture is None else "and the image."
        return (
            lambda labels: split_edits.split(labels, label, points, spacing, free, picture),
            f"Split into {len(points)}, by its outline {by}",
        )

    def _cut(self, start: _Place, end: _Place) -> None:
        layer = self._dock.layer
        assert layer is not None
        label = self._chosen.ids[0]
        plane = displayed_axes(self._viewer, layer)
        free = self._free_id()
        try:
            make = self._scope.edit(
                layer, [label], lambda labels: split_edits.split_by_line(labels, label, start, end, plane, free)
            )
        except PromptError as error:
            self._dock.fail(error)
            return
        self._finish(make, "Cut along the line.")

    def _finish(self, make: _Make, words: str) -> None:
        """Write the split and stop splitting; after an error, the user can click again."""
        if self._write_edit("split", make):
            self.setChecked(False)
            self.done.emit(words)
        else:
            self._points.clear()

    def _free_id(self) -> int:
        assert self._dock.history is not None
        return self._dock.history.free_id()


def _pixel(point: _Place) -> tuple[int, ...]:
    return tuple(int(np.floor(c + 0.5)) for c in point)


def _holds(layer: Labels, pixel: tuple[int, ...], label: int) -> bool:
    return all(0 <= c < n for c, n in zip(pixel, layer.data.shape, strict=True)) and layer.data[pixel] == label


def _brightness(image: Image | None, layer: Labels) -> Callable[[SliceBox], NDArray[Any]] | None:
    """Return a function that reads the image's brightness in a box of the labels; None if the image does not fit."""
    grey = None if image is None else grey_values(image, layer.data.shape)
    if image is None or grey is None:
        return None
    channels = list(image.chosen_channels)

    def read(box: SliceBox) -> NDArray[Any]:
        values = np.asarray(grey[box])
        if values.ndim > len(box):
            values = values[..., channels].mean(-1) if channels else values.mean(-1)
        return np.asarray(np.nan_to_num(values.astype(float), posinf=0, neginf=0))

    return read
