"""DINO's vision transformers as feature extractors: v1 with this package's own network, v2 and v3 with transformers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.family import Family, Package, WeightsView
from napari_foundseg.models.files import transformers_folder
from napari_foundseg.models.files.checkpoints import read_config, read_tensors
from napari_foundseg.models.files.network_bounds import check_network_size

if TYPE_CHECKING:
    import torch


__all__ = ["FAMILY", "DinoModel", "load", "recognise"]

FAMILY = Family(
    rank=70,
    title="DINO",
    protocols=("FeatureExtractor",),
    verified_against="timm (DINO) and transformers: their forward passes, equal within float16",
    packages=(Package("transformers"),),
    expects="as is",
)

#: Mean and deviation of ImageNet, for values from 0 to 255.
_MEAN = (123.675, 116.28, 103.53)
_STD = (58.395, 57.12, 57.375)
_T = TypeVar("_T")
#: Tensors that every network of DINO's release has, and prefixes of the heads used only in training.
_RELEASE = {"cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "norm.weight"}
_HEADS = ("head.", "fc.")
#: Prefixes that a training or a wrapper adds to the names of a network.
_PREFIX = re.compile(r"((teacher|state_dict|model|module|backbone|encoder|vit)\.)*")
#: transformers' names of the supported kinds, and their titles.
_KINDS = {
    "vit": "DINO",
    "dinov2": "DINOv2",
    "dinov2_with_registers": "DINOv2 with registers",
    "dinov3_vit": "DINOv3",
    "dinov3_convnext": "DINOv3 ConvNeXt",
}


class DinoModel:
    """A network that computes a map of features from a picture; implements `FeatureExtractor`."""

    feature_margin = 32

    def __init__(self, net: Any, stride: int, name: str, key: str, device: str) -> None:
        self.net = net
        self.name = name
        self.key = key
        self.device = device
        self.feature_stride = stride
        self.feature_offset = (stride - 1) / 2
        # The cost of attention grows with the fourth power of the side.
        self.window = self.features_window = 28 * 2 * stride if stride <= 8 else 32 * stride

    def features(self, rgb: NDArray[np.uint8]) -> NDArray[np.float16]:
        """Return the features of a picture, one vector for each patch, (D, H, W)."""
        import torch
        from torch.nn import functional

        height, width = rgb.shape[:2]
        with torch.inference_mode():
            picture = torch.as_tensor(rgb, device=self.device).movedim(-1, 0)[None].float()
            mean, std = (torch.tensor(v, device=self.device)[:, None, None] for v in (_MEAN, _STD))
            side = self.feature_stride
            picture = functional.pad((picture - mean) / std, (0, -width % side, 0, -height % side), mode="replicate")
            found = self.net(picture)[0]
        return np.asarray(found.clamp(-60_000, 60_000).half().cpu().numpy())


def load(row: CatalogRow, path: Path, device: str) -> DinoModel:
    """Load the model of a row; raise CheckpointError if it has another layout."""
    key = row.key
    kind = read_config(path).get("model_type") if path.is_dir() else None
    try:
        if kind in (None, "vit"):
            return vit_model(named_like_release(read_tensors(path)), row.name, key, device)
        net, stride = _of_transformers(path, str(kind))
    except (KeyError, ValueError, RuntimeError, OSError, ImportError) as error:
        raise CheckpointError(f"{path} does not hold the weights of {row.name}: {error}") from error
    return DinoModel(net.to(device), stride, row.name, key, device)


def vit_model(tensors: dict[str, torch.Tensor], name: str, key: str, device: str) -> DinoModel:
    """Make a model from DINO v1 weights."""
    from napari_foundseg.models.nets.features.vit import empty_vit, vit_of

    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    check_network_size(Path(name), lambda: empty_vit(shapes), shapes)
    net = vit_of(tensors).to(device)
    return DinoModel(net, net.patch, name, key, device)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields if weights are those of a DINO; else None."""
    kind = found.config.get("model_type")
    if kind in _KINDS:
        width = found.config.get("hidden_size") or (found.config.get("hidden_sizes") or [0])[-1]
        title = f"{_KINDS[str(kind)]}, width {width}"
        if kind == "vit" and not _is_dino_vit(found.config):
            return None
    elif (shapes := _of_network(found.shapes)) is not None:
        dim, _, patch, _ = shapes["patch_embed.proj.weight"]
        title = f"DINO ViT-{ {384: 'S', 768: 'B'}.get(dim, dim) }/{patch}"
    else:
        return None
    return {
        "title": title,
        "input": "2-D, grey or RGB",
        "citation": "Caron et al., Emerging Properties in Self-Supervised Vision Transformers, ICCV 2021 (DINO); "
        "Oquab et al. 2023 (DINOv2); Siméoni et al. 2025 (DINOv3).",
    }


def _is_dino_vit(config: Mapping[str, Any]) -> bool:
    return config.get("num_channels", 3) == 3 and "ForImageClassification" not in str(config.get("architectures"))


def _of_network(tensors: Mapping[str, _T]) -> dict[str, _T] | None:
    """Return the tensors of one DINO network with the names of its release; None if there is none.

    A training checkpoint has a student, an optimiser and a teacher. The teacher's features are the published ones.
    """
    for prefix in sorted((n[: -len("cls_token")] for n in tensors if n.endswith("cls_token")), key=_last_is_teacher):
        own = {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}
        own = {n: v for n, v in own.items() if not n.startswith(_HEADS)}
        # DINOv2 and DINOv3 have the same names, and also layer scales, which identify them.
        scaled = any(n.endswith(".ls1.gamma") for n in own)
        if _PREFIX.fullmatch(prefix) and own.keys() >= _RELEASE and not scaled:
            return own
    return None


def _last_is_teacher(prefix: str) -> tuple[bool, int]:
    return "teacher" not in prefix, len(prefix)


def named_like_release(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename DINO v1 weights as in their release."""
    import torch

    if (released := _of_network(tensors)) is not None:
        return released
    own = dict(tensors)
    if any(name.startswith("vit.") for name in own):
        own = {name.removeprefix("vit."): v for name, v in own.items() if name.startswith("vit.")}
    if "embeddings.cls_token" not in own:
        return own
    out = {
        "cls_token": own["embeddings.cls_token"],
        "pos_embed": own["embeddings.position_embeddings"],
        **{f"patch_embed.proj.{p}": own[f"embeddings.patch_embeddings.projection.{p}"] for p in ("weight", "bias")},
        **{f"norm.{p}": own[f"layernorm.{p}"] for p in ("weight", "bias")},
    }
    depth = 1 + max(int(name.split(".")[2]) for name in own if name.startswith("encoder.layer."))
    for i in range(depth):
        old = f"encoder.layer.{i}."
        new = f"blocks.{i}."
        for part in ("weight", "bias"):
            qkv = [own[f"{old}attention.attention.{kind}.{part}"] for kind in ("query", "key", "value")]
            out[f"{new}attn.qkv.{part}"] = torch.cat(qkv)
            for here, there in _HUB_NAMES.items():
                out[f"{new}{here}.{part}"] = own[f"{old}{there}.{part}"]
    return out


#: Layers of a block: names in the release, and in transformers.
_HUB_NAMES = {
    "norm1": "layernorm_before",
    "attn.proj": "attention.output.dense",
    "norm2": "layernorm_after",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}


def _of_transformers(path: Path, kind: str) -> tuple[Any, int]:
    """Return a folder's network, wrapped to map pictures to features, and its stride."""
    from napari_foundseg.models.nets.features.patch_features import PatchFeatures

    net = transformers_folder.network(path, "", "cpu")
    stride = 32 if kind == "dinov3_convnext" else int(net.config.patch_size)
    return PatchFeatures(net, stride), stride
