"""Drawn stacks with known objects: ellipsoids, bent tubes and touching cells, with noise and uneven contrast."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["Drawn", "draw_stack", "middle_slice"]

Kind = Literal["ellipsoids", "tubes", "touching"]


class Drawn(NamedTuple):
    """A stack and its truth."""

    stack: NDArray[np.uint16]
    """(Z, Y, X) grey values."""
    truth: NDArray[np.uint8]
    """(Z, Y, X) ids of the objects."""
    spacing: float
    """Distance of slices in pixels of a slice."""


def draw_stack(
    kind: Kind, *, spacing: float = 1.0, seed: int = 0, shape: tuple[int, int, int] = (64, 256, 256), noise: float = 0.1
) -> Drawn:
    """Draw a stack whose slices lie `spacing` pixels apart."""
    rng = np.random.default_rng(seed)
    draw = {"ellipsoids": _ellipsoids, "tubes": _tubes, "touching": _touching}[kind]
    truth = draw(shape, spacing, rng)
    return Drawn(_grey_values(truth, rng, noise), truth, spacing)


def middle_slice(truth: NDArray[np.uint8], label: int) -> int:
    """Return the slice halfway between the first and the last of an object."""
    inside = np.flatnonzero((truth == label).any((1, 2)))
    return int((inside[0] + inside[-1]) // 2)


def _grey_values(truth: NDArray[np.uint8], rng: np.random.Generator, noise: float) -> NDArray[np.uint16]:
    brightness = np.concatenate([[0.0], rng.uniform(0.75, 1.0, int(truth.max()))])
    signal = ndimage.gaussian_filter(brightness[truth].astype(np.float32), (0.4, 1.0, 1.0))
    light = ndimage.zoom(rng.uniform(0.6, 1.3, (3, 3, 3)), [n / 3 for n in truth.shape], order=1).astype(np.float32)
    ground = 0.15 + 0.1 * ndimage.zoom(
        rng.uniform(0, 1, (2, 3, 3)), [n / k for n, k in zip(truth.shape, (2, 3, 3), strict=True)], order=1
    )
    grain = ndimage.gaussian_filter(rng.standard_normal(truth.shape, dtype=np.float32), (0, 0.5, 0.5))
    grain *= noise / grain.std()
    return np.clip(2000 + 20000 * (signal * light + ground + grain), 0, 65535).astype(np.uint16)


def _distance(
    shape: tuple[int, int, int], centre: tuple[float, ...], radii: tuple[float, ...], turn: float
) -> NDArray[np.float32]:
    z, y, x = (np.arange(n, dtype=np.float32) - c for n, c in zip(shape, centre, strict=True))
    u = np.cos(turn) * y[:, None] + np.sin(turn) * x[None]
    v = np.cos(turn) * x[None] - np.sin(turn) * y[:, None]
    return np.sqrt((z[:, None, None] / radii[0]) ** 2 + (u[None] / radii[1]) ** 2 + (v[None] / radii[2]) ** 2)


def _ellipsoids(shape: tuple[int, int, int], spacing: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    truth = np.zeros(shape, np.uint8)
    label = 0
    for _ in range(60):
        a, b = rng.uniform(10, 34, 2)
        depth = min(rng.uniform(0.7, 1.6) * min(a, b) / spacing, shape[0] / 2 - 4)
        centre = (
            rng.uniform(depth + 2, shape[0] - depth - 3),
            *(rng.uniform(m := max(a, b) + 3, n - m) for n in shape[1:]),
        )
        distance = _distance(shape, centre, (depth, a, b), rng.uniform(0, np.pi))
        if depth >= 4 and label < 5 and not truth[distance < 1.35].any():
            label += 1
            truth[distance < 1] = label
    return truth


def _tubes(shape: tuple[int, int, int], spacing: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    truth = np.zeros(shape, np.uint8)
    y, x = np.mgrid[: shape[1], : shape[2]]
    places = [(0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)]
    for label, place in enumerate(places, 1):
        first, last = rng.integers(2, 10), shape[0] - 1 - rng.integers(2, 10)
        bend = min(spacing, 2.5) * rng.uniform(-0.9, 0.9, 2)
        radius = rng.uniform(9, 18)
        phase = rng.uniform(0, 6)
        for z in range(first, last + 1):
            along = (z - (first + last) / 2) / 10
            cy = place[0] * shape[1] + 10 * bend[0] * np.sin(along + phase)
            cx = place[1] * shape[2] + 10 * bend[1] * np.cos(along * 0.8 + phase)
            r = radius * (1 + 0.2 * np.sin(along * 1.3 + phase))
            truth[z][np.hypot(y - cy, x - cx) < r] = label
    return truth


def _touching(shape: tuple[int, int, int], spacing: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    nearest = np.full(shape, 1.0, np.float32)
    truth = np.zeros(shape, np.uint8)
    label = 0
    for row in range(3):
        for column in range(3):
            radii = rng.uniform(20, 26, 2)
            depth = min(rng.uniform(20, 27) / spacing, shape[0] / 2 - 4)
            middle = shape[0] / 2 + rng.uniform(-4, 4) / spacing
            centre = (
                middle,
                *(n / 2 + (k - 1) * 42 + rng.uniform(-3, 3) for n, k in zip(shape[1:], (row, column), strict=True)),
            )
            distance = _distance(shape, centre, (depth, *radii), rng.uniform(0, np.pi))
            label += 1
            closer = distance < nearest
            truth[closer] = label
            nearest[closer] = distance[closer]
    # A dim border between cells, as membranes and the gaps of nuclei are.
    return truth
