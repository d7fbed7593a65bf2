"""Everyday things with parts, textures and shadows; thin and branching things."""

import numpy as np
from scipy import ndimage as ndi

from scenes.painting import (
    SIDE,
    Bools,
    Float,
    Labels,
    Rng,
    Scene,
    between,
    blur,
    brick,
    capsule,
    coordinates,
    depths,
    develop,
    fibres,
    fractal,
    frames,
    mix,
    noise,
    outline,
    pieces,
    place,
    smooth_field,
    tiling,
)


def pattern(rng: Rng, grain: float) -> Float:
    """Return a texture of about -1..1: none, stripes, checks, cloth, fibres, patches or grains."""
    y, x = coordinates(SIDE)
    turn, pitch = rng.uniform(0, np.pi), max(3.0, grain)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    sort = rng.choice(["none", "stripes", "checks", "cloth", "fibres", "patches", "grains"])
    if sort == "none":
        return np.zeros((SIDE, SIDE), np.float32)
    if sort == "stripes":
        return np.asarray(np.sign(np.sin(2 * np.pi * u / pitch)), np.float32)
    if sort == "checks":
        return np.asarray(np.sign(np.sin(np.pi * u / pitch) * np.sin(np.pi * v / pitch)), np.float32)
    if sort == "cloth":
        return np.asarray(
            np.sin(2 * np.pi * u / 4) * np.sin(2 * np.pi * v / 4) + 0.4 * fractal(rng, SIDE, 30), np.float32
        )
    if sort == "fibres":
        return fibres(rng, SIDE, pitch, 1)[0]
    return fractal(rng, SIDE, 3 * pitch if sort == "patches" else 4, 0.8)


def table(rng: Rng) -> Float:
    """Return a ground with a texture: cloth, wood, tiles, sand or paper, shaded, `(384, 384, 3)`."""
    hue = rng.uniform(0.15, 0.9) * np.exp(rng.normal(0, 0.2, 3))
    scene = hue * np.exp(rng.uniform(0, 0.25) * pattern(rng, between(rng, 3, 60)))[..., None]
    if rng.random() < 0.2:
        joint = np.exp(-((depths(tiling(rng, SIDE, rng.uniform(40, 150), 0.02)) / 2) ** 2))
        scene = scene * (1 - 0.4 * joint[..., None])
    scene = scene * (1 + rng.uniform(0.01, 0.08) * noise(rng, SIDE, 0.7))[..., None]
    return np.asarray(scene * (1 + rng.uniform(0, 0.2) * smooth_field(rng, SIDE, 300))[..., None], np.float32)


def body(rng: Rng, size: float) -> Bools:
    """Return the mask of a simple solid: ellipse, box, rod, wavy or pointed."""
    turn = rng.uniform(0, np.pi)
    sort = rng.integers(5)
    if sort == 0:
        return outline(rng, size, rng.uniform(1, 2), 0.01)
    if sort == 1:
        return brick(size, rng.uniform(1, 3), rng.uniform(3, 12), turn)
    if sort == 2:
        return capsule(0.45 * size, rng.uniform(1, 4) * size, rng.normal(0, 0.15), turn)
    if sort == 3:
        return outline(rng, size, rng.uniform(1, 1.6), 0.3)
    return outline(rng, 0.75 * size, rng.uniform(1, 1.5), 0.1, int(rng.integers(3, 8)), rng.uniform(0.3, 1))


def place_thing(rng: Rng, labels: Labels, parts: Labels, at: np.ndarray, size: float, index: int) -> None:
    """Place a thing of one to five parts that hold together; `parts` numbers them all."""
    whole = np.zeros_like(labels)
    own = np.zeros_like(labels)
    for number in range(int(rng.choice([1, 2, 3, 5]))):
        scale, way = (1, 0) if number == 0 else (rng.uniform(0.25, 0.7), rng.uniform(0, 2 * np.pi))
        off = size * (0 if number == 0 else rng.uniform(0.2, 1)) * np.array([np.sin(way), np.cos(way)])
        mask = body(rng, scale * size)
        place(whole, mask, at + off, 1, 1)
        place(own, mask, at + off, number + 1, 1)
    if (labels[whole > 0] > 0).mean() < 0.3 if whole.any() else False:
        labels[whole > 0] = index
        parts[whole > 0] = 8 * index + own[whole > 0]


def draw_things(rng: Rng) -> Scene:
    """Draw things on a table: each of some parts with colours, patterns and light of their own, all casting shadows."""
    labels, parts = np.zeros((SIDE, SIDE), np.uint16), np.zeros((SIDE, SIDE), np.uint16)
    size = between(rng, 9, 120)
    alike = rng.random() < 0.3
    for index in range(1, int(np.clip(rng.uniform(0.1, 0.7) * SIDE**2 / (4 * size**2), 1, 90)) + 1):
        at = rng.uniform(0, SIDE, 2)
        if alike:
            mask = outline(rng, size * np.exp(rng.normal(0, 0.1)), 1, 0)
            if place(labels, mask, at, index, 0.15):
                parts[labels == index] = 8 * index
        else:
            place_thing(rng, labels, parts, at, size * np.exp(rng.normal(0, 0.3)), index)
    _, parts = np.unique(parts, return_inverse=True)
    parts = parts.reshape(SIDE, SIDE).astype(np.uint16)
    scene = table(rng)
    high, turn = between(rng, 2, 25), rng.uniform(0, 2 * np.pi)
    shadow = np.zeros((SIDE, SIDE), np.float32)
    for step in (0.35, 0.7, 1):
        move = (round(step * high * np.sin(turn)), round(step * high * np.cos(turn)))
        shadow = np.maximum(shadow, ndi.shift((labels > 0).astype(np.float32), move, order=0))
    scene = scene * (1 - rng.uniform(0.1, 0.75) * blur(shadow, rng.uniform(0.8, 6)))[..., None]
    count = int(parts.max()) + 1
    hues = np.clip(rng.uniform(0.05, 1, (count, 1)) * np.exp(rng.normal(0, 0.45, (count, 3))), 0.02, 1.1)
    if alike:
        hues = hues[1 % count] * np.exp(rng.normal(0, 0.06, (count, 3)))
    shown = hues.astype(np.float32)[parts]
    for _ in range(3):
        chosen = (rng.random(count) < 0.3)[parts]
        shown = (
            shown * np.exp(rng.uniform(0.05, 0.4) * pattern(rng, between(rng, 3, 0.5 * size + 4)) * chosen)[..., None]
        )
    own, depth = frames(parts), depths(parts)
    cos, sin = np.cos(own.turn)[parts], np.sin(own.turn)[parts]
    toward = (own.u * cos - own.v * sin) * np.cos(turn) + (own.u * sin + own.v * cos) * np.sin(turn)
    round_ = rng.choice([0, 0.15, 0.4], count)[parts]
    light = 1 - round_ * toward - round_ * 0.6 * np.clip(own.r, 0, 1.2) ** 3
    light = light * (1 - rng.uniform(0, 0.35) * np.exp(-depth / rng.uniform(1, 3)))
    shine = np.exp(-((toward + 0.45) ** 2 + (own.r - 0.45) ** 2) / 0.02) * rng.choice([0, 0, 0.7], count)[parts]
    shown = shown * np.clip(light, 0.15, 1.5)[..., None] + shine[..., None]
    scene = np.where(labels[..., None] > 0, shown, scene)
    scene = (
        blur(np.asarray(scene, np.float32), rng.uniform(0.4, 1.3))
        + rng.uniform(0.003, 0.03) * noise(rng, SIDE, 0.5)[..., None]
    )
    if rng.random() < 0.2:
        scene = scene.mean(axis=2)
    return develop(scene), pieces(labels, 20)


def walk(rng: Rng, tree: Bools, at: np.ndarray, heading: float, width: float, length: float, depth: int) -> None:
    """Draw a bent tapering branch and those that leave it."""
    y, x = coordinates(SIDE)
    bend = rng.normal(0, 0.005)
    step = max(1.0, 0.7 * width)
    steps = int(length / step) + 1
    for number in range(steps):
        wide = max(0.9, width * (1 - 0.6 * number / steps))
        half = int(wide) + 2
        row, column = (int(v) for v in at)
        rows, columns = (slice(max(0, v - half), max(0, min(SIDE, v + half + 1))) for v in (row, column))
        part = (y[rows] - at[0]) ** 2 + (x[:, columns] - at[1]) ** 2 < wide**2
        tree[rows, columns] |= part
        if depth and rng.random() < 1.6 / steps:
            walk(
                rng,
                tree,
                at,
                heading + rng.choice([-1, 1]) * rng.uniform(0.4, 1.1),
                0.7 * wide,
                0.6 * length,
                depth - 1,
            )
        at = at + step * np.array([np.sin(heading), np.cos(heading)])
        heading += bend * step + rng.normal(0, 0.05)


def draw_branches(rng: Rng) -> Scene:
    """Draw thin things: worms, fibres, roots, trees of vessels, neurons with a body; each is an object."""
    labels = np.zeros((SIDE, SIDE), np.uint16)
    sort = rng.choice(["worm", "fibre", "tree", "neuron"])
    width = between(rng, 1.8, 10)
    wanted = int(rng.integers(1, 5)) if sort in ("tree", "neuron") else int(rng.integers(3, 22))
    for index in range(1, wanted + 1):
        tree = np.zeros((SIDE, SIDE), bool)
        at, heading = rng.uniform(0.05, 0.95, 2) * SIDE, rng.uniform(0, 2 * np.pi)
        if sort == "worm":
            walk(rng, tree, at, heading, width, width * rng.uniform(8, 22), 0)
        elif sort == "fibre":
            walk(rng, tree, at, heading, 0.5 * width, SIDE * rng.uniform(0.3, 1), 0)
        elif sort == "tree":
            walk(rng, tree, at, heading, width, SIDE * rng.uniform(0.3, 0.8), 2)
        else:
            for way in range(int(rng.integers(2, 6))):
                walk(
                    rng,
                    tree,
                    at,
                    heading + 2 * np.pi * way / 5 + rng.normal(0, 0.3),
                    0.5 * width,
                    rng.uniform(30, 140),
                    2,
                )
            soma = np.zeros_like(labels)
            place(soma, outline(rng, rng.uniform(1.5, 3) * width, rng.uniform(1, 1.6), 0.1), at, 1, 1)
            tree |= soma > 0
        if (labels[tree] > 0).mean() < 0.15:
            labels[tree & (labels == 0) | tree & bool(rng.random() < 0.5)] = index
    depth = depths(labels)
    inside = (labels > 0).astype(np.float32)
    tube = np.sqrt(np.clip(depth / (0.4 * width), 0.3, 1)) if rng.random() < 0.6 else inside
    uneven = np.clip(1 + rng.uniform(0, 0.4) * fractal(rng, SIDE, 25), 0.25, 2)
    contrast = rng.uniform(0.35, 1)
    ground = rng.uniform(0.02, 0.15) * fractal(rng, SIDE, between(rng, 5, 80)) + rng.uniform(0, 0.3) * smooth_field(
        rng, SIDE, 200
    )
    scene = blur(
        np.asarray(contrast * tube * uneven * inside, np.float32), rng.uniform(0.4, 1)
    ) + 0.5 * ground * rng.uniform(0.1, 1)
    scene = scene + rng.uniform(0.005, 0.08) * noise(rng, SIDE, rng.choice([0, 0.7]))
    if rng.random() < 0.5:
        scene = -scene
    if rng.random() < 0.35:
        flat = np.clip((scene - scene.min()) / (np.ptp(scene) + 1e-6), 0, 1)
        dark = rng.uniform(0, 0.6, 3)
        scene = mix(
            np.broadcast_to(dark, (SIDE, SIDE, 3)).astype(np.float32),
            flat,
            tuple(np.clip(dark + rng.uniform(0.2, 0.9, 3), 0, 1)),
        )
    return develop(scene), pieces(labels, 20)
