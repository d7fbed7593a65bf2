"""The dock widget *Prompt*."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, cast

import numpy as np
from napari.layers import Image as ImageLayer
from napari.viewer import Viewer
from qtpy.QtWidgets import QButtonGroup, QComboBox, QPushButton, QRadioButton, QWidget

from napari_foundseg.core.errors import FoundsegError, PromptError
from napari_foundseg.core.image import Image
from napari_foundseg.core.labels import Overlap
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.core.result import Segmentation
from napari_foundseg.io.journal import Kept, end_journal
from napari_foundseg.tasks import TASKS, Inputs
from napari_foundseg.widgets.candidates import Candidates
from napari_foundseg.widgets.colours import NEGATIVE, POSITIVE
from napari_foundseg.widgets.edit_row import EditRow
from napari_foundseg.widgets.history import LabelsHistory
from napari_foundseg.widgets.jobs import Run
from napari_foundseg.widgets.layers import current_index
from napari_foundseg.widgets.objects import Objects, commit, refine
from napari_foundseg.widgets.one_frame import HELD, OneFrame
from napari_foundseg.widgets.overlay import Overlay
from napari_foundseg.widgets.preview import Preview
from napari_foundseg.widgets.prompt_layers import PromptLayers
from napari_foundseg.widgets.recovery import RecoveryRow
from napari_foundseg.widgets.rows import labelled, side_by_side
from napari_foundseg.widgets.task_form import TaskForm

__all__ = ["PromptWidget"]

_NEW, _EACH, _REFINE = "one new object", "an object each", "an accepted object better"


class PromptWidget(TaskForm):
    """Point at an object and get its mask.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer.
    """

    run_text = "Start pointing"
    run_help = "Add a layer of points and one of boxes over the image; every change of them shows a mask."

    def __init__(self, napari_viewer: Viewer) -> None:
        self.session: PromptLayers | None = None
        self._preview: Preview | None = None
        self._session_layer: ImageLayer | None = None
        self.objects = Objects(napari_viewer)
        self._refined: int | None = None
        self._known: Image | None = None
        self._frame, self._slow = OneFrame(), False
        super().__init__(napari_viewer, TASKS["prompt"])
        self.run_button.clicked.disconnect()
        self.run_button.setCheckable(True)
        self.run_button.toggled.connect(self._arm)
        napari_viewer.dims.events.current_step.connect(self._slice_changed)
        self._refined = None
        self.candidates.offer([])

    def chosen_image(self) -> Image:
        """Return the chosen layer as an image, measured once while nothing about it changes.

        Returns
        -------
        Image
            The same object for click after click, so that none waits for percentiles or for hashes.
        """
        image = super().chosen_image()
        if self._known is None or not self._known.describes_as(image):
            self._known = image
        return self._known

    def input_rows(self) -> list[QWidget]:
        """Return the choice of the points' sign.

        Returns
        -------
        list of QWidget
            One row.
        """
        buttons = []
        self._signs = QButtonGroup(self)
        for text, colour, help_text in (
            ("on the object", POSITIVE, "Clicks mark the object. Alt+click marks what is not."),
            ("not on it", NEGATIVE, "Clicks mark what is not the object. Alt+click marks the object."),
        ):
            button = QRadioButton(text)
            button.setToolTip(help_text)
            button.setStyleSheet(f"QRadioButton {{ border-left: 4px solid {colour}; padding-left: 4px; }}")
            self._signs.addButton(button)
            buttons.append(button)
        self._signs.buttons()[0].setChecked(True)
        self._signs.buttonToggled.connect(self._change_sign)
        self.makes = QComboBox()
        self.makes.addItems([_NEW, _EACH, _REFINE])
        self.makes.setAccessibleName("What clicks make")
        self.makes.setToolTip(
            "One new object of all points; an object of each point; or another outline of an accepted object: click on "
            "it, then add clicks on what is missing or, with Alt, on what is too much. No other object changes. "
            "Each rectangle, ellipse or polygon is an object of its own; a line marks what is on the object."
        )
        self.makes.currentTextChanged.connect(self._change_makes)
        return [labelled("Click is", *buttons), labelled("Makes", self.makes)]

    def result_rows(self) -> list[QWidget]:
        """Return the candidates' chooser and the acceptance.

        Returns
        -------
        list of QWidget
            From top to bottom.
        """
        self.candidates = Candidates()
        self.candidates.changed.connect(self._show)
        self.overlap = QComboBox()
        self.overlap.addItems(["keep others", "overwrite"])
        self.overlap.setAccessibleName("Where objects overlap")
        self.overlap.setToolTip("Whether an accepted mask may take pixels from objects that are there already.")
        self.accept_button = QPushButton("Accept")
        self.accept_button.setToolTip("Write the mask into the layer of objects with the next free number (key C).")
        self.accept_button.clicked.connect(self.accept)
        self.clear_button = QPushButton("Clear")
        self.clear_button.setToolTip("Take the points and boxes away without writing anything (key Shift+C).")
        self.clear_button.clicked.connect(self.clear)
        self.edits = EditRow(self.viewer.theme)
        buttons = side_by_side(self.accept_button, self.clear_button)
        self.recovery = RecoveryRow(self.viewer)
        self.recovery.wanted.connect(self._recover)
        return [self.candidates, labelled("Overlap", self.overlap), buttons, self.edits, self.recovery]

    def inputs(self, layer: ImageLayer, image: Image) -> Inputs:
        """Return the prompts of the current slice.

        Parameters
        ----------
        layer : napari.layers.Image
            The chosen layer.
        image : Image
            The layer as an image.

        Returns
        -------
        PromptInputs
            At least one prompt.
        """
        if self.session is None:
            raise PromptError(f"There is no prompt. Press {self.run_text!r}, then click on an object.")
        if self.viewer.dims.ndisplay != 2:
            raise PromptError("Prompts are for the 2-D view. Press the 2D/3D button below the layer list first.")
        prompts = self.session.prompts(image, current_index(self.viewer, layer, image))
        if not prompts:
            raise PromptError("There is no prompt on this slice. Click on an object or draw a box around it.")
        for prompt in prompts:
            prompt.in_plane(image.shape, image.label_axes)
        if self.makes.currentText() == _REFINE:
            prompts = self._refining(layer, image, prompts)
        return self.task.inputs.parse({"prompts": tuple(prompts)})

    def deliver(
        self,
        layer: ImageLayer,
        run: Run,  # noqa: ARG002 - as the form calls it
        segmentation: Segmentation,
        seconds: float,
    ) -> str:
        """Show the masks in the preview layer.

        Parameters
        ----------
        layer : napari.layers.Image
            The image's layer.
        run : Run
            The run.
        segmentation : Segmentation
            Its result.
        seconds : float
            How long it took.

        Returns
        -------
        str
            The mask's size and score.
        """
        if self._preview is None or self._preview.layer not in self.viewer.layers or layer is not self._session_layer:
            return ""
        self._slow = 1000 * seconds > 2 * HELD
        self.candidates.offer(segmentation.masks or ())
        return self.candidates.in_words()

    def accept(self) -> None:
        """Write the shown masks into the layer of objects and take the prompts away."""
        layer, image = self._session_layer, self._session_image()
        masks = self.candidates.masks
        if layer is None or image is None or not masks:
            self.messages["inputs"].say("There is no mask to accept. Click on an object or draw a box around it first.")
            return
        history = self.objects.of(layer, image) or self._watched(self.objects.add(layer, image))
        overlap, over = cast(Overlap, self.overlap.currentText()), Overlay(layer, image)
        if self._refined is not None:
            ids = [self._refined] if refine(history, over, masks[0], self._refined, overlap) else []
        else:
            ids = commit(history, over, masks, overlap)
        self.clear()
        what = f"object {ids[0]}" if len(ids) == 1 else f"{len(ids)} objects"
        nothing = "Nothing was written: it is so already, or other objects have these pixels (see Overlap)."
        self.result.setText(f"Accepted {what} into {history.layer.name!r}." if ids else nothing)
        self.result.show()

    def clear(self) -> None:
        """Take the prompts and the preview away; stay armed."""
        if self.current is not None:
            self.cancel()
        if self.session is not None:
            self.session.clear()
        self._refined = None
        self.candidates.offer([])
        self._clear_messages()
        self.result.hide()

    def release(self) -> None:
        """Let go of the viewer, the engine, and the keys."""
        self.viewer.dims.events.current_step.disconnect(self._slice_changed)
        if self.session is not None:
            self.session.release()
            self.session = None
            self._watch(False)
        self.objects.release()
        self.recovery.close_preview()
        self._frame.draw()
        super().release()

    def update_estimate(self) -> None:
        """Say nothing: a mask comes within a blink."""

    def _busy(self) -> None:
        """Stay as it is: the next prompt may come while a mask is being made."""
        self.cancel_button.setEnabled(True)

    def _idle(self, result: str) -> None:
        super()._idle(result)
        self.words.setText(
            "Click on an object, or select the shapes layer and draw around one." if self.session else ""
        )
        self._frame.draw()

    def _arm(self, on: bool) -> None:
        self._clear_messages()
        self._disarm()
        if not on:
            self.run_button.setText(self.run_text)
            self._idle("")
            return
        try:
            image, layer = self.chosen_image(), self.image.layer
            if self.viewer.dims.ndisplay != 2:
                raise PromptError("Prompts are for the 2-D view. Press the 2D/3D button below the layer list first.")
        except FoundsegError as error:
            self.run_button.setChecked(False)
            self.fail(error)
            return
        assert layer is not None
        self._session_layer = layer
        self._watch(True)
        self._preview = Preview(self.viewer, layer, image)
        self.session = PromptLayers(self.viewer, layer, image, self._prompts_changed)
        self.session.each = self.makes.currentText() == _EACH
        self._bind()
        if (history := self.objects.of(layer, image)) is not None:
            self._watched(history)
        self.run_button.setText("Stop pointing")
        self._idle("")

    def _watch(self, on: bool) -> None:
        """Follow what changes the pixels of the session's image."""
        assert self._session_layer is not None
        for emitter in (self._session_layer.events.data, self._session_layer.events.set_data):
            emitter.connect(self._forget_image) if on else emitter.disconnect(self._forget_image)

    def _forget_image(self, _event: Any = None) -> None:
        self._known = None

    def _disarm(self) -> None:
        if self.current is not None:
            self.cancel()
        if self._session_layer is not None:
            self._watch(False)
        self._forget_image()
        session, preview = self.session, self._preview
        self.session = self._preview = self._session_layer = None
        if session is not None:
            session.remove()
        if preview is not None and preview.layer in self.viewer.layers:
            self.viewer.layers.remove(preview.layer)
        self._refined = None
        self.candidates.offer([])

    def _prompts_changed(self) -> None:
        if self.session is None or self._session_layer is None:
            return
        if self._session_layer not in self.viewer.layers:
            self.messages["image"].say("The image layer was removed. Press 'Stop pointing' and choose another image.")
            return
        if self.image.layer is not self._session_layer:
            self.messages["image"].say(
                f"The points belong to {self._session_layer.name!r}. Choose it again, or stop and start pointing."
            )
            return
        self._clear_messages()
        image = self._session_image()
        if image is None or not self.session.prompts(image, current_index(self.viewer, self._session_layer, image)):
            self._refined = None
            self.candidates.offer([])
            return
        # A model that keeps us waiting must not keep the point waiting too.
        if not self._slow:
            self._frame.hold(self.window())
        self.run(replace="prompt")
        if self.current is None:
            self._frame.draw()

    def _slice_changed(self, _event: Any = None) -> None:
        if self.session is not None and self.viewer.dims.ndim > 2:
            try:
                self._prompts_changed()
            except PromptError as error:
                self.fail(error)

    def _session_image(self) -> Image | None:
        try:
            return self.chosen_image()
        except FoundsegError as error:
            self.fail(error)
            return None

    def _change_sign(self) -> None:
        if self.session is not None:
            self.session.positive = self._signs.buttons()[0].isChecked()

    def _show(self) -> None:
        masks = self.candidates.masks
        if self._preview is not None and self._preview.layer in self.viewer.layers:
            self._preview.show(masks)
        self.accept_button.setEnabled(bool(masks))
        if masks:
            self.result.setText(self.candidates.in_words())

    def _bind(self) -> None:
        if self.session is not None:
            self.session.bind({"C": self.accept, "N": self.candidates.next, "Shift-C": self.clear})

    def _change_makes(self, text: str) -> None:
        self.clear()
        if self.session is not None:
            self.session.each = text == _EACH

    def _refining(self, layer: ImageLayer, image: Image, prompts: list[Prompt]) -> list[Prompt]:
        """Return the prompts with the mask of the object that the first point lies on: it is made anew."""
        history = self.objects.of(layer, image)
        if history is None:
            raise PromptError(f"There are no accepted objects to refine yet. Choose {_NEW!r} first.")
        if len(prompts) != 1 or not prompts[0].points:
            raise PromptError("To refine, click on one accepted object; shapes are for new objects.")
        prompt, over = prompts[0], Overlay(layer, image)
        if self._refined is None:
            index, flat = prompt.in_plane(image.shape, image.label_axes)
            at = tuple(int(np.floor(c + 0.5)) for c in flat.points[0])
            self._refined = int(over.plane(history.layer.data, index)[at]) or None
        if self._refined is None:
            raise PromptError("There is no accepted object under the first point. Press Clear and click on one.")
        index, _ = prompt.in_plane(image.shape, image.label_axes)
        mask = over.plane(history.layer.data, index) == self._refined
        if not mask.any():
            raise PromptError(f"Object {self._refined} is not on this slice. Press Clear and click on one that is.")
        return [Prompt(prompt.points, prompt.labels, mask=mask)]

    def image_changed(self) -> None:
        """Look whether work on the chosen image was interrupted."""
        super().image_changed()
        layer = self.image.layer
        if layer is None or self.session is not None:
            return
        with suppress(FoundsegError):
            self.recovery.look(layer, self.image.image())

    def _recover(self, labels: Any, kept: Kept) -> None:
        """Take up interrupted work; its journal ends when the new one holds it all."""
        layer, image = self.image.layer, self.image.image()
        assert layer is not None
        history = self._watched(self.objects.add(layer, image, labels))

        def held(_when: float) -> None:
            history.saved.disconnect(held)
            with suppress(OSError):  # it may have been cleared away meanwhile
                end_journal(kept.path)

        history.saved.connect(held)
        history.keep()

    def _watched(self, history: LabelsHistory) -> LabelsHistory:
        """Let the form show and undo what is written into a layer of objects."""
        self.edits.follow(history)
        if self.session is not None:
            history.bind(self.session.points)
            history.bind(self.session.boxes)
        return history
