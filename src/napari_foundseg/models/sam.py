"""The SAM 1 family (Kirillov et al., Segment Anything, ICCV 2023) through the reference package.

`SamModel` adapts a `segment_anything` ``Sam`` to our protocols. What is decoded is what
``segment_anything.SamPredictor`` decodes: it is the one that runs here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.masks import Mask
from napari_foundseg.models.protocols import Candidates, GridOptions

if TYPE_CHECKING:
    import torch
    from segment_anything import SamPredictor
    from segment_anything.modeling import Sam

    from napari_foundseg.core.prompts import Prompt

__all__ = ["SamEmbedding", "SamModel"]

#: Logit given to the inside of a mask prompt, and its negative to the outside.
MASK_PROMPT_LOGIT = 6.0
#: Prompts decoded at once: bounds the memory of their logits at the picture's size.
_BATCH = 16
#: Last clicks that are given one by one; the networks were trained on no longer rows of them.
_ONE_BY_ONE = 8


@dataclass(frozen=True, eq=False)
class SamEmbedding:
    """Features of one picture, and the sizes that map its pixels to the encoder's.

    Parameters
    ----------
    features : (1, C, H, W) tensor
        What the image encoder returned.
    original_size : tuple of int
        Rows and columns of the picture.
    input_size : tuple of int
        Rows and columns after its longer side was resized to the window.
    """

    features: torch.Tensor
    original_size: tuple[int, int]
    input_size: tuple[int, int]

    @property
    def nbytes(self) -> int:
        """Memory of the features."""
        return int(self.features.nbytes)


class SamModel:
    """A SAM that implements `Promptable` and `PointGrid`.

    Parameters
    ----------
    sam : segment_anything.modeling.Sam
        The network, on its device, in evaluation mode.
    name : str
        Its name in the catalogue.
    key : str
        Name and hash of the weights.
    """

    def __init__(self, sam: Sam, name: str, key: str) -> None:
        self.sam = sam
        self.name = name
        self.key = key

    @property
    def device(self) -> str:
        """Where it runs, as torch writes it."""
        return str(self.sam.device)

    @property
    def window(self) -> int:
        """Side in pixels of the square that the encoder sees at once."""
        return int(self.sam.image_encoder.img_size)

    def encode(self, rgb: NDArray[np.uint8]) -> SamEmbedding:
        """Encode a picture, its longer side resized to `window`.

        Parameters
        ----------
        rgb : (M, N, 3) ndarray of uint8
            The picture.

        Returns
        -------
        SamEmbedding
            For `decode`.
        """
        predictor = self._predictor()
        predictor.set_image(rgb)
        return SamEmbedding(predictor.features, tuple(predictor.original_size), tuple(predictor.input_size))

    def decode(
        self, embedding: SamEmbedding, prompts: Sequence[Prompt], *, multimask: bool, one_by_one: bool = False
    ) -> list[Candidates]:
        """Decode prompts in an encoded picture, alike ones together.

        Parameters
        ----------
        embedding : SamEmbedding
            What `encode` returned.
        prompts : sequence of Prompt
            In pixels (y, x) of the picture.
        multimask : bool
            Whether to propose three masks for each instead of one.
        one_by_one : bool
            Whether clicks are given one after the other, each with the logits of the mask before, as SAM was trained
            (Kirillov et al. 2023, appendix A); not where a mask is given.

        Returns
        -------
        list of Candidates
            One for each prompt.
        """
        groups: dict[tuple[int, bool, bool], list[int]] = {}
        for i, prompt in enumerate(prompts):
            kind = (len(prompt.points), prompt.box is not None, prompt.mask is not None)
            groups.setdefault(kind, []).append(i)
        out: dict[int, Candidates] = {}
        for group in groups.values():
            for start in range(0, len(group), _BATCH):
                batch = group[start : start + _BATCH]
                alike = self._decode_alike(embedding, [prompts[i] for i in batch], multimask, one_by_one)
                out |= zip(batch, alike, strict=True)
        return [out[i] for i in range(len(prompts))]

    def grid_masks(
        self, rgb: NDArray[np.uint8], points: NDArray[np.float64], options: GridOptions, poll: Callable[[], None]
    ) -> list[Mask]:
        """Run the reference automatic mask generator on a grid of points.

        Parameters
        ----------
        rgb : (M, N, 3) ndarray of uint8
            The picture.
        points : (K, 2) ndarray of float
            (x, y) as shares of width and height.
        options : GridOptions
            The generator's thresholds.
        poll : callable
            Called before every batch; may raise to stop.

        Returns
        -------
        list of Mask
            In the picture's pixels.
        """
        from segment_anything import SamAutomaticMaskGenerator

        class Polled(SamAutomaticMaskGenerator):  # type: ignore[misc]
            def _process_batch(self, *args: Any) -> Any:
                poll()
                return super()._process_batch(*args)

        generator = Polled(self.sam, points_per_side=None, point_grids=[points], **vars(options))
        return [
            Mask.from_array(
                found["segmentation"],
                predicted_iou=float(found["predicted_iou"]),
                stability_score=float(found["stability_score"]),
            )
            for found in generator.generate(rgb)
        ]

    def _predictor(self, embedding: SamEmbedding | None = None) -> SamPredictor:
        from segment_anything import SamPredictor

        predictor = SamPredictor(self.sam)
        if embedding is not None:
            predictor.features = embedding.features
            predictor.original_size, predictor.input_size = embedding.original_size, embedding.input_size
            predictor.is_image_set = True
        return predictor

    def _decode_alike(
        self, embedding: SamEmbedding, prompts: Sequence[Prompt], multimask: bool, one_by_one: bool
    ) -> list[Candidates]:
        """Decode prompts that have equally many points, and all or none a box and a mask."""
        import torch
        from segment_anything.utils.amg import calculate_stability_score

        predictor = self._predictor(embedding)
        first = prompts[0]
        coordinates = labels = boxes = masks = None
        if first.points:
            # (y, x) becomes (x, y); the prompt encoder itself adds the half pixel.
            yx = np.array([prompt.points for prompt in prompts], float)
            xy = predictor.transform.apply_coords(yx[..., ::-1].copy(), embedding.original_size)
            coordinates = torch.as_tensor(xy, dtype=torch.float, device=self.sam.device)
            labels = torch.as_tensor([prompt.labels for prompt in prompts], dtype=torch.int, device=self.sam.device)
        if first.box is not None:
            yxyx = np.array([prompt.box for prompt in prompts], float)
            xyxy = predictor.transform.apply_boxes(yxyx[:, [1, 0, 3, 2]], embedding.original_size)
            boxes = torch.as_tensor(xyxy, dtype=torch.float, device=self.sam.device)
        if first.mask is not None:
            masks = torch.stack([self._mask_input(prompt.mask, embedding) for prompt in prompts])
        elif one_by_one and coordinates is not None and labels is not None:
            masks = _before_last(predictor, coordinates, labels, boxes)
        logits, iou, _ = predictor.predict_torch(coordinates, labels, boxes, masks, multimask, return_logits=True)
        threshold = self.sam.mask_threshold
        stability = calculate_stability_score(logits, threshold, 1.0).nan_to_num(0.0)
        arrays = ((logits - threshold).cpu().numpy(), iou.cpu().numpy(), stability.cpu().numpy())
        return [Candidates(*parts) for parts in zip(*arrays, strict=True)]

    def _mask_input(self, mask: NDArray[np.bool_], embedding: SamEmbedding) -> torch.Tensor:
        """Return a mask of the picture as the low-resolution logits that the prompt encoder takes."""
        import torch
        from torch.nn import functional

        height, width = self.sam.prompt_encoder.mask_input_size
        scale = height / self.window
        size = [max(1, round(n * scale)) for n in embedding.input_size]
        inside = torch.as_tensor(mask, dtype=torch.float, device=self.sam.device)[None, None]
        small = functional.interpolate(inside, size, mode="bilinear", align_corners=False, antialias=True)[0]
        padded = functional.pad(small, (0, width - size[1], 0, height - size[0]))
        return (padded * 2 - 1) * MASK_PROMPT_LOGIT


def _before_last(
    predictor: SamPredictor, coordinates: torch.Tensor, labels: torch.Tensor, boxes: torch.Tensor | None
) -> torch.Tensor | None:
    """Return the low-resolution logits of the masks that were seen before the last click, None before the first."""
    import torch

    clicks = coordinates.shape[1]
    masks: torch.Tensor | None = None
    for shown in range(max(0, clicks - _ONE_BY_ONE), clicks):
        if not shown and boxes is None:
            continue
        some = (coordinates[:, :shown], labels[:, :shown]) if shown else (None, None)
        several = shown == 1 and boxes is None
        _, iou, logits = predictor.predict_torch(*some, boxes, masks, multimask_output=several, return_logits=True)
        masks = logits[torch.arange(len(logits)), iou.argmax(dim=1)][:, None]
    return masks
