"""Plants: rosettes on soil, leaves with veins, seedlings, fruit among leaves."""

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
    disc_spots,
    fractal,
    frames,
    lines,
    mix,
    nearest,
    noise,
    outline,
    pieces,
    place,
    smooth_field,
)


def soil(rng: Rng) -> Float:
    """Return a ground: soil with grains and stones, gravel, straw, or a plain tray, `(384, 384, 3)`."""
    hues = [(0.35, 0.25, 0.17), (0.25, 0.2, 0.16), (0.5, 0.45, 0.4), (0.2, 0.25, 0.4), (0.85, 0.85, 0.83)]
    hue = rng.choice(hues)
    rough = fractal(rng, SIDE, rng.uniform(6, 40), 0.9, 5)
    scene = hue * np.exp(rng.uniform(0.03, 0.4) * rough)[..., None]
    if rng.random() < 0.5:
        stones = smooth_field(rng, SIDE, rng.uniform(4, 10)) > 1.3
        scene = scene + 0.25 * rng.uniform(0, 1) * blur(stones.astype(np.float32), 0.7)[..., None]
    if rng.random() < 0.25:
        straw = np.clip(lines(rng, SIDE, 40, 1.5, 0.005, 0.25), 0, 1)
        scene = mix(scene.astype(np.float32), 0.7 * straw, (0.65, 0.55, 0.35))
    return np.asarray(scene * np.exp(rng.normal(0, 0.08, 3)), np.float32)


def leaf(rng: Rng, length: float, long: float, turn: float) -> np.ndarray:
    """Return the mask of a leaf that points along `turn`: pointed or round, its stalk at the other end."""
    half = int(length / 2) + 3
    axis = np.arange(-half, half + 1, dtype=np.float32)
    u = (axis[None] * np.cos(turn) + axis[:, None] * np.sin(turn)) / (length / 2)
    v = (axis[:, None] * np.cos(turn) - axis[None] * np.sin(turn)) / (length / 2)
    along = np.clip((u + 1) / 2, 0, 1)
    stalk = rng.uniform(0, 0.35)
    blade = np.clip((along - stalk) / (1 - stalk), 0, 1)
    wide = np.sin(np.pi * blade ** rng.uniform(0.6, 1.3)) ** rng.uniform(0.5, 1.1) / long
    wide = wide * (1 + rng.choice([0, 0, 0.12]) * np.sin(blade * rng.uniform(25, 60)))
    wide = np.maximum(wide, (along < stalk + 0.1) * max(0.05, 2 / length))
    v = v + rng.normal(0, 0.08) * u**2
    return np.asarray((np.abs(v) < wide) & (np.abs(u) < 0.98))


def paint_leaves(rng: Rng, labels: Labels) -> Float:
    """Return leaves with their veins, each of its own green and light, darker at the rim, `(384, 384, 3)`."""
    own, depth = frames(labels), depths(labels)
    count = int(labels.max()) + 1
    green = np.array([rng.uniform(0.2, 0.5), rng.uniform(0.45, 0.75), rng.uniform(0.1, 0.35)])
    if rng.random() < 0.15:
        green = np.array([rng.uniform(0.5, 0.8), rng.uniform(0.3, 0.6), rng.uniform(0.1, 0.3)])
    hues = green * np.exp(rng.normal(0, 0.08, (count, 3)) + rng.normal(0, 0.15, (count, 1)))
    size = own.radius[labels]
    rib = np.exp(-((own.v * size / np.maximum(0.04 * size, 0.9)) ** 2))
    pitch = rng.uniform(0.12, 0.3)
    side = np.abs(((own.u - rng.uniform(0.5, 1.2) * np.abs(own.v)) / pitch) % 1 - 0.5) * pitch * size
    veins = np.clip(rib + rng.uniform(0, 0.7) * np.exp(-((side / np.maximum(0.025 * size, 0.7)) ** 2)), 0, 1)
    curl = 1 + rng.uniform(-0.25, 0.25) * own.v + rng.uniform(-0.2, 0.2) * own.u
    light = (
        curl * (1 - rng.uniform(0, 0.35) * np.exp(-depth / 3)) * (1 + rng.uniform(0.02, 0.12) * fractal(rng, SIDE, 18))
    )
    light = light * (1 + rng.uniform(-0.25, 0.45) * veins)
    return np.asarray(hues.astype(np.float32)[labels] * np.clip(light, 0.2, 2)[..., None], np.float32)


def shade(rng: Rng, scene: Float, labels: Labels) -> Float:
    """Return a scene with the shadow that its objects cast on the ground, in soft light."""
    high, turn = rng.uniform(2, 12), rng.uniform(0, 2 * np.pi)
    shadow = np.roll(labels > 0, (round(high * np.sin(turn)), round(high * np.cos(turn))), (0, 1))
    soft = blur(shadow.astype(np.float32), high / 2) * (labels == 0) * rng.uniform(0, 0.6)
    return scene * (1 - soft[..., None])


def draw_rosettes(rng: Rng) -> Scene:
    """Draw plants from above: leaves about a middle, over each other, on soil; every leaf is an object."""
    labels = np.zeros((SIDE, SIDE), np.uint16)
    length, long = between(rng, 26, 220), rng.uniform(1.2, 3.5)
    plants = int(np.clip((SIDE / (2 * length)) ** 2 * rng.uniform(0.5, 1.5), 1, 30))
    index = 0
    for at in rng.uniform(0.1, 0.9, (plants, 2)) * SIDE:
        start, leaves = rng.uniform(0, 2 * np.pi), int(rng.integers(3, 14))
        for number in range(leaves):
            turn = start + number * (2.4 if rng.random() < 0.8 else 1.7) + rng.normal(0, 0.15)
            size = max(7.0, length * (1 - 0.6 * number / leaves) * rng.uniform(0.75, 1.2))
            index += 1
            off = 0.5 * size * np.array([np.sin(turn), np.cos(turn)])
            place(labels, leaf(rng, size, long * rng.uniform(0.85, 1.15), turn), at + off, index, 1)
    green = paint_leaves(rng, labels)
    scene = shade(rng, soil(rng), labels)
    scene = np.where(labels[..., None] > 0, green, scene)
    between_leaves = np.exp(-depths(labels) / rng.uniform(1, 2.5)) * (labels > 0)
    scene = scene * (1 - rng.uniform(0.1, 0.5) * between_leaves)[..., None]
    scene = (
        blur(scene.astype(np.float32), rng.uniform(0.4, 1))
        * (1 + rng.uniform(0, 0.12) * smooth_field(rng, SIDE, 250))[..., None]
    )
    scene = scene + rng.uniform(0.005, 0.03) * noise(rng, SIDE, 0.5)[..., None]
    if rng.random() < 0.1:
        scene = scene.mean(axis=2)
    return develop(scene), pieces(labels, 20)


def draw_foliage(rng: Rng) -> Scene:
    """Draw single leaves on a ground, or fruit among leaves of which the fruit are the objects."""
    fruit = rng.random() < 0.4
    labels = np.zeros((SIDE, SIDE), np.uint16)
    size = between(rng, 18, 330) if not fruit else between(rng, 40, 140)
    wanted = int(np.clip(2.5 * (SIDE / size) ** 2 * rng.uniform(0.3, 1.4), 1, 120))
    for index in range(1, wanted + 1 + 60 * fruit):
        mask = leaf(rng, size * np.exp(rng.normal(0, 0.25)), rng.uniform(1.1, 4), rng.uniform(0, 2 * np.pi))
        place(labels, mask, rng.uniform(0, SIDE, 2), index, 1 if fruit else 0.25)
    scene = np.where(labels[..., None] > 0, paint_leaves(rng, labels), shade(rng, soil(rng), labels))
    if fruit:
        scene = scene * (1 - 0.5 * np.exp(-depths(labels) / 2) * (labels > 0))[..., None] * rng.uniform(0.4, 1)
        labels = np.zeros_like(labels)
        radius = between(rng, 8, 60)
        for index in range(1, int(np.clip(rng.uniform(0.05, 0.6) * SIDE**2 / (3.1 * radius**2), 2, 120)) + 1):
            mask = outline(rng, radius * np.exp(rng.normal(0, 0.15)), rng.uniform(1, 1.4), 0.03)
            place(labels, mask, rng.uniform(0, SIDE, 2), index, 0.4)
        own = frames(labels)
        light = 0.45 + 0.55 * np.sqrt(np.clip(1 - 0.9 * own.r**2, 0, 1)) - 0.15 * own.v
        shine = np.exp(-(((own.u + 0.3) ** 2 + (own.v + 0.3) ** 2) / 0.03))
        hue = np.array(
            rng.choice([(0.85, 0.12, 0.1), (0.95, 0.6, 0.1), (0.35, 0.1, 0.4), (0.55, 0.7, 0.2), (0.9, 0.8, 0.2)])
        )
        hues = (hue * np.exp(rng.normal(0, 0.12, (int(labels.max()) + 1, 3)))).astype(np.float32)
        round_ = hues[labels] * light[..., None] + rng.uniform(0, 0.6) * shine[..., None]
        shadow = np.exp(-nearest(labels)[0] / 4) * 0.5
        scene = np.where(labels[..., None] > 0, round_, scene * (1 - shadow[..., None]))
    if rng.random() < 0.3:
        scene = scene + 0.3 * disc_spots(rng, SIDE, 25, 0.7, 1.5)[..., None]
    scene = (
        blur(np.asarray(scene, np.float32), rng.uniform(0.4, 1.2))
        + rng.uniform(0.005, 0.03) * noise(rng, SIDE, 0.5)[..., None]
    )
    return develop(scene), pieces(labels, 20)
