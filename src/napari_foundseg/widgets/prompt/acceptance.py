"""Accepting masks: the lower part of the form *Prompt*."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast, get_args

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels
from qtpy.QtCore import Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QComboBox, QPushButton, QVBoxLayout, QWidget

from napari_foundseg.core.errors import FoundsegError, PromptError
from napari_foundseg.core.labels import Overlap
from napari_foundseg.core.masks import Mask
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.widgets.controls.layer_choice import LayerChoice
from napari_foundseg.widgets.controls.rows import labelled_row, side_by_side
from napari_foundseg.widgets.editing.image_objects import ImageObjects, assign_objects
from napari_foundseg.widgets.editing.labels_history import LabelsHistory
from napari_foundseg.widgets.editing.mask_writing import add_objects, clicked_others, outline_prompt, refine_object
from napari_foundseg.widgets.editing.undo_row import UndoRow
from napari_foundseg.widgets.editing.write_checks import why_not_fitting, why_not_writable
from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer
from napari_foundseg.widgets.layers.result_layers import editable_copy
from napari_foundseg.widgets.prompt.mark_history import PromptSteps

__all__ = ["Acceptance", "Role"]


@dataclass(frozen=True)
class Role:
    """The purpose of masks: new objects, or a new outline of an existing object."""

    #: The object whose outline is refined; None for new objects.
    refined: int | None = None
    #: For each prompt, by its number from 1: other objects that the user has clicked; masks may take their pixels.
    taken: Mapping[int, Collection[int]] = field(default_factory=dict)


class Acceptance(QWidget):
    """The layer for accepted masks, the overlap rule, *Accept* and *Clear*, undo and redo.

    Parameters
    ----------
    find_target : callable
        Returns the image to segment; raises a FoundsegError if there is none.
    """

    #: The user's choice cannot be used; the error.
    failed = Signal(object)

    def __init__(self, viewer: ViewerModel, find_target: Callable[[], ImageOnLayer]) -> None:
        super().__init__()
        self._viewer = viewer
        self._find_target = find_target
        #: The purpose of the masks for the current marks.
        self.role = Role()
        self._refused: tuple[ImageOnLayer, Labels] | None = None
        self.objects = ImageObjects(viewer)
        viewer.layers.events.removed.connect(self._layer_removed)
        self.into = LayerChoice(
            viewer,
            Labels,
            "Layer to write accepted masks into: a new one, or an existing Labels layer, whose objects can then be "
            "refined too.",
            follow=False,
            none="a new layer",
        )
        self.into.combo.setAccessibleName("Accept into")
        self.into.picked.connect(self._choose_layer)
        self.overlap = QComboBox()
        self.overlap.addItems(get_args(Overlap))
        self.overlap.setAccessibleName("Where objects overlap")
        self.overlap.setToolTip(
            "Keep others: an accepted mask gets only pixels that belong to no other object. "
            "Overwrite: it also gets pixels of other objects. "
            "Fill free only: only background pixels change; a refined object can only grow."
        )
        self.accept_button = QPushButton("Accept (C)")
        self.accept_button.setToolTip(
            "Write the mask into the layer as a new object (key C). Without marks, C accepts the mask that is outlined "
            "under the pointer."
        )
        self.clear_button = QPushButton("Clear (⇧C)")
        self.clear_button.setToolTip("Remove the points, shapes and strokes without accepting the mask (key Shift+C).")
        self.copy_button = QPushButton("Make an editable copy")
        self.copy_button.setToolTip("Copy the objects into a new editable layer and accept masks into that.")
        self.copy_button.clicked.connect(self._accept_into_copy)
        #: Undo and redo of marks and objects.
        self.steps = PromptSteps()
        self.edits = UndoRow(viewer.theme, self.steps)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        buttons = side_by_side(self.accept_button, self.clear_button)
        for row in (
            labelled_row("Into", self.into),
            labelled_row("Overlap", self.overlap),
            buttons,
            self.copy_button,
            self.edits,
        ):
            layout.addWidget(row)
        self.copy_button.hide()

    def read(
        self, target: ImageOnLayer, prompts: Sequence[Prompt], *, refines: bool, refined: int | None = None
    ) -> tuple[list[Prompt], Role]:
        """Return the prompts for the model, and the role of their masks.

        If `refines` is true, the prompt asks for a new outline of the accepted object `refined`; None stands for the
        object that the prompt points at.

        Raises
        ------
        PromptError
            If the object cannot be determined.
        """
        history = self.objects.of(target)
        if refines:
            label, prompt = outline_prompt(history, target, prompts, refined)
            assert history is not None
            return [prompt], Role(label, {1: clicked_others(history, target, prompts[0], label)})
        # Masks of new objects may take pixels of the objects that were clicked.
        known = (
            [] if history is None else [(n, clicked_others(history, target, p, 0)) for n, p in enumerate(prompts, 1)]
        )
        return list(prompts), Role(None, {n: others for n, others in known if others})

    def write(self, target: ImageOnLayer, masks: Sequence[Mask]) -> str:
        """Write masks into the layer of an image's objects, in one step, according to `role`; return a message.

        Raises
        ------
        PromptError
            If the layer cannot be written; nothing was changed.
        """
        before = self.objects.swapped(target)
        history = self.follow(self.objects.of(target) or self.objects.add(target))
        if why := why_not_writable(history.layer):
            self._refused = target, history.layer
            self.copy_button.show()
            raise PromptError(f"{history.layer.name!r} is {why}. Press {self.copy_button.text()!r}, then accept again.")
        overlap = cast(Overlap, self.overlap.currentText())
        refined = self.role.refined
        taken = self.role.taken
        plane = target.overlay.plane(np.asarray(history.layer.data), masks[0].index)
        clicked = {other: np.count_nonzero(plane == other) for others in taken.values() for other in others}
        if refined is not None:
            changed = refine_object(history, target.overlay, masks[0], refined, overlap, taken.get(1, ()))
            ids = [refined] if changed else []
        else:
            ids = add_objects(history, target.overlay, masks, overlap, taken=taken)
        if not ids:
            return "Nothing was changed: the object already has these pixels, or other objects do (see Overlap)."
        written = f"object {ids[0]}" if len(ids) == 1 else f"{len(ids)} objects"
        smaller = sorted(other for other, size in clicked.items() if np.count_nonzero(plane == other) < size)
        if smaller:
            written += f", with pixels of {', '.join(map(str, smaller))} that you clicked,"
        other = "" if before is None else f" {target.name!r} has other pixels than those under {before.name!r}."
        return f"Accepted {written} into {history.layer.name!r}.{other}"

    def follow(self, history: LabelsHistory) -> LabelsHistory:
        """Accept masks into the layer of a history, and undo its steps here; return the history."""
        self._undo_in(history)
        self.into.show_layer(history.layer)
        return history

    def show_objects(self, target: ImageOnLayer | None) -> None:
        """Show the layer into which an image's masks are accepted."""
        history = None if target is None else self.objects.of(target)
        if history is None:
            self._undo_in(None)
            self.into.show_layer(None)
        else:
            self.follow(history)

    def _undo_in(self, history: LabelsHistory | None) -> None:
        self.edits.follow(history)
        self.steps.use_objects(history)

    def _layer_removed(self, event: Any) -> None:
        if self.steps.objects is not None and self.steps.objects.layer is event.value:
            self._undo_in(None)

    def _choose_layer(self) -> None:
        """Accept masks into the layer that the user has chosen."""
        try:
            target = self._find_target()
            labels = self.into.layer
            if labels is None:
                self.objects.forget(target.layer)
                self._undo_in(None)
                return
            if (reason := why_not_fitting(labels, target)) is not None:
                raise PromptError(f"Masks cannot be accepted into {labels.name!r}: {reason}")
            if why := why_not_writable(labels):
                self._refused = target, labels
                self.copy_button.show()
                raise PromptError(
                    f"{labels.name!r} is {why}. Press {self.copy_button.text()!r} and accept into the copy."
                )
        except FoundsegError as error:
            self.show_objects(self._find_target_or_none())
            self.failed.emit(error)
            return
        assign_objects(target.layer, labels)
        self.show_objects(target)

    def _find_target_or_none(self) -> ImageOnLayer | None:
        try:
            return self._find_target()
        except FoundsegError:
            return None

    def release(self) -> None:
        """Disconnect from all layers."""
        self._viewer.layers.events.removed.disconnect(self._layer_removed)
        self._undo_in(None)
        self.steps.use_marks(None)
        self.objects.release()
        self.into.disconnect_viewer()

    def _accept_into_copy(self) -> None:
        """Accept masks into an editable copy of the refused layer; the tool in use stays active."""
        self.copy_button.hide()
        refused = self._refused
        self._refused = None
        if refused is None:
            return
        target, labels = refused
        active = self._viewer.layers.selection.active
        copy = editable_copy(self._viewer, labels)
        self._viewer.add_layer(copy)
        self._viewer.layers.selection.active = active
        self.follow(self.objects.adopt(target, copy))
