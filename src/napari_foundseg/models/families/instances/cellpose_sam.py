"""Cellpose-SAM: the published ``cpsam`` and ``cpsam_v2``, and models trained from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.family import Family, Package, WeightsView
from napari_foundseg.models.files.checked_network import check_network
from napari_foundseg.models.files.checkpoints import read_tensors

if TYPE_CHECKING:
    from napari_foundseg.models.nets.cellpose.cellpose_sam import CellposeSam

__all__ = ["FAMILY", "CellposeSamModel", "load", "recognise"]

FAMILY = Family(
    rank=45,
    title="Cellpose-SAM",
    protocols=("FlowDecoding",),
    verified_against="cellpose 4.2: maps of random weights within 1e-4; objects of true flows, AP 1.0 at IoU 0.9",
    packages=(Package("segment-anything"),),
)

_T = TypeVar("_T")
_WHAT = "Cellpose-SAM"
#: Number of tiles in a batch.
_BATCH = 4


class CellposeSamModel:
    """Cellpose-SAM; implements `FlowDecoding`."""

    def __init__(self, net: CellposeSam, name: str, key: str, device: str) -> None:
        self.net = net
        self.name = name
        self.key = key
        self.device = device
        self.window = net.tile

    def flow_maps(self, picture: NDArray[np.float32], poll: Callable[[], None]) -> NDArray[np.float32]:
        """Return flows and the logit of the cell probability of a normalised picture, (3, M, N)."""
        import torch

        from napari_foundseg.models.nets.cellpose.cellpose_sam import padding, tapered, tile_starts

        side = self.window
        pads = [padding(n, side) for n in picture.shape[:2]]
        padded = np.pad(picture, (*pads, (0, 3 - picture.shape[2]))).transpose(2, 0, 1)
        tiles = [(y, x) for y in tile_starts(padded.shape[1], side) for x in tile_starts(padded.shape[2], side)]
        weight = tapered(side).numpy()
        total = np.zeros(padded.shape, np.float32)
        weights = np.zeros(padded.shape[1:])
        for at in range(0, len(tiles), _BATCH):
            poll()
            some = tiles[at : at + _BATCH]
            batch = np.stack([padded[:, y : y + side, x : x + side] for y, x in some])
            with torch.inference_mode():
                maps = self.net(torch.as_tensor(batch, device=self.device, dtype=torch.float32)).float().cpu().numpy()
            for (y, x), values in zip(some, maps, strict=True):
                total[:, y : y + side, x : x + side] += values * weight
                weights[y : y + side, x : x + side] += weight
        rows, columns = (slice(before, before + n) for (before, _), n in zip(pads, picture.shape[:2], strict=True))
        out: NDArray[np.float32] = (total / weights).astype(np.float32)[:, rows, columns]
        return out


def load(row: CatalogRow, path: Path, device: str) -> CellposeSamModel:
    """Load the model of a row; raise CheckpointError if the file has another layout."""
    from napari_foundseg.models.nets.cellpose.cellpose_sam import build_cellpose_sam

    tensors = _of_network(read_tensors(path))
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    check_network(path, build_cellpose_sam, shapes, _WHAT)
    net = build_cellpose_sam(shapes)
    net.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return CellposeSamModel(net.to(device), row.name, row.key, device)


def _of_network(tensors: Mapping[str, _T]) -> dict[str, _T]:
    """Return tensors with cellpose's names, without the prefix that training on several devices adds."""
    return {name.removeprefix("module."): value for name, value in tensors.items()}


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields if weights are of this family, else None; CheckpointError if some are missing."""
    shapes = _of_network(found.shapes)
    if "W2" not in shapes or "encoder.patch_embed.proj.weight" not in shapes or "encoder.cls_token" in shapes:
        return None
    from napari_foundseg.models.nets.cellpose.cellpose_sam import build_cellpose_sam

    check_network(found.path, build_cellpose_sam, shapes, _WHAT)
    return {
        "title": "Cellpose-SAM",
        "input": "2-D microscopy, up to 3 channels in any order",
        "citation": "Pachitariu et al., Cellpose-SAM: superhuman generalization for cellular segmentation, bioRxiv "
        "2025.04.28.651001, 2025.",
    }
