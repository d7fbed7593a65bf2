"""STEGO models: a head on a frozen backbone, and clusters of its codes (Hamilton et al., ICLR 2022).

Two layouts. Ours is a folder: ``foundseg.json`` says which backbone, how its features are averaged, and what the
clusters are called; ``model.safetensors`` holds the head, the clusters and a sample of codes. The published one is a
Lightning checkpoint that holds its backbone too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.classes.class_table import ClassTable
from napari_foundseg.core.clusters.clusters import Clusters
from napari_foundseg.core.clusters.local_mean import local_mean
from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.io.atomic import atomic_folder
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.checkpoints import read_config, read_tensors
from napari_foundseg.models.stego_published import CLASSES, PREFIX, data_set, published

if TYPE_CHECKING:
    import torch

    from napari_foundseg.models.importing import Found
    from napari_foundseg.models.nets.stego import SegmentationHead

__all__ = ["StegoModel", "StegoWeights", "load", "recognise", "save"]

FORMAT = "foundseg-stego"
#: What the row of a fitted model says besides its name.
FIELDS: dict[str, Any] = {
    "tasks": ("cluster",),
    "protocols": ("Clustering",),
    "input": "2-D, like the images that it was fitted to",
    "citation": "Hamilton et al., Unsupervised Semantic Segmentation by Distilling Feature Correspondences, ICLR 2022.",
}


@dataclass(frozen=True, eq=False)
class StegoWeights:
    """What a fitted model consists of, besides its backbone.

    Parameters
    ----------
    head : SegmentationHead
        From features to codes.
    mean, scale : (D,) ndarray of float32
        By which features are normalised.
    context : int
        Side in pixels of the square over which features are averaged.
    sample : (n, dim) ndarray of float32
        Codes of the images that it was fitted to.
    clusters : Clusters
        Clusters of the codes.
    linear : Clusters or None
        A linear probe: classes that were learnt from labels.
    """

    head: SegmentationHead
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    context: int
    sample: NDArray[np.float32]
    clusters: Clusters
    linear: Clusters | None = None


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


def codes_of(
    head: SegmentationHead, features: NDArray[Any], mean: NDArray[Any], scale: NDArray[Any], device: str = "cpu"
) -> NDArray[np.float32]:
    """Return the codes of averaged features.

    Parameters
    ----------
    head : SegmentationHead
        In evaluation mode.
    features : (D, H, W) ndarray of float
        The features.
    mean, scale : (D,) ndarray of float
        By which they are normalised.
    device : str
        Where the head is.

    Returns
    -------
    (dim, H, W) ndarray of float32
    """
    import torch

    own = (features - mean[:, None, None]) / scale[:, None, None]
    with torch.inference_mode():
        codes = head(torch.as_tensor(own, dtype=torch.float32, device=device)[None])[0]
    return np.asarray(codes.float().cpu().numpy())


def save(folder: Path, weights: StegoWeights, config: Mapping[str, Any]) -> None:
    """Write a model's folder, wholly or not at all.

    Parameters
    ----------
    folder : Path
        Replaced where it is there.
    weights : StegoWeights
        The model.
    config : mapping
        JSON-able: the backbone's name and key, and how the model was fitted.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    import torch
    from safetensors.torch import save_file

    clusters = weights.clusters
    tensors = {f"head.{name}": value for name, value in weights.head.state_dict().items()}
    arrays: dict[str, Any] = {
        "mean": weights.mean,
        "scale": weights.scale,
        "centres": clusters.centres,
        "owner": clusters.owner,
        "sample": weights.sample.astype(np.float16),
    }
    arrays |= {} if clusters.within is None else {"within": clusters.within}
    tensors |= {name: torch.as_tensor(np.ascontiguousarray(array)) for name, array in arrays.items()}
    told = {
        **config,
        "format": FORMAT,
        "version": 1,
        "context": weights.context,
        "metric": clusters.metric,
        "spread": clusters.spread,
        "classes": clusters.classes.to_json(),
        "hidden": sorted(clusters.hidden),
    }
    if weights.linear is not None and weights.linear.offset is not None:
        tensors |= {"linear.weight": torch.as_tensor(weights.linear.centres)}
        tensors |= {"linear.bias": torch.as_tensor(weights.linear.offset)}
        told["linear"] = weights.linear.classes.to_json()
    with atomic_folder(folder) as beside:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, beside / "model.safetensors")
        (beside / "foundseg.json").write_text(json.dumps(told, indent=1), encoding="utf-8")


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


def read_weights(tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any], device: str = "cpu") -> StegoWeights:
    """Make a model of what its folder holds.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Of ``model.safetensors``.
    config : mapping
        Of ``foundseg.json``.
    device : str
        Where the head is to run.

    Returns
    -------
    StegoWeights
        The model.

    Raises
    ------
    KeyError, ValueError, RuntimeError
        If something is missing or does not fit.
    """
    from napari_foundseg.models.nets.stego import SegmentationHead

    arrays = {name: tensors[name].numpy() for name in ("mean", "scale", "centres", "owner", "sample")}
    dim, inputs = tensors["head.cluster1.0.weight"].shape[:2]
    head = SegmentationHead(inputs, dim)
    head.load_state_dict({k.removeprefix("head."): v for k, v in tensors.items() if k.startswith("head.")})
    clusters = Clusters(
        arrays["centres"].astype(np.float32),
        arrays["owner"].astype(np.int64),
        ClassTable.from_json(config["classes"]),
        config["metric"],
        float(config["spread"]),
        hidden=frozenset(config["hidden"]),
        within=tensors["within"].numpy() if "within" in tensors else None,
    )
    linear = None
    if "linear.weight" in tensors:
        names = [row["name"] for row in config["linear"]]
        linear = Clusters.linear(tensors["linear.weight"].numpy(), tensors["linear.bias"].numpy(), names)
    return StegoWeights(
        head.to(device).eval(),
        arrays["mean"].astype(np.float32),
        arrays["scale"].astype(np.float32),
        int(config["context"]),
        arrays["sample"].astype(np.float32),
        clusters,
        linear,
    )


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
