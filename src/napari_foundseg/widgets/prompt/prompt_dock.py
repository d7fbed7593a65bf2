"""The dock widget *Prompt*."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from napari.layers import Image as ImageLayer
from napari.layers import Labels
from napari.viewer import Viewer
from qtpy.QtWidgets import QWidget

from napari_foundseg.core.errors import FoundsegError, PromptError
from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Mask
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.core.result import Segmentation
from napari_foundseg.tasks import TASKS, Inputs
from napari_foundseg.widgets.editing.image_objects import assigned_objects
from napari_foundseg.widgets.editing.labels_history import LabelsHistory
from napari_foundseg.widgets.forms.task_form import TaskForm
from napari_foundseg.widgets.layers.layer_conversion import current_index, view_pixel
from napari_foundseg.widgets.layers.marks import point_at
from napari_foundseg.widgets.prompt.acceptance import Acceptance
from napari_foundseg.widgets.prompt.candidates import Candidates
from napari_foundseg.widgets.prompt.mark_controls import EACH, REFINE, Marking
from napari_foundseg.widgets.prompt.pointer_preview import PointerPreview
from napari_foundseg.widgets.prompt.prompt_layers import PromptLayers, Tool
from napari_foundseg.widgets.prompt.stack_encoding import EncodeStack
from napari_foundseg.widgets.qt.frame_hold import HELD, OneFrame
from napari_foundseg.widgets.runs.run import Run

__all__ = ["PromptWidget"]


class PromptWidget(TaskForm):
    """Point at an object and get its mask.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer.
    """

    run_text = "Start pointing"
    run_help = "Add layers of points and of shapes over the image; every change of them shows a mask."

    def __init__(self, napari_viewer: Viewer) -> None:
        self.session: PromptLayers | None = None
        self._known: Image | None = None
        self._frame, self._slow = OneFrame(), False
        super().__init__(napari_viewer, TASKS["prompt"])
        self.run_button.clicked.disconnect()
        self.run_button.setCheckable(True)
        self.run_button.toggled.connect(self._arm)
        napari_viewer.dims.events.current_step.connect(self._slice_changed)
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
        """Return the controls of the marks.

        Returns
        -------
        list of QWidget
            From top to bottom.
        """
        self.marking, self.pointer = Marking(self.viewer), PointerPreview()
        self.makes = self.marking.makes
        self.marking.sign_changed.connect(self._change_sign)
        self.marking.makes_changed.connect(self._change_makes)
        self.marking.tool_chosen.connect(self._use)
        self.marking.label_taken.connect(self._take)
        return [self.marking, self.pointer]

    def result_rows(self) -> list[QWidget]:
        """Return the candidates' chooser, the acceptance, and the encoding in advance.

        Returns
        -------
        list of QWidget
            From top to bottom.
        """
        self.candidates, self.acceptance = Candidates(), Acceptance(self.viewer, self._place)
        self.candidates.changed.connect(self._show)
        self.accept_button, self.overlap = self.acceptance.accept_button, self.acceptance.overlap
        self.edits, self.recovery = self.acceptance.edits, self.acceptance.recovery
        self.accept_button.clicked.connect(self.accept)
        self.acceptance.clear_button.clicked.connect(self.clear)
        self.acceptance.followed.connect(self._bind_undo)
        self.acceptance.failed.connect(self.fail)
        self.encoding = EncodeStack(lambda: (self.chosen_image(), str(self.model.currentData())))
        return [self.candidates, self.acceptance, self.encoding]

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
        self._check_view()
        prompts = self.session.prompts(image, current_index(self.viewer, layer, image))
        if not prompts:
            raise PromptError("There is no prompt on this slice. Click on an object or draw a box around it.")
        for prompt in prompts:
            prompt.in_plane(image.shape, image.label_axes)
        if self.makes.currentText() == REFINE:
            prompts = [self.acceptance.another_outline(layer, image, prompts)]
        return self.task.inputs.parse({"prompts": tuple(prompts)})

    def _wanted_pixel(self, layer: ImageLayer, image: Image) -> float:  # noqa: ARG002 - as the form calls it
        """Return how coarse a level may be: what a person points at is seen on the screen."""
        return view_pixel(self.viewer, layer)

    def deliver(
        self,
        layer: ImageLayer,
        run: Run,
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
        if self.session is None or layer is not self.session.layer:
            return ""
        self._slow = 1000 * seconds > 2 * HELD
        self.pointer.learn(seconds)
        self.candidates.offer(run.at_full_resolution(segmentation).masks or ())
        return self.candidates.in_words()

    def accept(self) -> None:
        """Write the shown masks into the layer of objects and take the prompts away."""
        image, masks = self._session_image(), self.candidates.masks
        if self.session is None or image is None or not masks:
            self.messages["inputs"].say("There is no mask to accept. Click on an object or draw a box around it first.")
            return
        try:
            words = self.acceptance.write(self.session.layer, image, masks)
        except PromptError as error:
            self.fail(error)
            return
        self.clear()
        self.result.setText(words)
        self.result.show()

    def clear(self) -> None:
        """Take the prompts and the preview away; stay armed."""
        if self.session is not None:
            self.session.clear()
        self._nothing(cancel=True)
        self._clear_messages()

    def release(self) -> None:
        """Let go of the viewer, the engine, and the keys."""
        self.viewer.dims.events.current_step.disconnect(self._slice_changed)
        self.pointer.leave()
        if self.session is not None:
            self.session.release()
            self._watch(self.session, False)
            self.session = None
        self.marking.release()
        self.acceptance.release()
        self.encoding.stop()
        self._frame.draw()
        super().release()

    def update_estimate(self) -> None:
        """Say nothing: a mask comes within a blink."""

    def _busy(self) -> None:
        """Stay as it is: the next prompt may come while a mask is being made."""
        self.cancel_button.setEnabled(True)

    def _idle(self, result: str) -> None:
        super()._idle(result)
        self.words.setText("Click on an object, or take shapes or the brush." if self.session else "")
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
            self._check_view()
        except FoundsegError as error:
            self.run_button.setChecked(False)
            self.fail(error)
            return
        assert layer is not None
        self.session = PromptLayers(self.viewer, layer, image, self._prompts_changed, self._stop)
        self._watch(self.session, True)
        self.session.each = self.makes.currentText() == EACH
        self.session.positive = self.marking.positive
        self.marking.arm(True)
        self.pointer.follow(self.viewer, self.session.points, self._guess, self._show_guess)
        self.session.bind({"C": self.accept, "N": self.candidates.next, "Shift-C": self.clear})
        self.acceptance.show_objects(layer, image)
        self.run_button.setText("Stop pointing")
        self._idle("")

    def _check_view(self) -> None:
        if self.viewer.dims.ndisplay != 2:
            raise PromptError("Prompts are for the 2-D view. Press the 2D/3D button below the layer list first.")

    def _watch(self, session: PromptLayers, on: bool) -> None:
        """Follow what changes the pixels of the session's image."""
        for emitter in (session.layer.events.data, session.layer.events.set_data):
            emitter.connect(self._forget_image) if on else emitter.disconnect(self._forget_image)

    def _forget_image(self, _event: Any = None) -> None:
        self._known = None

    def _stop(self, why: str) -> None:
        gone = self.session is not None and self.session.layer not in self.viewer.layers
        if gone and assigned_objects(self.image.layer) is not None:
            # A worklist has gone on to another image: the tool stays in hand.
            self._arm(True)
            return
        self.run_button.setChecked(False)
        self.messages["image"].say(
            f"{why}, so pointing has stopped; accepted objects are kept. To go on, press {self.run_text!r}."
        )

    def _disarm(self) -> None:
        self.pointer.leave()
        self.marking.arm(False)
        session, self.session = self.session, None
        self._nothing(cancel=True)
        self._forget_image()
        if session is not None:
            self._watch(session, False)
            session.remove()

    def _nothing(self, cancel: bool = False) -> None:
        """Have no masks: what is under way is for prompts that are gone. It may end unseen: what it encodes is kept."""
        if self.current is not None and cancel:
            self.cancel()
        elif self.current is not None:
            self.current = None
            self._idle("")
        self.acceptance.refined = None
        self.candidates.offer([])
        self.result.hide()

    def _prompts_changed(self) -> None:
        if self.session is None:
            return
        layer = self.session.layer
        self.pointer.stop()
        if self.image.layer is not layer:
            self.messages["image"].say(
                f"The points belong to {layer.name!r}. Choose it again, or stop and start pointing."
            )
            return
        self._clear_messages()
        image = self._session_image()
        try:
            there = image is not None and self.session.prompts(image, current_index(self.viewer, layer, image))
        except PromptError as error:
            self._nothing()
            self.fail(error)
            return
        if not there:
            self._nothing()
            return
        # A model that keeps us waiting must not keep the point waiting too.
        if not self._slow:
            self._frame.hold(self.window())
        # A name of this form's own: another viewer's clicks are other clicks.
        self.run(replace=f"prompt {id(self)}")
        if self.current is None:
            self._frame.draw()

    def _slice_changed(self, _event: Any = None) -> None:
        if self.session is not None and self.viewer.dims.ndim > 2:
            self._prompts_changed()

    def _guess(self, position: Any) -> Run | None:
        """Return the run for a click at the pointer; None while there are prompts, or where none can be."""
        session = self.session
        if session is None or not session.empty or self.current is not None:
            return None
        if self.makes.currentText() == REFINE or self.viewer.dims.ndisplay != 2:
            return None
        with suppress(FoundsegError):
            image = self.chosen_image()
            if self.image.layer is session.layer and (place := point_at(position, session.layer, image)) is not None:
                inputs = self.task.inputs.parse({"prompts": (Prompt([place]),)})
                model = str(self.model.currentData())
                level = self.image.level(image, self._wanted_pixel(session.layer, image))
                return Run(self.task.name, image, inputs, self.settings, model, f"pointer {id(self)}", level)
        return None

    def _show_guess(self, mask: Mask | None) -> None:
        if self.session is not None and not self.candidates.masks:
            self.session.preview.show_outline(mask)

    def _use(self, tool: Tool) -> None:
        if self.session is not None:
            self.session.use(tool)

    def _take(self, labels: Labels, label: int) -> None:
        """Make an object of another layer a prompt."""
        image = self._session_image()
        if self.session is None or image is None:
            return
        try:
            index = current_index(self.viewer, self.session.layer, image)
            self.session.scribble.take(labels, label, image, index)
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
            self.session.positive = self.marking.positive

    def _show(self) -> None:
        masks = self.candidates.masks
        if self.session is not None:
            self.session.preview.show(masks)
        self.accept_button.setEnabled(bool(masks))
        if masks:
            self.result.setText(self.candidates.in_words())

    def _change_makes(self, text: str) -> None:
        self.clear()
        if self.session is not None:
            self.session.each = text == EACH

    def image_changed(self) -> None:
        """Look whether work on the chosen image was interrupted."""
        super().image_changed()
        if self.image.layer is not None and self.session is None:
            with suppress(FoundsegError):
                image = self.image.image()
                self.acceptance.show_objects(self.image.layer, image)
                self.acceptance.look(self.image.layer, image)

    def _place(self) -> tuple[ImageLayer, Image]:
        image, layer = self.chosen_image(), self.image.layer
        assert layer is not None
        return layer, image

    def _bind_undo(self, history: LabelsHistory) -> None:
        """Let undo act on the objects while a person points; on the scribbles it is napari's own."""
        if self.session is not None:
            history.bind(self.session.points)
            history.bind(self.session.boxes)
