"""A small YOLOv8-seg with seeded weights, for its tests and for the script that has ultralytics run it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

#: As the published description of the networks gives them, a sixteenth as wide.
CLASSES = ("nucleus", "debris", "fibre")
WIDTH = 0.0625


def shapes(classes: int = len(CLASSES)) -> dict[str, tuple[int, ...]]:
    """Return the shapes of its tensors by the published names, without ``model.`` of the file."""
    found: dict[str, tuple[int, ...]] = {}

    def conv(name: str, channels: int, out: int, kernel: int) -> None:
        found[f"{name}.conv.weight"] = (out, channels, kernel, kernel)
        for part in ("weight", "bias", "running_mean", "running_var"):
            found[f"{name}.bn.{part}"] = (out,)
        found[f"{name}.bn.num_batches_tracked"] = ()

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
            gain = 8 if ".cv3." in name and name.endswith("2.weight") else 1
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
