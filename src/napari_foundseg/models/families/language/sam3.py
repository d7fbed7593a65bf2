"""SAM 3 (Carion et al., 2025, arXiv 2511.16719): finds every object of a concept, which words or boxes describe.

The published folder also has its tracker, which takes points, boxes and masks, and follows objects through frames.
Networks and processing are those of transformers. The weights are gated, and users have to get them themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.masks import Mask
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.family import Family, Package, WeightsView
from napari_foundseg.models.files import transformers_folder
from napari_foundseg.models.files.checkpoints import read_config
from napari_foundseg.models.loaded import LoadedWords
from napari_foundseg.models.protocols.words import ConceptQuery
from napari_foundseg.models.sam.sam2_checkpoint import SAM2_PROTOCOLS
from napari_foundseg.models.sam.sam2_frames import Sam2FrameModel

if TYPE_CHECKING:
    import torch

__all__ = ["FAMILY", "Sam3Model", "Sam3WithTracker", "load", "recognise"]

#: Without `FeatureExtractor`, since SAM 3 finds objects that are similar to an example better with boxes.
_OF_TRACKER = tuple(name for name in SAM2_PROTOCOLS if name != "FeatureExtractor")
FAMILY = Family(
    rank=42,
    title="SAM 3",
    protocols=("ConceptMasks", *_OF_TRACKER),
    verified_against="transformers: concepts within 1e-5, prompts within 1e-4, frames exactly equal",
    packages=(Package("transformers", "5.24"), Package("segment-anything")),
    expects="as is",
)

#: Protocols by the ``model_type`` of transformers' folders. The published one (``sam3_video``) has all parts.
_PROTOCOLS = {"sam3": ("ConceptMasks",), "sam3_video": FAMILY.protocols, "sam3_tracker_video": _OF_TRACKER}
#: Prefixes of the tracker's tensors in a folder with all parts, and of the encoder, which both networks use.
_TRACKER = ("tracker_model.", "tracker_neck.")
_ENCODER = "detector_model.vision_encoder.backbone."
#: Text for queries that have only boxes, as in transformers' processor.
_BOXES_ALONE = "visual"
_TOKENS = 32


class Sam3Model(LoadedWords):
    """SAM 3 with its image processor and tokenizer; implements `ConceptMasks`."""

    @property
    def window(self) -> int:
        """Side of the network's square input in pixels."""
        return transformers_folder.window_of(self.images, 1008)

    @property
    def longest_text(self) -> int:
        """Largest number of tokens in a text, including start and end."""
        return _TOKENS

    @property
    def most_objects(self) -> int:
        """Largest number of objects of a concept for a picture."""
        return int(self.network.detr_decoder.config.num_queries)

    def token_count(self, text: str) -> int:
        """Return the number of tokens in a text."""
        return len(self.tokenizer(text)["input_ids"])

    def concept_masks(
        self, rgb: NDArray[np.uint8], queries: Sequence[ConceptQuery], threshold: float
    ) -> list[list[Mask]]:
        """Return the objects of each concept, the best first. The picture is encoded once."""
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
        """Return boxes as the network's input: centre and size as fractions of the picture."""
        import torch

        y0, x0, y1, x1 = np.array(query.boxes, float).T
        height, width = shape
        shares = np.stack([(x0 + x1 + 1) / 2 / width, (y0 + y1 + 1) / 2 / height, (x1 - x0 + 1) / width,
                           (y1 - y0 + 1) / height], axis=1)  # fmt: skip
        return {
            "input_boxes": torch.as_tensor(shares, dtype=torch.float32, device=self.device)[None],
            "input_boxes_labels": torch.as_tensor(query.signs, dtype=torch.long, device=self.device)[None],
        }


class Sam3Tracker(Sam2FrameModel):
    """The tracker of SAM 3, a SAM 2 with another encoder; implements `Promptable` and `Propagating`."""

    prepared_as = "sam3"
    mean = (0.5, 0.5, 0.5)
    deviation = (0.5, 0.5, 0.5)


class Sam3WithTracker(Sam3Tracker):
    """SAM 3 as published: concepts, prompts and frames, with one shared encoder."""

    def __init__(self, tracker: Any, concepts: Sam3Model) -> None:
        super().__init__(tracker, concepts.name, concepts.key)
        tracker.vision_encoder.backbone = concepts.network.vision_encoder.backbone
        self._concepts = concepts

    @property
    def longest_text(self) -> int:
        """Largest number of tokens in a text, including start and end."""
        return self._concepts.longest_text

    @property
    def most_objects(self) -> int:
        """Largest number of objects of a concept for a picture."""
        return self._concepts.most_objects

    def token_count(self, text: str) -> int:
        """Return the number of tokens in a text."""
        return self._concepts.token_count(text)

    def concept_masks(
        self, rgb: NDArray[np.uint8], queries: Sequence[ConceptQuery], threshold: float
    ) -> list[list[Mask]]:
        """Return the objects of each concept, the best first. The picture is encoded once."""
        return self._concepts.concept_masks(rgb, queries, threshold)

    def to_cpu(self) -> bool:
        """Move both networks to the CPU permanently; return False if they are already there."""
        self._concepts.network.to("cpu")
        return super().to_cpu()


def load(row: CatalogRow, path: Path, device: str) -> Sam3Model | Sam3Tracker:
    """Load the model of a row; raise CheckpointError if the folder lacks a file or its files do not match."""
    kind = read_config(path).get("model_type")
    if kind == "sam3_tracker_video":
        return Sam3Tracker(transformers_folder.network(path, "Sam3TrackerVideoModel", device), row.name, row.key)
    images = transformers_folder.image_processor(path)
    tokenizer = transformers_folder.tokenizer(path)
    config, tensors = transformers_folder.config_and_tensors(path)
    own = {name: tensor for name, tensor in tensors.items() if not name.startswith(_TRACKER)}
    network = transformers_folder.network_of(path, "Sam3Model", config, own).to(device)
    transformers_folder.check_tokens(path, tokenizer, network.vocab_size)
    concepts = Sam3Model(network, images, tokenizer, row)
    if kind == "sam3":
        return concepts
    used = {name: tensor for name, tensor in tensors.items() if name.startswith((*_TRACKER, _ENCODER))}
    tracker = transformers_folder.network_of(path, "Sam3TrackerVideoModel", config, used)
    return Sam3WithTracker(tracker.to(device), concepts)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields if a folder is of this family; else None."""
    kind = found.config.get("model_type")
    if kind not in _PROTOCOLS:
        return None
    return {
        "title": "SAM 3",
        "protocols": _PROTOCOLS[kind],
        "code_licence": "Apache-2.0",
        "weights_licence": "SAM License",
        "input": "2-D, any dtype, grey or RGB",
    }
