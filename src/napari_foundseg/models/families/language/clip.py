"""CLIP and SigLIP: how well a text describes a picture."""

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

#: Title of each class of transformers.
ARCHITECTURES = {"CLIPModel": "CLIP", "SiglipModel": "SigLIP", "Siglip2Model": "SigLIP 2"}
#: Pictures encoded at once.
_BATCH = 16


class TextImageModel(LoadedWords):
    """A network that embeds texts and pictures in one space."""

    @property
    def window(self) -> int:
        """Side in pixels of the square that the network sees."""
        return transformers_folder.window_of(self.images, 224)

    @property
    def scale(self) -> float:
        """What cosines are multiplied with before a softmax: the temperature that was learnt."""
        return float(self.network.logit_scale.detach().exp())

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts."""
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
        """Embed pictures."""
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
    """Return the model of a row; CheckpointError if the folder lacks a file or its files disagree."""
    return TextImageModel.from_folder(row, path, device)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return fields of the row if a folder is of this family."""
    return words_row(found.config, ARCHITECTURES)


def _unit(features: torch.Tensor) -> NDArray[np.float32]:
    found = features / features.norm(dim=-1, keepdim=True)
    return np.asarray(found.float().cpu().numpy(), np.float32)
