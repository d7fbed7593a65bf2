"""CLIP and SigLIP: a score for how well a text describes a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.family import Family, Package, WeightsView
from napari_foundseg.models.files import transformers_folder
from napari_foundseg.models.loaded import LoadedWords, words_row

if TYPE_CHECKING:
    import torch


__all__ = ["FAMILY", "TextImageModel", "load", "recognise"]

FAMILY = Family(
    rank=40,
    title="CLIP and SigLIP",
    protocols=("TextImage",),
    verified_against="transformers: its logits, equal within 1e-4",
    packages=(Package("transformers"),),
    expects="as is",
)

#: Titles by transformers' class.
ARCHITECTURES = {"CLIPModel": "CLIP", "SiglipModel": "SigLIP", "Siglip2Model": "SigLIP 2"}
#: Number of pictures in a batch.
_BATCH = 16


class TextImageModel(LoadedWords):
    """A network that embeds texts and pictures in one space."""

    @property
    def window(self) -> int:
        """Side of the network's square input in pixels."""
        return transformers_folder.window_of(self.images, 224)

    @property
    def scale(self) -> float:
        """Factor by which cosines are multiplied before a softmax: the inverse of the learnt temperature."""
        return float(self.network.logit_scale.detach().exp())

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts as rows of length 1, (K, D)."""
        import torch

        # SigLIP was trained on texts padded to full length.
        padding = "longest" if type(self.network).__name__ == "CLIPModel" else "max_length"
        longest = self.network.config.text_config.max_position_embeddings
        with torch.inference_mode():
            tokens = self.tokenizer(
                list(texts), padding=padding, truncation=True, max_length=longest, return_tensors="pt"
            ).to(self.device)
            return _unit(transformers_folder.pooled(self.network.get_text_features(**tokens)))

    def embed_pictures(self, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed pictures as rows of length 1, (K, D)."""
        import torch

        parts = []
        with torch.inference_mode():
            for first in range(0, len(pictures), _BATCH):
                batch = list(pictures[first : first + _BATCH])
                inputs = self.images(images=batch, return_tensors="pt", input_data_format="channels_last")
                pixels = {name: value.to(self.device) for name, value in inputs.items()}
                parts.append(_unit(transformers_folder.pooled(self.network.get_image_features(**pixels))))
        return (
            np.concatenate(parts) if parts else np.empty((0, self.network.config.text_config.hidden_size), np.float32)
        )


def load(row: CatalogRow, path: Path, device: str) -> TextImageModel:
    """Load the model of a row; raise CheckpointError if the folder lacks a file or its files do not match."""
    return TextImageModel.from_folder(row, path, device)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields if a folder is of this family; else None."""
    return words_row(found.config, ARCHITECTURES)


def _unit(features: torch.Tensor) -> NDArray[np.float32]:
    found = features / features.norm(dim=-1, keepdim=True)
    return np.asarray(found.float().cpu().numpy(), np.float32)
