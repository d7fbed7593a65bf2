"""DETR's panoptic models from their authors' own files (``.pth``), run by the network of transformers.

Tensor names are converted to those of transformers' folders, and the packed projections of attention are split. Files
do not state the number of heads (eight) and the size of pictures (800 to 1333 pixels); the published values are used. A
file with a dilated last stage (DC5) has the same tensors as one without, so only its name distinguishes it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_foundseg.core.errors import CheckpointError
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.class_sets import CLASS_SETS, numbered_classes
from napari_foundseg.models.families.classes.transformers_segmenters import ARCHITECTURES, Segmenter
from napari_foundseg.models.family import Family, Package, WeightsView
from napari_foundseg.models.files import transformers_folder
from napari_foundseg.models.files.checkpoints import read_tensors
from napari_foundseg.models.row_options import whole_number

__all__ = ["FAMILY", "load", "recognise"]


_ARCHITECTURE = "DetrForSegmentation"
FAMILY = Family(
    rank=50,
    title="DETR (of its authors)",
    protocols=ARCHITECTURES[_ARCHITECTURE].protocols,
    verified_against="transformers: its forward pass and post-processing on the same weights under its own names, "
    "equal",
    packages=(Package("transformers"),),
    expects="as is",
)
_MARKS = ("detr.transformer.encoder.layers.0.self_attn.in_proj_weight", "bbox_attention.q_linear.weight")
#: Published sizes: the length that the shorter side is resized to, and the largest length of the longer side.
_SIZES = {"shorter": 800, "longest": 1333}
_HEADS = 8
_BODY = r"^detr\.backbone\.0\.body\."
_ENCODER = "detr.model.backbone.conv_encoder.model."
#: Patterns of the authors' tensor names, and the names in transformers' folders.
_NAMES = [(re.compile(pattern), name) for pattern, name in [
    (_BODY + r"conv1\.", _ENCODER + "embedder.embedder.convolution."),
    (_BODY + r"bn1\.", _ENCODER + "embedder.embedder.normalization."),
    (r"^detr\.transformer\.decoder\.norm\.", "detr.model.decoder.layernorm."),
    (r"^detr\.transformer\.", "detr.model."),
    (r"^detr\.input_proj\.", "detr.model.input_projection."),
    (r"^detr\.query_embed\.", "detr.model.query_position_embeddings."),
    (r"^detr\.class_embed\.", "detr.class_labels_classifier."),
    (r"^detr\.bbox_embed\.", "detr.bbox_predictor."),
]]  # fmt: skip
_STAGE = re.compile(_BODY + r"layer(\d)\.(\d+)\.(conv|bn|downsample\.)(\d)\.")
_LAYER = re.compile(r"^detr\.model\.(encoder|decoder)\.layers\.\d+\.")
_IN_LAYERS = {
    "encoder": {"linear1": "fc1", "linear2": "fc2", "norm1": "self_attn_layer_norm", "norm2": "final_layer_norm"},
    "decoder": {
        "linear1": "fc1", "linear2": "fc2", "multihead_attn": "encoder_attn", "norm1": "self_attn_layer_norm",
        "norm2": "encoder_attn_layer_norm", "norm3": "final_layer_norm",
    },
}  # fmt: skip


def load(row: CatalogRow, path: Path, device: str) -> Segmenter:
    """Load the model of a row; raise CheckpointError if tensors are missing or have wrong shapes."""
    from transformers import DetrImageProcessor

    tensors = _own(read_tensors(path))
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    row = row if row.classes else replace(row, classes=_classes(shapes))
    try:
        config = _config(shapes, row.classes)
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path} lacks {error} of a panoptic DETR. It is incomplete; get it again.") from error
    network = transformers_folder.network_of(path, _ARCHITECTURE, config, _renamed(tensors)).to(device)
    size = {name: whole_number(row, name, own, least=1) for name, own in _SIZES.items()}
    processor = DetrImageProcessor(
        size={"shortest_edge": size["shorter"], "longest_edge": size["longest"]}, format="coco_panoptic"
    )
    return Segmenter(network, processor, row)


def recognise(found: WeightsView) -> dict[str, Any] | None:
    """Return catalogue fields if a file is of this family, else None; CheckpointError if its last stage is dilated."""
    shapes = _own(found.shapes)
    if not all(mark in shapes for mark in _MARKS):
        return None
    if "dc5" in found.path.name.lower():
        raise CheckpointError(
            f"{found.path} is a DETR with a dilated last stage (DC5), which is read as a folder of transformers only: "
            "get facebook/detr-resnet-50-dc5-panoptic from the Hugging Face hub."
        )
    title = ARCHITECTURES[_ARCHITECTURE].title
    layers = 3 * sum(_count(shapes, f"detr.backbone.0.body.layer{stage}.") for stage in range(1, 5)) + 2
    return {
        "title": f"{title} ResNet-{layers}",
        "classes": _classes(shapes),
        "options": {**_SIZES, "layers": layers},
        "code_licence": "Apache-2.0",
        "input": "2-D, any dtype, grey or RGB",
        "citation": "Carion et al., ECCV 2020 (arXiv 2005.12872)",
    }


def _own(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return the network's tensors, without the prefix ``model.`` and the tensors used only in training."""
    named = {name.removeprefix("model."): value for name, value in tensors.items()}
    return {
        name: value
        for name, value in named.items()
        if name.startswith(("detr.", "bbox_attention.", "mask_head.")) and not name.endswith(".num_batches_tracked")
    }


def _classes(shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    count = shapes["detr.class_embed.weight"][0] - 1
    published = CLASS_SETS["COCO panoptic by id"]
    return published if len(published) == count else numbered_classes(count)


def _count(shapes: Mapping[str, Any], prefix: str) -> int:
    return len({name[len(prefix) :].split(".")[0] for name in shapes if name.startswith(prefix)})


def _config(shapes: Mapping[str, tuple[int, ...]], classes: tuple[str, ...]) -> Any:
    """Return a configuration of transformers that matches the shapes."""
    from transformers import DetrConfig, ResNetConfig

    body = "detr.backbone.0.body."
    parts = "detr.transformer."
    stages = range(1, 5)
    resnet: dict[str, Any] = {
        "embedding_size": shapes[f"{body}conv1.weight"][0],
        "hidden_sizes": [shapes[f"{body}layer{stage}.0.conv3.weight"][0] for stage in stages],
        "depths": [_count(shapes, f"{body}layer{stage}.") for stage in stages],
        "layer_type": "bottleneck",
        "out_features": [f"stage{stage}" for stage in stages],
    }
    queries, width = shapes["detr.query_embed.weight"]
    options: dict[str, Any] = {
        "use_timm_backbone": False,
        "use_pretrained_backbone": False,
        "backbone": None,
        "backbone_config": ResNetConfig(**resnet),
        "d_model": width,
        "num_queries": queries,
        "id2label": dict(enumerate(classes)),
        "label2id": {name: i for i, name in enumerate(classes)},
    }
    for part in ("encoder", "decoder"):
        options |= {
            f"{part}_attention_heads": _HEADS,
            f"{part}_layers": _count(shapes, f"{parts}{part}.layers."),
            f"{part}_ffn_dim": shapes[f"{parts}{part}.layers.0.linear1.weight"][0],
        }
    return DetrConfig(**options)


def _renamed(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Rename tensors as in transformers' folders, and split the packed projections."""
    renamed: dict[str, Any] = {}
    for name, value in tensors.items():
        new = _new_name(name)
        if ".in_proj_" not in new:
            renamed[new] = value
            continue
        for part, rows in zip("qkv", value.chunk(3), strict=True):
            renamed[new.replace("in_proj_", f"{part}_proj.")] = rows.clone()
    return renamed


def _new_name(name: str) -> str:
    if stage := _STAGE.match(name):
        number, layer, kind, i = stage.groups()
        where = f"{_ENCODER}encoder.stages.{int(number) - 1}.layers.{layer}."
        if kind == "downsample.":
            where += f"shortcut.{('convolution', 'normalization')[int(i)]}."
        else:
            where += f"layer.{int(i) - 1}.{'convolution' if kind == 'conv' else 'normalization'}."
        return where + name[stage.end() :]
    for pattern, new in _NAMES:
        name, found = pattern.subn(new, name)
        if found:
            break
    if layer_of := _LAYER.match(name):
        part, _, rest = name[layer_of.end() :].partition(".")
        return f"{layer_of[0]}{_IN_LAYERS[layer_of[1]].get(part, part)}.{rest}"
    return name
