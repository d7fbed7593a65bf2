"""The SAM 1 family (Kirillov et al., Segment Anything, ICCV 2023) through the reference package.

`SamModel` adapts a `segment_anything` ``Sam`` to our protocols. Its encoder and decoder compute in another order
(`models.nets.sam.sam_vit`, `models.nets.sam.sam_decoder`), with the results of ``segment_anything.SamPredictor``.
"""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.models.device import half_precision
from napari_foundseg.models.protocols.objects import GridOptions
from napari_foundseg.models.sam.prompted_masks import PromptedMasks, trusted
from napari_foundseg.models.sam.sam_embedding import SamEmbedding

if TYPE_CHECKING:
    import torch
    from segment_anything.modeling import Sam

__all__ = ["SamModel"]


class SamModel(PromptedMasks):
    """A `Sam` of segment_anything that implements `Promptable`, `PointGrid` and `FeatureExtractor`."""

    def __init__(self, sam: Sam, name: str, key: str) -> None:
        from napari_foundseg.models.nets.sam.sam_vit import accelerated

        sam.image_encoder = accelerated(sam.image_encoder)
        self.sam = sam
        self._fast = self._fast_decoder()
        super().__init__(name, key)

    @property
    def device(self) -> str:
        """Device of the network, as torch writes it."""
        return str(self.sam.device)

    @property
    def window(self) -> int:
        """Side in pixels of the square that the encoder sees at once."""
        return int(self.sam.image_encoder.img_size)

    @property
    def mask_threshold(self) -> float:
        """Logit above which a pixel belongs to the mask."""
        return float(self.sam.mask_threshold)

    @property
    def mask_side(self) -> int:
        """Rows and columns of the small logits of a mask prompt."""
        return int(self.sam.prompt_encoder.mask_input_size[0])

    @property
    def padding(self) -> tuple[int, int, int]:
        """Colour that fills the rest of the window when `features` pads a picture."""
        red, green, blue = self.sam.pixel_mean.cpu().numpy().reshape(3).round().astype(int).tolist()
        return red, green, blue

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
        """Resize a picture that is so thin that segment-anything would round its shorter side to 0 pixels."""
        import torch
        from PIL.Image import Resampling, fromarray

        resized = np.array(fromarray(rgb).resize(size[::-1], Resampling.BILINEAR))
        return torch.as_tensor(resized, device=self.device).movedim(-1, 0)[None]

    def to_cpu(self) -> bool:
        """Move the model to the CPU permanently; return False if it was there already."""
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
        """Return a faster decoder with the network's results; None if there is none for this network."""
        from napari_foundseg.models.nets.sam.sam_decoder import FastDecoder

        return FastDecoder.of(self.sam, *dtype)

    @cached_property
    def _half(self) -> Any:
        """The fast decoder in half precision; None if half precision is no faster on the device."""
        dtype = half_precision(self.device)
        return None if dtype is None else self._fast_decoder(dtype)

    @property
    def feature_stride(self) -> int:
        """Pixels of the picture per cell of the features."""
        return self.window // int(self.sam.prompt_encoder.image_embedding_size[0])

    def _wanted(
        self, embedding: SamEmbedding, coordinates: torch.Tensor, labels: torch.Tensor, options: GridOptions
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return low-resolution logits (M, h, w) and predicted IoU (M,) of the masks that `trusted` accepts."""
        fast = self._fast if options.exact or self._half is None else self._half
        if fast is None:
            return super()._wanted(embedding, coordinates, labels, options)
        picture = self._prepared(embedding, fast)
        wanted = partial(trusted, options=options)
        logits, iou, made = fast.decode(picture, (coordinates, labels), None, slice(1, None), wanted)
        return logits, iou[made]

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
        """Return low-resolution logits resized to the picture."""
        from torch.nn import functional

        side, (height, width) = self.window, embedding.input_size
        enlarged = functional.interpolate(logits, (side, side), mode="bilinear", align_corners=False)
        enlarged = enlarged[..., :height, :width]
        if embedding.original_size == embedding.input_size:
            return enlarged
        return functional.interpolate(enlarged, embedding.original_size, mode="bilinear", align_corners=False)

    def _prepared(self, embedding: SamEmbedding, fast: Any) -> Any:
        """Return a fast decoder's data of a picture, computed at the first prompt and then cached."""
        name = f"picture {fast.dtype}"
        if name not in embedding.prepared:
            embedding.prepared[name] = fast.picture(embedding.features)
        return embedding.prepared[name]
