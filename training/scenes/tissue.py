"""Histology-like tissue: nuclei in stained stroma, epithelium and lumen, coloured by optical density."""

from dataclasses import dataclass

import numpy as np

from scenes.painting import (
    SIDE,
    Bools,
    Float,
    Labels,
    Rng,
    Scene,
    between,
    blur,
    depths,
    develop,
    fibres,
    fractal,
    frames,
    noise,
    outline,
    pieces,
    place,
    smooth_field,
    tiling,
)  # fmt: skip

#: Optical densities (red, green, blue) of dyes (Ruifrok and Johnston 2001), and of cresyl violet.
HAEMATOXYLIN, EOSIN, DAB, VIOLET = (0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78), (0.60, 0.75, 0.15)


@dataclass
class Regions:
    """Where stroma, epithelium and lumen lie, and the direction of the stroma's fibres."""

    lumen: Bools
    epithelium: Bools
    fibre: Float
    turn: Float
    edge: Float


def divide(rng: Rng, radius: float) -> Regions:
    """Divide the scene into stroma, epithelium and lumen by the height of one smooth field."""
    field = smooth_field(rng, SIDE, min(200, radius * rng.uniform(6, 20))) + 0.06 * fractal(rng, SIDE, 20)
    low, high = rng.uniform(-1.5, 0.8), rng.uniform(0.8, 3)
    fibre, turn = fibres(rng, SIDE, between(rng, 0.5, 1.6) * radius, rng.uniform(0.5, 1.5))
    lumen = (field > high) | (fractal(rng, SIDE, 3 * radius) > rng.uniform(1.6, 3.5))
    return Regions(lumen, (field > low) & ~lumen, fibre, turn, field - low)


def scatter_nuclei(rng: Rng, radius: float, regions: Regions) -> tuple[Labels, Float]:
    """Place nuclei: crowded and oval in epithelium, spindles along the fibres of stroma, small dark round ones."""
    labels = np.zeros((SIDE, SIDE), np.uint16)
    full = SIDE**2 / (np.pi * radius**2)
    wanted = int(np.clip(full * between(rng, 0.12, 1.1), 3, 420))
    stroma, small = rng.uniform(0.1, 0.8), rng.choice([0, 0.1, 0.4])
    ragged, long = rng.uniform(0.02, 0.2), rng.uniform(1, 1.9)
    spread, overlap = rng.uniform(0.08, 0.3), rng.choice([0.05, 0.15, 0.35])
    dark = np.ones(wanted + 1, np.float32)
    for index in range(1, wanted + 1):
        tries = rng.uniform(0, SIDE, (6, 2))
        y, x = tries.astype(int).T
        at = tries[np.argmin(regions.lumen[y, x])]
        y, x = at.astype(int)
        size, turn = radius * np.exp(rng.normal(0, spread)), None
        if rng.random() < small:
            mask, dark[index] = outline(rng, 0.6 * size, rng.uniform(1, 1.2), 0.06), rng.uniform(1.3, 1.9)
        elif regions.epithelium[y, x]:
            mask = outline(rng, size, long * rng.uniform(0.85, 1.25), ragged)
        elif rng.random() < stroma or index < 4:
            turn = float(regions.turn[y, x]) + rng.normal(0, 0.2)
            mask, dark[index] = outline(rng, 0.7 * size, rng.uniform(2, 5), 0.1, turn=turn), rng.uniform(0.9, 1.4)
        else:
            continue
        place(labels, mask, at, index, overlap, front=bool(rng.random() < 0.5))
    return labels, dark


def stain_nuclei(rng: Rng, labels: Labels, dark: Float, radius: float) -> Float:
    """Return how much dye the nuclei hold: pale or full, a darker rim, clumped chromatin, nucleoli, some blurred."""
    depth, own = depths(labels), frames(labels)
    count = int(labels.max()) + 1
    level = np.exp(rng.normal(0, rng.uniform(0.1, 0.45), count)).astype(np.float32) * dark[:count]
    clumps = fractal(rng, SIDE, max(2.5, radius * rng.uniform(0.25, 0.6)), 0.8)
    vesicular = np.clip(rng.uniform(-0.5, 1) + 0.6 * rng.standard_normal(count), 0, 1).astype(np.float32)[labels]
    rim = np.exp(-((depth / max(1.2, 0.12 * radius)) ** 2)) * rng.uniform(0.1, 0.7)
    chromatin = 1 + rng.uniform(0.1, 0.35) * clumps
    nucleoli = (smooth_field(rng, SIDE, max(2.5, 0.35 * radius)) > 1.5) * (own.r < 0.75) * rng.uniform(0.2, 0.9)
    fine = rng.uniform(0, 0.15) * noise(rng, SIDE, 0.8)
    inside = (1 - 0.55 * vesicular) * chromatin + vesicular * (rim + nucleoli) + fine
    stain = (labels > 0) * np.clip(inside, 0.08, 3) * level[labels]
    far = rng.random(count) < rng.choice([0, 0.1, 0.3])
    far[0] = False
    if far.any():
        deep = blur(
            np.where(far[labels], stain.mean(where=labels > 0) * 0.6 * level[labels], 0),
            rng.uniform(1, 0.3 * radius + 1),
        )
        stain = np.where(far[labels], 0, stain) + deep
    return np.asarray(stain, np.float32)


def draw_tissue(rng: Rng) -> Scene:
    """Draw a section: stained nuclei, which are the objects, in fibres and cytoplasm, with lumen and red cells."""
    radius = between(rng, 5, 42)
    regions = divide(rng, radius)
    labels, dark = scatter_nuclei(rng, radius, regions)
    nuclei = blur(stain_nuclei(rng, labels, dark, radius), rng.uniform(0.4, 1))
    texture = fractal(rng, SIDE, 2 * radius)
    walls = depths(tiling(rng, SIDE, 3.2 * radius, 0.2))
    cytoplasm = 0.5 + 0.15 * texture + rng.uniform(-0.3, 0.5) * np.exp(-((walls / 2) ** 2))
    fibre = 0.5 + rng.uniform(0.1, 0.5) * regions.fibre * (0.6 + 0.4 * texture) + 0.15 * fractal(rng, SIDE, radius)
    counter = np.where(regions.epithelium, cytoplasm * rng.uniform(0.5, 1.3), fibre * rng.uniform(0.4, 1.5))
    counter = np.where(regions.lumen, 0.03, counter)
    around = blur((labels > 0).astype(np.float32), 1.5)
    counter = counter * (1 - rng.choice([0, 0, 0.6]) * np.clip(2 * blur(around, 0.12 * radius + 0.5) - around, 0, 1))
    basic = rng.uniform(0, 0.25) * np.clip(counter, 0, 2) * np.where(regions.epithelium, 1, 0.3)
    red = red_cells(rng, radius, labels) if rng.random() < 0.3 else np.zeros_like(nuclei)
    counter = np.clip(blur(counter, rng.uniform(0.5, 1.2)), 0, 3) * (red == 0) + red * rng.uniform(0.9, 1.6)
    counter = counter * np.where(labels > 0, rng.uniform(0.2, 0.9), 1)
    return develop(colour(rng, nuclei + basic, counter, labels)), pieces(labels)


def red_cells(rng: Rng, radius: float, labels: Labels) -> Float:
    """Return the density of red blood cells, which are no objects here, in a few nests between the nuclei."""
    cells = tiling(rng, SIDE, max(7, 1.4 * radius), 0.12)
    nest = smooth_field(rng, SIDE, 8 * radius) > rng.uniform(1.2, 2.2)
    chosen = np.isin(cells, np.unique(cells[nest])) & (frames(cells).r < 0.95) & (labels == 0)
    return blur((chosen * (0.8 + 0.2 * smooth_field(rng, SIDE, radius))).astype(np.float32), 0.6)


def colour(rng: Rng, nuclei: Float, counter: Float, labels: Labels) -> Float:
    """Return the colours in 0..1 that light keeps behind these amounts of two dyes (Lambert-Beer)."""
    mode = rng.choice(["eosin", "violet", "brown", "pale"], p=[0.62, 0.16, 0.12, 0.1])
    nuclear = np.array(VIOLET if mode == "violet" else HAEMATOXYLIN) * np.exp(rng.normal(0, 0.18, 3))
    ground = np.array(EOSIN) + rng.uniform(0, 0.35, 3) * np.array([0.3, 0, 0.8])
    strength = rng.uniform(0.6, 1.8)
    soft = rng.uniform(0.15, 0.75)
    if mode == "violet":
        ground, soft = nuclear * np.exp(rng.normal(0, 0.1, 3)), rng.uniform(0.08, 0.25)
    elif mode == "pale":
        soft *= 0.35
    density = strength * nuclei[..., None] * nuclear + soft * counter[..., None] * ground
    if mode == "brown":
        share = (rng.random(int(labels.max()) + 1) < rng.uniform(0.1, 0.9))[labels]
        brown = strength * nuclei[..., None] * np.array(DAB)
        density = np.where(share[..., None], brown, 0.5 * density) + 0.05 * counter[..., None] * nuclear
    density = density + rng.uniform(0, 0.06) * (1 + smooth_field(rng, SIDE, 250))[..., None]
    white = rng.uniform(0.85, 1) * (1 - rng.uniform(0, 0.08, 3))
    light = white * np.exp(-np.clip(density, 0, None))
    return np.asarray(light + rng.uniform(0.003, 0.02) * noise(rng, SIDE, 0.6)[..., None], np.float32)
