"""The dock widget *Prompt*."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from napari.layers import Labels
from napari.viewer import Viewer
from qtpy.QtWidgets import QWidget

from napari_foundseg.core.errors import FoundsegError, PromptError
from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Mask
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.core.result import Segmentation
from napari_foundseg.tasks import TASKS, Inputs
from napari_foundseg.widgets.controls.image_choice import NO_IMAGE
from napari_foundseg.widgets.controls.usability import set_usable
from napari_foundseg.widgets.editing.image_objects import assigned_objects
from napari_foundseg.widgets.forms.task_form import TaskForm
from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer
from napari_foundseg.widgets.layers.layer_conversion import current_index, view_pixel
from napari_foundseg.widgets.layers.marks import point_at
from napari_foundseg.widgets.prompt.acceptance import Acceptance, Role
from napari_foundseg.widgets.prompt.candidates import Candidates
from napari_foundseg.widgets.prompt.mark_controls import EACH, REFINE, MarkControls
from napari_foundseg.widgets.prompt.pointer_preview import PointerPreview
from napari_foundseg.widgets.prompt.prompt_layers import PromptLayers, Tool
from napari_foundseg.widgets.prompt.stack_encoding import StackEncoding
from napari_foundseg.widgets.qt.frame_hold import HELD, FrameHold
from napari_foundseg.widgets.runs.run import Run

__all__ = ["PromptWidget"]

#: Scale, in model pixels per image pixel, below which the form says that the model saw the object shrunk.
_SHRUNK = 0.75


class PromptWidget(TaskForm):
    """Point at an object to get its mask."""

    run_text = "Start pointing"
    run_help = "Add a points and a shapes layer over the image; every change of them updates the mask."
    outdated_result = "the mask of the image as it was before was dropped. Click again for a mask of what it shows now."

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer, TASKS["prompt"])
        self.session: PromptLayers | None = None
        self._known: ImageOnLayer | None = None
        self._frame = FrameHold()
        self._slow = False
        #: Whether the chosen model has answered; before that, it is loading.
        self._model_loaded = False
        self.build()
        self.candidates.offer([])

    def connect_controls(self) -> None:
        """Connect the signals; the run button starts and stops a session."""
        super().connect_controls()
        self.run_button.clicked.disconnect()
        self.run_button.setCheckable(True)
        self.run_button.toggled.connect(self._toggle_session)
        self.marking.sign_changed.connect(self._change_sign)
        self.marking.makes_changed.connect(self._change_makes)
        self.marking.tool_chosen.connect(self._use_tool)
        self.marking.label_taken.connect(self._use_label)
        self.candidates.changed.connect(self._show_masks)
        self.accept_button.clicked.connect(self.accept)
        self.acceptance.clear_button.clicked.connect(self.clear)
        self.acceptance.failed.connect(self.fail)
        self.recovery.recovered.connect(lambda _labels, target: self._show_recovered(target))
        self.viewer.dims.events.current_step.connect(self._slice_changed)
        self.image.channel.picked.connect(self._slice_changed)
        self.image.slab_changed.connect(self._slice_changed)

    def chosen_target(self) -> ImageOnLayer:
        """Return the chosen image: the same object as long as nothing about it changes.

        This avoids computing percentiles and hashes again for each click.
        """
        target = super().chosen_target()
        known = self._known
        if known is None or known.layer is not target.layer or not known.image.describes_as(target.image):
            self._known = known = target
        return known

    def input_rows(self) -> list[QWidget]:
        """Return the controls of the marks and of the preview under the pointer."""
        self.marking = MarkControls(self.viewer)
        self.pointer = PointerPreview()
        self.makes = self.marking.makes
        return [self.marking, self.pointer]

    def result_rows(self) -> list[QWidget]:
        """Return the candidates, the controls for accepting, and the controls for encoding in advance."""
        self.candidates = Candidates()
        self.acceptance = Acceptance(self.viewer, self.chosen_target)
        self.accept_button = self.acceptance.accept_button
        self.overlap = self.acceptance.overlap
        self.edits = self.acceptance.edits
        self.encoding = StackEncoding(self._to_encode)
        return [self.candidates, self.acceptance, self.encoding]

    def inputs(self, target: ImageOnLayer) -> Inputs:
        """Return the prompts of the current slice; raise a PromptError if there are none."""
        if self.session is None:
            raise PromptError(f"There is no prompt. Press {self.run_text!r}, then click on an object.")
        self._check_view()
        image = target.image
        prompts = self.session.prompts(target, current_index(self.viewer, target))
        if not prompts:
            raise PromptError("There is no prompt on this slice. Click on an object or draw a box around it.")
        for prompt in prompts:
            prompt.in_plane(image.shape, image.label_axes)
        refines = self.makes.currentText() == REFINE
        refined = self.acceptance.role.refined
        prompts, self.acceptance.role = self.acceptance.read(target, prompts, refines=refines, refined=refined)
        return self.task.inputs.parse({"prompts": tuple(prompts)})

    def coarsest_pixel(self, target: ImageOnLayer) -> float:
        """Return the width of a screen pixel, in image pixels, so that the zoom decides the level."""
        return view_pixel(self.viewer, target.layer)

    def show_result(self, target: ImageOnLayer, run: Run, segmentation: Segmentation, seconds: float) -> str:
        """Show the masks in the preview layer; return their size, score and scale in words."""
        if self.session is None or target.layer is not self.session.layer:
            return ""
        self._model_loaded = True
        self.messages["inputs"].say("")
        if self.image_change:
            return ""
        self._slow = 1000 * seconds > 2 * HELD
        self.pointer.learn(seconds)
        self.candidates.offer(run.at_full_resolution(segmentation).masks or ())
        return self.candidates.in_words() + _scale_in_words(segmentation.provenance)

    def accept(self) -> None:
        """Write the shown masks into the layer of objects and remove the marks."""
        masks = self.candidates.masks
        if masks:
            self._write(masks)
        else:
            self.messages["inputs"].say(self._why_no_mask())

    def accept_shown(self) -> None:
        """Accept the shown masks; if there are no marks, accept the mask that is outlined under the pointer."""
        guess = self.pointer.guess
        if guess is None or self.session is None or not self.session.empty:
            self.accept()
            return
        mask, self.acceptance.role = guess
        self._write([mask])
        self.acceptance.role = Role()

    def _write(self, masks: Sequence[Mask]) -> None:
        target = self._session_target()
        if target is None:
            return
        try:
            words = self.acceptance.write(target, masks)
        except PromptError as error:
            self.fail(error)
            return
        self.clear()
        self.result.setText(words)
        self.result.show()

    def _why_no_mask(self) -> str:
        if self.current is None:
            return "There is no mask to accept. Click on an object or draw a box around it first."
        reason = "The mask is being computed" if self._model_loaded else "The model is loading"
        return f"{reason}. Accept the mask when it is shown."

    def clear(self) -> None:
        """Remove the marks and the preview; the session continues."""
        if self.session is not None:
            self.session.clear()
        self.pointer.stop()
        self._drop_masks(cancel=True)
        self._clear_messages()

    def unfinished(self) -> str:
        """Return an empty text: a lost mask can be computed again with a single click."""
        return ""

    def release(self) -> None:
        """Disconnect from the viewer, the engine and the keys."""
        self.viewer.dims.events.current_step.disconnect(self)
        self.pointer.leave()
        if self.session is not None:
            self.session.release()
            self._connect_pixels(self.session, False)
            self.session = None
        self.marking.release()
        self.acceptance.release()
        self.encoding.stop()
        self._frame.draw()
        super().release()

    def _change_model(self) -> None:
        self._model_loaded = False
        super()._change_model()

    def update_estimate(self) -> None:
        """Show no estimate, because a mask takes milliseconds."""

    def _show_busy(self) -> None:
        """Leave the controls enabled, since the next prompt may come while a mask is computed."""
        set_usable(self.cancel_button, "")

    def why_not_usable(self) -> str:
        """Return the reason why pointing cannot begin; stopping is always possible."""
        return "" if self.session is not None else super().why_not_usable()

    def show_usability(self) -> None:
        """Enable the controls that can be used now."""
        super().show_usability()
        set_usable(self.run_button, self.why_not_usable())
        pointing = "" if self.session is not None else f"Press {self.run_text!r} first."
        set_usable(self.acceptance.clear_button, pointing)
        set_usable(self.accept_button, "" if self.candidates.masks else pointing or "There is no mask to accept yet.")
        set_usable(self.encoding.button, "" if self.image.layer is not None else NO_IMAGE)

    def _show_idle(self, result: str) -> None:
        super()._show_idle(result)
        self.words.setText("Click on an object, or use shapes or the brush." if self.session else "")
        self._frame.draw()

    def _toggle_session(self, on: bool) -> None:
        self._clear_messages()
        self._end_session()
        if not on:
            self.run_button.setText(self.run_text)
            self._show_idle("")
            return
        self.image.wait_for_file()
        try:
            target = self.chosen_target()
            self._check_view()
        except FoundsegError as error:
            self.run_button.setChecked(False)
            self.fail(error)
            return
        self.session = PromptLayers(self.viewer, target, self._prompts_changed, self._stop_session)
        self._connect_pixels(self.session, True)
        self.session.each = self.makes.currentText() == EACH
        self.session.positive = self.marking.positive
        self.marking.arm(True)
        self.pointer.follow(self.viewer, self.session.points, self._pointer_run, self._show_guess)
        steps = self.acceptance.steps
        steps.use_marks(self.session.history)
        self.session.bind(
            {
                "C": self.accept_shown,
                # Alt may be held, to preview a mark with the opposite sign.
                "Alt-C": self.accept_shown,
                "N": self.candidates.next,
                "Shift-C": self.clear,
                "Control-Z": steps.undo,
                "Control-Shift-Z": steps.redo,
                "Control-Y": steps.redo,
            }
        )
        self.acceptance.show_objects(target)
        self.run_button.setText("Stop pointing")
        self._show_idle("")

    def _check_view(self) -> None:
        if self.viewer.dims.ndisplay != 2:
            raise PromptError("Prompts need the 2-D view. Press the 2D/3D button below the layer list first.")

    def _connect_pixels(self, session: PromptLayers, on: bool) -> None:
        """Follow changes of the pixels of the session's image, or stop following them."""
        for emitter in (session.layer.events.data, session.layer.events.set_data):
            emitter.connect(self._forget_image) if on else emitter.disconnect(self)

    def _forget_image(self, _event: Any = None) -> None:
        self._known = None

    def _stop_session(self, why: str) -> None:
        gone = self.session is not None and self.session.layer not in self.viewer.layers
        if gone and assigned_objects(self.image.layer) is not None:
            # The worklist has opened another image, so the session continues there.
            self._toggle_session(True)
            return
        self.run_button.setChecked(False)
        self.messages["image"].say(
            f"{why}, so pointing has stopped; accepted objects are kept. To continue, press {self.run_text!r}."
        )

    def _end_session(self) -> None:
        self.pointer.leave()
        self.marking.arm(False)
        session = self.session
        self.session = None
        self.acceptance.steps.use_marks(None)
        self._drop_masks(cancel=True)
        self._forget_image()
        if session is not None:
            self._connect_pixels(session, False)
            session.remove()

    def _drop_masks(self, cancel: bool = False) -> None:
        """Hide all masks and ignore the current run.

        Unless `cancel` is true, the run continues in the background, because its encoding is kept for later prompts.
        """
        if cancel:
            self.cancel()
        elif self._follower.drop() is not None:
            self._show_idle("")
        self.acceptance.role = Role()
        self.candidates.offer([])
        self.result.hide()
        self.name_result()

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
        target = self._session_target()
        try:
            prompts = target is not None and self.session.prompts(target, current_index(self.viewer, target))
        except PromptError as error:
            self._drop_masks()
            self.fail(error)
            return
        if not prompts:
            self._drop_masks()
            return
        # With a slow model, the point is drawn at once instead of together with its mask.
        if not self._slow:
            self._frame.hold(self.window())
        # The key is unique to this form, so that clicks in another viewer do not replace these runs.
        self.run(replace=f"prompt {id(self)}")
        if self.current is None:
            self._frame.draw()

    def _to_encode(self) -> tuple[Image, str] | None:
        if self.offer_download(self.encoding.start):
            return None
        return self.chosen_target().image, str(self.model.currentData())

    def _slice_changed(self, _event: Any = None) -> None:
        if self.session is not None and self.viewer.dims.ndim > 2:
            self._prompts_changed()

    def _pointer_run(self, position: Any, alt: bool) -> tuple[Run, Role] | None:
        """Return the run for a click at the pointer; None while there are marks or if a click is not possible."""
        session = self.session
        if session is None or not session.empty or self.current is not None or self.viewer.dims.ndisplay != 2:
            return None
        refines = self.makes.currentText() == REFINE
        positive = session.positive != alt
        with suppress(FoundsegError):
            target = self.chosen_target()
            place = point_at(position, target) if target.layer is session.layer and (positive or refines) else None
            if place is not None:
                prompts, role = self.acceptance.read(target, [Prompt([place], [int(positive)])], refines=refines)
                inputs = self.task.inputs.parse({"prompts": tuple(prompts)})
                return Run(self.request(target, inputs), f"pointer {id(self)}"), role
        return None

    def _show_guess(self, mask: Mask | None) -> None:
        if self.session is not None and not self.candidates.masks:
            self.session.preview.show_outline(mask)

    def _use_tool(self, tool: Tool) -> None:
        if self.session is not None:
            self.session.use(tool)

    def _use_label(self, labels: Labels, label: int) -> None:
        """Use an object of another layer as a prompt."""
        target = self._session_target()
        if self.session is None or target is None:
            return
        try:
            self.session.scribble.take(labels, label, target, current_index(self.viewer, target))
        except PromptError as error:
            self.fail(error)

    def _session_target(self) -> ImageOnLayer | None:
        """Return the session's layer with its current image; show a message and return None if that is unusable."""
        if self.session is None:
            return None
        try:
            return ImageOnLayer(self.session.layer, self.chosen_target().image)
        except FoundsegError as error:
            self.fail(error)
            return None

    def _change_sign(self) -> None:
        if self.session is not None:
            self.session.positive = self.marking.positive

    def _show_masks(self) -> None:
        masks = self.candidates.masks
        if self.session is not None:
            self.session.preview.show(masks)
        self.show_usability()
        if masks:
            self.result.setText(self.candidates.in_words())

    def _change_makes(self, text: str) -> None:
        self.clear()
        if self.session is not None:
            self.session.each = text == EACH

    def image_changed(self) -> None:
        """Show the layer into which the masks of the chosen image are accepted."""
        super().image_changed()
        self.pointer.stop()
        if self.image.layer is not None and self.session is None:
            with suppress(FoundsegError):
                self.acceptance.show_objects(self.image.target())

    def _show_recovered(self, target: ImageOnLayer | None) -> None:
        """Accept masks of the chosen image into the layer that was recovered for it."""
        if target is not None and target.layer is self.image.layer:
            self.acceptance.show_objects(target)


def _scale_in_words(provenance: Mapping[str, Any]) -> str:
    """Return the scale at which the model saw a single object, if it was shrunk; else an empty text."""
    scales = provenance.get("scales", ())
    if len(scales) != 1 or scales[0] > _SHRUNK:
        return ""
    return f", seen at {scales[0]:.0%} of its size"
