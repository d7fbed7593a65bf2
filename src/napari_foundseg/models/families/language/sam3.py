"""SAM 3 (Carion et al., 2025, arXiv 2511.16719): every object of a concept, which words or boxes describe.

The network and its processing are transformers' own; the weights are gated, and users bring theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.masks import Mask
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.class_protocols import ConceptQuery
from napari_foundseg.models.family import Family, Package, WeightsView
from napari_foundseg.models.files import transformers_folder
from napari_foundseg.models.loaded import LoadedWords

if TYPE_CHECKING:
    import torch

__all__ = ["FAMILY", "Sam3Model", "load", "recognise"]

FAMILY = Family(
    rank=42,
    title="SAM 3",
    protocols=("ConceptMasks",),
    verified_against="transformers: its forward pass and its post-processing, equal within 1e-5",
    packages=(Package("transformers"),),
    expects="as is",
)

_ARCHITECTURE = "Sam3Model"
#: Kinds of transformers' folders that hold this network; the published one holds the tracker too.
_KINDS = ("sam3", "sam3_video")
#: What the network is told where boxes alone say what is meant, as transformers' processor does.
_BOXES_ALONE = "visual"
_TOKENS = 32


class Sam3Model(LoadedWords):
    """SAM 3 with its image processor and tokenizer; implements `ConceptMasks`."""

    @property
    def window(self) -> int:
        """Side in pixels of the square that the network sees."""
        return transformers_folder.window_of(self.images, 1008)

    @property
    def longest_text(self) -> int:
        """Tokens that a text may have, start and end included."""
        return _TOKENS

    @property
    def most_objects(self) -> int:
        """How many objects of a concept it can return for a picture."""
        return int(self.network.detr_decoder.config.num_queries)

    def token_count(self, text: str) -> int:
        """Return how many tokens a text has."""
        return len(self.tokenizer(text)["input_ids"])

    def concept_masks(
        self, rgb: NDArray[np.uint8], queries: Sequence[ConceptQuery], threshold: float
    ) -> list[list[Mask]]:
        """Return the objects of each concept, the best first."""
        import torch

        inputs = self.images(images=[rgb], return_tensors="pt", input_data_format="channels_last")
        with torch.inference_mode():
            seen = self.network.get_vision_features(inputs["pixel_values"].to(self.device))
            return [self._objects(seen, query, rgb.shape[:2], threshold) for query in queries]

    def _objects(self, seen: Any, query: ConceptQuery, shape: tuple[int, ...], threshold: float) -> list[Mask]:
        tokens = self.tokenizer(
            [query.text or _BOXES_ALONE], padding="max_length", max_length=_TOKENS, return_tensors="pt"
        ).to(self.device)
        boxes = self._boxes(query, shape) if query.boxes else {}
        found = self.network(vision_embeds=seen, **tokens, **boxes)
        (kept,) = self.images.post_process_instance_segmentation(
            found, threshold=threshold, mask_threshold=0.5, target_sizes=[shape]
        )
        scores = kept["scores"].float().cpu().numpy()
        masks = kept["masks"].bool().cpu().numpy()
        order = np.argsort(-scores, kind="stable")
        objects = [Mask.from_array(masks[i], predicted_iou=float(scores[i])) for i in order]
        return [mask for mask in objects if mask.area]

    def _boxes(self, query: ConceptQuery, shape: tuple[int, ...]) -> dict[str, torch.Tensor]:
        """Return boxes as the network takes them: centre and size as shares of the picture."""
        import torch

        y0, x0, y1, x1 = np.array(query.boxes, float).T
        height, width = shape
        shares = np.stack([(x0 + x1 + 1) / 2 / width, (y0 + y1 + 1) / 2 / height, (x1 - x0 + 1) / width,
                           (y1 - y0 + 1) / height], axis=1)  # fmt: skip
        return {
            "input_boxes": torch.as_tensor(shares, dtype=torch.float32, device=self.device)[None],
            "input_boxes_labels": torch.as_tensor(query.signs, dtype=torch.long, device=self.device)[None],
        }


def load(row: CatalogRow, path: Path, device: str) -> Sam3Model:
    """Return the model of a row; CheckpointError if the folder lacks a file or its files disagree."""
    images = transformers_folder.image_processor(path)
    tokenizer = transformers_folder.tokenizer(path)
    network = transformers_folder.network(path, _ARCHITECTURE, device)
    transformers_folder.check_tokens(path, tokenizer, network.vocab_size)
    return Sam3Model(network, images, tokenizer, row)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return fields of the row if a folder is of this family."""
    if found.config.get("model_type") in _KINDS:
        return {
            "title": "SAM 3",
            "code_licence": "Apache-2.0",
            "weights_licence": "SAM License",
            "input": "2-D, any dtype, grey or RGB",
        }
    return None
