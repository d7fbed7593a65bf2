"""U-Net for tumours in brain slices (Buda et al. 2019), from its authors' file (``unet.pt``)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.class_sets import numbered_classes
from napari_foundseg.models.family import Family, WeightsView
from napari_foundseg.models.files.checked_network import check_network, load_network, without_prefix
from napari_foundseg.models.pixel_classes import PixelClasses, Preparation

__all__ = ["FAMILY", "load", "recognise"]

_TITLE = "U-Net of brain-segmentation-pytorch"
FAMILY = Family(
    rank=49,
    title=_TITLE,
    protocols=("SemanticClasses",),
    verified_against="the authors' network (brain-segmentation-pytorch): equal within 1e-4",
    expects="min to max",
    defaults={"semantic.classes": {"tile": False}},
)
_MARK = "encoder1.enc1conv1.weight"
_SIDE = 256


def load(row: CatalogRow, path: Path, device: str) -> PixelClasses:
    """Load the model of a row; raise CheckpointError if the file has other tensors."""
    from napari_foundseg.models.nets.classes.unet_brain import BrainUNet

    network, shapes = load_network(path, BrainUNet, _MARK, _TITLE, device)
    row = replace(row, classes=row.classes or _classes(shapes["conv.weight"][0]))
    channels = shapes[_MARK][1]
    preparation = Preparation(
        mean=(0.0,) * channels, std=(1.0,) * channels, window=_SIDE, multiple=16, least=16, of_each_picture=True
    )
    return PixelClasses(network, row, preparation, independent=True)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields if a file is of this family; else None."""
    shapes = without_prefix(found.shapes, _MARK)
    if not shapes:
        return None
    from napari_foundseg.models.nets.classes.unet_brain import BrainUNet

    check_network(found.path, BrainUNet, shapes, _TITLE)
    if shapes[_MARK][1] not in (1, 3):
        raise CheckpointError(
            f"{found.path} takes {shapes[_MARK][1]} channels; grey pictures (1) or RGB (3) can be given."
        )
    return {
        "title": "U-Net, brain MRI",
        "classes": _classes(shapes["conv.weight"][0]),
        "code_licence": "MIT",
        "input": "2-D, slices of MRI; as RGB: before contrast, FLAIR, after contrast",
        "citation": "Buda et al., Computers in Biology and Medicine 2019 (doi 10.1016/j.compbiomed.2019.05.002)",
        "assumed": "Each slice is normalised by its own mean and deviation, where its authors took those of the volume",
    }


def _classes(count: int) -> tuple[str, ...]:
    return ("tumour",) if count == 1 else numbered_classes(count + 1, 1)
