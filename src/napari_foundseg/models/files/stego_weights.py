"""STEGO's weights: the head, its clusters and a sample of codes, read from and written to a folder."""

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
from napari_foundseg.io.atomic import atomic_folder
from napari_foundseg.models.class_sets import MOST_CLASSES
from napari_foundseg.models.files.network_bounds import check_network_size

if TYPE_CHECKING:
    import torch

    from napari_foundseg.models.nets.stego.stego import SegmentationHead

__all__ = ["FORMAT", "StegoWeights", "codes_of", "read_weights", "save"]


FORMAT = "foundseg-stego"


@dataclass(frozen=True, eq=False)
class StegoWeights:
    """A fitted model without its backbone.

    Parameters
    ----------
    head : SegmentationHead
        Network that turns features into codes.
    mean, scale : (D,) ndarray of float32
        Mean and scale that features are normalised with.
    context : int
        Side in pixels of the square over which features are averaged.
    sample : (n, dim) ndarray of float32
        Codes of some pixels of the images that the model was fitted to.
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
        Mean and scale that they are normalised with.
    device : str
        Device of the head.

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
    """Write a model's folder, with `config` (JSON) as a part of ``foundseg.json``.

    Raises OutputError if it cannot be written.
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
    content = {
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
        content["linear"] = weights.linear.classes.to_json()
    with atomic_folder(folder) as part:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, part / "model.safetensors")
        (part / "foundseg.json").write_text(json.dumps(content, indent=1), encoding="utf-8")


def read_weights(tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any], device: str = "cpu") -> StegoWeights:
    """Return a model from the tensors and the configuration in its folder.

    Raises KeyError, ValueError or RuntimeError if something is missing or does not fit.
    """
    from napari_foundseg.models.nets.stego.stego import SegmentationHead

    arrays = {name: tensors[name].numpy() for name in ("mean", "scale", "centres", "owner", "sample")}
    dim, inputs = tensors["head.cluster1.0.weight"].shape[:2]
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    check_network_size(Path(FORMAT), lambda: SegmentationHead(inputs, dim), shapes)
    if len(config["classes"]) > MOST_CLASSES:
        raise ValueError(f"it has {len(config['classes'])} clusters; at most {MOST_CLASSES} are supported")
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
