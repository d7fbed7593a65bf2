"""Organs in medical pictures: heads and vessels in ultrasound, lungs in X-ray, CT and MR slices, hippocampi."""

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
    coordinates,
    depths,
    develop,
    fibres,
    fractal,
    lines,
    nearest,
    noise,
    outline,
    pieces,
    place,
    smooth_field,
    speckle,
)  # fmt: skip


def warp(rng: Rng, field: Float | Labels, reach: float, grain: float) -> Float | Labels:
    """Return a scene or its labels with every place moved a little."""
    y, x = np.indices(field.shape).astype(np.float32)
    where = [np.clip(c + reach * smooth_field(rng, SIDE, grain), 0, SIDE - 1) for c in (y, x)]
    return np.asarray(ndi.map_coordinates(field, where, order=0 if field.dtype.kind in "bu" else 1))


def ellipse(at: tuple[float, float], height: float, width: float, turn: float = 0) -> Float:
    """Return the distance from the middle of an ellipse, 1 on its border, `(384, 384)`."""
    y, x = coordinates(SIDE)
    dy, dx = y - at[0], x - at[1]
    return np.asarray(
        np.hypot((dy * np.cos(turn) - dx * np.sin(turn)) / height, (dx * np.cos(turn) + dy * np.sin(turn)) / width)
    )


def scanned(rng: Rng) -> Bools:
    """Return the part of the picture that an ultrasound probe fills: a sector, a rectangle or all."""
    y, x = coordinates(SIDE)
    sort = rng.random()
    if sort < 0.4:
        top = -rng.uniform(20, 250)
        angle = np.abs(np.arctan2(x - SIDE / 2, y - top))
        away = np.hypot(y - top, x - SIDE / 2)
        return np.asarray(
            (angle < rng.uniform(0.5, 0.9))
            & (away > 10 - top * rng.uniform(0.8, 1))
            & (away < SIDE - top - rng.uniform(0, 25))
        )
    margin = rng.integers(0, 50, 4) if sort < 0.6 else np.zeros(4, int)
    return np.asarray((y >= margin[0]) & (y < SIDE - margin[1]) & (x >= margin[2]) & (x < SIDE - margin[3]))


def sound_tissue(rng: Rng) -> Float:
    """Return the echoes of tissue: layers across the beam, patches, fading with depth."""
    y, _ = coordinates(SIDE)
    layers = fibres(rng, SIDE, rng.uniform(8, 40), 0.5, rng.normal(0, 0.15))[0]
    echo = 0.3 + rng.uniform(0.01, 0.08) * layers + rng.uniform(0.02, 0.07) * fractal(rng, SIDE, rng.uniform(30, 120))
    top = np.exp(-y / rng.uniform(20, 90)) * rng.uniform(0, 0.3) * (1 + 0.6 * layers)
    streaks = np.clip(smooth_field(rng, SIDE, rng.uniform(3, 6), rng.uniform(5, 15)) - rng.uniform(1.2, 2.4), 0, 2)
    echo = echo + top + rng.uniform(0.1, 0.4) * streaks * (smooth_field(rng, SIDE, 90) > 0)
    fade = np.exp(-y / rng.uniform(250, 1500))
    beams = 1 + rng.uniform(0, 0.25) * smooth_field(rng, SIDE, 30, 1)[:1]
    return np.asarray(np.clip(echo, 0.02, 2) * fade * beams, np.float32)


def sound(rng: Rng, echo: Float) -> Float:
    """Return the picture of echoes: speckle, then the compression of their range."""
    fine = rng.uniform(0.5, 1.4)
    shown = speckle(rng, np.clip(echo, 0.004, None), rng.uniform(0.3, 0.9), (fine, fine * rng.uniform(1, 2.5)))
    return np.asarray(np.log1p(shown * between(rng, 3, 40)), np.float32)


def draw_head(rng: Rng) -> Scene:
    """Draw the head of a fetus in ultrasound: the whole ellipse is the object, its skull a ring bright in parts."""
    at = (SIDE / 2 + rng.normal(0, 30), SIDE / 2 + rng.normal(0, 35))
    width = rng.uniform(60, 175)
    turn = rng.normal(0, 0.5)
    own = ellipse(at, width * rng.uniform(0.65, 0.88), width, turn)
    own = own * (1 + 0.015 * smooth_field(rng, SIDE, 90))
    y, x = coordinates(SIDE)
    across = np.abs(np.sin(np.arctan2(y - at[0], x - at[1])))
    thick = rng.uniform(0.02, 0.06)
    seen = rng.uniform(0.02, 0.4) + across ** rng.uniform(0.5, 3)
    ring = (
        np.exp(-(((own - 1 + thick) / thick) ** 2)) * seen * np.clip(0.9 + 0.6 * smooth_field(rng, SIDE, 60), 0.02, 2)
    )
    inside = own < 1
    brain = rng.uniform(0.3, 1) * (0.2 + 0.06 * fractal(rng, SIDE, rng.uniform(10, 50)))
    mid = (y - at[0]) * np.cos(turn) - (x - at[1]) * np.sin(turn) + 3 * smooth_field(rng, SIDE, 80)
    line = rng.uniform(0, 0.5) * np.exp(-((mid / 2.5) ** 2)) * np.clip(0.6 + smooth_field(rng, SIDE, 40), 0, 2)
    echo = np.where(inside, np.clip(brain, 0.01, 1) + line, sound_tissue(rng) * rng.uniform(0.4, 1.2))
    dark = np.clip(fractal(rng, SIDE, 120) - rng.uniform(-0.6, 1), 0, 1) * ~inside  # fluid about the head
    echo = echo * (1 - 0.9 * blur(np.clip(3 * dark, 0, 1), 4)) + rng.uniform(0.6, 2) * ring
    seen = scanned(rng)
    echo = np.where(seen, blur(np.asarray(echo, np.float32), 1), 0)
    return develop(sound(rng, echo)), pieces((inside & seen).astype(np.uint16), 200)


def draw_vessels(rng: Rng) -> Scene:
    """Draw vessels, cysts, nodules and nerves in ultrasound: dark or grey ovals, some with a bright border."""
    labels = np.zeros((SIDE, SIDE), np.uint16)
    radius = between(rng, 14, 130)
    for index in range(1, rng.integers(2, 6) + (3 if radius < 30 else 0)):
        size = radius * np.exp(rng.normal(0, 0.3))
        mask = outline(rng, size, rng.uniform(1, 2.2), 0.12, turn=rng.normal(0, 0.4))
        place(labels, mask, rng.uniform(0.1, 0.9, 2) * SIDE, index, 0.02)
    echo, depth = sound_tissue(rng), depths(labels)
    count = int(labels.max()) + 1
    kind = rng.random(count)
    level = np.where(kind < 0.6, rng.uniform(0.02, 0.45, count), rng.uniform(1.3, 2.4, count)).astype(np.float32)[
        labels
    ]
    comb = 1 + 0.35 * np.clip(smooth_field(rng, SIDE, max(4, radius * 0.2)), -2, 2)
    inner = level * np.where((kind > 0.6)[labels], comb, 1)
    soft = blur((labels > 0).astype(np.float32), rng.uniform(0.8, 3))
    own = np.where(labels > 0, inner, 1)
    echo = echo * (1 - soft + soft * own)
    rim = np.exp(-(((nearest(labels)[0] + depth - 2) / 2) ** 2)) * np.clip(
        smooth_field(rng, SIDE, 40) + rng.uniform(-1, 1), 0, 2
    )
    echo = echo + rng.uniform(0, 0.5) * rim * echo.mean() * 2
    below = np.maximum.accumulate((labels > 0) & (kind < 0.3)[labels], axis=0) & (labels == 0)
    echo = echo * (1 + rng.uniform(-0.5, 0.7) * blur(below.astype(np.float32), 3))
    seen = scanned(rng)
    return develop(sound(rng, np.where(seen, echo, 0).astype(np.float32))), pieces(labels * seen, 40)


def draw_lungs(rng: Rng) -> Scene:
    """Draw a chest in X-ray: two large dark lungs, which are the objects, under ribs, beside heart and spine."""
    y, x = coordinates(SIDE)
    middle, size = SIDE / 2 + rng.normal(0, 12), rng.uniform(0.75, 1.1)
    labels = np.zeros((SIDE, SIDE), np.uint16)
    floor = []
    for index, sign in ((1, -1), (2, 1)):
        top, bottom = SIDE * (0.5 - 0.37 * size) + rng.normal(0, 8), SIDE * (0.5 + 0.33 * size) + rng.normal(0, 14)
        floor.append(bottom)
        tall = np.clip((y - top) / (bottom - top), 0, 1)
        inner = middle + sign * (
            SIDE * (0.05 + 0.05 * (1 - tall) ** 2) + (sign > 0) * SIDE * rng.uniform(0.03, 0.12) * tall**3
        )
        outer = (
            middle
            + sign * SIDE * size * rng.uniform(0.36, 0.42) * np.clip(1 - (1 - tall) ** rng.uniform(2, 3.5), 0, 1) ** 0.4
        )
        dome = bottom - SIDE * rng.uniform(0.05, 0.12) * np.exp(
            -(((x - middle - sign * SIDE * 0.13) / (SIDE * 0.12)) ** 2)
        )
        low, high = np.minimum(inner, outer), np.maximum(inner, outer)
        labels[(x > low) & (x < high) & (y > top) & (y < dome)] = index
    labels = warp(rng, labels, rng.uniform(1, 3), 50)
    air = blur((labels > 0).astype(np.float32), rng.uniform(2, 5))
    body = ellipse((SIDE * 0.6, middle), SIDE * 0.75, SIDE * size * rng.uniform(0.46, 0.6)) < 1
    dense = blur(body.astype(np.float32), 8) * (0.55 + 0.12 * y / SIDE) + 0.06 * smooth_field(rng, SIDE, 150)
    dense = dense - rng.uniform(0.3, 0.5) * air * (1 + 0.15 * smooth_field(rng, SIDE, 120))
    spine = np.exp(-(((x - middle) / (SIDE * 0.04)) ** 2)) * (1 + 0.15 * np.sin(y / rng.uniform(3, 5)))
    heart = 1 / (1 + np.exp(12 * (ellipse((floor[1] - 45, middle + 25), 75, 60, 0.5) - 1)))
    pitch, slope = SIDE * size * rng.uniform(0.07, 0.1), rng.uniform(0.6, 1.4)
    curve = y - slope * (np.abs(x - middle) - 0.17 * SIDE) ** 2 / (0.3 * SIDE) + 2 * smooth_field(rng, SIDE, 80)
    front = y - 0.9 * np.abs(x - middle) + 2 * smooth_field(rng, SIDE, 80)
    chest = blur(
        np.asarray((np.abs(x - middle) < 0.42 * SIDE * size) & (y > SIDE * 0.1) & (y < floor[0] + 30), np.float32), 5
    )
    ribs = sum(np.clip(np.cos(2 * np.pi * c / pitch) - 0.2, 0, 1) * w for c, w in ((curve, 1), (front, 0.4)))
    vessels = np.clip(fractal(rng, SIDE, 14, 0.7), 0, 2) * np.exp(-((np.abs(x - middle) / (0.22 * SIDE)) ** 2)) * air
    scene = dense + rng.uniform(0.1, 0.3) * spine + 0.22 * heart * (1 - air) + rng.uniform(0.05, 0.16) * ribs * chest
    scene = scene + rng.uniform(0.03, 0.12) * vessels
    clavicle = np.exp(-(((y - SIDE * 0.17 - 0.25 * np.abs(x - middle) * rng.uniform(-0.5, 0.5)) / 7) ** 2))
    scene = scene + rng.uniform(0, 0.15) * clavicle * (np.abs(x - middle) > 25)
    scene = blur(scene.astype(np.float32), 1) + rng.uniform(0.004, 0.02) * noise(rng, SIDE, 0.6)
    return develop(-scene if rng.random() < 0.06 else scene), pieces(labels, 400)


def draw_slice(rng: Rng) -> Scene:
    """Draw a slice of CT or MR: a body with a few organs whose levels hardly differ from what surrounds them."""
    at, width = (SIDE / 2, SIDE / 2), rng.uniform(150, 330)
    own = ellipse(at, width * rng.uniform(0.6, 0.95), width) * (1 + 0.03 * smooth_field(rng, SIDE, 120))
    body = (own < 1).astype(np.uint16)
    depth = depths(body)
    labels = np.zeros((SIDE, SIDE), np.uint16)
    radius = between(rng, 14, 90)
    for index in range(1, int(rng.integers(2, 9)) + 1):
        size = radius * np.exp(rng.normal(0, 0.4))
        mask = outline(rng, size, rng.uniform(1, 2.2), rng.uniform(0.08, 0.3))
        place(labels, mask, at + rng.normal(0, 0.45, 2) * width * 0.8, index, 0.15, front=False)
    labels[depth < rng.uniform(6, 20)] = 0
    labels = warp(rng, labels, rng.uniform(1, 4), 40)
    contrast = rng.uniform(0.05, 0.3)
    level = rng.choice([-1, 1], int(labels.max()) + 1) * contrast * rng.uniform(0.5, 1.5, int(labels.max()) + 1)
    fat = (
        0.45
        + rng.uniform(0.005, 0.035) * fractal(rng, SIDE, 30)
        + rng.uniform(-0.15, 0.15) * (depth < rng.uniform(8, 25))
    )
    organs = (0.45 + level.astype(np.float32)[labels]) * (
        1 + rng.uniform(0.01, 0.05) * fractal(rng, SIDE, rng.uniform(5, 40))
    )
    scene = np.where(labels > 0, organs, fat) * (body > 0)
    if rng.random() < 0.6:  # folds and vessels that are no objects
        scene = scene + (body > 0) * (labels == 0) * rng.uniform(0.03, 0.2) * lines(
            rng, SIDE, 12, rng.uniform(1.5, 5), 0.06, 0.6
        )
    if rng.random() < 0.6:  # bone
        ring = ellipse(at, width * 0.55, width * 0.8)
        bone = np.exp(-(((ring - 1) / 0.03) ** 2)) * (smooth_field(rng, SIDE, 35) > 0.6) * (labels == 0)
        scene = scene + rng.uniform(0.2, 0.6) * bone
    scene = blur(np.asarray(scene, np.float32), rng.uniform(0.8, 2.8)) * (
        1 + rng.uniform(0, 0.15) * smooth_field(rng, SIDE, 300)
    )
    scene = scene + rng.uniform(0.004, 0.035) * noise(rng, SIDE, rng.choice([0, 0.7, 1.4]))
    return develop(scene), pieces(labels, 40)


def draw_bent(rng: Rng) -> Scene:
    """Draw hippocampi in MR, near and enlarged: small bent grey shapes, in one part or two, in smooth brain."""
    y, x = coordinates(SIDE)
    labels = np.zeros((SIDE, SIDE), np.uint16)
    for side in range(rng.integers(1, 3)):
        at = rng.uniform(0.3, 0.7, 2) * SIDE
        length, heading, bend = rng.uniform(50, 220), rng.uniform(0, 2 * np.pi), rng.normal(0, 1.2)
        steps = np.linspace(-0.5, 0.5, 40)
        turn = heading + bend * steps
        path = np.cumsum([np.sin(turn), np.cos(turn)], axis=1) * length / 40
        path = path - path.mean(axis=1, keepdims=True) + at[:, None]
        thick = length * rng.uniform(0.1, 0.2) * (1 + rng.uniform(0, 0.7) * np.cos(np.pi * (steps + 0.5)))
        for i in range(0, 40, 2):
            labels[(y - path[0, i]) ** 2 + (x - path[1, i]) ** 2 < thick[i] ** 2] = 1 + side
    labels = warp(rng, labels, 3, 25)
    pixel = between(rng, 2, 8)
    folds = fractal(rng, SIDE, rng.uniform(50, 130), 0.7, 3)
    white, grey, fluid = 0.75, rng.uniform(0.5, 0.6), rng.uniform(0.1, 0.3)
    around = np.interp(
        folds, [rng.uniform(-1, -0.5), rng.uniform(-0.3, 0.4), 1.2, 1.8], [white, grey + 0.1, grey + 0.08, fluid]
    )
    near = np.exp(-nearest(labels)[0] / 14)
    around = around * (1 - near) + near * np.interp(
        smooth_field(rng, SIDE, 70), [-0.5, 0.5, 1.5], [white + 0.05, white, fluid]
    )
    scene = np.where(labels > 0, grey + 0.03 * fractal(rng, SIDE, 30), around).astype(np.float32)
    scene = blur(scene, rng.uniform(1.5, 4)) + rng.uniform(0.01, 0.05) * noise(rng, SIDE, 0.4 * pixel)
    return develop(scene * (1 + 0.1 * smooth_field(rng, SIDE, 300))), pieces(labels, 40)
