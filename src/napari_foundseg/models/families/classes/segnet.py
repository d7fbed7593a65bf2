"""SegNet (Badrinarayanan et al. 2017) in PyTorch, from a file in the layout of say4n/pytorch-segnet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.class_sets import CLASS_SETS
from napari_foundseg.models.family import Family, WeightsView
from napari_foundseg.models.files.checked_network import check_network, load_network, without_prefix
from napari_foundseg.models.pixel_classes import PixelClasses, Preparation, named_or_numbered

__all__ = ["FAMILY", "load", "recognise"]

_TITLE = "SegNet VGG16"
FAMILY = Family(
    rank=49,
    title="SegNet",
    protocols=("SemanticClasses",),
    verified_against="say4n/pytorch-segnet: its network, equal within 1e-4",
    expects="as is",
)
_MARK = "encoder_conv_00.0.weight"
_LAST = "decoder_convtr_00.0.weight"


def load(row: CatalogRow, path: Path, device: str) -> PixelClasses:
    """Load the model of a row; raise CheckpointError if the file has other tensors."""
    from napari_foundseg.models.nets.classes.segnet import SegNet

    network, shapes = load_network(path, SegNet, _MARK, _TITLE, device)
    row = replace(row, classes=row.classes or _classes(shapes[_LAST][1]))
    return PixelClasses(network, row, Preparation(window=480, multiple=32, least=32))


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields if a file is of this family; else None."""
    shapes = without_prefix(found.shapes, _MARK)
    if not shapes or _LAST not in shapes:
        return None
    from napari_foundseg.models.nets.classes.segnet import SegNet

    check_network(found.path, SegNet, shapes, _TITLE)
    if shapes[_MARK][1] != 3:
        raise CheckpointError(f"{found.path} takes {shapes[_MARK][1]} channels; RGB pictures (3) can be given to it.")
    names = _classes(shapes[_LAST][1])
    named = "those of VOC, by their number" if names == CLASS_SETS["VOC"] else "numbers, and class 0 is background"
    return {
        "title": _TITLE,
        "classes": names,
        "code_licence": "MIT",
        "input": "2-D, any dtype, grey or RGB",
        "citation": "Badrinarayanan et al., IEEE TPAMI 2017 (arXiv 1511.00561)",
        "assumed": f"The names of its classes are {named}. Pictures are normalised as for VGG16",
    }


def _classes(count: int) -> tuple[str, ...]:
    return CLASS_SETS["VOC"] if count == len(CLASS_SETS["VOC"]) else named_or_numbered((), count)
