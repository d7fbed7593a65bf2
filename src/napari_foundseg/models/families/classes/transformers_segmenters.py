"""Segmentation models of transformers: panoptic, semantic and instance, from a folder written by `save_pretrained`.

The folder's image processor resizes and normalises pictures, and its post-processing makes the results.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.classes.panoptic import Panoptic
from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.core.labels import label_dtype
from napari_foundseg.core.masks import Mask
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.family import Family, Package, WeightsView
from napari_foundseg.models.files import transformers_folder
from napari_foundseg.models.files.checkpoints import read_config
from napari_foundseg.models.loaded import LoadedClasses, pad_thin
from napari_foundseg.models.protocols.classes import PanopticOptions

__all__ = ["FAMILY", "UNIVERSAL", "Segmenter", "load", "recognise"]


#: Protocols of networks that predict both objects and classes.
UNIVERSAL = ("PanopticSegments", "InstanceMasks", "SemanticClasses")
_SEMANTIC = ("SemanticClasses",)


class Architecture(NamedTuple):
    """A segmentation class of transformers."""

    title: str
    protocols: tuple[str, ...]
    since: str = ""
    """Version of transformers that it needs, if newer than the package's own minimum."""


ARCHITECTURES = {
    "Mask2FormerForUniversalSegmentation": Architecture("Mask2Former", UNIVERSAL),
    "MaskFormerForInstanceSegmentation": Architecture("MaskFormer", UNIVERSAL),
    "OneFormerForUniversalSegmentation": Architecture("OneFormer", UNIVERSAL, since="5.20"),
    "EomtForUniversalSegmentation": Architecture("EoMT", UNIVERSAL, since="5.20"),
    "EomtDinov3ForUniversalSegmentation": Architecture("EoMT with DINOv3", UNIVERSAL, since="5.20"),
    "DetrForSegmentation": Architecture("DETR panoptic", UNIVERSAL),
    "ConditionalDetrForSegmentation": Architecture("Conditional DETR panoptic", UNIVERSAL),
    "RfDetrForInstanceSegmentation": Architecture("RF-DETR", ("InstanceMasks",), since="5.20"),
    "SegformerForSemanticSegmentation": Architecture("SegFormer", _SEMANTIC),
    "UperNetForSemanticSegmentation": Architecture("UperNet", _SEMANTIC),
    "BeitForSemanticSegmentation": Architecture("BEiT", _SEMANTIC),
    "Data2VecVisionForSemanticSegmentation": Architecture("Data2Vec", _SEMANTIC),
    "DPTForSemanticSegmentation": Architecture("DPT", _SEMANTIC),
    "MobileViTForSemanticSegmentation": Architecture("MobileViT DeepLabV3", _SEMANTIC),
    "MobileViTV2ForSemanticSegmentation": Architecture("MobileViTV2 DeepLabV3", _SEMANTIC),
    "MobileNetV2ForSemanticSegmentation": Architecture("MobileNetV2 DeepLabV3+", _SEMANTIC),
}


def _packages_of(options: Mapping[str, Any]) -> tuple[Package, ...]:
    known = ARCHITECTURES.get(str(options.get("architecture")))
    return (Package("transformers", known.since),) if known is not None and known.since else ()


FAMILY = Family(
    rank=40,
    title="Mask2Former, MaskFormer, OneFormer, EoMT, DETR, RF-DETR, SegFormer, UperNet, BEiT, DPT (of transformers)",
    protocols=UNIVERSAL,
    verified_against="transformers: its forward pass and post-processing, equal",
    packages=(Package("transformers"),),
    more_packages=_packages_of,
    expects="as is",
)


class Segmenter(LoadedClasses):
    """A network of transformers with its image processor."""

    def __init__(self, network: Any, processor: Any, row: CatalogRow) -> None:
        super().__init__(network, row)
        self.processor = processor
        #: Models that take a task in words have a processor which contains the image processor.
        self.images = getattr(processor, "image_processor", processor)
        self._stuff = {entry.id - self.first for entry in self.classes if entry.kind == "stuff"}
        if self.images is not processor:
            self.images.metadata = {"thing_ids": [i for i in range(len(row.classes)) if i not in self._stuff]}

    @property
    def window(self) -> int:
        """Longest side of the network's input in pixels."""
        return transformers_folder.window_of(self.images)

    def semantic(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Return the class of each pixel, (M, N)."""
        found = self._post("semantic", rgb, {})
        return np.asarray(found.cpu().numpy() + self.first, np.uint16)

    def instances(self, rgb: NDArray[np.uint8], options: PanopticOptions) -> list[Mask]:
        """Return the objects of a picture; they do not overlap."""
        found = self._post("instance", rgb, self._thresholds(options))
        segments = found["segmentation"].cpu().numpy()
        masks = [
            Mask.from_array(
                segments == info["id"], predicted_iou=float(info["score"]), class_id=int(info["label_id"]) + self.first
            )
            for info in found["segments_info"]
        ]
        return [mask for mask in masks if mask.area and mask.class_id in self.classes]

    def panoptic(self, rgb: NDArray[np.uint8], options: PanopticOptions) -> Panoptic:
        """Split a picture into objects and stuff; the objects do not overlap."""
        fused = {"label_ids_to_fuse": self._stuff, "stuff_classes": sorted(self._stuff)}
        found = self._post("panoptic", rgb, self._thresholds(options) | fused)
        segments = found["segmentation"].cpu().numpy()
        infos = found["segments_info"]
        labels = np.zeros(segments.shape, label_dtype(len(infos)))
        semantic = np.zeros(segments.shape, np.uint16)
        classes = []
        scores = []
        for info in infos:
            own = segments == info["id"]
            number = int(info["label_id"])
            semantic[own] = number + self.first
            if number not in self._stuff and own.any():
                classes.append(number + self.first)
                scores.append(float(info.get("score", 1.0)))
                labels[own] = len(classes)
        return Panoptic(labels, semantic, np.array(classes, np.int64), np.array(scores, float))

    def _post(self, kind: str, rgb: NDArray[np.uint8], options: dict[str, Any]) -> Any:
        import torch

        process = getattr(self.images, f"post_process_{kind}_segmentation")
        accepted = inspect.signature(process).parameters
        padded = pad_thin(rgb)
        rows, columns = (slice(n) for n in rgb.shape[:2])
        with torch.inference_mode():
            outputs = self.network(**self._inputs(padded, kind))
            chosen = {name: value for name, value in options.items() if name in accepted}
            found = process(outputs, target_sizes=[padded.shape[:2]], **chosen)[0]
        if kind == "semantic":
            return found[rows, columns]
        return {**found, "segmentation": found["segmentation"][rows, columns]}

    def _inputs(self, rgb: NDArray[np.uint8], kind: str) -> dict[str, Any]:
        text = {"task_inputs": [kind]} if self.images is not self.processor else {}
        inputs = self.processor(images=[rgb], return_tensors="pt", input_data_format="channels_last", **text)
        return {
            name: value.to(self.device) if hasattr(value, "to") else value
            for name, value in inputs.items()
            if name not in ("text_inputs",)
        }

    def _thresholds(self, options: PanopticOptions) -> dict[str, float]:
        mask = options.mask_threshold
        if type(self.network).__name__.startswith("RfDetr"):
            # The threshold of RF-DETR is for logits, not probabilities.
            mask = math.log(max(mask, 1e-6) / max(1 - mask, 1e-6))
        return {
            "threshold": options.threshold,
            "mask_threshold": mask,
            "overlap_mask_area_threshold": options.overlap_mask_area_threshold,
        }


def load(row: CatalogRow, path: Path, device: str) -> Segmenter:
    """Load the model of a row; raise CheckpointError if the folder lacks a file or its files do not match."""
    architecture = str(row.options.get("architecture"))
    if architecture not in ARCHITECTURES:
        raise CheckpointError(f"The row of {row.name} has the architecture {architecture!r:.60}. Import it again.")
    if architecture.startswith("OneFormer"):
        # The processor would download its list of classes; the row has the same list.
        images = transformers_folder.image_processor(path, class_info_file=None)
        images.class_info_file = ""
        tokenizer = transformers_folder.tokenizer(path)
        from transformers import OneFormerProcessor

        processor = OneFormerProcessor(image_processor=images, tokenizer=tokenizer)
    else:
        processor = transformers_folder.image_processor(path)
    # The classes in the folder take precedence over those of the published model with the same name.
    row = replace(row, classes=transformers_folder.class_names(read_config(path)))
    return Segmenter(transformers_folder.network(path, architecture, device), processor, row)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields if a folder is of this family; else None."""
    architecture = transformers_folder.architecture_of(found.config)
    if architecture not in ARCHITECTURES:
        return None
    return {
        "title": ARCHITECTURES[architecture].title,
        "protocols": ARCHITECTURES[architecture].protocols,
        "classes": transformers_folder.class_names(found.config),
        "options": {"architecture": architecture},
        "code_licence": "Apache-2.0",
        "input": "2-D, any dtype, grey or RGB",
    }
