"""STEGO's published checkpoints: Lightning files that hold the backbone, the head and both probes.

They name omegaconf's classes beside the weights; `models.files.checkpoints` reads them without running these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from napari_foundseg.core.clusters.clusters import Clusters
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.families.features.dino import DinoModel, vit_model

if TYPE_CHECKING:
    import torch

    from napari_foundseg.models.families.features.stego_weights import StegoWeights

__all__ = ["CLASSES", "PREFIX", "data_set", "published"]

PREFIX = "state_dict."
#: The clusters' numbers are arbitrary in a checkpoint; which class each stands for nobody has published. The names are
#: those of the linear probe's classes, by the data sets' numbers of classes and of channels of the codes.
CLASSES: dict[str, tuple[str, ...]] = {
    "cocostuff27": (
        "electronic", "appliance", "food (things)", "furniture (things)", "indoor", "kitchen", "accessory", "animal",
        "outdoor", "person", "sports", "vehicle", "ceiling", "floor", "food", "furniture", "raw material", "textile",
        "wall", "window", "building", "ground", "plant", "sky", "solid", "structural", "water",
    ),
    "cityscapes": (
        "road", "sidewalk", "parking", "rail track", "building", "wall", "fence", "guard rail", "bridge", "tunnel",
        "pole", "polegroup", "traffic light", "traffic sign", "vegetation", "terrain", "sky", "person", "rider", "car",
        "truck", "bus", "caravan", "trailer", "train", "motorcycle", "bicycle",
    ),
    "potsdam": ("roads and cars", "buildings and clutter", "trees and vegetation"),
}  # fmt: skip


def data_set(classes: int, dim: int) -> str:
    """Say what a checkpoint was trained on, as far as its shapes tell.

    Parameters
    ----------
    classes : int
        Of its probes.
    dim : int
        Channels of its codes: the published one of Cityscapes has 100, that of CocoStuff 90.

    Returns
    -------
    str
        A key of `CLASSES`, or an empty text.
    """
    if classes == 3:
        return "potsdam"
    if classes == 27:
        return "cityscapes" if dim == 100 else "cocostuff27"
    return ""


def published(tensors: Mapping[str, torch.Tensor], row: CatalogRow, device: str) -> tuple[DinoModel, StegoWeights]:
    """Make backbone and head of what a checkpoint holds.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Of the whole file, by dotted names.
    row : CatalogRow
        Its row.
    device : str
        Where it is to run.

    Returns
    -------
    backbone : DinoModel
        The checkpoint's own.
    weights : StegoWeights
        Head, clusters and linear probe.

    Raises
    ------
    KeyError, RuntimeError
        If something is missing or does not fit.
    """
    from napari_foundseg.models.families.features.stego_weights import StegoWeights
    from napari_foundseg.models.nets.stego.stego import SegmentationHead

    own = {name.removeprefix(PREFIX): value.float() for name, value in tensors.items() if name.startswith(PREFIX)}
    key = row.key
    net = {name.removeprefix("net.model."): v for name, v in own.items() if name.startswith("net.model.")}
    backbone = vit_model(net, row.name, f"{key}#backbone", device)
    dim, inputs = own["net.cluster1.0.weight"].shape[:2]
    head = SegmentationHead(inputs, dim)
    parts = {n.removeprefix("net."): v for n, v in own.items() if n.startswith(("net.cluster1.", "net.cluster2."))}
    head.load_state_dict(parts)
    clusters = Clusters.of(own["cluster_probe.clusters"].numpy())
    weight, bias = own["linear_probe.weight"][:, :, 0, 0].numpy(), own["linear_probe.bias"].numpy()
    linear = Clusters.linear(weight, bias, CLASSES.get(data_set(len(weight), dim), ()))
    none = np.zeros((0, dim), np.float32)
    return backbone, StegoWeights(
        head.to(device).eval(), np.zeros(inputs, np.float32), np.ones(inputs, np.float32), 0, none, clusters, linear
    )
