"""OmDet-Turbo (Zhao et al., 2024, arXiv 2403.06892): boxes of what phrases name.

Each phrase is encoded on its own, and a task, "Detect a cell, debris.", tells the network of all of them.
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
    # Networks whose configuration names a backbone of timm.
    more_packages=lambda options: (Package("timm"),) if options.get("timm") else (),
    expects="as is",
)

_ARCHITECTURE = "OmDetTurboForObjectDetection"
#: Tokens of a phrase, and of the task.
_TOKENS = 77
#: Of the authors' post-processing.
_NMS = 0.5


class OmDetTurboModel(LoadedWords):
    """OmDet-Turbo with its image processor and tokenizer; implements `Grounded`."""

    @property
    def window(self) -> int:
        """Side in pixels of the square that the network sees."""
        return transformers_folder.window_of(self.images, 640)

    @property
    def longest_text(self) -> int:
        """Tokens that a phrase may have, with the task's word for it, start and end included."""
        return _TOKENS

    @property
    def most_boxes(self) -> int:
        """How many boxes it can return for a picture and a group of phrases."""
        return int(self.network.config.num_queries)

    @cached_property
    def _processor(self) -> Any:
        from transformers import OmDetTurboProcessor

        return OmDetTurboProcessor(self.images, self.tokenizer)

    def token_count(self, text: str) -> int:
        """Return how many tokens a phrase has within a task."""
        return len(self.tokenizer(_task([text]))["input_ids"])

    def ground(self, rgb: NDArray[np.uint8], phrases: Sequence[str], threshold: float) -> GroundedBoxes:
        """Return boxes of phrases, those of each phrase without near-equal ones, as transformers does."""
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
    """Return the model of a row; CheckpointError if the folder lacks a file or its files disagree."""
    images = transformers_folder.image_processor(path)
    tokenizer = transformers_folder.tokenizer(path)
    network = transformers_folder.network(path, _ARCHITECTURE, device)
    transformers_folder.check_tokens(path, tokenizer, network.vocab_size)
    return OmDetTurboModel(network, images, tokenizer, row)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return fields of the row if a folder is of this family."""
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
