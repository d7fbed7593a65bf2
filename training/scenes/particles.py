"""Particles and phases of materials: powder, nanoparticles, precipitates, carbides, grains."""

import numpy as np
from scipy import ndimage as ndi

from scenes.painting import (
    SIDE,
    Labels,
    Rng,
    Scene,
    between,
    blur,
    brick,
    depths,
    develop,
    disc_spots,
    fractal,
    frames,
    levels,
    lines,
    nearest,
    noise,
    outline,
    pieces,
    place,
    smooth_field,
    tiling,
)


def draw_powder(rng: Rng) -> Scene:
    """Draw balls of powder in SEM: bright rims, shading from one side, satellites, on a dark ground or in heaps."""
    radius = between(rng, 6, 55)
    labels = np.zeros((SIDE, SIDE), np.uint16)
    spread, long, ragged = rng.uniform(0.15, 0.7), rng.uniform(1, 1.5), rng.choice([0.015, 0.04, 0.12])
    wanted = int(np.clip(SIDE**2 / (np.pi * radius**2) * between(rng, 0.2, 3), 3, 500))
    sizes = radius * np.exp(np.clip(rng.normal(0, spread, wanted), -1.3, 1))
    for index, size in enumerate(sizes[np.argsort(sizes * rng.uniform(0.5, 1.5, wanted))], start=1):
        mask = outline(rng, max(size, 2.5), rng.uniform(1, long), ragged)
        at = rng.uniform(0, SIDE, 2)
        if place(labels, mask, at, index, 0.5, front=bool(rng.random() < 0.7)) and rng.random() < 0.2 and size > 14:
            way, small = rng.uniform(0, 2 * np.pi), size * rng.uniform(0.15, 0.35)
            off = size * rng.uniform(0.5, 1) * np.array([np.sin(way), np.cos(way)])
            place(labels, outline(rng, small, 1.1, 0.03), at + off, 30_000 + index, 1)
    labels = pieces(labels)
    own, depth, (away, _) = frames(labels), depths(labels), nearest(labels)
    size = own.radius[labels]
    light = rng.uniform(0, 2 * np.pi)
    cos, sin = np.cos(own.turn)[labels], np.sin(own.turn)[labels]
    dx, dy = own.u * cos - own.v * sin, own.u * sin + own.v * cos
    side = dx * np.cos(light) + dy * np.sin(light)
    edge = np.exp(-depth / np.maximum(0.12 * size, 1)) * rng.uniform(0, 0.6)
    ball = 0.5 + rng.uniform(0, 0.3) * side + edge + rng.uniform(0, 0.15) * np.sqrt(np.clip(1 - own.r**2, 0, 1))
    skin = rng.uniform(0.01, 0.08) * fractal(rng, SIDE, rng.uniform(5, 16))
    cells = rng.choice([0, 0.08]) * np.exp(-((depths(tiling(rng, SIDE, max(6, 0.3 * radius), 0.1)) / 1.2) ** 2))
    ball = (ball + skin - cells) * np.clip(levels(rng, labels, rng.uniform(0, 0.15)), 0.4, 1.6)
    below = rng.uniform(0.02, 0.3) + rng.uniform(0.01, 0.06) * fractal(rng, SIDE, rng.uniform(10, 60))
    below = below * (1 - rng.uniform(0, 0.7) * np.exp(-away / max(2, 0.3 * radius)))
    scene = np.where(labels > 0, ball, below)
    front = ndi.grey_dilation(own.radius[labels] * (labels > 0), size=3)
    scene = scene * (1 - rng.uniform(0, 0.6) * np.exp(-depth / 2) * (front > size + 0.5))
    scene = blur(np.asarray(scene, np.float32), rng.uniform(0.5, 1.1)) * (
        1 + rng.uniform(0, 0.1) * smooth_field(rng, SIDE, 300)
    )
    return develop(scene + rng.uniform(0.005, 0.05) * noise(rng, SIDE, 0.5)), pieces(labels)


def draw_nanoparticles(rng: Rng) -> Scene:
    """Draw nanoparticles in TEM: dark and grey discs, rods and cubes, some over others, in a grainy ground."""
    radius = between(rng, 4, 45)
    labels = np.zeros((SIDE, SIDE), np.uint16)
    wanted = int(np.clip(SIDE**2 / (np.pi * radius**2) * between(rng, 0.12, 1.1), 4, 400))
    sort, spread, overlap = (
        rng.choice(["disc", "rod", "cube", "rough"], p=[0.5, 0.2, 0.15, 0.15]),
        rng.uniform(0.03, 0.35),
        rng.choice([0.05, 0.3]),
    )
    groups = rng.uniform(0, SIDE, (rng.integers(2, 9), 2)) if rng.random() < 0.5 else None
    for index in range(1, wanted + 1):
        size, turn = radius * np.exp(rng.normal(0, spread)), rng.uniform(0, np.pi)
        at = (
            rng.uniform(0, SIDE, 2)
            if groups is None
            else groups[rng.integers(len(groups))] + rng.normal(0, 2.2 * radius, 2)
        )
        if sort == "disc":
            mask = outline(rng, size, rng.uniform(1, 1.25), 0.04)
        elif sort == "rod":
            mask = brick(size, rng.uniform(1.5, 5), 3, turn)
        elif sort == "cube":
            mask = brick(size, rng.uniform(1, 1.3), rng.uniform(3, 7), turn)
        else:
            mask = outline(rng, size, rng.uniform(1, 1.8), 0.3)
        place(labels, mask, at, index, overlap, front=bool(rng.random() < 0.5))
    depth = depths(labels)
    thick = np.sqrt(np.clip(depth / (0.6 * radius), 0, 1)) if rng.random() < 0.6 else np.minimum(depth, 1)
    dark = (labels > 0) * thick * np.clip(levels(rng, labels, rng.uniform(0.05, 0.4)), 0.3, 2)
    dark = dark * (1 + rng.uniform(0, 0.15) * fractal(rng, SIDE, max(4, 0.7 * radius)))
    fringe = rng.uniform(0, 0.4) * np.exp(-(((nearest(labels)[0] - 1.5) / 1.2) ** 2)) * (labels == 0)
    ground = rng.uniform(0.02, 0.15) * fractal(rng, SIDE, rng.uniform(3, 12)) + rng.uniform(0, 0.15) * smooth_field(
        rng, SIDE, 200
    )
    if rng.random() < 0.3:
        ground = ground - rng.uniform(0.05, 0.25) * (smooth_field(rng, SIDE, 140) > 0.3)
    scene = blur(np.asarray(fringe + ground - dark * rng.uniform(0.4, 1.2), np.float32), rng.uniform(0.5, 1.5))
    scene = scene + rng.uniform(0.02, 0.18) * noise(rng, SIDE, rng.choice([0, 0.8]))
    return develop(-scene if rng.random() < 0.2 else scene), pieces(labels)


def draw_precipitates(rng: Rng) -> Scene:
    """Draw precipitates in an alloy: cuboids with round corners, or lobed islands and dots, thin channels between."""
    pitch = between(rng, 7, 70)
    if rng.random() < 0.45:
        return draw_islands(rng, max(pitch, 20))
    turn = rng.uniform(0, np.pi / 2)
    y, x = np.indices((SIDE, SIDE)).astype(np.float32)
    bend = rng.uniform(0.02, 0.16) * pitch
    y, x = (c + bend * smooth_field(rng, SIDE, 1.5 * pitch) for c in (y, x))
    u, v = (x * np.cos(turn) + y * np.sin(turn)) / pitch, (y * np.cos(turn) - x * np.sin(turn)) / pitch
    row = np.floor(v).astype(int)
    u = u + rng.uniform(0, 1, 4096)[row % 4096]
    cells = row * 4096 + np.floor(u).astype(int) + 2048
    _, labels = np.unique(cells, return_inverse=True)
    labels = (labels.reshape(SIDE, SIDE) + 1).astype(np.uint16)
    count = int(labels.max()) + 1
    size = rng.uniform(0.72, 0.95) * np.exp(rng.normal(0, rng.uniform(0, 0.2), (2, count)))
    power = rng.uniform(2.5, 6)
    local = [2 * np.abs(c % 1 - 0.5) / np.minimum(s, 0.97)[labels] for c, s in zip((u, v), size, strict=True)]
    inside = local[0] ** power + local[1] ** power < 1
    gone = rng.random(count) < rng.choice([0, 0.1, 0.35])
    labels[~inside | gone[labels]] = 0
    depth = depths(labels)
    sign = rng.choice([-1, 1])
    level = levels(rng, labels, rng.uniform(0.02, 0.2)) * (labels > 0)
    rim = rng.uniform(0, 0.5) * np.exp(-(((depth - 1) / 1.3) ** 2)) * (labels > 0)
    scene = 0.5 + sign * rng.uniform(0.15, 0.35) * (level + rng.choice([-1, 1]) * rim)
    fine = np.clip(smooth_field(rng, SIDE, 3) - 1, 0, 1) * (labels == 0) * rng.uniform(0, 0.2)
    scene = (
        scene
        + fine
        + rng.uniform(0.01, 0.05) * fractal(rng, SIDE, 0.6 * pitch + 3)
        + rng.uniform(0, 0.08) * smooth_field(rng, SIDE, 200)
    )
    scene = blur(np.asarray(scene, np.float32), rng.uniform(0.5, 1.4)) + rng.uniform(0.01, 0.08) * noise(
        rng, SIDE, rng.choice([0, 0.7])
    )
    return develop(scene), pieces(labels)


def draw_islands(rng: Rng, pitch: float) -> Scene:
    """Draw lobed islands with bright edges, as etching leaves them, and dots where there is room."""
    labels = tiling(rng, SIDE, 1.5 * pitch, 0.1)
    walls = depths(labels)
    field = smooth_field(rng, SIDE, 0.5 * pitch + 5) + 0.6 * np.clip(walls / (0.4 * pitch), 0, 1.5)
    labels[(field < rng.uniform(-0.4, 0.6)) | (walls < rng.uniform(1.5, 3.5))] = 0
    labels = pieces(labels, 30)
    away = nearest(labels)[0]
    free = np.argwhere(away > 4)
    dot = between(rng, 1.9, 5)
    share = rng.choice([0, 0.15, 0.5])
    for index in range(int(min(share * len(free) / (3 * dot**2), 350))):
        at = free[rng.integers(len(free))].astype(float)
        place(
            labels, outline(rng, max(1.9, dot * rng.uniform(0.6, 1.3)), 1.2, 0.05), at, 20_000 + index, 0, front=False
        )
    inside = (labels > 0).astype(np.float32)
    edge = np.exp(-((nearest(labels)[0] / rng.uniform(1.5, 5)) ** 2)) * (1 - inside)
    turn = rng.uniform(0, 2 * np.pi)
    slope = [ndi.gaussian_filter(inside, rng.uniform(1, 2.5), order=o) for o in ((1, 0), (0, 1))]
    relief = rng.uniform(0, 2.5) * (slope[0] * np.sin(turn) + slope[1] * np.cos(turn))
    texture = fractal(rng, SIDE, rng.uniform(4, 20))
    scene = 0.55 - rng.uniform(0.08, 0.45) * inside + rng.uniform(0, 0.4) * edge + rng.choice([0, 1]) * relief
    scene = scene + rng.uniform(0.01, 0.06) * texture + rng.uniform(0, 0.08) * smooth_field(rng, SIDE, 150)
    scene = blur(np.asarray(scene, np.float32), rng.uniform(0.6, 1.6)) + rng.uniform(0.01, 0.12) * noise(
        rng, SIDE, rng.choice([0, 0.8])
    )
    return develop(-scene if rng.random() < 0.2 else scene), pieces(labels)


def draw_carbides(rng: Rng) -> Scene:
    """Draw carbides on polished steel: many small bright islands, round and ragged, some along the grains' borders."""
    radius = between(rng, 3, 28)
    labels = np.zeros((SIDE, SIDE), np.uint16)
    grains = tiling(rng, SIDE, between(rng, 5, 14) * radius + 20, 0.15)
    border = np.argwhere(depths(grains) <= 1)
    along, ragged, spread = rng.choice([0, 0.4]), rng.uniform(0.05, 0.4), rng.uniform(0.2, 0.7)
    wanted = int(np.clip(SIDE**2 / (np.pi * radius**2) * between(rng, 0.05, 0.5), 4, 500))
    for index in range(1, wanted + 1):
        at = (
            border[rng.integers(len(border))].astype(float)
            if len(border) and rng.random() < along
            else rng.uniform(0, SIDE, 2)
        )
        size = max(2.2, radius * np.exp(np.clip(rng.normal(0, spread), -1.5, 1.2)))
        place(labels, outline(rng, size, between(rng, 1, 3), ragged), at, index, 0.03, front=False)
    depth = depths(labels)
    rim = np.exp(-((nearest(labels)[0] / 1.5) ** 2)) * (labels == 0)
    ground = (
        0.4
        + levels(rng, grains, rng.uniform(0, 0.1), 0)
        + rng.uniform(0.01, 0.06) * fractal(rng, SIDE, rng.uniform(4, 20))
    )
    ground = ground - rng.choice([0, 0.1, 0.25]) * np.exp(-((depths(grains) / 1.3) ** 2))
    scratches = rng.choice([0, 0.06, 0.15]) * lines(rng, SIDE, 12, 0.9, 0.001)
    island = rng.uniform(0.65, 1) * levels(rng, labels, rng.uniform(0.02, 0.12)) + 0.03 * fractal(rng, SIDE, 8)
    island = island - rng.choice([0, 0.2]) * np.exp(-((depth - 1) ** 2))
    scene = np.where(labels > 0, island, ground - rng.uniform(0, 0.3) * rim) + scratches
    pits = disc_spots(rng, SIDE, int(rng.integers(0, 25)), 0.8, 2)
    scene = blur(np.asarray(scene - 0.4 * pits * (labels == 0), np.float32), rng.uniform(0.5, 1.2))
    scene = (
        scene + rng.uniform(0, 0.08) * smooth_field(rng, SIDE, 250) + rng.uniform(0.005, 0.05) * noise(rng, SIDE, 0.5)
    )
    return develop(-scene if rng.random() < 0.25 else scene), pieces(labels)


def draw_grains(rng: Rng) -> Scene:
    """Draw the grains of a metal or a rock: cells of different grey or colour, or of one between etched lines."""
    pitch = between(rng, 14, 130)
    labels = tiling(rng, SIDE, pitch, rng.uniform(0, 0.12), rng.uniform(1, 1.6), rng.uniform(0, 0.4))
    wall = ndi.maximum_filter(labels, 2) != ndi.minimum_filter(labels, 2)
    away = ndi.distance_transform_edt(~wall).astype(np.float32)
    contrast = rng.choice([0, 0.06, 0.2])
    line = np.exp(-((away / rng.uniform(0.8, 2)) ** 2)) * (
        rng.uniform(0.25, 0.6) if contrast < 0.1 else rng.choice([0, 0.3])
    )
    line = line * np.clip(0.9 + 0.4 * smooth_field(rng, SIDE, 25), 0.1, 1.5)
    scene = (
        0.6
        + levels(rng, labels, contrast, 0)
        - line
        + rng.uniform(0.005, 0.05) * fractal(rng, SIDE, rng.uniform(3, 15))
    )
    own: Labels = labels
    stripes = np.sin(frames(own).v * rng.uniform(8, 30)) * (levels(rng, own, 1, 0) > 0.6)
    scene = scene + rng.choice([0, 0.06]) * stripes - rng.uniform(0, 0.5) * disc_spots(rng, SIDE, 30, 0.8, 2.5)
    scene = blur(np.asarray(scene, np.float32), rng.uniform(0.4, 1)) + rng.uniform(0, 0.06) * smooth_field(
        rng, SIDE, 250
    )
    scene = scene + rng.uniform(0.005, 0.04) * noise(rng, SIDE, 0.5)
    if contrast and rng.random() < 0.4:
        tint = rng.uniform(-0.35, 0.35, (int(labels.max()) + 1, 3)).astype(np.float32)
        return develop(scene[..., None] + tint[labels]), pieces(labels, 20)
    return develop(scene), pieces(labels, 20)
