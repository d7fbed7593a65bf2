"""TransUNet (Chen et al. 2021) from a file of its authors' training script (``torch.save(model.state_dict())``)."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.family import Family, WeightsView
from napari_foundseg.models.files.checked_network import check_network, load_network, without_prefix
from napari_foundseg.models.pixel_classes import PixelClasses, Preparation, named_or_numbered
from napari_foundseg.models.row_options import LARGEST_SIDE

__all__ = ["FAMILY", "TransUNetClasses", "load", "recognise"]

FAMILY = Family(
    rank=49,
    title="TransUNet",
    protocols=("SemanticClasses",),
    verified_against="the authors' network and resizing: equal within 1e-4",
    expects="min to max",
    defaults={"semantic.classes": {"tile": False}},
)
_MARK = "transformer.embeddings.position_embeddings"
_LAST = "segmentation_head.0.weight"


class TransUNetClasses(PixelClasses):
    """A network for whole pictures. They are resized with splines to the side used in training, as its authors do."""

    def semantic(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Return the class of each pixel, (M, N)."""
        side = self.window
        whole = rgb.shape[:2]
        if whole == (side, side):
            return super().semantic(rgb)
        factors = (side / whole[0], side / whole[1])
        resized = np.stack([ndimage.zoom(rgb[..., i].astype(np.float32) / 255, factors, order=3) for i in range(3)])
        found = self._decided(self._scores_of(resized))
        return np.asarray(ndimage.zoom(found, (whole[0] / side, whole[1] / side), order=0))

    def _scores_of(self, picture: NDArray[np.float32]) -> Any:
        import torch

        with torch.inference_mode():
            return self.network(torch.as_tensor(picture, device=self.device)[None])[0]


def load(row: CatalogRow, path: Path, device: str) -> TransUNetClasses:
    """Load the model of a row; raise CheckpointError if the file has other tensors."""
    from napari_foundseg.models.nets.classes.transunet import TransUNet

    network, shapes = load_network(path, TransUNet, _MARK, FAMILY.title, device)
    row = replace(row, classes=row.classes or named_or_numbered((), shapes[_LAST][0]))
    side = _side(path, shapes)
    preparation = Preparation(mean=(0.0,) * 3, std=(1.0,) * 3, window=side, size=(side, side))
    return TransUNetClasses(network, row, preparation)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields if a file is of this family; else None."""
    shapes = without_prefix(found.shapes, _MARK)
    if not shapes or _LAST not in shapes:
        return None
    from napari_foundseg.models.nets.classes.transunet import TransUNet

    check_network(found.path, TransUNet, shapes, FAMILY.title)
    side = _side(found.path, shapes)
    kind = "R50-ViT" if _is_hybrid(shapes) else "ViT"
    return {
        "title": f"TransUNet {kind} {side}",
        "classes": named_or_numbered((), shapes[_LAST][0]),
        "code_licence": "Apache-2.0",
        "input": f"2-D, grey or RGB; seen whole with sides of {side} pixels",
        "citation": "Chen et al., TransUNet, 2021 (arXiv 2102.04306)",
        "assumed": "Its classes have numbers, and class 0 is taken for background. For CT choose the window of its "
        "training",
    }


def _side(path: Path, shapes: dict[str, tuple[int, ...]]) -> int:
    """Return the side of the training pictures; raise CheckpointError if their patches do not form a square."""
    count = shapes[_MARK][1]
    grid = math.isqrt(count)
    patch = shapes["transformer.embeddings.patch_embeddings.weight"][-1]
    side = grid * patch * (16 if _is_hybrid(shapes) else 1)
    if grid * grid != count or not 16 <= side <= LARGEST_SIDE:
        raise CheckpointError(f"{path} is damaged: its {count} patches do not form a square.")
    return side


def _is_hybrid(shapes: dict[str, tuple[int, ...]]) -> bool:
    return any(".hybrid_model." in name for name in shapes)
