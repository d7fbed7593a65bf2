"""Panoptic-DeepLab from detectron2's published weights (``.pkl``): classes, centres and offsets of a picture.

Pictures are resized, normalised and padded as in detectron2's published configurations. If a picture was resized, the
offsets are scaled with the maps, so that their unit is pixels of the picture. Detectron2 does not scale them; without
resizing the results are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.class_sets import CLASS_SETS, numbered_classes
from napari_foundseg.models.family import Family, WeightsView
from napari_foundseg.models.files.checked_network import check_network, without_counts
from napari_foundseg.models.files.checkpoints import read_tensors
from napari_foundseg.models.loaded import LoadedClasses
from napari_foundseg.models.protocols.classes import CentreMaps, Grouping
from napari_foundseg.models.row_options import LARGEST_SIDE, whole_number

if TYPE_CHECKING:
    import torch


__all__ = ["FAMILY", "CentreModel", "load", "recognise"]

FAMILY = Family(
    rank=50,
    title="Panoptic-DeepLab",
    protocols=("CentreOffsets", "SemanticClasses"),
    verified_against="detectron2: its own network, equal (difference 0.0); in the tests a composition in plain torch "
    "after its source, within 5e-4 of a map's spread",
    expects="as is",
)

#: detectron2's mean and deviation of RGB, for files that do not contain them.
_MEAN = (123.675, 116.28, 103.53)
_STD = (58.395, 57.12, 57.375)
_MARKS = ("backbone.stem.conv3.weight", "ins_embed_head.center_predictor.weight", "sem_seg_head.predictor.weight")
#: Published configurations by data set: the lengths that a picture's shorter and longer side are resized to (0: not
#: resized), the crops of training, and how pixels are grouped.
_PUBLISHED: dict[str, dict[str, Any]] = {
    "Cityscapes": {"shorter": 1024, "longest": 2048, "crop": [512, 1024], "nms_kernel": 7, "stuff_area": 2048},
    "COCO panoptic": {"shorter": 640, "longest": 640, "crop": [640, 640], "nms_kernel": 41, "stuff_area": 4096},
}
#: For other weights: pictures are not resized, pooling is over the whole picture, and detectron2's defaults hold.
_OTHERWISE: dict[str, Any] = {"shorter": 0, "longest": 1024, "crop": [], "nms_kernel": 7, "stuff_area": 2048}


class CentreModel(LoadedClasses):
    """Panoptic-DeepLab.

    Parameters
    ----------
    network : PanopticDeepLab
        The network.
    row : CatalogRow
        Its row; the options have the size of pictures.
    mean, std : (3,) Tensor of float
        Mean and deviation of red, green and blue.
    """

    def __init__(self, network: Any, row: CatalogRow, mean: torch.Tensor, std: torch.Tensor) -> None:
        super().__init__(network, row)
        options: dict[str, Any] = {**_OTHERWISE, **row.options}
        self._shorter = whole_number(row, "shorter", _OTHERWISE["shorter"], least=0)
        self._longest = whole_number(row, "longest", _OTHERWISE["longest"], least=1)
        self._crop = _crop(row)
        self._mean, self._std = mean.reshape(3, 1, 1), std.reshape(3, 1, 1)
        self.grouping = Grouping(nms_kernel=int(options["nms_kernel"]), stuff_area=int(options["stuff_area"]))

    @property
    def window(self) -> int:
        """Longest side of the network's input in pixels."""
        return self._longest

    def centre_maps(self, rgb: NDArray[np.uint8]) -> CentreMaps:
        """Run the network on a picture; the maps have the picture's resolution."""
        import torch
        from torch.nn import functional

        shape = rgb.shape[:2]
        with torch.inference_mode():
            resized = self._resized(rgb)
            height, width = resized.shape[-2:]
            found = [maps[..., :height, :width] for maps in self.network(self._padded(resized)[None])]
            logits, centres, offsets = (
                functional.interpolate(maps, shape, mode="bilinear", align_corners=False)[0] for maps in found
            )
            semantic = logits.argmax(0).cpu().numpy()
        scale = np.array([shape[0] / height, shape[1] / width], np.float32)[:, None, None]
        return CentreMaps(
            np.asarray(semantic + self.first, np.uint16), centres[0].cpu().numpy(), offsets.cpu().numpy() * scale
        )

    def semantic(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Return the class of each pixel, (M, N)."""
        return self.centre_maps(rgb).semantic

    def _resized(self, rgb: NDArray[np.uint8]) -> torch.Tensor:
        """Return the picture resized and normalised, (3, M', N')."""
        import torch
        from PIL.Image import Resampling, fromarray

        height, width = rgb.shape[:2]
        factor = (self._shorter or min(height, width)) / min(height, width)
        factor = min(factor, self._longest / max(height, width))
        # Rounded like in detectron2.
        size = (max(1, int(width * factor + 0.5)), max(1, int(height * factor + 0.5)))
        picture = rgb if size == (width, height) else np.array(fromarray(rgb).resize(size, Resampling.BILINEAR))
        resized = torch.as_tensor(picture).to(self.device).movedim(-1, 0).float()
        return (resized - self._mean) / self._std

    def _padded(self, picture: torch.Tensor) -> torch.Tensor:
        """Pad with zeros at the bottom and right, to multiples of the crops of training."""
        from torch.nn import functional

        if not self._crop:
            return picture
        (rows, columns), (height, width) = self._crop, picture.shape[-2:]
        return functional.pad(picture, (0, -width % columns, 0, -height % rows))


def load(row: CatalogRow, path: Path, device: str) -> CentreModel:
    """Load the model of a row; CheckpointError if the file has another layout, or other classes than the row."""
    import torch

    from napari_foundseg.models.nets.classes.panoptic_deeplab import STRIDE, PanopticDeepLab

    tensors = _named(read_tensors(path))
    mean, std = (tensors.pop(name, torch.tensor(own)) for name, own in (("pixel_mean", _MEAN), ("pixel_std", _STD)))
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    crop = _crop(row)
    make = partial(PanopticDeepLab, pooled=(crop[0] // STRIDE, crop[1] // STRIDE) if crop else None)
    check_network(path, make, shapes, FAMILY.title)
    network = make(shapes)
    network.load_state_dict({name: value.float() for name, value in without_counts(tensors).items()}, strict=False)
    count = shapes["sem_seg_head.predictor.weight"][0]
    row = row if row.classes else replace(row, classes=_classes(count)[0])
    if len(row.classes) != count:
        raise CheckpointError(f"{path} has {count} classes, and its row names {len(row.classes)}. Import it again.")
    return CentreModel(network.to(device).eval().requires_grad_(False), row, mean.to(device), std.to(device))


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields if a file is of this family; else None."""
    shapes = _named(found.shapes)
    if not all(mark in shapes for mark in _MARKS):
        return None
    classes, options = _classes(shapes["sem_seg_head.predictor.weight"][0])
    separable = "sem_seg_head.head.depthwise.weight" in shapes
    return {
        "title": "Panoptic-DeepLab",
        "classes": classes,
        "options": {**options, "separable": separable},
        "code_licence": "Apache-2.0",
        "input": "2-D, any dtype, grey or RGB",
        "citation": "Cheng et al., CVPR 2020 (arXiv 1911.10194)",
    }


def _classes(count: int) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return class names and picture sizes by the number of classes, since files contain neither."""
    for name, options in _PUBLISHED.items():
        if len(CLASS_SETS[name]) == count:
            return CLASS_SETS[name], options
    return numbered_classes(count), _OTHERWISE


def _crop(row: CatalogRow) -> tuple[int, ...]:
    """Return the crops of training, rows and columns; empty if the training used whole pictures."""
    from napari_foundseg.models.nets.classes.panoptic_deeplab import STRIDE

    found = row.options.get("crop")
    given = found if isinstance(found, list | tuple) else []
    crop = tuple(n for n in given if type(n) is int and STRIDE <= n <= LARGEST_SIDE)
    if len(crop) != len(given) or len(crop) not in (0, 2):
        raise CheckpointError(f"The row of {row.name} has crop: {found!r:.60}; expected two sides. Import it again.")
    return crop


def _named(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tensors of the network. If names have the prefix ``model.``, remove it and drop all other tensors."""
    if any(name.startswith("model.") for name in tensors):
        return {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    return dict(tensors)
