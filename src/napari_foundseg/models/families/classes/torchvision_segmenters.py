"""Segmentation models of torchvision: FCN, DeepLabV3, LR-ASPP and Mask R-CNN, from its weights files (``.pth``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.core.masks import Mask
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.class_sets import CLASS_SETS, numbered_classes
from napari_foundseg.models.family import Family, Package, WeightsView
from napari_foundseg.models.files.checkpoints import read_tensors
from napari_foundseg.models.files.network_bounds import check_network_size
from napari_foundseg.models.loaded import LoadedClasses, pad_thin
from napari_foundseg.models.protocols.classes import PanopticOptions

__all__ = ["FAMILY", "MaskRcnn", "Pixelwise", "load", "recognise"]

FAMILY = Family(
    rank=50,
    title="FCN, DeepLabV3, LR-ASPP, Mask R-CNN (of torchvision)",
    protocols=("InstanceMasks", "SemanticClasses"),
    verified_against="torchvision: its forward pass, equal",
    packages=(Package("torchvision"),),
    expects="as is",
)

#: Title, module in torchvision.models, and torchvision's name for the published weights.
ARCHITECTURES = {
    "fcn_resnet50": ("FCN ResNet-50", "segmentation", "FCN_ResNet50_Weights"),
    "fcn_resnet101": ("FCN ResNet-101", "segmentation", "FCN_ResNet101_Weights"),
    "deeplabv3_resnet50": ("DeepLabV3 ResNet-50", "segmentation", "DeepLabV3_ResNet50_Weights"),
    "deeplabv3_resnet101": ("DeepLabV3 ResNet-101", "segmentation", "DeepLabV3_ResNet101_Weights"),
    "deeplabv3_mobilenet_v3_large": ("DeepLabV3 MobileNetV3", "segmentation", "DeepLabV3_MobileNet_V3_Large_Weights"),
    "lraspp_mobilenet_v3_large": ("LR-ASPP MobileNetV3", "segmentation", "LRASPP_MobileNet_V3_Large_Weights"),
    "maskrcnn_resnet50_fpn": ("Mask R-CNN", "detection", "MaskRCNN_ResNet50_FPN_Weights"),
    "maskrcnn_resnet50_fpn_v2": ("Mask R-CNN v2", "detection", "MaskRCNN_ResNet50_FPN_V2_Weights"),
}


class Pixelwise(LoadedClasses):
    """A semantic network of torchvision. Pictures are resized so that the shorter side has 520 pixels."""

    window = 1024
    #: The values of torchvision's `SemanticSegmentation` transform.
    resize = 520
    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)

    def semantic(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Return the class of each pixel, (M, N)."""
        import torch
        from torch.nn import functional
        from torchvision.transforms._presets import SemanticSegmentation

        transform = SemanticSegmentation(resize_size=self.resize, mean=self.mean, std=self.std)
        with torch.inference_mode():
            padded = pad_thin(rgb)
            inputs = transform(torch.as_tensor(padded).movedim(-1, 0))[None].to(self.device)
            logits = self.network(inputs)["out"]
            logits = functional.interpolate(logits, padded.shape[:2], mode="bilinear", align_corners=False)
            found = logits[0].argmax(0)[: rgb.shape[0], : rgb.shape[1]]
        return np.asarray(found.cpu().numpy() + self.first, np.uint16)


class MaskRcnn(LoadedClasses):
    """Mask R-CNN of torchvision, with its own resizing (shorter side 800, longer side up to 1333) and thresholds."""

    window = 1333

    def instances(self, rgb: NDArray[np.uint8], options: PanopticOptions) -> list[Mask]:
        """Return the objects of a picture, the best first; masks may overlap."""
        import torch

        with torch.inference_mode():
            inputs = torch.as_tensor(rgb).movedim(-1, 0).float().div(255).to(self.device)
            found = {name: value.cpu().numpy() for name, value in self.network([inputs])[0].items()}
        masks = []
        for mask, score, number in zip(found["masks"], found["scores"], found["labels"], strict=True):
            own = mask[0] >= options.mask_threshold
            if score >= options.threshold and own.any():
                masks.append(Mask.from_array(own, predicted_iou=float(score), class_id=int(number) + self.first))
        return [mask for mask in masks if mask.class_id in self.classes]


def load(row: CatalogRow, path: Path, device: str) -> Pixelwise | MaskRcnn:
    """Load the model of a row; raise CheckpointError if the file has another layout."""
    from torchvision import models

    architecture = str(row.options.get("architecture"))
    if architecture not in ARCHITECTURES:
        raise CheckpointError(f"The row of {row.name} has the architecture {architecture!r:.60}. Import it again.")
    row = row if row.classes else replace(row, classes=_published_classes(architecture))
    module = getattr(models, ARCHITECTURES[architecture][1])
    tensors = _stripped(read_tensors(path))
    options: dict[str, Any] = {"weights": None, "weights_backbone": None, "num_classes": len(row.classes)}
    if any(name.startswith("aux_classifier.") for name in tensors):
        options["aux_loss"] = True
    make = partial(getattr(module, architecture), **options)
    check_network_size(path, make, {name: tuple(value.shape) for name, value in tensors.items()})
    network = make()
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path} does not hold the weights of {row.title} with {len(row.classes)} classes: {str(error)[:300]}"
        ) from error
    kind = MaskRcnn if architecture.startswith("maskrcnn") else Pixelwise
    return kind(network.to(device).eval(), row)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields if a file is of this family; else None."""
    shapes = _stripped(found.shapes)
    architecture = _architecture(shapes)
    if architecture is None:
        return None
    instances = architecture.startswith("maskrcnn")
    count = _class_count(shapes, architecture)
    published = _published_classes(architecture)
    names = published if len(published) == count else ("background", *numbered_classes(count, 1))
    return {
        "title": ARCHITECTURES[architecture][0],
        "protocols": ("InstanceMasks",) if instances else ("SemanticClasses",),
        "classes": names,
        "options": {"architecture": architecture},
        "code_licence": "BSD-3-Clause",
        "input": "2-D, any dtype, grey or RGB",
    }


def _architecture(shapes: Mapping[str, Any]) -> str | None:
    """Return the architecture that the names of the tensors identify; None if it is none of `ARCHITECTURES`."""
    if "roi_heads.mask_predictor.mask_fcn_logits.weight" in shapes:
        second = "roi_heads.box_head.fc6.weight" not in shapes
        return "maskrcnn_resnet50_fpn_v2" if second else "maskrcnn_resnet50_fpn"
    if "classifier.cbr.0.weight" in shapes:
        return "lraspp_mobilenet_v3_large"
    if "backbone.conv1.weight" not in shapes:
        return "deeplabv3_mobilenet_v3_large" if "classifier.0.convs.0.0.weight" in shapes else None
    depth = "101" if "backbone.layer3.22.conv1.weight" in shapes else "50"
    if "classifier.0.convs.0.0.weight" in shapes:
        return f"deeplabv3_resnet{depth}"
    return f"fcn_resnet{depth}" if "classifier.4.weight" in shapes else None


def _class_count(shapes: Mapping[str, tuple[int, ...]], architecture: str) -> int:
    if architecture.startswith("maskrcnn"):
        last = "roi_heads.mask_predictor.mask_fcn_logits.weight"
    else:
        last = "classifier.low_classifier.weight" if architecture.startswith("lraspp") else "classifier.4.weight"
    return int(shapes[last][0])


def _published_classes(architecture: str) -> tuple[str, ...]:
    return CLASS_SETS["COCO" if architecture.startswith("maskrcnn") else "VOC"]


def _stripped(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Remove the prefix ``model.``, which torchvision's reference scripts add when they save a training."""
    if any(name.startswith("model.backbone.") for name in tensors):
        return {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    return dict(tensors)
