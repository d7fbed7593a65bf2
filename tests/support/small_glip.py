"""A small GLIP with numbers that depend on the names of its tensors alone, in both published layouts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.support import mmseg_files

__all__ = ["FROZEN", "KINDS", "PHRASES", "SIDES", "VOCABULARY", "authors_layout", "picture", "shapes_of", "tensors",
           "write", "write_vocabulary"]  # fmt: skip

#: What mmdetection's own network gave: tests/oracles/glip_outputs.py wrote it.
FROZEN = Path(__file__).parents[1] / "data" / "glip"
#: With the fusion, and without.
KINDS = ("fused", "plain")
PHRASES = ("cell", "two small nuclei", "vessel", "cell nucleus")
#: Pixels of the shorter side, and of the longer at most, that pictures are resized to in the oracle.
SIDES = (128, 160)
VOCABULARY = (
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", "cell", "##s", "nucleus", "nuclei", "two", "small",
    "ves", "##sel", "a", "the", "of", "syringe", "vial", "vaccine", "and", "debris", "e", "##coli", "bright", "round",
)  # fmt: skip


def shapes_of(kind: str) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of mmdetection's network."""
    found = mmseg_files.read(f"../glip/{kind}")
    return {name: tuple(shape) for name, shape in found.items()}


def tensors(shapes: Mapping[str, tuple[int, ...]]) -> OrderedDict[str, torch.Tensor]:
    """Return tensors in mmdetection's layout whose scores differ from place to place and from token to token."""
    found = mmseg_files.filled(shapes)
    for name, value in found.items():
        if name.endswith("bias0"):
            value.fill_(-1.5)
        if name.endswith(("bbox_pred.weight", "centerness.weight")):
            value.mul_(2)
        if name.endswith("dot_product_projection_text.weight"):
            value.mul_(15)
        if ".gamma_" in name:
            # As much of the other is added as there is.
            value.mul_(5)
    return found


def authors_layout(own: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return tensors in mmdetection's layout as GLIP's authors name and order them."""
    found: dict[str, torch.Tensor] = {}
    levels = ("fpn_layer2", "fpn_layer3", "fpn_layer4", "top_blocks.p6", "top_blocks.p7")
    for name, value in own.items():
        part, _, rest = name.partition(".")
        if part == "backbone":
            rest = rest.replace("patch_embed.projection", "patch_embed.proj").replace("stages.", "layers.")
            rest = rest.replace(".w_msa.", ".").replace("ffn.layers.0.0", "mlp.fc1").replace("ffn.layers.1", "mlp.fc2")
            if ".downsample." in rest:
                value = _neighbour_by_neighbour(value)
            found[f"backbone.body.{rest}"] = value
        elif part == "neck":
            kind, number, _, last = rest.split(".")
            block = levels[int(number)] if kind == "fpn_convs" else f"fpn_inner{int(number) + 2}"
            found[f"backbone.fpn.{block}.{last}"] = value
        elif part == "language_model":
            found[rest] = value
        else:
            rest = rest.replace(".dyconvs.", ".DyConv.").replace(".attnconv.", ".AttnConv.")
            found[f"rpn.{rest}"] = value.reshape(1) if ".scales." in rest else value
    width = own["bbox_head.head.bbox_pred.weight"].shape[1]
    found["rpn.head.cls_logits.weight"] = torch.ones(80, width, 1, 1)
    found["rpn.head.cls_logits.bias"] = torch.ones(80)
    found |= {f"rpn.anchor_generator.cell_anchors.{i}": torch.ones(1, 4) for i in range(5)}
    return found


def _neighbour_by_neighbour(value: torch.Tensor) -> torch.Tensor:
    """Return the numbers of four neighbours in the authors' order, of those by channel."""
    channels = value.shape[-1] // 4
    out = torch.empty_like(value)
    for neighbour, (row, column) in enumerate(((0, 0), (1, 0), (0, 1), (1, 1))):
        for channel in range(channels):
            out[..., neighbour * channels + channel] = value[..., channel * 4 + 2 * row + column]
    return out


def write_vocabulary(folder: Path, words: tuple[str, ...] = VOCABULARY) -> Path:
    """Write BERT's file of words."""
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    return folder / "vocab.txt"


def write(path: Path, kind: str = "fused", layout: str = "mmdetection") -> Path:
    """Write a file as its authors or mmdetection do, with the vocabulary beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    own = tensors(shapes_of(kind))
    content: dict[str, Any] = {"meta": {"epoch": 1}, "state_dict": own}
    if layout == "authors":
        named = {f"module.{name}": value for name, value in authors_layout(own).items()}
        content = {"model": named, "iteration": 3, "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}}}
    torch.save(content, path)
    write_vocabulary(path.parent)
    return path


def picture(shape: tuple[int, int] = (70, 110)) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return an RGB picture of patches of colour."""
    rows, columns = (-(-n // 10) for n in shape)
    coarse = np.random.default_rng(5).integers(0, 255, (rows, columns, 3), np.uint8)
    return np.ascontiguousarray(np.kron(coarse, np.ones((10, 10, 1), np.uint8))[: shape[0], : shape[1]])
