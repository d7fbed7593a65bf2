"""The SAM 1 family (Kirillov et al., Segment Anything, ICCV 2023) through the reference package.

`SamModel` adapts a `segment_anything` ``Sam`` to our protocols. Its encoder and decoder are computed in another order
(`models.nets.sam.sam_vit`, `models.nets.sam.sam_decoder`) with the results of ``segment_anything.SamPredictor``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.masks import Mask
from napari_foundseg.models.device import half_precision
from napari_foundseg.models.out_of_memory import Fallbacks, with_fallbacks
from napari_foundseg.models.protocols import Candidates, GridOptions
from napari_foundseg.models.sam.grid_masks import stable_masks
from napari_foundseg.models.sam.sam_embedding import SamEmbedding

if TYPE_CHECKING:
    import torch
    from segment_anything.modeling import Sam

    from napari_foundseg.core.prompts import Prompt

__all__ = ["SAM_PROTOCOLS", "SamModel"]

#: Protocols that `SamModel` implements.
SAM_PROTOCOLS = ("PointGrid", "Promptable", "FeatureExtractor")
#: Logit of the inside of a mask prompt, and its negative to the outside.
MASK_PROMPT_LOGIT = 6.0
#: Prompts decoded at once: bounds the memory of their logits at the picture's size.
_BATCH = 16
#: Side in pixels of a window from which encoding takes long.
_LARGE = 512
#: Last clicks that are passed one by one; the networks were trained on at most so many.
_ONE_BY_ONE = 8


class SamModel:
    """A SAM that implements `Promptable` and `PointGrid`."""

    def __init__(self, sam: Sam, name: str, key: str) -> None:
        from napari_foundseg.models.nets.sam.sam_vit import accelerated

        sam.image_encoder = accelerated(sam.image_encoder)
        self.sam = sam
        self._fast = self._fast_decoder()
        self.name = name
        self.key = key
        self.fallbacks = Fallbacks()

    @property
    def device(self) -> str:
        """Where it runs, as torch writes it."""
        return str(self.sam.device)

    @property
    def window(self) -> int:
        """Side in pixels of the square that the encoder sees at once."""
        return int(self.sam.image_encoder.img_size)

    def encode(self, rgb: NDArray[np.uint8]) -> SamEmbedding:
        """Encode a picture, its longer side resized to `window`."""
        return with_fallbacks(lambda _: self._encoded(rgb), 1, "encoding", self.fallbacks, self.to_cpu)

    def _encoded(self, rgb: NDArray[np.uint8]) -> SamEmbedding:
        from segment_anything import SamPredictor

        predictor = SamPredictor(self.sam)
        height, width = predictor.transform.get_preprocess_shape(*rgb.shape[:2], self.window)
        if height and width:
            predictor.set_image(rgb)
        else:
            predictor.set_torch_image(self._thin(rgb, (max(1, height), max(1, width))), rgb.shape[:2])
        return SamEmbedding(predictor.features, tuple(predictor.original_size), tuple(predictor.input_size))

    def _thin(self, rgb: NDArray[np.uint8], size: tuple[int, int]) -> torch.Tensor:
        """Resize a picture whose shorter side would round to 0."""
        import torch
        from PIL.Image import Resampling, fromarray

        resized = np.array(fromarray(rgb).resize(size[::-1], Resampling.BILINEAR))
        return torch.as_tensor(resized, device=self.device).movedim(-1, 0)[None]

    def to_cpu(self) -> bool:
        """Move the model to the CPU, for good."""
        from torch import nn

        if self.device == "cpu":
            return False
        for part in vars(self).values():
            if isinstance(part, nn.Module):
                part.to("cpu")
        self._fast = self._fast_decoder()
        vars(self).pop("_half", None)
        return True

    def _fast_decoder(self, *dtype: torch.dtype) -> Any:
        """Return a decoder that gives the network's results faster, None where there is none."""
        from napari_foundseg.models.nets.sam.sam_decoder import FastDecoder

        return FastDecoder.of(self.sam, *dtype)

    @cached_property
    def _half(self) -> Any:
        """The fast decoder in half precision, None where the device is not faster so."""
        dtype = half_precision(self.device)
        return None if dtype is None else self._fast_decoder(dtype)

    @property
    def features_window(self) -> int:
        """Largest side in pixels of a picture that is described as it is."""
        return self.window

    @property
    def feature_stride(self) -> int:
        """Pixels of the picture a cell of the features."""
        return self.window // int(self.sam.prompt_encoder.image_embedding_size[0])

    @property
    def feature_offset(self) -> float:
        """Position in pixels of the first cell: the middle of its patch."""
        return (self.feature_stride - 1) / 2

    #: Pixels at a window's border where features differ from those of a larger window.
    feature_margin: int = 64

    def features(self, rgb: NDArray[np.uint8]) -> NDArray[np.float16]:
        """Return what the encoder sees in a picture, which is padded to the window instead of resized."""
        height, width = rgb.shape[:2]
        mean = self.sam.pixel_mean.cpu().numpy().reshape(3).round().astype(np.uint8)
        padded = np.broadcast_to(mean, (self.window, self.window, 3)).copy()
        padded[:height, :width] = rgb
        found = self.encode(padded).features[0]
        side = self.feature_stride
        cells = found[:, : -(-height // side), : -(-width // side)]
        return np.asarray(cells.clamp(-60_000, 60_000).half().cpu().numpy())

    #: What `encode` does to a picture: equal values mean equal features.
    preprocessing = "sam"

    @property
    def stored_as(self) -> str:
        """How features are stored: those that took long to make are small, the others exact."""
        return "float16" if self.window >= _LARGE else "float32"

    def packed(self, embedding: SamEmbedding) -> bytes:
        """Return an embedding as bytes, for a disk."""
        return embedding.packed(self.stored_as)

    def unpacked(self, data: bytes) -> SamEmbedding:
        """Return the embedding that `packed` made bytes of."""
        return SamEmbedding.unpacked(data, self.device)

    def decode(
        self, embedding: SamEmbedding, prompts: Sequence[Prompt], *, multimask: bool, one_by_one: bool = False
    ) -> list[Candidates]:
        """Decode prompts, those of the same kind together.

        With `one_by_one` each click is passed with the logits of the mask before it, as SAM was trained (Kirillov et
        al. 2023, appendix A), unless a mask is part of the prompt.
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
        """Prompt at every point; three masks per point."""
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
            enlarger = embedding.enlarger((int(logits.shape[-2]), int(logits.shape[-1])), self.window)
            return stable_masks(logits, iou, enlarger, self.sam.mask_threshold, options)

    def _wanted(
        self, embedding: SamEmbedding, coordinates: torch.Tensor, labels: torch.Tensor, options: GridOptions
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return low-resolution logits (M, h, w) and predicted IoU (M,) of the masks that the model trusts."""

        def wanted(iou: torch.Tensor) -> torch.Tensor:
            return iou > options.pred_iou_thresh if options.pred_iou_thresh > 0 else iou == iou

        fast = self._fast if options.exact or self._half is None else self._half
        if fast is not None:
            picture = self._prepared(embedding, fast)
            logits, iou, made = fast.decode(picture, (coordinates, labels), None, slice(1, None), wanted)
            return logits, iou[made]
        logits, iou = self._low_resolution(embedding, coordinates, labels, None, None, several=True)
        made = wanted(iou)
        return logits[made], iou[made]

    def _decode_alike(
        self, embedding: SamEmbedding, prompts: Sequence[Prompt], multimask: bool, one_by_one: bool
    ) -> list[Candidates]:
        """Decode prompts that have equally many points, and all or none a box and a mask."""
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
            side = self.sam.prompt_encoder.mask_input_size[0]
            masks = torch.stack([embedding.mask_input(p.mask, side, self.window, MASK_PROMPT_LOGIT) for p in prompts])
        with torch.inference_mode():
            if masks is None and one_by_one and coordinates is not None and labels is not None:
                masks = self._before_last(embedding, coordinates, labels, boxes)
            small, iou = self._low_resolution(embedding, coordinates, labels, boxes, masks, several=multimask)
            logits = self._enlarged(small, embedding)
            threshold = self.sam.mask_threshold
            stability = calculate_stability_score(logits, threshold, 1.0).nan_to_num(0.0)
            logits = logits - threshold if threshold else logits
            arrays = (logits.cpu().numpy(), iou.cpu().numpy(), stability.cpu().numpy())
        return [Candidates(*parts) for parts in zip(*arrays, strict=True)]

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
        """Return low-resolution logits (B, K, h, w) and predicted IoU (B, K), as ``predict_torch`` does."""
        points = None if coordinates is None else (coordinates, labels)
        if self._fast is not None and masks is None:
            kinds = slice(1, None) if several else slice(0, 1)
            logits, iou, _ = self._fast.decode(self._prepared(embedding, self._fast), points, boxes, kinds)
            return logits.unflatten(0, iou.shape), iou
        sparse, dense = self.sam.prompt_encoder(points=points, boxes=boxes, masks=masks)
        low, iou = self.sam.mask_decoder(
            image_embeddings=embedding.features,
            image_pe=self.sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=several,
        )
        return low, iou

    def _enlarged(self, logits: torch.Tensor, embedding: SamEmbedding) -> torch.Tensor:
        """Return low-resolution logits at the picture's size."""
        from torch.nn import functional

        side, (height, width) = self.window, embedding.input_size
        enlarged = functional.interpolate(logits, (side, side), mode="bilinear", align_corners=False)
        enlarged = enlarged[..., :height, :width]
        if embedding.original_size == embedding.input_size:
            return enlarged
        return functional.interpolate(enlarged, embedding.original_size, mode="bilinear", align_corners=False)

    def _prepared(self, embedding: SamEmbedding, fast: Any) -> Any:
        """Return what a fast decoder needs of a picture, made at its first prompt."""
        name = f"picture {fast.dtype}"
        if name not in embedding.prepared:
            embedding.prepared[name] = fast.picture(embedding.features)
        return embedding.prepared[name]

    def _before_last(
        self, embedding: SamEmbedding, coordinates: torch.Tensor, labels: torch.Tensor, boxes: torch.Tensor | None
    ) -> torch.Tensor | None:
        """Return the low-resolution logits of the masks before the last click, None before the first."""
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
