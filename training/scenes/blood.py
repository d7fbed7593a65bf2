"""Blood smears: red cells with a pale middle, some overlapping, a few white cells, platelets."""

import numpy as np

from scenes.painting import (
    SIDE,
    Float,
    Labels,
    Rng,
    Scene,
    between,
    blur,
    depths,
    develop,
    fractal,
    frames,
    levels,
    noise,
    outline,
    pieces,
    place,
    smooth_field,
    window,
)


def place_red(rng: Rng, labels: Labels, radius: float) -> Float:
    """Place red cells; return their density, which adds where two overlap."""
    density = np.zeros(labels.shape, np.float32)
    wanted = int(np.clip(SIDE**2 / (np.pi * radius**2) * between(rng, 0.25, 1.4), 4, 300))
    pale, width, overlap = rng.uniform(0, 0.9), rng.uniform(0.35, 0.7), rng.choice([0.03, 0.15, 0.3])
    odd, spread, adds = rng.choice([0, 0.1, 0.4]), rng.uniform(0.03, 0.2), rng.random() < 0.6
    for index in range(1, wanted + 1):
        strange = rng.random() < odd
        long, waves = (rng.uniform(1.1, 3), 0.12) if strange else (rng.uniform(1, 1.15), 0.03)
        mask = outline(rng, radius * np.exp(rng.normal(0, spread)), long, waves)
        at = rng.uniform(0, SIDE, 2)
        if not place(labels, mask, at, index, overlap, front=bool(rng.random() < 0.5)):
            continue
        inner = frames(mask.astype(np.uint16)).r
        off = rng.normal(0, 0.06)
        dip = pale * rng.uniform(0.6, 1.1) * np.exp(-(((inner + off) / width) ** 2))
        own = (mask * rng.uniform(0.8, 1.2) * (1 - dip)).astype(np.float32)
        (rows, columns), _ = window(SIDE, mask, at) or ((slice(0), slice(0)), mask)
        y, x = (round(float(v)) - s // 2 for v, s in zip(at, mask.shape, strict=True))
        part = own[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]
        view = density[rows, columns]
        density[rows, columns] = view + part * (1 - 0.3 * (view > 0)) if adds else np.where(part > 0, part, view)
    return density


def place_white(rng: Rng, labels: Labels, radius: float, first: int) -> tuple[Labels, Float]:
    """Place white cells over the red ones; return which pixels are theirs, and the density of their nuclei."""
    white = np.zeros_like(labels)
    nuclei = np.zeros(labels.shape, np.float32)
    for index in range(first, first + int(rng.choice([0, 1, 2, 4], p=[0.25, 0.4, 0.25, 0.1]))):
        size = radius * rng.uniform(1.1, 2.2)
        at = rng.uniform(0.1, 0.9, 2) * SIDE
        mask = outline(rng, size, rng.uniform(1, 1.25), 0.08)
        place(labels, mask, at, index, 1)
        place(white, mask, at, index, 1)
        lobes = int(rng.choice([1, 1, 2, 3, 4]))
        core = np.zeros_like(labels)
        for lobe in range(lobes):
            share = rng.uniform(0.6, 0.9) if lobes == 1 else rng.uniform(0.35, 0.5)
            angle = 2 * np.pi * lobe / lobes + rng.normal(0, 0.4)
            off = size * (0.12 if lobes == 1 else 0.4) * np.array([np.sin(angle), np.cos(angle)])
            place(core, outline(rng, share * size, rng.uniform(1, 1.5), 0.15), at + off, 1, 1)
        nuclei = np.where((core > 0) & (white == index), 1, nuclei)
    return white, nuclei.astype(np.float32)


def draw_blood(rng: Rng) -> Scene:
    """Draw a stained smear, in colour or grey: red cells, white cells and platelets are all objects."""
    radius = between(rng, 7, 60)
    labels = np.zeros((SIDE, SIDE), np.uint16)
    red = place_red(rng, labels, radius)
    white, nuclei = place_white(rng, labels, radius, int(labels.max()) + 1)
    plates = np.zeros_like(labels)
    for index in range(int(rng.integers(0, 8)) if radius > 12 else 0):
        at = rng.uniform(0, SIDE, 2)
        mask = outline(rng, 0.28 * radius, rng.uniform(1, 1.6), 0.2)
        if place(labels, mask, at, 40_000 + index, 0):
            place(plates, mask, at, 1, 1)
    rim = np.exp(-(((depths(labels) - 1.5) / 1.5) ** 2)) * (labels > 0)
    red = np.where((white > 0) | (plates > 0), 0, red * (1 + rng.uniform(0, 0.5) * rim))
    red = blur(red.astype(np.float32), rng.uniform(0.5, 1.3)) * (1 + 0.04 * fractal(rng, SIDE, 8))
    chromatin = blur(nuclei, 0.8) * (1 + 0.2 * fractal(rng, SIDE, max(4, 0.25 * radius)))
    plasma = blur((white > 0).astype(np.float32), 0.8) * (1 + 0.25 * noise(rng, SIDE, 1) * (nuclei == 0))
    hue = np.array([0.12, 0.5, 0.38]) * np.exp(rng.normal(0, 0.3, 3)) + np.array([0.05, 0.05, 0.05])
    purple = np.array([0.65, 1.1, 0.42]) * np.exp(rng.normal(0, 0.2, 3))
    blue = np.array([0.3, 0.3, 0.08]) * np.exp(rng.normal(0, 0.4, 3))
    light = rng.uniform(0.5, 1.3)
    density = light * red[..., None] * hue * levels(rng, labels, 0.05)[..., None]
    density = (
        density
        + chromatin[..., None] * purple * rng.uniform(0.7, 1.4)
        + plasma[..., None] * blue * rng.uniform(0.4, 1.4)
    )
    density = density + blur(plates.astype(np.float32), 1)[..., None] * purple * rng.uniform(0.4, 0.9)
    density = density + rng.uniform(0, 0.1) * (1 + smooth_field(rng, SIDE, 300))[..., None] + rng.uniform(0, 0.15, 3)
    scene = np.exp(-density.astype(np.float32)) + rng.uniform(0.004, 0.02) * noise(rng, SIDE, 0.6)[..., None]
    if rng.random() < 0.3:
        scene = np.asarray(scene.mean(axis=2) + rng.uniform(-0.3, 0.3) * blur(rim, 1) * scene.std(), np.float32)
    return develop(scene), pieces(labels)
