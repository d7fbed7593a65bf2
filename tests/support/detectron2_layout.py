"""Panoptic-DeepLab a second time, for tests: its weights as detectron2 lays them out, and what it computes of them.

Written from the description of the network (Cheng et al., CVPR 2020, sections 3 and 4) and detectron2's names, in plain
functions over a dictionary of tensors: it shares nothing with the package but PyTorch's own operations.
"""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

BLOCKS = (3, 4, 6, 3)
NORM = ("weight", "bias", "running_mean", "running_var")
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
Weights = dict[str, NDArray[Any]]


def layout(classes: int, *, separable: bool, narrower: int = 1) -> dict[str, tuple[int, ...]]:
    """Return the published names and shapes, widths divided by a number."""
    shapes: dict[str, tuple[int, ...]] = {}

    def conv(name: str, outputs: int, inputs: int, size: int, norm: bool = True) -> None:
        shapes[f"{name}.weight"] = (outputs, inputs, size, size)
        if not norm:
            shapes[f"{name}.bias"] = (outputs,)
            return
        shapes.update({f"{name}.norm.{part}": (outputs,) for part in NORM})
        shapes[f"{name}.norm.num_batches_tracked"] = ()

    def fused(name: str, outputs: int, inputs: int) -> None:
        if separable:
            conv(f"{name}.depthwise", inputs, 1, 5)
            conv(f"{name}.pointwise", outputs, inputs, 1)
        else:
            doubled(name, outputs, inputs)

    def doubled(name: str, outputs: int, inputs: int, middle: int | None = None) -> None:
        conv(f"{name}.0", middle or outputs, inputs, 3)
        conv(f"{name}.1", outputs, middle or outputs, 3)

    def decoder(name: str, width: int) -> None:
        inputs, pyramid, own = 2048 // narrower, 256 // narrower, f"{name}.decoder.res5.project_conv"
        conv(f"{own}.convs.0", pyramid, inputs, 1)
        for i in (1, 2, 3):
            if separable:
                conv(f"{own}.convs.{i}.depthwise", inputs, 1, 3)
                conv(f"{own}.convs.{i}.pointwise", pyramid, inputs, 1)
            else:
                conv(f"{own}.convs.{i}", pyramid, inputs, 3)
        conv(f"{own}.convs.4.1", pyramid, inputs, 1, norm=False)
        conv(f"{own}.project", pyramid, 5 * pyramid, 1)
        for level, low, projected, before in (("res3", 512, 64, pyramid), ("res2", 256, 32, width)):
            conv(f"{name}.decoder.{level}.project_conv", projected // narrower, low // narrower, 1)
            fused(f"{name}.decoder.{level}.fuse_conv", width, projected // narrower + before)

    for i, (outputs, inputs) in enumerate(((64, 3 * narrower), (64, 64), (128, 64)), 1):
        conv(f"backbone.stem.conv{i}", outputs // narrower, inputs // narrower, 3)
    inputs = 128 // narrower
    for stage, count in enumerate(BLOCKS, 2):
        middle, outputs = 2 ** (stage + 4) // narrower, 2 ** (stage + 6) // narrower
        for i in range(count):
            name = f"backbone.res{stage}.{i}"
            if i == 0:
                conv(f"{name}.shortcut", outputs, inputs, 1)
            conv(f"{name}.conv1", middle, inputs, 1)
            conv(f"{name}.conv2", middle, middle, 3)
            conv(f"{name}.conv3", outputs, middle, 1)
            inputs = outputs
    wide, thin, head = 256 // narrower, 128 // narrower, 32 // narrower
    decoder("sem_seg_head", wide)
    fused("sem_seg_head.head", wide, wide)
    conv("sem_seg_head.predictor", classes, wide, 1, norm=False)
    decoder("ins_embed_head", thin)
    doubled("ins_embed_head.center_head", head, thin, thin)
    conv("ins_embed_head.center_predictor", 1, head, 1, norm=False)
    if separable:
        fused("ins_embed_head.offset_head", head, thin)
    else:
        doubled("ins_embed_head.offset_head", head, thin, thin)
    conv("ins_embed_head.offset_predictor", 2, head, 1, norm=False)
    return shapes


def random_weights(classes: int, *, separable: bool, narrower: int = 16, seed: int = 0) -> Weights:
    """Return weights with which classes, centres and offsets differ from place to place."""
    rng = np.random.default_rng(seed)
    weights: Weights = {}
    for name, shape in layout(classes, separable=separable, narrower=narrower).items():
        if name.endswith("num_batches_tracked"):
            weights[name] = np.array(1000, np.int64)
        elif name.endswith((".norm.weight", "running_var")):
            weights[name] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
        elif len(shape) == 1:
            weights[name] = rng.normal(0, 0.1, shape).astype(np.float32)
        else:
            weights[name] = rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype(np.float32)
    return weights


def lively(weights: Weights, rgb: NDArray[np.uint8]) -> Weights:
    """Return weights that give a picture many classes, centres and ways to them."""
    with torch.inference_mode():
        found = Reference(weights).maps(rgb)
    changed = dict(weights)
    for name, maps, spread, middle in (
        ("sem_seg_head.predictor", found[0], 1.0, 0.0),
        ("ins_embed_head.center_predictor", found[1][None], 0.1, 0.2),
        ("ins_embed_head.offset_predictor", found[2], 5.0, 0.0),
    ):
        scale = (spread / maps.flatten(1).std(1)).numpy()
        mean = maps.flatten(1).mean(1).numpy() / (4 if "offset" in name else 1)
        changed[f"{name}.weight"] = weights[f"{name}.weight"] * scale[:, None, None, None]
        changed[f"{name}.bias"] = (weights[f"{name}.bias"] - mean) * scale + np.float32(middle)
    return changed


def write(weights: Weights, path: Path, protocol: int = 2) -> Path:
    """Write weights as detectron2 publishes them."""
    with path.open("wb") as file:
        pickle.dump({"model": weights, "__author__": "third_party"}, file, protocol=protocol)
    return path


class Reference:
    """What the network computes, step by step.

    Parameters
    ----------
    weights : dict of str to ndarray
        As published.
    crop : tuple of int, optional
        Of training.
    """

    def __init__(self, weights: Weights, crop: tuple[int, int] | None = None) -> None:
        self.w = {name: torch.as_tensor(value) for name, value in weights.items()}
        self.crop = crop

    def conv(self, name: str, x: Any, *, stride: int = 1, dilation: int = 1, relu: bool = True) -> Any:
        weight = self.w[f"{name}.weight"]
        groups = x.shape[1] // weight.shape[1]
        pad = dilation * (weight.shape[-1] - 1) // 2
        x = functional.conv2d(x, weight, self.w.get(f"{name}.bias"), stride, pad, dilation, groups)
        if f"{name}.norm.weight" in self.w:
            gain, shift, mean, var = (
                self.w[f"{name}.norm.{part}"][:, None, None]
                for part in ("weight", "bias", "running_mean", "running_var")
            )
            x = (x - mean) / (var + 1e-5).sqrt() * gain + shift
        return x.clamp(min=0) if relu else x

    def several(self, name: str, x: Any, dilation: int = 1) -> Any:
        parts = ("depthwise", "pointwise") if f"{name}.depthwise.weight" in self.w else ("0", "1")
        for part in parts:
            x = self.conv(f"{name}.{part}", x, dilation=dilation if part == "depthwise" else 1)
        return x

    def features(self, x: Any) -> dict[str, Any]:
        x = self.conv("backbone.stem.conv1", x, stride=2)
        x = functional.max_pool2d(self.conv("backbone.stem.conv3", self.conv("backbone.stem.conv2", x)), 3, 2, 1)
        found = {}
        for stage, count in enumerate(BLOCKS, 2):
            for i in range(count):
                name = f"backbone.res{stage}.{i}"
                stride = 2 if i == 0 and stage in (3, 4) else 1
                dilation = 2 * (1, 2, 4)[i] if stage == 5 else 1
                y = self.conv(f"{name}.conv1", x)
                y = self.conv(f"{name}.conv2", y, stride=stride, dilation=dilation)
                y = self.conv(f"{name}.conv3", y, relu=False)
                x = self.conv(f"{name}.shortcut", x, stride=stride, relu=False) if i == 0 else x
                x = (x + y).clamp(min=0)
            found[f"res{stage}"] = x
        return found

    def decoded(self, name: str, features: dict[str, Any]) -> Any:
        x, own = features["res5"], f"{name}.decoder.res5.project_conv"
        parts = [self.conv(f"{own}.convs.0", x)]
        for i, dilation in enumerate((6, 12, 18), 1):
            part = f"{own}.convs.{i}"
            plain = f"{part}.weight" in self.w
            parts.append(self.conv(part, x, dilation=dilation) if plain else self.several(part, x, dilation))
        pool = (self.crop[0] // 16, self.crop[1] // 16) if self.crop else tuple(x.shape[-2:])
        pooled = self.conv(f"{own}.convs.4.1", functional.avg_pool2d(x, pool, 1))
        parts.append(functional.interpolate(pooled, x.shape[-2:], mode="bilinear"))
        x = self.conv(f"{own}.project", torch.cat(parts, 1))
        for level in ("res3", "res2"):
            low = self.conv(f"{name}.decoder.{level}.project_conv", features[level])
            x = torch.cat([low, functional.interpolate(x, low.shape[-2:], mode="bilinear")], 1)
            x = self.several(f"{name}.decoder.{level}.fuse_conv", x)
        return x

    def maps(self, rgb: NDArray[np.uint8], size: tuple[int, int] | None = None) -> tuple[Any, Any, Any]:
        """Return logits, centres and offsets of a picture that is resized to a size before."""
        shape = rgb.shape[:2]
        height, width = size or shape
        seen = np.array(Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR)) if size else rgb
        mean, std = (torch.tensor(own)[:, None, None] for own in (MEAN, STD))
        x = (torch.as_tensor(seen).permute(2, 0, 1).float() - mean) / std
        if self.crop:
            x = functional.pad(x, (0, -width % self.crop[1], 0, -height % self.crop[0]))
        features = self.features(x[None])
        semantic, instance = self.decoded("sem_seg_head", features), self.decoded("ins_embed_head", features)
        head = "ins_embed_head"
        found = [
            self.conv("sem_seg_head.predictor", self.several("sem_seg_head.head", semantic), relu=False),
            self.conv(f"{head}.center_predictor", self.several(f"{head}.center_head", instance), relu=False),
            self.conv(f"{head}.offset_predictor", self.several(f"{head}.offset_head", instance), relu=False) * 4,
        ]
        large = [functional.interpolate(part, scale_factor=4, mode="bilinear")[..., :height, :width] for part in found]
        logits, centres, offsets = (functional.interpolate(part, shape, mode="bilinear")[0] for part in large)
        scale = torch.tensor([shape[0] / height, shape[1] / width])[:, None, None]
        return logits, centres[0], offsets * scale


def panoptic(
    semantic: Any, centres: Any, offsets: Any, things: set[int], *, threshold: float, kernel: int, stuff_area: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return class (-1 for none) and object (0 for none) of each pixel, as the paper's section 3 has it."""
    heat = functional.threshold(centres, threshold, -1)
    around = functional.max_pool2d(heat[None, None], kernel, 1, kernel // 2)[0, 0]
    points = torch.nonzero((heat == around) & (heat > 0))
    of_things = torch.isin(semantic, torch.tensor(sorted(things)))
    objects = torch.zeros_like(semantic)
    if len(points):
        grid = torch.stack(torch.meshgrid(*(torch.arange(n) for n in semantic.shape), indexing="ij"))
        away = (points[:, :, None, None] - (grid + offsets)[None]).norm(dim=1)
        objects = torch.where(of_things, away.argmin(0) + 1, 0)
    out = torch.full_like(semantic, -1)
    for number in range(1, len(points) + 1):
        own = objects == number
        if own.any():
            votes = Counter(semantic[own].tolist())
            out[own] = min(votes, key=lambda kind: (-votes[kind], kind))
    for kind in set(semantic.unique().tolist()) - things:
        own = semantic == kind
        if own.sum() >= stuff_area:
            out[own] = kind
    return out.numpy(), objects.numpy()
