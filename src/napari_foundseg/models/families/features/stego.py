"""STEGO models: a head on a frozen backbone, and clusters of its codes (Hamilton et al., ICLR 2022).

There are two layouts. This package's is a folder. Its ``foundseg.json`` has the backbone, the averaging of features,
and the names of clusters; its ``model.safetensors`` has the head, the clusters and a sample of codes. The published
layout is a Lightning checkpoint, which contains its backbone too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.clusters.clusters import Clusters
from napari_foundseg.core.clusters.local_mean import local_mean
from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.class_sets import MOST_CLASSES
from napari_foundseg.models.families.features.dino import DinoModel, vit_model
from napari_foundseg.models.family import Family, WeightsView
from napari_foundseg.models.files.checkpoints import read_config, read_tensors
from napari_foundseg.models.files.network_bounds import check_network_size
from napari_foundseg.models.files.stego_weights import FORMAT, StegoWeights, codes_of, read_weights, save

if TYPE_CHECKING:
    import torch

__all__ = ["FAMILY", "StegoModel", "load", "recognise"]

FAMILY = Family(
    rank=60,
    title="STEGO",
    protocols=("Clustering",),
    verified_against="the published head written out, equal within float16",
    # Published checkpoints are Lightning's, with omegaconf's options.
    pickle_names=("lightning", "lightning_fabric", "omegaconf", "pytorch_lightning"),
)

#: Prefix of a published checkpoint's tensors.
_PREFIX = "state_dict."
#: Classes of the linear probe, by data set. The classes of the clusters are not published.
_CLASSES: dict[str, tuple[str, ...]] = {
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
#: Catalogue fields of all STEGO models.
_FIELDS: dict[str, Any] = {
    "input": "2-D, like the images that it was fitted to",
    "citation": "Hamilton et al., Unsupervised Semantic Segmentation by Distilling Feature Correspondences, ICLR 2022.",
}


class StegoModel:
    """A head on a backbone; implements `Clustering`. Its features are codes."""

    def __init__(self, backbone: Any, weights: StegoWeights, name: str, key: str) -> None:
        self.backbone = backbone
        self.weights = weights
        self.name = name
        self.key = key
        self.device = backbone.device
        self.window = backbone.window
        self.features_window = backbone.features_window
        self.feature_stride = backbone.feature_stride
        self.feature_offset = backbone.feature_offset
        self.feature_margin = backbone.feature_margin + weights.context // 2
        self.sample = weights.sample
        self.clusters = weights.clusters
        self.linear = weights.linear

    def features(self, rgb: NDArray[np.uint8]) -> NDArray[np.float16]:
        """Return the codes of a picture, (D, H, W)."""
        own = self.weights
        averaged = local_mean(self.backbone.features(rgb), 2 * (own.context // (2 * self.feature_stride)) + 1)
        return codes_of(own.head, averaged, own.mean, own.scale, self.device).astype(np.float16)


class FittedStegoModel(StegoModel):
    """A model fitted by this package; implements `SavableClustering`. `config` is its ``foundseg.json``."""

    def __init__(self, backbone: Any, weights: StegoWeights, row: CatalogRow, config: Mapping[str, Any]) -> None:
        super().__init__(backbone, weights, row.name, row.key)
        self._config = config

    def save_as(self, folder: Path, *, clusters: Clusters | None = None, linear: Clusters | None = None) -> None:
        """Write the model to another folder, optionally with other clusters or classes."""
        own = self.weights
        changed = replace(
            own,
            clusters=own.clusters if clusters is None else clusters,
            linear=own.linear if linear is None else linear,
        )
        save(folder, changed, self._config)


def load(row: CatalogRow, path: Path, device: str) -> StegoModel:
    """Load a model, and the backbone that it was fitted to.

    Raises CheckpointError if it has another layout, or its backbone is missing or different.
    """
    key = row.key
    tensors = read_tensors(path)
    try:
        if path.is_dir():
            config = read_config(path)
            weights = read_weights(tensors, config, device)
            return FittedStegoModel(_backbone(row.name, config, device), weights, row, config)
        backbone, weights = _published(tensors, row, device)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not hold a STEGO model: {error}") from error
    return StegoModel(backbone, weights, row.name, key)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields if weights are a STEGO model, in this package's or the published layout; else None."""
    if found.config.get("format") == FORMAT:
        names = tuple(row["name"] for row in found.config.get("classes", []))
        # The contrast of its images when it was fitted. Older files do not state it; it was always percentiles.
        expects = found.config.get("expects", "percentile")
        title = f"STEGO on {found.config.get('backbone', '?')}"
        return {**_FIELDS, "title": title, "classes": names, "expects": expects}
    shapes = {name.removeprefix(_PREFIX): shape for name, shape in found.shapes.items()}
    needed = {"net.cluster1.0.weight", "net.cluster2.0.weight", "net.cluster2.2.weight", "cluster_probe.clusters"}
    if not needed <= set(shapes):
        return None
    classes, dim = shapes["cluster_probe.clusters"]
    if classes > MOST_CLASSES:
        raise CheckpointError(f"{found.path} is damaged: {classes} clusters, of which {MOST_CLASSES} are supported.")
    data = _data_set(classes, dim)
    return {
        **_FIELDS,
        "title": f"STEGO, {data or f'{classes} classes'}",
        "input": "2-D, RGB photographs or aerial images",
        "classes": _CLASSES.get(data, ()),
        "code_licence": "MIT",
        "expects": "as is",
    }


def _backbone(name: str, config: Mapping[str, Any], device: str) -> Any:
    from napari_foundseg.core.errors import ModelNotFoundError
    from napari_foundseg.models.loading import load_model

    try:
        backbone = load_model(config["backbone"], device=device, protocol="FeatureExtractor")
    except ModelNotFoundError as error:
        raise CheckpointError(
            f"{name} was fitted to the features of {config['backbone']}, which cannot be used here: {error}"
        ) from error
    if backbone.key != config["backbone_key"]:
        raise CheckpointError(
            f"{name} was fitted to the features of {config['backbone_key']}, but here is {backbone.key}. Fit it again, "
            "or import the weights that it was fitted to."
        )
    return backbone


def _data_set(classes: int, dim: int) -> str:
    """Return the key of `_CLASSES` that fits a checkpoint's numbers of classes and code dimensions; else empty."""
    if classes == 3:
        return "potsdam"
    if classes == 27:
        return "cityscapes" if dim == 100 else "cocostuff27"
    return ""


def _published(tensors: Mapping[str, torch.Tensor], row: CatalogRow, device: str) -> tuple[DinoModel, StegoWeights]:
    """Return backbone and head of a published checkpoint; raise KeyError or RuntimeError if they do not match."""
    from napari_foundseg.models.nets.stego.stego import SegmentationHead

    own = {name.removeprefix(_PREFIX): value.float() for name, value in tensors.items() if name.startswith(_PREFIX)}
    key = row.key
    net = {name.removeprefix("net.model."): v for name, v in own.items() if name.startswith("net.model.")}
    backbone = vit_model(net, row.name, f"{key}#backbone", device)
    dim, inputs = own["net.cluster1.0.weight"].shape[:2]
    shapes = {name: tuple(value.shape) for name, value in own.items()}
    check_network_size(Path(row.name), lambda: SegmentationHead(inputs, dim), shapes)
    head = SegmentationHead(inputs, dim)
    parts = {n.removeprefix("net."): v for n, v in own.items() if n.startswith(("net.cluster1.", "net.cluster2."))}
    head.load_state_dict(parts)
    clusters = Clusters.of(own["cluster_probe.clusters"].numpy())
    weight = own["linear_probe.weight"][:, :, 0, 0].numpy()
    bias = own["linear_probe.bias"].numpy()
    linear = Clusters.linear(weight, bias, _CLASSES.get(_data_set(len(weight), dim), ()))
    none = np.zeros((0, dim), np.float32)
    return backbone, StegoWeights(
        head.to(device).eval(), np.zeros(inputs, np.float32), np.ones(inputs, np.float32), 0, none, clusters, linear
    )
