"""foundseg-tiny: the model that is part of the wheel, a SAM with an instance decoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.family import Family, Package, WeightsView
from napari_foundseg.models.sam.prompted_masks import SAM_PROTOCOLS
from napari_foundseg.models.sam.sam_model import SamModel

if TYPE_CHECKING:
    import torch
    from segment_anything.modeling import Sam
    from torch import nn

    from napari_foundseg.models.protocols.objects import GridOptions
    from napari_foundseg.models.sam.sam_embedding import SamEmbedding

__all__ = ["FAMILY", "TinyModel", "load", "recognise"]

FAMILY = Family(
    rank=10,
    title="foundseg-tiny",
    protocols=("NucleusDecoding", "InstanceDecoding", *SAM_PROTOCOLS),
    verified_against="annotated images that it was not trained on (its own weights)",
    packages=(Package("segment-anything"),),
    colours="grey",
)


#: Allowed error of a predicted IoU in half precision. In 18,000 masks on six images the largest error was 0.03, among
#: values where half precision or float32 was above 0.3.
_HALF_OFF = 0.06
#: Threshold of the predicted IoU above which few points give a mask, so that a first pass in half precision pays off.
_SIFTED = 0.5


class TinyModel(SamModel):
    """A SAM that also implements `InstanceDecoding`, `EmbeddingMaps` and `FeatureExtractor`."""

    def __init__(self, sam: Sam, instance_decoder: nn.Module, name: str, key: str) -> None:
        super().__init__(sam, name, key)
        self.instance_decoder = instance_decoder

    def _fast_decoder(self, *dtype: torch.dtype) -> Any:
        from napari_foundseg.models.nets.tiny.tiny_decoder import FastTinyDecoder

        return FastTinyDecoder.of(self.sam, *dtype)

    def _wanted(
        self, embedding: SamEmbedding, coordinates: torch.Tensor, labels: torch.Tensor, options: GridOptions
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Decode in float32 only the points that may give a mask according to a first pass in half precision."""
        if options.exact and self._half is not None and options.pred_iou_thresh >= _SIFTED:
            picture = self._prepared(embedding, self._half)
            points = (coordinates, labels)
            _, iou, _ = self._half.decode(picture, points, None, slice(1, None), lambda iou: iou > 1)
            hopeful = (iou > options.pred_iou_thresh - _HALF_OFF).any(dim=1)
            if not bool(hopeful.any()):
                side = self.sam.prompt_encoder.mask_input_size[0]
                return iou.new_empty((0, side, side)), iou.new_empty(0)
            coordinates = coordinates[hopeful]
            labels = labels[hopeful]
        return super()._wanted(embedding, coordinates, labels, options)

    #: Larger windows give no better results and need more memory.
    maps_window = 512
    features_window = 512
    feature_stride = 4
    feature_offset = 0.0
    feature_margin = 32

    def features(self, rgb: NDArray[np.uint8]) -> NDArray[np.float16]:
        """Return the features of the encoder at stride 4, (D, H, W)."""
        import torch

        from napari_foundseg.models.nets.tiny.tiny_features import STRIDE, dense_features

        # The border is mirrored, since with zeros outside the picture the border would become a cluster.
        margin = self.feature_margin
        mirrored = np.pad(rgb, [*((margin, margin + -n % 32) for n in rgb.shape[:2]), (0, 0)], mode="reflect")
        with torch.inference_mode():
            picture = torch.as_tensor(mirrored, device=self.device).movedim(-1, 0)[None].float()
            picture = (picture - self.sam.pixel_mean) / self.sam.pixel_std
            maps = dense_features(self.sam.image_encoder, picture)[0]
            rows, columns = (slice(margin // STRIDE, (margin + n + STRIDE - 1) // STRIDE) for n in rgb.shape[:2])
            maps = maps[:, rows, columns]
        return np.asarray(maps.half().cpu().numpy())

    def instance_maps(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Decode the instance maps of a picture, (3, M, N)."""
        import torch
        from torch.nn import functional

        size = rgb.shape[:2]
        scale = min(1.0, self.maps_window / max(size))
        small = tuple(max(1, round(n * scale)) for n in size)
        with torch.inference_mode():
            picture = torch.as_tensor(rgb, device=self.device).movedim(-1, 0)[None].float()
            picture = (_resized(picture, small) - self.sam.pixel_mean) / self.sam.pixel_std
            # Padded to multiples of 32, since the network halves the picture five times.
            picture = functional.pad(picture, (0, -small[1] % 32, 0, -small[0] % 32))
            maps = self.instance_decoder(self.sam.image_encoder(picture)).sigmoid()
            maps = _resized(maps[..., : small[0], : small[1]], size)
        return np.asarray(maps[0].float().cpu().numpy(), np.float32)

    def maps_of(self, embedding: SamEmbedding) -> NDArray[np.float32]:
        """Decode the instance maps of an encoded picture, (3, M, N)."""
        import torch

        height, width = embedding.input_size
        with torch.inference_mode():
            maps = self.instance_decoder(embedding.features).sigmoid()
            maps = _resized(maps[..., :height, :width], embedding.original_size)
        return np.asarray(maps[0].float().cpu().numpy(), np.float32)


def _resized(picture: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    from torch.nn import functional

    if picture.shape[-2:] == size:
        return picture
    return functional.interpolate(picture, size, mode="bilinear", align_corners=False, antialias=True)


def load(row: CatalogRow, path: Path, device: str) -> TinyModel:
    """Load the model of a row; raise CheckpointError if the file has another layout."""
    from safetensors import SafetensorError

    from napari_foundseg.models.nets.tiny.tiny import load_foundseg_tiny

    try:
        sam, decoder = load_foundseg_tiny(path)
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path} does not hold the weights of {row.name}: {error}") from error
    return TinyModel(sam.to(device), decoder.to(device), row.name, row.key)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields if weights are of this family, including new weights from training; else None."""
    if found.config.get("format") != "foundseg-tiny":
        return None
    return {
        "title": "foundseg-tiny",
        "input": "2-D, any dtype, grey or RGB",
    }
