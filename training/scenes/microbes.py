"""Bacteria and yeast: rods, cocci and budding cells, alone, in chains and in crowds."""

import numpy as np
from scipy import ndimage as ndi

from scenes.painting import (
    SIDE,
    Float,
    Labels,
    Rng,
    Scene,
    between,
    blur,
    capsule,
    depths,
    develop,
    fractal,
    frames,
    levels,
    nearest,
    noise,
    outline,
    pieces,
    place,
    smooth_field,
)


def look(rng: Rng, labels: Labels, radius: float, modes: tuple[str, ...]) -> Float:
    """Return microbes as the microscope shows them: in phase contrast, brightfield or fluorescence."""
    inside = (labels > 0).astype(np.float32)
    depth, away = depths(labels), nearest(labels)[0]
    level = levels(rng, labels, rng.uniform(0.03, 0.3))
    texture = 1 + rng.uniform(0, 0.2) * fractal(rng, SIDE, max(3, 0.6 * radius))
    round_ = np.sqrt(np.clip(depth / max(radius, 1), 0, 1))
    ground = rng.uniform(0, 0.05) * smooth_field(rng, SIDE, 250) + rng.uniform(0, 0.015) * fractal(rng, SIDE, 30)
    mode = rng.choice(modes)
    if mode == "phase":
        body = inside * level * texture * (0.3 + 0.7 * round_)
        scene = (
            0.6
            - rng.uniform(0.3, 0.5) * body
            + rng.uniform(0.05, 0.4) * np.exp(-away / rng.uniform(1.5, 4)) * (1 - inside)
        )
        scene = scene + rng.uniform(0, 0.2) * (blur(inside, 12) - inside)
    elif mode == "ring":
        dark = np.exp(-(((depth - rng.uniform(0, 2)) / rng.uniform(1, 2.2)) ** 2)) * inside
        glow = np.exp(-(((away - 2) / 2) ** 2)) * (1 - inside)
        scene = (
            0.5
            - rng.uniform(0.2, 0.5) * dark
            + rng.uniform(0, 0.3) * glow
            + rng.uniform(-0.1, 0.25) * inside * round_ * texture
        )
        own = frames(labels)
        if rng.random() < 0.6:
            hole = np.hypot(own.u - 0.2, own.v) < rng.uniform(0.3, 0.5)
            scene = scene + rng.choice([-0.15, 0.12]) * blur((hole * inside).astype(np.float32), 0.8)
    elif mode == "relief":
        turn = rng.uniform(0, 2 * np.pi)
        slope = [ndi.gaussian_filter(inside * (0.4 + round_), 1, order=o) for o in ((1, 0), (0, 1))]
        scene = 0.5 + 0.8 * (slope[0] * np.sin(turn) + slope[1] * np.cos(turn)) + 0.05 * inside
    else:
        shell = np.exp(-(((depth - 1.2) / 1.2) ** 2)) if rng.random() < 0.3 else 0.4 + 0.6 * round_
        scene = inside * np.clip(level, 0.3, 2) * texture * shell + rng.uniform(0, 0.15) * blur(inside, 4)
    scene = blur(np.asarray(scene, np.float32), rng.uniform(0.5, 1.2)) + ground
    return np.asarray(scene + rng.uniform(0.005, 0.05) * noise(rng, SIDE, rng.choice([0, 0.7])), np.float32)


def draw_bacteria(rng: Rng) -> Scene:
    """Draw rods, bent or straight, or cocci, strewn or grown together to colonies."""
    radius = between(rng, 2.2, 14)
    labels = np.zeros((SIDE, SIDE), np.uint16)
    long = between(rng, 1, 12) * radius if rng.random() < 0.85 else 0
    colonies = rng.uniform(0, SIDE, (rng.integers(1, 7), 2)) if rng.random() < 0.6 else None
    extent = between(rng, 3, 12) * radius
    turns = np.pi * smooth_field(rng, SIDE, max(30, 3 * extent)) * rng.choice([0.15, 0.4, 1])
    wanted = int(
        np.clip(
            SIDE**2 / (2 * radius * (long + 2 * radius)) * between(rng, 0.3, 4), 8, 1200 if colonies is None else 900
        )
    )
    for index in range(1, wanted + 1):
        at = rng.uniform(0, SIDE, 2)
        if colonies is not None:
            way, far = rng.uniform(0, 2 * np.pi), extent * np.sqrt(rng.random())
            at = colonies[rng.integers(len(colonies))] + far * np.array([np.sin(way), np.cos(way)])
        y, x = np.clip(at, 0, SIDE - 1).astype(int)
        length = long * rng.uniform(0.6, 1.4)
        turn = turns[y, x] + rng.normal(0, 0.12) if colonies is not None else rng.uniform(0, np.pi)
        mask = capsule(radius * np.exp(rng.normal(0, 0.06)), length, rng.normal(0, 0.06), turn)
        place(labels, mask, at, index, 0.06, front=False)
    return develop(look(rng, labels, radius, ("phase", "phase", "fluorescence", "ring", "relief"))), pieces(labels)


def draw_yeast(rng: Rng) -> Scene:
    """Draw round and oval cells with buds, many touching: mother and bud are an object each."""
    radius = between(rng, 6, 34)
    labels = np.zeros((SIDE, SIDE), np.uint16)
    wanted = int(np.clip(SIDE**2 / (np.pi * radius**2) * between(rng, 0.2, 3), 4, 500))
    crowds = rng.uniform(0, SIDE, (rng.integers(1, 5), 2)) if rng.random() < 0.6 else None
    extent, budding = between(rng, 2, 7) * radius, rng.uniform(0, 0.6)
    for index in range(1, 2 * wanted, 2):
        at = rng.uniform(0, SIDE, 2)
        if crowds is not None:
            way, far = rng.uniform(0, 2 * np.pi), extent * np.sqrt(rng.random())
            at = crowds[rng.integers(len(crowds))] + far * np.array([np.sin(way), np.cos(way)])
        size = radius * np.exp(rng.normal(0, 0.12))
        if not place(labels, outline(rng, size, rng.uniform(1, 1.35), 0.02), at, index, 0.06, front=False):
            continue
        if rng.random() < budding:
            bud, way = size * rng.uniform(0.3, 0.75), rng.uniform(0, 2 * np.pi)
            off = (size + 0.85 * bud) * np.array([np.sin(way), np.cos(way)])
            place(labels, outline(rng, bud, 1.1, 0.02), at + off, index + 1, 0.25, front=False)
    return develop(look(rng, labels, radius, ("ring", "ring", "phase", "relief", "fluorescence"))), pieces(labels)
