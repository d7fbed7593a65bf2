"""Decoding that all models of the SAM kind share: prompts in batches, clicks one by one, and grids of points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.masks import Mask
from napari_foundseg.models.out_of_memory import Fallbacks, with_fallbacks
from napari_foundseg.models.protocols.objects import Candidates, GridOptions
from napari_foundseg.models.sam.grid_masks import stable_masks
from napari_foundseg.models.sam.sam_embedding import SamEmbedding

if TYPE_CHECKING:
    import torch

    from napari_foundseg.core.prompts import Prompt
    from napari_foundseg.models.nets.sam.mask_enlargement import Enlarger

__all__ = ["MASK_PROMPT_LOGIT", "SAM_PROTOCOLS", "PromptedMasks", "trusted"]

#: Protocols that `PromptedMasks` implements.
SAM_PROTOCOLS = ("PointGrid", "Promptable", "FeatureExtractor")
#: Logit inside a mask prompt; outside it is the negative.
MASK_PROMPT_LOGIT = 6.0
#: Prompts to decode at once. This bounds the memory of their logits at the picture's size.
_BATCH = 16
#: Windows of at least this side in pixels take long to encode.
_LARGE = 512
#: Number of last clicks that are passed one by one; the networks were trained on at most this many.
_ONE_BY_ONE = 8


class PromptedMasks:
    """A model that implements `Promptable`, `PointGrid` and `FeatureExtractor` with the network of a subclass.

    A subclass defines `device`, `window`, `mask_side` and `feature_stride`, and the methods `_encoded`,
    `_low_resolution`, `_enlarged` and `to_cpu`.
    """

    #: How `encode` prepares a picture; equal values mean equal features.
    preprocessing = "sam"
    #: Pixels at a window's border where features differ from those of a larger window.
    feature_margin: int = 64

    def __init__(self, name: str, key: str) -> None:
        self.name = name
        self.key = key
        self.fallbacks = Fallbacks()

    @property
    def device(self) -> str:
        """Device of the network, as torch writes it."""
        raise NotImplementedError

    @property
    def window(self) -> int:
        """Side in pixels of the square that the encoder sees at once."""
        raise NotImplementedError

    @property
    def mask_threshold(self) -> float:
        """Logit above which a pixel belongs to the mask."""
        return 0.0

    @property
    def padding(self) -> tuple[int, int, int]:
        """Colour that fills the rest of the window when `features` pads a picture: the mean of photographs."""
        return 124, 116, 104

    @property
    def mask_side(self) -> int:
        """Rows and columns of the small logits of a mask prompt."""
        raise NotImplementedError

    @property
    def feature_stride(self) -> int:
        """Pixels of the picture per cell of the features."""
        raise NotImplementedError

    def to_cpu(self) -> bool:
        """Move the model to the CPU permanently; return False if it was there already."""
        raise NotImplementedError

    def _encoded(self, rgb: NDArray[np.uint8]) -> SamEmbedding:
        raise NotImplementedError

    def _low_resolution(
        self,
        embedding: SamEmbedding,
        coordinates: torch.Tensor | None,
        labels: torch.Tensor | None,
        boxes: torch.Tensor | None,
        masks: torch.Tensor | None,
        *,
        several: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return low-resolution logits (B, K, h, w) and predicted IoU (B, K), like ``SamPredictor.predict_torch``."""
        raise NotImplementedError

    def _enlarged(self, logits: torch.Tensor, embedding: SamEmbedding) -> torch.Tensor:
        """Return low-resolution logits resized to the picture."""
        raise NotImplementedError

    def encode(self, rgb: NDArray[np.uint8]) -> SamEmbedding:
        """Return the embedding of a picture, which is resized to `window`."""
        return with_fallbacks(lambda _: self._encoded(rgb), 1, "encoding", self.fallbacks, self.to_cpu)

    @property
    def stored_as(self) -> str:
        """Precision of stored features: ``float16`` for large windows to save space, else the exact ``float32``."""
        return "float16" if self.window >= _LARGE else "float32"

    def packed(self, embedding: SamEmbedding) -> bytes:
        """Return an embedding as bytes, to be stored on disk."""
        return embedding.packed(self.stored_as)

    def unpacked(self, data: bytes) -> SamEmbedding:
        """Return the embedding from the bytes that `packed` returned."""
        return SamEmbedding.unpacked(data, self.device)

    @property
    def features_window(self) -> int:
        """Largest side in pixels of a picture that `features` takes."""
        return self.window

    @property
    def feature_offset(self) -> float:
        """Position in pixels of the first cell's centre."""
        return (self.feature_stride - 1) / 2

    def features(self, rgb: NDArray[np.uint8]) -> NDArray[np.float16]:
        """Return the encoder's features of a picture, which is padded to the window instead of resized."""
        height, width = rgb.shape[:2]
        padded = np.broadcast_to(np.array(self.padding, np.uint8), (self.window, self.window, 3)).copy()
        padded[:height, :width] = rgb
        found = self.encode(padded).features[0]
        side = self.feature_stride
        cells = found[:, : -(-height // side), : -(-width // side)]
        return np.asarray(cells.clamp(-60_000, 60_000).half().cpu().numpy())

    def decode(
        self, embedding: SamEmbedding, prompts: Sequence[Prompt], *, multimask: bool, one_by_one: bool = False
    ) -> list[Candidates]:
        """Decode prompts; those with the same parts are decoded together.

        With `one_by_one`, each click is decoded with the logits of the mask before it, as SAM was trained (Kirillov et
        al. 2023, appendix A). Prompts that have a mask are decoded in one step.
        """
        groups: dict[tuple[int, bool, bool], list[int]] = {}
        for i, prompt in enumerate(prompts):
            kind = (len(prompt.points), prompt.box is not None, prompt.mask is not None)
            groups.setdefault(kind, []).append(i)
        out: dict[int, Candidates] = {}
        for group in groups.values():

            def decoded(batch: int, group: list[int] = group) -> list[Candidates]:
                alike: list[Candidates] = []
                for start in range(0, len(group), batch):
                    some = [prompts[i] for i in group[start : start + batch]]
                    alike += self._decode_alike(embedding.on(self.device), some, multimask, one_by_one)
                return alike

            alike = with_fallbacks(decoded, _BATCH, "decoding prompts", self.fallbacks, self.to_cpu)
            out |= zip(group, alike, strict=True)
        return [out[i] for i in range(len(prompts))]

    def grid_masks(
        self, embedding: SamEmbedding, points: NDArray[np.float64], options: GridOptions, poll: Callable[[], None]
    ) -> list[Mask]:
        """Return the stable masks of a grid of points, three per point at most."""
        masks: list[Mask] = []
        done = 0

        def rest(batch: int) -> None:
            nonlocal done
            while done < len(points):
                poll()
                masks.extend(self._masks_at(embedding.on(self.device), points[done : done + batch], options))
                done += batch

        with_fallbacks(rest, options.points_per_batch, "decoding points", self.fallbacks, self.to_cpu)
        return masks

    def _masks_at(self, embedding: SamEmbedding, points: NDArray[np.float64], options: GridOptions) -> list[Mask]:
        import torch

        height, width = embedding.original_size
        coordinates = embedding.in_window(points[:, None] * (width, height))
        labels = torch.ones(coordinates.shape[:2], dtype=torch.int, device=self.device)
        with torch.inference_mode():
            logits, iou = self._wanted(embedding, coordinates, labels, options)
            enlarger = self._enlarger(embedding, (int(logits.shape[-2]), int(logits.shape[-1])))
            return stable_masks(logits, iou, enlarger, self.mask_threshold, options)

    def _enlarger(self, embedding: SamEmbedding, small: tuple[int, int]) -> Enlarger:
        """Return the `Enlarger` that resizes as `_enlarged` does, but each mask only in its own box."""
        return embedding.enlarger(small, (self.window, self.window), embedding.input_size)

    def _wanted(
        self, embedding: SamEmbedding, coordinates: torch.Tensor, labels: torch.Tensor, options: GridOptions
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return low-resolution logits (M, h, w) and predicted IoU (M,) of the masks that `trusted` accepts."""
        logits, iou = self._low_resolution(embedding, coordinates, labels, None, None, several=True)
        made = trusted(iou, options)
        return logits[made], iou[made]

    def _decode_alike(
        self, embedding: SamEmbedding, prompts: Sequence[Prompt], multimask: bool, one_by_one: bool
    ) -> list[Candidates]:
        """Decode prompts with equally many points, where all or none have a box, and all or none a mask."""
        import torch
        from segment_anything.utils.amg import calculate_stability_score

        first = prompts[0]
        coordinates = labels = boxes = masks = None
        if first.points:
            # (y, x) becomes (x, y); the prompt encoder itself adds the half pixel.
            yx = np.array([prompt.points for prompt in prompts], float)
            coordinates = embedding.in_window(yx[..., ::-1]).float()
            labels = torch.as_tensor([prompt.labels for prompt in prompts], dtype=torch.int, device=self.device)
        if first.box is not None:
            yxyx = np.array([prompt.box for prompt in prompts], float)
            corners = yxyx.reshape(-1, 2, 2)[..., ::-1]
            boxes = embedding.in_window(corners).float().reshape(-1, 4)
        if first.mask is not None:
            shown = [embedding.mask_input(p.mask, self.mask_side, self.window, MASK_PROMPT_LOGIT) for p in prompts]
            masks = torch.stack(shown)
        with torch.inference_mode():
            if masks is None and one_by_one and coordinates is not None and labels is not None:
                masks = self._before_last(embedding, coordinates, labels, boxes)
            small, iou = self._low_resolution(embedding, coordinates, labels, boxes, masks, several=multimask)
            logits = self._enlarged(small, embedding)
            threshold = self.mask_threshold
            stability = calculate_stability_score(logits, threshold, 1.0).nan_to_num(0.0)
            logits = logits - threshold if threshold else logits
            arrays = (logits.cpu().numpy(), iou.cpu().numpy(), stability.cpu().numpy())
        return [Candidates(*parts) for parts in zip(*arrays, strict=True)]

    def _before_last(
        self, embedding: SamEmbedding, coordinates: torch.Tensor, labels: torch.Tensor, boxes: torch.Tensor | None
    ) -> torch.Tensor | None:
        """Return the low-resolution logits of the masks before the last click; None if there are none."""
        import torch

        clicks = coordinates.shape[1]
        masks: torch.Tensor | None = None
        for shown in range(max(0, clicks - _ONE_BY_ONE), clicks):
            if not shown and boxes is None:
                continue
            clicked, kinds = (coordinates[:, :shown], labels[:, :shown]) if shown else (None, None)
            several = shown == 1 and boxes is None
            logits, iou = self._low_resolution(embedding, clicked, kinds, boxes, masks, several=several)
            masks = logits[torch.arange(len(logits)), iou.argmax(dim=1)][:, None]
        return masks


def trusted(iou: torch.Tensor, options: GridOptions) -> torch.Tensor:
    """Return which masks have a predicted IoU above the threshold of `options`; all of them if that is 0."""
    return iou > options.pred_iou_thresh if options.pred_iou_thresh > 0 else iou == iou
