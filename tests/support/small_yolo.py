"""A small YOLOv8-seg and a YOLO11n-seg with seeded weights, for tests and the script that has ultralytics run them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

#: As the published description of the networks gives them, a sixteenth as wide.
CLASSES = ("nucleus", "debris", "fibre")
WIDTH = 0.0625
#: Of the scores of the wider network, which would all be 1 with those of the narrow one.
_GAIN_11 = 0.1


def _add_conv(found: dict[str, tuple[int, ...]], name: str, channels: int, out: int, kernel: int) -> None:
    found[f"{name}.conv.weight"] = (out, channels, kernel, kernel)
    for part in ("weight", "bias", "running_mean", "running_var"):
        found[f"{name}.bn.{part}"] = (out,)
    found[f"{name}.bn.num_batches_tracked"] = ()


def shapes11(classes: int = len(CLASSES)) -> dict[str, tuple[int, ...]]:
    """Return those of YOLO11n-seg, whose attention has two heads, with other classes than the published 80."""
    found: dict[str, tuple[int, ...]] = {}
    conv = partial(_add_conv, found)

    def mixed(name: str, channels: int, out: int, half: int, *, branches: bool = False) -> None:
        conv(f"{name}.cv1", channels, 2 * half, 1)
        conv(f"{name}.cv2", 3 * half, out, 1)
        inner = half // 2
        conv(f"{name}.m.0.cv1", half, inner, 1 if branches else 3)
        if not branches:
            conv(f"{name}.m.0.cv2", inner, half, 3)
            return
        conv(f"{name}.m.0.cv2", half, inner, 1)
        conv(f"{name}.m.0.cv3", half, half, 1)
        for i in range(2):
            conv(f"{name}.m.0.m.{i}.cv1", inner, inner, 3)
            conv(f"{name}.m.0.m.{i}.cv2", inner, inner, 3)

    strided = ((0, 3, 16), (1, 16, 32), (3, 64, 64), (5, 128, 128), (7, 128, 256), (17, 64, 64), (20, 128, 128))
    for i, channels, out in strided:
        conv(f"model.{i}", channels, out, 3)
    for i, channels, out, half in ((2, 32, 64, 16), (4, 64, 128, 32), (13, 384, 128, 64), (16, 256, 64, 32),
                                   (19, 192, 128, 64)):  # fmt: skip
        mixed(f"model.{i}", channels, out, half)
    for i, channels, out, half in ((6, 128, 128, 64), (8, 256, 256, 128), (22, 384, 256, 128)):
        mixed(f"model.{i}", channels, out, half, branches=True)
    for name, channels, out, kernel in (("9.cv1", 256, 128, 1), ("9.cv2", 512, 256, 1), ("10.cv1", 256, 256, 1),
                                        ("10.cv2", 256, 256, 1), ("10.m.0.attn.qkv", 128, 256, 1),
                                        ("10.m.0.attn.proj", 128, 128, 1), ("10.m.0.attn.pe", 1, 128, 3),
                                        ("10.m.0.ffn.0", 128, 256, 1), ("10.m.0.ffn.1", 256, 128, 1)):  # fmt: skip
        conv(f"model.{name}", channels, out, kernel)
    for i, channels in enumerate((64, 128, 256)):
        for part, wide in (("cv2", 64), ("cv4", 32)):
            conv(f"model.23.{part}.{i}.0", channels, wide, 3)
            conv(f"model.23.{part}.{i}.1", wide, wide, 3)
            found |= {f"model.23.{part}.{i}.2.weight": (wide, wide, 1, 1), f"model.23.{part}.{i}.2.bias": (wide,)}
        wide = max(64, min(classes, 100))
        for j, own in ((0, channels), (1, wide)):
            conv(f"model.23.cv3.{i}.{j}.0", 1, own, 3)
            conv(f"model.23.cv3.{i}.{j}.1", own, wide, 1)
        found |= {f"model.23.cv3.{i}.2.weight": (classes, wide, 1, 1), f"model.23.cv3.{i}.2.bias": (classes,)}
    found["model.23.dfl.conv.weight"] = (1, 16, 1, 1)
    conv("model.23.proto.cv1", 64, 64, 3)
    found |= {"model.23.proto.upsample.weight": (64, 64, 2, 2), "model.23.proto.upsample.bias": (64,)}
    conv("model.23.proto.cv2", 64, 64, 3)
    conv("model.23.proto.cv3", 64, 32, 1)
    return found


def shapes(classes: int = len(CLASSES)) -> dict[str, tuple[int, ...]]:
    """Return the shapes of its tensors by the published names, without ``model.`` of the file."""
    found: dict[str, tuple[int, ...]] = {}
    conv = partial(_add_conv, found)

    def c2f(name: str, channels: int, out: int, count: int = 1) -> None:
        half = out // 2
        conv(f"{name}.cv1", channels, out, 1)
        conv(f"{name}.cv2", (2 + count) * half, out, 1)
        for i in range(count):
            conv(f"{name}.m.{i}.cv1", half, half, 3)
            conv(f"{name}.m.{i}.cv2", half, half, 3)

    # Channels are multiples of 8.
    a, b, c, d, e = 8, 8, 16, 32, 64
    for i, (channels, out) in enumerate(((3, a), (a, b), (b, c), (c, d), (d, e))):
        conv(f"model.{max(0, 2 * i - 1)}", channels, out, 3)
    for i, out, count in ((2, b, 1), (4, c, 2), (6, d, 2), (8, e, 1)):
        c2f(f"model.{i}", out, out, count)
    conv("model.9.cv1", e, e // 2, 1)
    conv("model.9.cv2", 2 * e, e, 1)
    c2f("model.12", e + d, d)
    c2f("model.15", d + c, c)
    conv("model.16", c, c, 3)
    c2f("model.18", c + d, d)
    conv("model.19", d, d, 3)
    c2f("model.21", d + e, e)
    for part, wide, out in (("cv2", 64, 64), ("cv3", 16, classes), ("cv4", 32, 32)):
        for i, channels in enumerate((c, d, e)):
            name = f"model.22.{part}.{i}"
            conv(f"{name}.0", channels, wide, 3)
            conv(f"{name}.1", wide, wide, 3)
            found |= {f"{name}.2.weight": (out, wide, 1, 1), f"{name}.2.bias": (out,)}
    found["model.22.dfl.conv.weight"] = (1, 16, 1, 1)
    conv("model.22.proto.cv1", c, 16, 3)
    found |= {"model.22.proto.upsample.weight": (16, 16, 2, 2), "model.22.proto.upsample.bias": (16,)}
    conv("model.22.proto.cv2", 16, 16, 3)
    conv("model.22.proto.cv3", 16, 32, 1)
    return found


def weights(of: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return seeded values for tensors."""
    random = np.random.default_rng(8)
    found: dict[str, Any] = {}
    for name in sorted(of):
        shape = of[name]
        if name.endswith("dfl.conv.weight"):
            value = np.arange(16).reshape(shape)
        elif name.endswith("num_batches_tracked"):
            value = np.zeros(shape)
        elif name.endswith("running_var"):
            value = random.uniform(0.5, 1.5, shape)
        elif name.endswith("bn.weight"):
            value = random.uniform(0.8, 1.2, shape)
        elif len(shape) > 1:
            # Scores and masks that differ from place to place.
            score = ".cv3." in name and name.endswith(".2.weight")
            gain = (_GAIN_11 if "model.23.dfl.conv.weight" in of else 8) if score else 1
            value = gain * random.normal(0, np.sqrt(2.5 / np.prod(shape[1:])), shape)
        else:
            value = random.normal(0, 0.1, shape)
        found[name] = value.astype(np.int64 if name.endswith("tracked") else np.float32)
    return found


def picture() -> Any:
    """Return a picture of 100 by 140 pixels with bright discs."""
    y, x = np.mgrid[:100, :140]
    found = np.full((100, 140, 3), 30, np.uint8)
    for i, (row, column, radius) in enumerate(((30, 40, 18), (70, 100, 25), (20, 115, 10))):
        found[(y - row) ** 2 + (x - column) ** 2 < radius**2] = (200 - 40 * i, 90 + 50 * i, 160)
    return found
