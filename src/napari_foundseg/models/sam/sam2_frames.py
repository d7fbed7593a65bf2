"""SAM 2, SAM 2.1, MedSAM2, EdgeTAM and the tracker of SAM 3 on the frames of a film or the slices of a stack.

The sessions of transformers do the work. Each object has a session of its own, so that objects do not affect each
other. All sessions read the features of a frame from one cache. Frames are read on demand. A session keeps only the
memory that later frames use; otherwise it would grow by 5.8 MB per frame and object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.prompts import Prompt
from napari_foundseg.models.protocols.frames import FrameMasks, FramePrompt
from napari_foundseg.models.sam.frame_prompts import merged_prompts, stands_alone
from napari_foundseg.models.sam.sam2_model import CORNERS, Sam2Model

if TYPE_CHECKING:
    import torch

__all__ = ["Sam2FrameModel", "sam2_model"]

#: Sessions of transformers by the ``model_type`` of the network.
_SESSIONS = {
    "sam2_video": "Sam2VideoInferenceSession",
    "edgetam_video": "EdgeTamVideoInferenceSession",
    "sam3_tracker_video": "Sam3TrackerVideoInferenceSession",
}


class Sam2FrameModel(Sam2Model):
    """A network with a memory, which also implements `Propagating`.

    Parameters
    ----------
    forgets : bool
        Whether the backward pass ignores the memory of the forward pass, as MedSAM2's authors do it. Otherwise the
        backward pass uses that memory, as SAM 2 does.
    """

    def __init__(self, network: Any, name: str, key: str, *, forgets: bool = False) -> None:
        super().__init__(network, name, key)
        self._forgets = forgets

    def propagate(
        self,
        frames: Sequence[NDArray[np.uint8]],
        prompts: Sequence[FramePrompt],
        first: int,
        last: int,
        poll: Callable[[], None],
    ) -> Iterator[FrameMasks]:
        """Follow objects through frames.

        Each object is followed forward and backward from the first frame in which a prompt shows it. Frames with later
        prompts become conditioning frames, like the first.
        """
        shown = merged_prompts(prompts, first, last, len(frames))
        cache = self._session([]).cache
        tracks = [_Track(self, frames, number, of_frames, cache) for number, of_frames in shown.items()]
        for frame, track in sorted(((f, t) for t in tracks for f in t.alone), key=lambda pair: pair[0]):
            poll()
            track.begin(frame)
        earliest = min(track.start for track in tracks)
        latest = max(track.start for track in tracks)
        # Objects may start in different frames. Follow the later ones back to the earliest start, and keep their
        # masks until the forward pass reaches those frames.
        waiting: dict[int, dict[int, _Seen]] = {}
        for frame in range(latest - 1, earliest - 1, -1):
            poll()
            waiting[frame] = {t.number: t.run(frame, reverse=True) for t in tracks if t.start > frame}
        for frame in range(earliest, last + 1):
            poll()
            there = waiting.pop(frame, {})
            there |= {t.number: t.run(frame, reverse=False) for t in tracks if t.number not in there}
            yield _masks(frame, there, tracks)
        for frame in range(earliest - 1, first - 1, -1):
            poll()
            yield _masks(frame, {t.number: t.run(frame, reverse=True) for t in tracks}, tracks)

    def _session(self, frames: Sequence[NDArray[np.uint8]]) -> Any:
        """Return a session of transformers that reads frames on demand."""
        import torch
        import transformers

        kind = getattr(transformers, _SESSIONS[self.network.config.model_type])
        session = kind(inference_device=self.device, inference_state_device=self.device, dtype=torch.float32)
        session.processed_frames = _Pixels(frames, self.pixels)
        return session


class _Pixels:
    """Frames as the network takes them, computed on demand; it replaces the mapping in a session."""

    def __init__(
        self, frames: Sequence[NDArray[np.uint8]], pixels: Callable[[NDArray[np.uint8]], torch.Tensor]
    ) -> None:
        self._frames = frames
        self._pixels = pixels

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, at: int) -> torch.Tensor:
        return self._pixels(self._frames[at])[0]


class _Seen:
    """An object in one frame: low-resolution logits, and the probability that the object is present."""

    def __init__(self, output: Any) -> None:
        logits = output.pred_masks.detach()
        self.logits: torch.Tensor = logits.reshape(logits.shape[-2:]).float().cpu()
        self.presence = float(output.object_score_logits.detach().float().flatten()[0].sigmoid())


class _Track:
    """One object: its prompts, and the network's memory of it."""

    def __init__(
        self,
        model: Sam2FrameModel,
        frames: Sequence[NDArray[np.uint8]],
        number: int,
        prompts: Mapping[int, Prompt],
        cache: Any,
    ) -> None:
        self.number = number
        self.alone = sorted(frame for frame, prompt in prompts.items() if stands_alone(prompt))
        self.start = self.alone[0]
        #: Rows and columns of a frame.
        self.size: tuple[int, int] = (0, 0)
        self._model = model
        self._frames = frames
        self._prompts = prompts
        # One session for both directions, or one for each.
        self._sessions = [model._session(frames) for _ in range(2 if model._forgets else 1)]
        for session in self._sessions:
            session.cache = cache
            session.obj_id_to_idx(number)
        self._reached = self.start

    def begin(self, frame: int) -> None:
        """Show the network the object in a frame whose prompt is sufficient on its own."""
        rows, columns = self._frames[frame].shape[:2]
        self.size = (rows, columns)
        for session in self._sessions:
            self._show(session, frame)
            self._model.network(session, frame_idx=frame)
            self._forget(session, frame)

    def run(self, frame: int, *, reverse: bool) -> _Seen:
        """Find the object in the next frame of the forward or backward pass."""
        session = self._sessions[-1 if reverse else 0]
        network = partial(self._model.network, session, frame_idx=frame, reverse=reverse)
        output = network()
        if frame in self._prompts and frame not in self.alone:
            self._show(session, frame)
            output = network()
            for kinds in session.output_dict_per_obj.values():
                # Make it a conditioning frame, like that of the first prompt.
                kinds["cond_frame_outputs"][frame] = kinds["non_cond_frame_outputs"].pop(frame)
        self._reached = min(self._reached, frame)
        self._forget(session, frame)
        return _Seen(output)

    def _show(self, session: Any, frame: int) -> None:
        """Pass the prompt of a frame to a session.

        The network must run on this frame next, or the prompt is lost.
        """
        import torch

        prompt = self._prompts[frame]
        if prompt.mask is not None:
            session.add_mask_inputs(0, frame, self._mask(frame, prompt))
        else:
            rows, columns = self.size
            corners = [] if prompt.box is None else np.reshape(prompt.box, (2, 2)).tolist()
            yx = np.array([*corners, *prompt.points], float)
            labels = [*(CORNERS if corners else ()), *(prompt.labels or ())]
            side = self._model.window
            points = torch.as_tensor(yx[:, ::-1].copy(), dtype=torch.float)
            # In float32, like the processor of transformers.
            points = (points * (side / torch.tensor([columns, rows], dtype=torch.float)))[None, None]
            shown = {"point_coords": points, "point_labels": torch.tensor(labels, dtype=torch.int)[None, None]}
            session.add_point_inputs(0, frame, shown)
        session.obj_with_new_inputs = [self.number]

    def _mask(self, frame: int, prompt: Prompt) -> torch.Tensor:
        """Return a mask as a session takes it, (1, 1, side, side).

        A session takes a mask without points or a box. If the prompt has those as well, they refine the mask first.
        """
        import torch
        from torch.nn import functional

        mask = prompt.mask
        if prompt.points or prompt.box is not None:
            model = self._model
            (found,) = model.decode(model.encode(self._frames[frame]), [prompt], multimask=False)
            mask = found.logits[int(found.predicted_iou.argmax())] > 0
        inside = torch.as_tensor(np.ascontiguousarray(mask), dtype=torch.float)[None, None]
        side = (self._model.window, self._model.window)
        large = functional.interpolate(inside, side, mode="bilinear", align_corners=False, antialias=True)
        return (large >= 0.5).float()

    def _forget(self, session: Any, frame: int) -> None:
        """Drop memory that no later frame uses.

        Later frames may follow `frame`, the start, or the earliest frame that was reached. The network reads the
        features of `num_maskmem` frames. Of further frames it reads only object pointers, which are small.
        """
        config = self._model.network.config
        ends = (frame, self.start, self._reached)
        for kinds in session.output_dict_per_obj.values():
            for output in (*kinds["cond_frame_outputs"].values(), *kinds["non_cond_frame_outputs"].values()):
                output.pop("high_res_masks", None)
            followed = kinds["non_cond_frame_outputs"]
            for at in list(followed):
                far = min(abs(at - end) for end in ends)
                followed[at].pop("pred_masks", None)
                if far > config.num_maskmem:
                    followed[at].pop("maskmem_features", None)
                    followed[at].pop("maskmem_pos_enc", None)
                if far > config.max_object_pointers_in_encoder:
                    del followed[at]


def _masks(frame: int, seen: Mapping[int, _Seen], tracks: Sequence[_Track]) -> FrameMasks:
    """Return the masks of a frame at the frame's size, in the order of `tracks`."""
    import torch
    from torch.nn import functional

    numbers = [track.number for track in tracks]
    size = tracks[0].size
    small = torch.stack([seen[number].logits for number in numbers])[:, None]
    large = functional.interpolate(small, size, mode="bilinear", align_corners=False)[:, 0]
    presence = np.array([seen[number].presence for number in numbers], np.float32)
    return FrameMasks(frame, np.array(numbers, np.int64), large.numpy(), presence)


def sam2_model(network: Any, name: str, key: str, *, forgets: bool = False) -> Sam2Model:
    """Return the model of a network: a `Sam2FrameModel` if the network has a memory, else a `Sam2Model`."""
    if network.config.model_type in _SESSIONS:
        return Sam2FrameModel(network, name, key, forgets=forgets)
    return Sam2Model(network, name, key)
