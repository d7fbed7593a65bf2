"""Bumps and spots on skin: polyps in endoscopy, lesions of the skin."""

import numpy as np

from scenes.painting import (
    SIDE,
    Bools,
    Float,
    Rng,
    Scene,
    between,
    blur,
    coordinates,
    depths,
    develop,
    fractal,
    frames,
    lines,
    mix,
    noise,
    outline,
    pieces,
    place,
    smooth_field,
)


def relief(field: Float, light: tuple[float, float], strength: float) -> Float:
    """Return how bright a surface of this height is under a light, 0 to 1."""
    gy, gx = np.gradient(field * strength)
    size = np.sqrt(gy**2 + gx**2 + 1) * np.sqrt(1 + light[0] ** 2 + light[1] ** 2)
    return np.clip((1 - gy * light[0] - gx * light[1]) / size, 0, 1).astype(np.float32)


def frame(rng: Rng) -> Bools:
    """Return what an endoscope shows: all, a circle, or a square without its corners."""
    y, x = coordinates(SIDE)
    dy, dx = np.abs(y - SIDE / 2), np.abs(x - SIDE / 2)
    sort = rng.random()
    if sort < 0.4:
        return np.ones((SIDE, SIDE), bool)
    if sort < 0.6:
        return np.asarray(np.hypot(dy, dx) < SIDE * rng.uniform(0.5, 0.6))
    margin = rng.uniform(0, 25)
    return np.asarray((dy + dx < SIDE * rng.uniform(0.8, 0.95)) & (np.maximum(dy, dx) < SIDE / 2 - margin))


def draw_polyps(rng: Rng) -> Scene:
    """Draw polyps on a mucosa: bumps of nearly its colour, with highlights, folds, vessels and a dark depth."""
    radius = between(rng, 25, 160)
    labels = np.zeros((SIDE, SIDE), np.uint16)
    for index in range(1, int(rng.choice([2, 2, 2, 3, 4]))):
        mask = outline(rng, radius * np.exp(rng.normal(0, 0.3)), rng.uniform(1, 1.7), rng.uniform(0.05, 0.25))
        place(labels, mask, rng.uniform(0.15, 0.85, 2) * SIDE, index, 0, front=False)
    depth, own = depths(labels), frames(labels)
    size = own.radius[labels]
    bump = (
        np.sqrt(np.clip(1 - (1 - np.clip(depth / (rng.uniform(0.6, 1) * size), 0, 1)) ** 2, 0, 1)) * size * (labels > 0)
    )
    y, x = coordinates(SIDE)
    centre = rng.uniform(0, 1, 2) * SIDE
    away = np.hypot(y - centre[0], x - centre[1]) + 15 * smooth_field(rng, SIDE, 120)
    folds = np.abs(np.sin(away / rng.uniform(25, 90) + rng.uniform(0, 3))) ** 0.5 * rng.choice([0, 0, 8, 25])
    ground = blur(np.asarray(folds, np.float32), 4) + 6 * smooth_field(rng, SIDE, 100) + 1.2 * fractal(rng, SIDE, 30)
    skin = rng.uniform(0.1, 0.7) * fractal(rng, SIDE, rng.uniform(5, 14))
    height = (
        blur(np.asarray(ground * (1 - 0.5 * (labels > 0)) + bump * rng.uniform(0.25, 0.9), np.float32), 3) + skin * 0.5
    )
    facing = relief(height, (rng.normal(0, 0.4), rng.normal(0, 0.4)), rng.uniform(0.5, 1.1))
    mucosa = np.array([0.8, rng.uniform(0.3, 0.5), rng.uniform(0.2, 0.38)])
    other = np.clip(mucosa * np.exp(rng.normal(0, 0.1, 3)), 0, 1)
    base = np.broadcast_to(mucosa.astype(np.float32), (SIDE, SIDE, 3))
    base = mix(base, blur((labels > 0).astype(np.float32), rng.uniform(1, 5)), tuple(other))
    vessels = lines(rng, SIDE, int(rng.integers(0, 25)), rng.uniform(0.8, 2.5), 0.08, 0.7) * (1 - 0.8 * (labels > 0))
    base = base * (1 - vessels[..., None] * rng.uniform(0.1, 0.4) * np.array([0.3, 1, 1]))
    base = base * (1 + rng.uniform(0.02, 0.1) * fractal(rng, SIDE, 40))[..., None]
    lamp = np.hypot(y - SIDE * rng.uniform(0.2, 0.8), x - SIDE * rng.uniform(0.2, 0.8))
    light = (0.25 + np.exp(-((lamp / rng.uniform(150, 400)) ** 2))) * (0.3 + 0.7 * facing**1.5)
    if rng.random() < 0.4:  # the dark depth of the gut
        deep = np.hypot(y - rng.uniform(0, SIDE), x - rng.uniform(0, SIDE)) / rng.uniform(40, 120)
        light = light * np.where(labels > 0, 1, 1 - 0.9 * np.exp(-(deep**2)))
    scene = base * light[..., None]
    toward = (facing - facing.mean()) / (facing.std() + 1e-6)
    spots = np.clip(3 * (smooth_field(rng, SIDE, rng.uniform(8, 20)) + toward - rng.uniform(2.5, 4.2)), 0, 1)
    scene = mix(scene.astype(np.float32), blur(spots.astype(np.float32), 0.8), (1.0, 0.97, 0.95))
    seen = frame(rng)
    scene = (
        blur(scene, rng.uniform(0.6, 1.6)) * seen[..., None]
        + rng.uniform(0.003, 0.02) * noise(rng, SIDE, 0.7)[..., None]
    )
    return develop(scene), pieces(labels * seen, 60)


def draw_lesions(rng: Rng) -> Scene:
    """Draw a lesion or more on skin: brown or red, uneven, soft at the rim, under hairs and vignetting."""
    radius = between(rng, 15, 170)
    labels = np.zeros((SIDE, SIDE), np.uint16)
    for index in range(1, 2 + (int(rng.integers(0, 12)) if radius < 40 else 0)):
        at = SIDE * (0.5 + rng.normal(0, 0.08, 2)) if radius > 40 else rng.uniform(0, SIDE, 2)
        mask = outline(rng, radius * np.exp(rng.normal(0, 0.3)), rng.uniform(1, 1.8), rng.uniform(0.05, 0.35))
        place(labels, mask, at, index, 0.02)
    skin = np.array([rng.uniform(0.7, 0.95), rng.uniform(0.5, 0.7), rng.uniform(0.4, 0.65)], np.float32)
    brown = skin * np.array([rng.uniform(0.35, 0.85), rng.uniform(0.25, 0.75), rng.uniform(0.2, 0.75)])
    cover = blur((labels > 0).astype(np.float32), rng.uniform(1, 0.06 * radius + 2))
    cover = cover * np.clip(0.8 + rng.uniform(0.05, 0.3) * fractal(rng, SIDE, 0.6 * radius + 4), 0.2, 1.2)
    scene = np.broadcast_to(skin, (SIDE, SIDE, 3)) * (1 + rng.uniform(0.01, 0.06) * fractal(rng, SIDE, 10))[..., None]
    scene = mix(scene.astype(np.float32), cover, tuple(brown))
    lumps = np.clip(fractal(rng, SIDE, 0.3 * radius + 3) - 0.8, 0, 1) * (labels > 0)
    scene = scene * (1 - rng.uniform(0, 0.5) * blur(lumps.astype(np.float32), 1))[..., None]
    hairs = lines(rng, SIDE, int(rng.choice([0, 6, 30])), rng.uniform(0.8, 2), 0.008)
    scene = mix(scene, 0.85 * np.clip(hairs, 0, 1), (0.12, 0.08, 0.06))
    y, x = coordinates(SIDE)
    far = np.hypot(y - SIDE / 2, x - SIDE / 2) / SIDE
    scene = scene * np.clip(1.1 - rng.uniform(0, 1.2) * far**2, 0, 1)[..., None]
    if rng.random() < 0.2:
        scene = scene * np.clip((rng.uniform(0.5, 0.62) - far) * 30, 0, 1)[..., None]
    scene = (
        blur(scene.astype(np.float32), rng.uniform(0.5, 1.5))
        + rng.uniform(0.004, 0.02) * noise(rng, SIDE, 0.6)[..., None]
    )
    return develop(scene), pieces(labels, 40)
