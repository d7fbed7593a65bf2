"""OmDet-Turbo (Zhao et al., 2024, arXiv 2403.06892): boxes for phrases.

Each phrase is encoded separately. A task text with all phrases, "Detect a cell, debris.", is another input.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.family import Family, Package, WeightsView
from napari_foundseg.models.files import transformers_folder
from napari_foundseg.models.loaded import LoadedWords, grounded_boxes, grouped, joined_boxes, pad_thin
from napari_foundseg.models.protocols.words import GroundedBoxes

__all__ = ["FAMILY", "OmDetTurboModel", "load", "recognise"]

FAMILY = Family(
    rank=45,
    title="OmDet-Turbo",
    protocols=("Grounded",),
    verified_against="transformers: its forward pass and its post-processing, equal within 1e-5",
    packages=(Package("transformers"),),
    # Needed if the network's configuration has a backbone of timm.
    more_packages=lambda options: (Package("timm"),) if options.get("timm") else (),
    expects="as is",
)

_ARCHITECTURE = "OmDetTurboForObjectDetection"
#: Largest number of tokens in a phrase, and in the task text.
_TOKENS = 77
#: IoU threshold in the authors' post-processing.
_NMS = 0.5


class OmDetTurboModel(LoadedWords):
    """OmDet-Turbo with its image processor and tokenizer; implements `Grounded`."""

    @property
    def window(self) -> int:
        """Side of the network's square input in pixels."""
        return transformers_folder.window_of(self.images, 640)

    @property
    def longest_text(self) -> int:
        """Largest number of tokens in a phrase, including the words of the task text, start and end."""
        return _TOKENS

    @property
    def most_boxes(self) -> int:
        """Largest number of boxes for a picture and one group of phrases."""
        return int(self.network.config.num_queries)

    @cached_property
    def _processor(self) -> Any:
        from transformers import OmDetTurboProcessor

        return OmDetTurboProcessor(self.images, self.tokenizer)

    def token_count(self, text: str) -> int:
        """Return the number of tokens in a task text with this phrase."""
        return len(self.tokenizer(_task([text]))["input_ids"])

    def ground(self, rgb: NDArray[np.uint8], phrases: Sequence[str], threshold: float) -> GroundedBoxes:
        """Return boxes for phrases; near-duplicates of each phrase are removed, as in transformers."""
        import torch

        seen = pad_thin(rgb)
        parts: list[GroundedBoxes] = []
        with torch.inference_mode():
            for first, group in grouped(phrases, self._fits):
                inputs = self._processor(
                    images=[seen],
                    text=[group],
                    task=[_task(group)],
                    return_tensors="pt",
                    input_data_format="channels_last",
                ).to(self.device)
                (found,) = self._processor.post_process_grounded_object_detection(
                    self.network(**inputs), threshold=threshold, nms_threshold=_NMS, target_sizes=[seen.shape[:2]]
                )
                arrays = (found[name].float().cpu().numpy() for name in ("boxes", "scores", "labels"))
                boxes, scores, labels = arrays
                parts.append(grounded_boxes(boxes, scores, first + labels, rgb.shape))
        return joined_boxes(parts)

    def _fits(self, phrases: Sequence[str]) -> bool:
        return len(self.tokenizer(_task(phrases))["input_ids"]) <= _TOKENS


def load(row: CatalogRow, path: Path, device: str) -> OmDetTurboModel:
    """Load the model of a row; raise CheckpointError if the folder lacks a file or its files do not match."""
    images = transformers_folder.image_processor(path)
    tokenizer = transformers_folder.tokenizer(path)
    network = transformers_folder.network(path, _ARCHITECTURE, device)
    transformers_folder.check_tokens(path, tokenizer, network.vocab_size)
    return OmDetTurboModel(network, images, tokenizer, row)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields if a folder is of this family; else None."""
    if transformers_folder.architecture_of(found.config) != _ARCHITECTURE:
        return None
    backbone = found.config.get("backbone_config") or {"model_type": "timm_backbone"}
    timm = backbone.get("model_type") == "timm_backbone"
    return {
        "title": "OmDet-Turbo",
        "options": {"timm": True} if timm else {},
        "code_licence": "Apache-2.0",
        "input": "2-D, any dtype, grey or RGB",
    }


def _task(phrases: Sequence[str]) -> str:
    return f"Detect {', '.join(phrases)}."
