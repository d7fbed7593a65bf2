"""Where accepted masks go: the lower part of the form *Prompt*."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast, get_args

from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from napari.layers import Labels
from qtpy.QtCore import Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QComboBox, QPushButton, QVBoxLayout, QWidget

from napari_foundseg.core.errors import FoundsegError, PromptError
from napari_foundseg.core.image import Image
from napari_foundseg.core.labels import Overlap
from napari_foundseg.core.masks import Mask
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.io.journal import Kept, Recovered
from napari_foundseg.widgets.controls.layer_choice import LayerChoice
from napari_foundseg.widgets.controls.rows import labelled, side_by_side
from napari_foundseg.widgets.editing.image_objects import Objects, assign_objects
from napari_foundseg.widgets.editing.labels_history import LabelsHistory
from napari_foundseg.widgets.editing.mask_writing import commit, outline_of, refine
from napari_foundseg.widgets.editing.recovery import RecoveryRow, take_up
from napari_foundseg.widgets.editing.undo_row import EditRow
from napari_foundseg.widgets.editing.write_checks import misfit, refused
from napari_foundseg.widgets.layers.overlay import Overlay
from napari_foundseg.widgets.layers.result_layers import editable_copy

__all__ = ["Acceptance"]


class Acceptance(QWidget):
    """Overlap rule, the buttons *Accept* and *Clear*, undo and redo, and work that was interrupted.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    place : callable
        Returns the image that masks are made of, as layer and as image; raises FoundsegError where there is none.
    """

    #: Another layer takes the accepted masks: its history.
    followed = Signal(object)
    #: What a person wanted cannot be; why.
    failed = Signal(object)

    def __init__(self, viewer: ViewerModel, place: Callable[[], tuple[ImageLayer, Image]]) -> None:
        super().__init__()
        self._viewer, self._place = viewer, place
        #: The object that is getting another outline; None for new ones.
        self.refined: int | None = None
        self._refused: tuple[ImageLayer, Image, Labels] | None = None
        self._looked: tuple[ImageLayer, Image] | None = None
        self.objects = Objects(viewer)
        self.into = LayerChoice(
            viewer,
            Labels,
            "The layer that accepted masks are written into, such as automatic masks to be corrected. "
            "Its objects can be refined.",
            follow=False,
            none="a new layer",
        )
        self.into.combo.setAccessibleName("Accept into")
        self.into.picked.connect(self._choose_layer)
        self.overlap = QComboBox()
        self.overlap.addItems(get_args(Overlap))
        self.overlap.setAccessibleName("Where objects overlap")
        self.overlap.setToolTip(
            "Keep others: an accepted mask takes only pixels that no other object has. "
            "Overwrite: it takes pixels of other objects too. "
            "Fill free only: it changes background and nothing else; a refined object gives up no pixel either."
        )
        self.accept_button = QPushButton("Accept (C)")
        self.accept_button.setToolTip("Write the mask into the layer of objects with the next free number (key C).")
        self.clear_button = QPushButton("Clear (⇧C)")
        self.clear_button.setToolTip("Take the points, shapes and strokes away without writing anything (key Shift+C).")
        self.copy_button = QPushButton("Make an editable copy")
        self.copy_button.setToolTip("Copy the objects into a new layer in memory; masks are accepted into it.")
        self.copy_button.clicked.connect(self._copy)
        self.edits = EditRow(viewer.theme)
        self.recovery = RecoveryRow(viewer)
        self.recovery.wanted.connect(self._recover)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        buttons = side_by_side(self.accept_button, self.clear_button)
        for row in (
            labelled("Into", self.into),
            labelled("Overlap", self.overlap),
            buttons,
            self.copy_button,
            self.edits,
            self.recovery,
        ):
            layout.addWidget(row)
        self.copy_button.hide()

    def another_outline(self, layer: ImageLayer, image: Image, prompts: Sequence[Prompt]) -> Prompt:
        """Return the prompt for another outline of an accepted object, which becomes `refined`.

        Parameters
        ----------
        layer : napari.layers.Image
            The image's layer.
        image : Image
            The layer as an image.
        prompts : sequence of Prompt
            One, whose first point lies on the object.

        Returns
        -------
        Prompt
            With the object as it is for a mask.

        Raises
        ------
        PromptError
            If it is not clear which object is meant.
        """
        history, over = self.objects.of(layer, image), Overlay(layer, image)
        self.refined, prompt = outline_of(history, over, image, prompts, self.refined)
        return prompt

    def write(self, layer: ImageLayer, image: Image, masks: Sequence[Mask]) -> str:
        """Write masks into the layer of an image's objects, in one step.

        Parameters
        ----------
        layer : napari.layers.Image
            The image's layer.
        image : Image
            The layer as an image.
        masks : sequence of Mask
            At least one; the first is the outline of `refined`, where there is one.

        Returns
        -------
        str
            What was written, in words.

        Raises
        ------
        PromptError
            If the layer cannot be written; nothing is.
        """
        before = self.objects.swapped(layer, image)
        history = self.follow(self.objects.of(layer, image) or self.objects.add(layer, image))
        if why := refused(history.layer):
            self._refused = layer, image, history.layer
            self.copy_button.show()
            raise PromptError(f"{history.layer.name!r} is {why}. Press {self.copy_button.text()!r}, then accept again.")
        overlap, over = cast(Overlap, self.overlap.currentText()), Overlay(layer, image)
        if self.refined is not None:
            ids = [self.refined] if refine(history, over, masks[0], self.refined, overlap) else []
        else:
            ids = commit(history, over, masks, overlap)
        if not ids:
            return "Nothing was written: it is so already, or other objects have these pixels (see Overlap)."
        what = f"object {ids[0]}" if len(ids) == 1 else f"{len(ids)} objects"
        other = "" if before is None else f" {layer.name!r} has other pixels than those under {before.name!r}."
        return f"Accepted {what} into {history.layer.name!r}.{other}"

    def follow(self, history: LabelsHistory) -> LabelsHistory:
        """Let what is written into a layer be shown and undone here.

        Parameters
        ----------
        history : LabelsHistory
            Of the layer.

        Returns
        -------
        LabelsHistory
            The same.
        """
        self.edits.follow(history)
        self.into.show_layer(history.layer)
        self.followed.emit(history)
        return history

    def show_objects(self, layer: ImageLayer | None, image: Image | None) -> None:
        """Show which layer an image's masks are accepted into.

        Parameters
        ----------
        layer : napari.layers.Image or None
            The image's layer; None where there is none.
        image : Image or None
            The layer as an image.
        """
        history = None if layer is None or image is None else self.objects.of(layer, image)
        if history is None:
            self.into.show_layer(None)
        else:
            self.follow(history)

    def _choose_layer(self) -> None:
        """Accept into the layer that a person picked."""
        try:
            layer, image = self._place()
            labels = self.into.layer
            if labels is None:
                self.objects.forget(layer)
                return
            if (reason := misfit(labels, layer, image)) is not None:
                raise PromptError(f"Masks cannot be accepted into {labels.name!r}: {reason}")
            if why := refused(labels):
                self._refused = layer, image, labels
                self.copy_button.show()
                raise PromptError(f"{labels.name!r} is {why}. Press {self.copy_button.text()!r} and accept into that.")
        except FoundsegError as error:
            self.show_objects(*self._shown())
            self.failed.emit(error)
            return
        assign_objects(layer, labels)
        self.show_objects(layer, image)

    def _shown(self) -> tuple[ImageLayer, Image] | tuple[None, None]:
        try:
            return self._place()
        except FoundsegError:
            return None, None

    def look(self, layer: ImageLayer, image: Image) -> None:
        """Look whether work on an image was interrupted.

        Parameters
        ----------
        layer : napari.layers.Image
            The image's layer.
        image : Image
            The layer as an image.
        """
        self._looked = layer, image
        self.recovery.look(layer, image)

    def release(self) -> None:
        """Let go of all layers."""
        self.objects.release()
        self.into.disconnect_viewer()
        self.recovery.close_preview()

    def _recover(self, found: Recovered, kept: Kept) -> None:
        """Take up interrupted work; its journal ends when the new one holds it all."""
        assert self._looked is not None
        take_up(self.follow(self.objects.add(*self._looked, found.labels, found.known)), kept)

    def _copy(self) -> None:
        """Go on in a copy of the layer of objects that can be written; the tool stays in hand."""
        self.copy_button.hide()
        refused, self._refused = self._refused, None
        if refused is None:
            return
        layer, image, labels = refused
        active = self._viewer.layers.selection.active
        copy = editable_copy(self._viewer, labels)
        self._viewer.add_layer(copy)
        self._viewer.layers.selection.active = active
        self.follow(self.objects.adopt(layer, image, copy))
