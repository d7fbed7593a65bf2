"""SAM 2 (Ravi et al. 2024), SAM 2.1, EdgeTAM and the tracker of SAM 3 on pictures, through transformers.

A picture is stretched to the network's square, whatever its shape. Masks are resized from the low-resolution logits to
the picture in one step, where SAM 1 takes two. The decoder uses features of three sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.models.sam.prompted_masks import PromptedMasks
from napari_foundseg.models.sam.sam_embedding import SamEmbedding

if TYPE_CHECKING:
    import torch

    from napari_foundseg.models.nets.sam.mask_enlargement import Enlarger

__all__ = ["CORNERS", "Sam2Model", "stretched"]

#: Labels of the corners of a box, which are passed before the points.
CORNERS = (2, 3)


class Sam2Model(PromptedMasks):
    """A SAM 2 network of transformers that implements `Promptable`, `PointGrid` and `FeatureExtractor`."""

    #: Name of the way in which pictures are prepared; part of the key of stored embeddings.
    prepared_as: ClassVar[str] = "sam2"
    #: Mean and standard deviation of colours (0 to 1) for normalising pictures: ImageNet's.
    mean: ClassVar[tuple[float, float, float]] = (0.485, 0.456, 0.406)
    deviation: ClassVar[tuple[float, float, float]] = (0.229, 0.224, 0.225)

    def __init__(self, network: Any, name: str, key: str) -> None:
        super().__init__(name, key)
        self.network = network

    @property
    def device(self) -> str:
        """Device of the network, as torch writes it."""
        return str(self.network.device)

    @property
    def window(self) -> int:
        """Side in pixels of the square that the encoder sees at once."""
        return int(self.network.prompt_encoder.input_image_size)

    @property
    def preprocessing(self) -> str:  # type: ignore[override] # of this window
        """How `encode` prepares a picture; equal values mean equal features."""
        return f"{self.prepared_as} stretched to {self.window}"

    @property
    def padding(self) -> tuple[int, int, int]:
        """Colour that fills the rest of the window when `features` pads a picture: the mean colour."""
        red, green, blue = (round(255 * value) for value in self.mean)
        return red, green, blue

    @property
    def mask_side(self) -> int:
        """Rows and columns of the small logits of a mask prompt."""
        return int(self.network.prompt_encoder.mask_input_size[0])

    @property
    def feature_stride(self) -> int:
        """Pixels of the picture per cell of the features."""
        return self.window // int(self.network.prompt_encoder.image_embedding_size[0])

    def to_cpu(self) -> bool:
        """Move the model to the CPU permanently; return False if it was there already."""
        if self.device == "cpu":
            return False
        self.network.to("cpu")
        return True

    def pixels(self, rgb: NDArray[np.uint8]) -> torch.Tensor:
        """Return a picture as the encoder takes it, (1, 3, window, window)."""
        return stretched(rgb, self.window, self.mean, self.deviation)

    def _encoded(self, rgb: NDArray[np.uint8]) -> SamEmbedding:
        """Return the embedding of a picture, which is stretched to the window."""
        import torch

        with torch.inference_mode():
            *finer, features = self.network.get_image_embeddings(self.pixels(rgb).to(self.device))
        return SamEmbedding(features, (rgb.shape[0], rgb.shape[1]), (self.window, self.window), tuple(finer))

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
        """Return low-resolution logits (B, K, h, w) and predicted IoU (B, K), like ``SAM2ImagePredictor``."""
        import torch

        count = next(len(part) for part in (coordinates, boxes, masks) if part is not None)
        if boxes is not None:
            corners = torch.tensor(CORNERS, dtype=torch.int, device=boxes.device).expand(count, 2)
            points = boxes.reshape(count, 2, 2)
            coordinates = points if coordinates is None else torch.cat([points, coordinates], dim=1)
            labels = corners if labels is None else torch.cat([corners, labels], dim=1)
        encoder = self.network.prompt_encoder
        if coordinates is not None and labels is not None:
            sparse, dense = encoder(coordinates[:, None].float(), labels[:, None], None, masks)
        else:
            # A mask alone comes without points. transformers would add two padding points.
            sparse, dense = embedding.features.new_zeros(count, 1, 0, encoder.hidden_size), encoder.mask_embed(masks)
        places = self.network.get_image_wide_positional_embeddings()
        logits, iou = self.network.mask_decoder(
            image_embeddings=embedding.features.expand(count, -1, -1, -1),
            image_positional_embeddings=places.expand(count, -1, -1, -1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=several,
            high_resolution_features=[part.expand(count, -1, -1, -1) for part in embedding.finer],
        )[:2]
        return logits[:, 0], iou[:, 0]

    def _enlarged(self, logits: torch.Tensor, embedding: SamEmbedding) -> torch.Tensor:
        from torch.nn import functional

        return functional.interpolate(logits, embedding.original_size, mode="bilinear", align_corners=False)

    def _enlarger(self, embedding: SamEmbedding, small: tuple[int, int]) -> Enlarger:
        return embedding.enlarger(small, small, small)


def stretched(
    rgb: NDArray[np.uint8],
    side: int,
    mean: Sequence[float] = Sam2Model.mean,
    deviation: Sequence[float] = Sam2Model.deviation,
) -> torch.Tensor:
    """Return a picture resized and normalised for the encoder; bilinear with anti-aliasing, as in the reference.

    Parameters
    ----------
    rgb : (M, N, 3) ndarray of uint8
        The picture.
    side : int
        Rows and columns of the result.
    mean, deviation : sequence of float
        Mean and standard deviation of red, green and blue (0 to 1); by default ImageNet's.

    Returns
    -------
    (1, 3, side, side) tensor of float32
        The picture less the mean, divided by the deviation.
    """
    import torch
    from torch.nn import functional

    pixels = torch.as_tensor(np.ascontiguousarray(rgb)).movedim(-1, 0)[None].float() / 255
    if pixels.shape[-2:] != (side, side):
        pixels = functional.interpolate(pixels, (side, side), mode="bilinear", align_corners=False, antialias=True)
    less, scale = (torch.tensor(values)[:, None, None] for values in (mean, deviation))
    return (pixels - less) / scale
