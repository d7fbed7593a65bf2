"""Membranes: neurites and mitochondria in electron microscopy, epithelium in fluorescence, axons in their myelin."""

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
    tiling,
)  # fmt: skip


def mitochondria(rng: Rng, cells: Labels, depth: Float, radius: float, share: float) -> Labels:
    """Place mitochondria: ovals of about this radius inside cells that have the room."""
    labels = np.zeros_like(cells)
    room = np.argwhere(depth > 0.75 * radius)
    if not len(room):
        return labels
    for index in range(1, int(np.clip(share * len(room) / (4 * radius**2), 1, 90)) + 1):
        at = room[rng.integers(len(room))]
        mask = outline(rng, radius * np.exp(rng.normal(0, 0.2)), between(rng, 1, 3), 0.07)
        own = cells == cells[tuple(at)]
        place(labels, mask, at.astype(float), index, 0)
        labels[(labels == index) & ~(own & (depth > 1.5))] = 0
    return labels


def paint_mitochondria(rng: Rng, labels: Labels) -> Float:
    """Return how much darker mitochondria are: a dark rim, a grey matrix, cristae across."""
    own, depth = frames(labels), depths(labels)
    period = np.maximum(0.16 * own.radius[labels], 1.6)
    bend = 0.6 * smooth_field(rng, SIDE, 12)
    direction = own.u if rng.random() < 0.6 else own.v
    cristae = np.sin(2 * np.pi * direction * own.radius[labels] / period / 2 + 3 * bend)
    matrix = rng.uniform(0.15, 0.4) + rng.uniform(0.02, 0.18) * cristae + 0.05 * fractal(rng, SIDE, 5)
    rim = rng.uniform(0.1, 0.4) * np.exp(-(((depth - 1) / 1.2) ** 2))
    return np.asarray((labels > 0) * (matrix + rim), np.float32)


def draw_neurites(rng: Rng) -> Scene:
    """Draw grey cells between thin dark membranes; the cells are the objects, or the mitochondria in them."""
    pitch = between(rng, 16, 130)
    cells = tiling(rng, SIDE, pitch, rng.uniform(0.08, 0.26), rng.uniform(1, 2.4), rng.uniform(0, 0.6))
    wall = ndi.maximum_filter(cells, 2) != ndi.minimum_filter(cells, 2)
    away = ndi.distance_transform_edt(~wall).astype(np.float32)
    thick = rng.uniform(0.8, 1.5) + pitch * rng.uniform(0, 0.025)
    gap = thick * (1 + rng.uniform(0, 0.6) * smooth_field(rng, SIDE, 40))
    membrane = np.exp(-((away / np.maximum(gap, 0.6)) ** 2)) * np.clip(1 + 0.3 * fractal(rng, SIDE, 25), 0.25, 1.3)
    inside = levels(rng, cells, rng.uniform(0.01, 0.07), 0.72)
    inside = inside + rng.uniform(0.01, 0.05) * fractal(rng, SIDE, 14) * (1 + 0 * away) + 0.04 * noise(rng, SIDE, 1)
    depth = np.where(away > thick, away, 0).astype(np.float32)
    as_objects = rng.random() < 0.4
    size = between(rng, 6, 0.35 * pitch + 6) if not as_objects else between(rng, 7, max(9, 0.4 * pitch))
    mito = mitochondria(rng, cells, depth, size, rng.uniform(0.1, 0.8) if as_objects or rng.random() < 0.7 else 0)
    dots = np.clip(smooth_field(rng, SIDE, rng.uniform(3, 6)) - 1.3, 0, 0.6) * (smooth_field(rng, SIDE, 60) > 0.5)
    scene = inside - paint_mitochondria(rng, mito) - rng.uniform(0, 0.3) * dots
    scene = np.minimum(scene, 2) * (1 - rng.uniform(0.35, 0.75) * np.clip(membrane, 0, 1))
    scene = blur(scene, rng.uniform(0.5, 1.3)) + rng.uniform(0.01, 0.06) * noise(rng, SIDE, rng.choice([0, 0.6, 1]))
    scene = scene + rng.uniform(0, 0.05) * smooth_field(rng, SIDE, 250)
    if as_objects:
        return develop(scene), pieces(mito, 20)
    cells[away < thick * rng.uniform(0.4, 0.9)] = 0
    return develop(scene), pieces(cells, 20)


def draw_epithelium(rng: Rng) -> Scene:
    """Draw cells of which only the membranes shine, uneven and sometimes broken; insides are as dark as the ground."""
    pitch = between(rng, 14, 110)
    cells = tiling(rng, SIDE, pitch, rng.uniform(0.02, 0.12), rng.uniform(1, 1.8), rng.uniform(0, 0.3))
    if rng.random() < 0.4:
        cells[smooth_field(rng, SIDE, 160) > rng.uniform(0.4, 1.8)] = 0
    wall = ndi.maximum_filter(cells, 2) != ndi.minimum_filter(cells, 2)
    away = ndi.distance_transform_edt(~wall).astype(np.float32)
    thick = rng.uniform(0.9, 2) + pitch * rng.uniform(0, 0.03)
    glow = np.exp(-((away / thick) ** 2)) + rng.uniform(0, 0.2) * np.exp(-away / (4 * thick))
    strength = np.clip(1 + rng.uniform(0.1, 0.45) * fractal(rng, SIDE, 0.8 * pitch), 0.12, 3)
    scene = glow * strength + levels(rng, cells, rng.uniform(0, 0.06), 0.1) * (cells > 0)
    if rng.random() < 0.35:  # a faint or clear nucleus, which is no object here
        scene = scene + rng.uniform(0.05, 0.5) * np.clip(4 * (0.5 - frames(cells).r), 0, 1) * (cells > 0)
    grains = np.clip(smooth_field(rng, SIDE, 3) - 1.6, 0, 1)
    scene = scene + rng.uniform(0, 0.5) * grains + rng.uniform(0, 0.08) * fractal(rng, SIDE, 50)
    scene = blur(scene, rng.uniform(0.4, 1.3)) * (1 + rng.uniform(0, 0.3) * smooth_field(rng, SIDE, 300))
    scene = scene + rng.uniform(0.01, 0.1) * noise(rng, SIDE, rng.choice([0, 0.7]))
    if rng.random() < 0.25:
        scene = -scene
    cells[away < thick * rng.uniform(0.2, 0.7)] = 0
    return develop(scene), pieces(cells, 20)


def draw_axons(rng: Rng) -> Scene:
    """Draw axons, which are the objects, each in a ring of myelin, bright or dark, between small processes."""
    radius = between(rng, 4, 40)
    labels, rings = np.zeros((SIDE, SIDE), np.uint16), np.zeros((SIDE, SIDE), np.uint16)
    ratio, ragged, spread = rng.uniform(0.5, 0.8), rng.uniform(0.05, 0.3), rng.uniform(0.2, 0.6)
    wanted = int(np.clip(SIDE**2 / (np.pi * (radius / ratio) ** 2) * rng.uniform(0.8, 3), 4, 600))
    sizes = np.sort(radius * np.exp(np.clip(rng.normal(0, spread, wanted), -1.2, 0.9)))[::-1]
    for index, size in enumerate(np.maximum(sizes, 2.5), start=1):
        at = rng.uniform(0, SIDE, 2)
        place(rings, outline(rng, size / ratio + 1, between(rng, 1, 1.8), 0.12), at, index, 0.12, front=False)
    away = depths(rings)
    deep = ndi.maximum(away, rings, np.arange(wanted + 1)).astype(np.float32)[rings]
    wavy = 1 + ragged * smooth_field(rng, SIDE, 1.2 * radius + 4)
    sheath = np.clip(1 - ratio + 0.1 * rng.standard_normal(wanted + 1), 0.15, 0.6).astype(np.float32)[rings]
    inner = (rings > 0) & (away > np.maximum(sheath * deep * wavy, 1.3))
    labels[inner] = rings[inner]
    myelin = (rings > 0) & ~inner
    bright = rng.random() < 0.65
    grain = fractal(rng, SIDE, max(4, radius * 0.5))
    body = levels(rng, rings, rng.uniform(0.02, 0.12), 0.25) + rng.uniform(0.01, 0.06) * grain
    ground = rng.uniform(0.1, 0.7) + rng.uniform(0.05, 0.2) * fractal(rng, SIDE, rng.uniform(6, 25))
    sheet = 0.95 + levels(rng, rings, 0.1, 0) + 0.08 * grain
    if bright and rng.random() < 0.5:  # two bright edges about a grey middle
        sheet = sheet - rng.uniform(0.1, 0.5) * np.clip(nearest((~myelin).astype(np.uint16))[0] / 3, 0, 1)
    scene = np.where(myelin, sheet, np.where(inner, body, ground))
    small = tiling(rng, SIDE, max(5, 0.5 * radius), 0.2)
    lace = np.exp(-((depths(small) / 1.5) ** 2)) * (rings == 0) * rng.uniform(0, 0.5)
    scene = blur(np.asarray(scene + lace, np.float32), rng.uniform(0.6, 1.4))
    if not bright:
        scene = 1 - np.where(inner | (rings == 0), rng.uniform(0.2, 0.7) * scene, scene)
    scene = (
        scene + rng.uniform(0, 0.12) * smooth_field(rng, SIDE, 200) + rng.uniform(0.01, 0.06) * noise(rng, SIDE, 0.6)
    )
    return develop(blur(scene, 0.4)), pieces(labels)
