"""The objects to follow: points and boxes on any slices, and existing objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.components import ViewerModel
from qtpy.QtCore import Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_foundseg.core.errors import PromptError
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.widgets.controls.rows import side_by_side, wrapping_label
from napari_foundseg.widgets.controls.usability import set_usable
from napari_foundseg.widgets.layers.layer_axes import transform_coordinates
from napari_foundseg.widgets.prompt.prompt_layers import PromptLayers

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer

__all__ = ["ObjectMarks", "object_prompt"]


def object_prompt(labels: Labels, target: ImageOnLayer, label: int, index: tuple[int, ...]) -> Prompt:
    """Return an object of a Labels layer in one slice as a prompt; its mask is kept as it is.

    Raises
    ------
    PromptError
        If the object is not in that slice.
    """
    plane = target.overlay.plane(np.asarray(labels.data), index)
    mask = plane == label
    if not label or not mask.any():
        raise PromptError(
            f"{labels.name!r} has no object {label} on slice {index}. Choose an object that is on the slice that the "
            "viewer shows (pick its label in the layer controls)."
        )
    return Prompt(mask=mask, index=index)


class ObjectMarks(QWidget):
    """Buttons to mark new objects, and to take an object of the chosen Labels layer."""

    #: The marks have changed.
    changed = Signal()
    #: The user wants to follow the object whose label is selected in the Labels layer.
    taken = Signal()
    #: The user starts to mark objects; the tool.
    started = Signal(str)

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        self.session: PromptLayers | None = None
        #: Existing objects of the layer that are followed: their prompts, by id.
        self.kept: dict[int, list[Prompt]] = {}
        self.point_button = QPushButton("Points")
        self.box_button = QPushButton("Boxes")
        self.take_button = QPushButton("Take object")
        self.clear_button = QPushButton("Clear marks")
        self.point_button.setToolTip("Click on each object once, on any slice. Each point is an object of its own.")
        self.box_button.setToolTip("Draw a box around each object, on any slice. Each box is an object of its own.")
        self.take_button.setToolTip(
            "Follow the object of the layer in Into whose label is chosen in the layer controls, from the slice that "
            "the viewer shows. Its mask there stays as it is."
        )
        self.clear_button.setToolTip("Remove all points and boxes, and forget taken objects. No object is removed.")
        self.words = wrapping_label("")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(side_by_side(self.point_button, self.box_button))
        layout.addWidget(side_by_side(self.take_button, self.clear_button))
        layout.addWidget(self.words)
        self.point_button.clicked.connect(lambda: self.started.emit("points"))
        self.box_button.clicked.connect(lambda: self.started.emit("shapes"))
        self.take_button.clicked.connect(self.taken)
        self.clear_button.clicked.connect(self.clear)
        self.show_count()

    def start(self, target: ImageOnLayer, tool: str) -> None:
        """Add the layers for marks, unless they exist, and activate a tool."""
        if self.session is not None and self.session.layer is not target.layer:
            self.end()
        if self.session is None:
            self.session = PromptLayers(self._viewer, target, self._marks_changed, self._ended)
            self.session.each = True
        self.session.use("points" if tool == "points" else "shapes")

    def take(self, label: int, prompt: Prompt) -> None:
        """Follow an existing object."""
        others = [one for one in self.kept.get(label, []) if one.index != prompt.index]
        self.kept[label] = [*others, prompt]
        self._marks_changed()

    def prompts(self, target: ImageOnLayer, first_id: int) -> dict[int, list[Prompt]]:
        """Return all marks by object; new objects get ids from `first_id` on."""
        found = {label: list(some) for label, some in self.kept.items()}
        session = self.session
        if session is not None and session.layer is target.layer:
            new = [prompt for index in self._marked_slices(target) for prompt in session.prompts(target, index)]
            start = max([first_id, *(label + 1 for label in found)])
            found |= {start + i: [prompt] for i, prompt in enumerate(new)}
        return found

    def clear(self) -> None:
        """Remove all marks; no object is removed."""
        self.kept = {}
        if self.session is not None:
            self.session.clear()
        self._marks_changed()

    def end(self) -> None:
        """Remove the layers for marks."""
        session = self.session
        self.session = None
        if session is not None:
            session.remove()

    def show_count(self) -> None:
        """Show how many objects are marked."""
        session = self.session
        count = 0 if session is None else len(session.boxes.data) + sum(self._positive(session))
        said = [f"{count} marked" if count else "", f"taken: {', '.join(map(str, self.kept))}" if self.kept else ""]
        self.words.setText("; ".join(filter(None, said)) or "No object is marked yet.")
        set_usable(self.clear_button, "" if count or self.kept else "There are no marks.")

    @staticmethod
    def _positive(session: PromptLayers) -> list[bool]:
        return [sign != "negative" for sign in session.points.features["polarity"]]

    def _marked_slices(self, target: ImageOnLayer) -> list[tuple[int, ...]]:
        assert self.session is not None
        image = target.image
        columns = [target.letters.index(axis) for axis in image.slice_axes]
        found: set[tuple[int, ...]] = set()
        drawn = [(self.session.points, np.asarray(self.session.points.data, float))]
        drawn += [(self.session.boxes, np.asarray(corners, float)[:1]) for corners in self.session.boxes.data]
        for layer, places in drawn:
            if len(places):
                where = np.floor(transform_coordinates(layer, target.layer, places)[:, columns] + 0.5).astype(int)
                found |= {tuple(int(v) for v in row) for row in where}
        return sorted(found)

    def _marks_changed(self) -> None:
        self.show_count()
        self.changed.emit()

    def _ended(self, _why: str) -> None:
        self.end()
        self._marks_changed()
