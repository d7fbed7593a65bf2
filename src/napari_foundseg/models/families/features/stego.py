"""STEGO models: a head on a frozen backbone, and clusters of its codes (Hamilton et al., ICLR 2022).

Two layouts. Ours is a folder: ``foundseg.json`` says which backbone, how its features are averaged, and what the
clusters are called; ``model.safetensors`` holds the head, the clusters and a sample of codes. The published one is a
Lightning checkpoint that holds its backbone too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.clusters.local_mean import local_mean
from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.families.features.stego_checkpoint import CLASSES, PREFIX, data_set, published
from napari_foundseg.models.families.features.stego_weights import FIELDS, FORMAT, StegoWeights, codes_of, read_weights
from napari_foundseg.models.files.checkpoints import read_config, read_tensors

if TYPE_CHECKING:
    from napari_foundseg.models.importing import Found

__all__ = ["StegoModel", "load", "recognise"]


class StegoModel:
    """A head on a backbone, which implements `Clustering`: its features are codes.

    Parameters
    ----------
    backbone : FeatureExtractor
        What the head was fitted to.
    weights : StegoWeights
        The rest.
    name : str
        Its name in the catalogue.
    key : str
        Name and hash of the weights.
    """

    def __init__(self, backbone: Any, weights: StegoWeights, name: str, key: str) -> None:
        self.backbone, self.weights, self.name, self.key = backbone, weights, name, key
        self.device, self.window = backbone.device, backbone.window
        self.features_window, self.feature_stride = backbone.features_window, backbone.feature_stride
        self.feature_offset = backbone.feature_offset
        self.feature_margin = backbone.feature_margin + weights.context // 2
        self.sample, self.clusters, self.linear = weights.sample, weights.clusters, weights.linear

    def features(self, rgb: NDArray[np.uint8]) -> NDArray[np.float16]:
        """Return the codes of a picture.

        Parameters
        ----------
        rgb : (M, N, 3) ndarray of uint8
            The picture.

        Returns
        -------
        (dim, H, W) ndarray of float16
            A cell every `feature_stride` pixels.
        """
        own = self.weights
        averaged = local_mean(self.backbone.features(rgb), 2 * (own.context // (2 * self.feature_stride)) + 1)
        return codes_of(own.head, averaged, own.mean, own.scale, self.device).astype(np.float16)


def load(row: CatalogRow, path: Path, device: str) -> StegoModel:
    """Load a model, and the backbone that it was fitted to.

    Parameters
    ----------
    row : CatalogRow
        Its row.
    path : Path
        Its folder, or a published checkpoint.
    device : str
        Where it is to run, as torch writes it.

    Returns
    -------
    StegoModel
        In evaluation mode.

    Raises
    ------
    CheckpointError
        If it has another layout, or its backbone is gone or another one.
    """
    key = row.key
    tensors = read_tensors(path)
    try:
        if path.is_dir():
            config = read_config(path)
            weights = read_weights(tensors, config, device)
            return StegoModel(_backbone(row.name, config, device), weights, row.name, key)
        backbone, weights = published(tensors, row, device)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not hold a STEGO model: {error}") from error
    return StegoModel(backbone, weights, row.name, key)


def recognise(found: Found) -> dict[str, Any] | None:
    """Tell whether weights are a STEGO model, of our layout or of the published one.

    Parameters
    ----------
    found : Found
        The file or folder.

    Returns
    -------
    dict or None
        Fields of its row.
    """
    if found.config.get("format") == FORMAT:
        names = tuple(row["name"] for row in found.config.get("classes", []))
        return {**FIELDS, "title": f"STEGO on {found.config.get('backbone', '?')}", "classes": names}
    shapes = {name.removeprefix(PREFIX): shape for name, shape in found.shapes.items()}
    needed = {"net.cluster1.0.weight", "net.cluster2.0.weight", "net.cluster2.2.weight", "cluster_probe.clusters"}
    if not needed <= set(shapes):
        return None
    classes, dim = shapes["cluster_probe.clusters"]
    data = data_set(classes, dim)
    return {
        **FIELDS,
        "title": f"STEGO, {data or f'{classes} classes'}",
        "input": "2-D, RGB photographs or aerial images",
        "classes": CLASSES.get(data, ()),
        "code_licence": "MIT",
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
