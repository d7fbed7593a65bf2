"""Adherent cells in phase contrast, brightfield and differential interference contrast."""

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
    disc_spots,
    fractal,
    frames,
    lines,
    noise,
    outline,
    pieces,
    place,
    smooth_field,
    tiling,
)  # fmt: skip


def spread_cells(rng: Rng, radius: float) -> tuple[Labels, set[int]]:
    """Place spread and elongated cells, some crowded, and some round ones; return them and which are round."""
    labels = np.zeros((SIDE, SIDE), np.uint16)
    dense = between(rng, 0.08, 0.8)
    wanted = int(np.clip(dense * SIDE**2 / (np.pi * radius**2) * 1.4, 2, 260))
    middle = rng.uniform(0, SIDE, (rng.integers(1, 5), 2)) if rng.random() < 0.4 else None
    style = rng.choice(["spread", "spindle", "mixed", "round"], p=[0.3, 0.25, 0.35, 0.1])
    aligned = rng.uniform(0, np.pi) if rng.random() < 0.3 else None
    share = rng.choice([0, 0.06, 0.2])
    rounds = set()
    for index in range(1, wanted + 1):
        at = (
            rng.uniform(0, SIDE, 2)
            if middle is None
            else middle[rng.integers(len(middle))] + rng.normal(0, 2.5 * radius, 2)
        )
        size = radius * np.exp(rng.normal(0, 0.25))
        turn = None if aligned is None else aligned + rng.normal(0, 0.3)
        kind = style if style != "mixed" else rng.choice(["spread", "spindle", "round"], p=[0.5, 0.4, 0.1])
        ball = bool(rng.random() < share)
        if ball:
            mask = outline(rng, 0.5 * size + 2, rng.uniform(1, 1.15), 0.02)
        elif kind == "spread":
            mask = outline(rng, size, rng.uniform(1, 2), 0.35, int(rng.integers(2, 6)), rng.uniform(0.3, 1.5), turn)
        elif kind == "spindle":
            mask = outline(rng, 0.85 * size, rng.uniform(2, 6), 0.2, 2, rng.uniform(0, 0.8), turn)
        else:
            mask = outline(rng, 0.8 * size, rng.uniform(1, 1.6), 0.12, turn=turn)
        if place(labels, mask, at, index, 0.25, front=bool(rng.random() < 0.3)) and ball:
            rounds.add(index)
    return labels, rounds


def thickness(rng: Rng, labels: Labels, rounds: set[int], depth: Float, joined: bool) -> Float:
    """Return the optical thickness of the cells: flat at the rim, a dome with a nucleus in the middle, granules."""
    count = int(labels.max()) + 1
    own = frames(labels)
    size = own.radius[labels]
    inside = labels > 0
    high = np.exp(rng.normal(0, rng.uniform(0.15, 0.5), count)).astype(np.float32)
    flat = rng.uniform(0.15, 0.6)
    dome = np.clip(depth / (0.45 * size), 0, 1)
    field = inside * high[labels] * (flat + (1 - flat) * dome * np.clip(1.1 - own.r, 0, 1))
    rim = rng.choice([0, 0.15, 0.4]) * np.exp(-((depth - 2) ** 2) / 3)
    shift = rng.normal(0, 0.12, (2, count)).astype(np.float32)[:, labels]
    core = np.hypot(own.u - shift[0], (own.v - shift[1]) * rng.uniform(0.7, 1)) / rng.uniform(0.3, 0.5)
    edge = np.clip((1 - core) * 5, 0, 1) * (depth > 2)
    nuclear = rng.choice([-0.35, 0.3, 0.5, 0]) * edge + rng.uniform(0, 0.35) * np.exp(-(((core - 1) / 0.12) ** 2))
    nucleoli = 0.5 * edge * (smooth_field(rng, SIDE, max(2.5, 0.12 * float(size.max()))) > 1.4)
    grains = smooth_field(rng, SIDE, rng.uniform(2.2, 4))
    near = np.exp(-(((core - 1.3) / 0.7) ** 2))
    grainy = (
        rng.uniform(0.1, 0.9) * (0.35 if joined else 1) * (np.clip(grains - 0.9, 0, 2) * near + 0.25 * grains * dome)
    )
    vacuoles = -rng.choice([0, 0.8]) * np.clip(smooth_field(rng, SIDE, rng.uniform(3, 6)) - 1.5, 0, 1)
    texture = rng.uniform(0.05, 0.25) * fractal(rng, SIDE, rng.uniform(6, 14))
    field = field + inside * (rim + nuclear + nucleoli + (grainy + vacuoles + texture) * high[labels])
    if joined:  # a sheet of cells is thin where two of them meet
        field = field * np.clip(rng.uniform(0, 0.4) + depth / rng.uniform(2.5, 6), 0, 1)
    if rounds:
        ball = np.isin(labels, list(rounds))
        field = np.where(ball, rng.uniform(1.5, 3) * np.sqrt(np.clip(1 - 0.9 * own.r**2, 0, 1)) + 0.2 * grains, field)
    return np.asarray(field, np.float32)


def debris(rng: Rng) -> Float:
    """Return the thickness of dust and dirt that is no object."""
    return (disc_spots(rng, SIDE, int(rng.integers(0, 60)), 0.8, 1.8) * rng.uniform(0.1, 0.6)).astype(np.float32)


def ground(rng: Rng) -> Float:
    """Return slow shading, faint streaks and rings of dust out of focus."""
    shade = rng.uniform(0, 0.12) * smooth_field(rng, SIDE, 300) + rng.uniform(0, 0.03) * fractal(rng, SIDE, 40)
    if rng.random() < 0.25:
        y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
        for at in rng.uniform(0, SIDE, (rng.integers(1, 4), 2)):
            away, radius = np.hypot(y - at[0], x - at[1]), rng.uniform(10, 30)
            shade = shade + 0.04 * np.cos((away - radius) / 2.5) * np.exp(-(((away - radius) / 8) ** 2))
    if rng.random() < 0.1:
        shade = shade + rng.uniform(0.1, 0.5) * blur(lines(rng, SIDE, 1, rng.uniform(4, 15), 0.004), 2)
    return np.asarray(shade, np.float32)


def image_phase(rng: Rng, field: Float, labels: Labels, rounds: set[int]) -> Float:
    """Return phase contrast: a thick place is dark, with a bright halo where the phase plate's ring is too wide."""
    halo = between(rng, 2.5, 9)
    wide = blur(field, halo)
    scene = -(field - rng.uniform(0.8, 1.1) * wide) + rng.uniform(0, 0.5) * np.clip(wide, 0, 2) * (labels == 0)
    scene = scene + rng.choice([0, 0.6, 1.4]) * blur(field, 1.3) * (labels == 0)
    fine = field - blur(field, rng.uniform(1, 1.8))
    scene = scene - rng.uniform(0, 0.9) * fine
    if rounds:
        ball = np.isin(labels, list(rounds))
        shell = np.exp(-(((depths(labels) - rng.uniform(1, 3)) / rng.uniform(1.2, 2.5)) ** 2)) * ball
        scene = np.where(ball, rng.uniform(-0.4, 0.8) * (field - 1), scene) + rng.uniform(0.5, 2) * shell
        scene = scene + rng.uniform(0.6, 1.6) * blur(ball.astype(np.float32), 2) * ~ball
    return np.asarray(scene * rng.uniform(0.25, 0.5), np.float32)


def image_brightfield(rng: Rng, field: Float) -> Float:
    """Return brightfield a little out of focus: edges bright or dark, insides nearly as the ground."""
    focus = rng.uniform(0.8, 2.2)
    bend = ndi.gaussian_laplace(field, focus) * focus**2
    return np.asarray(rng.choice([-1, 1]) * bend * rng.uniform(0.6, 1.2) - rng.uniform(0, 0.15) * field, np.float32)


def image_interference(rng: Rng, field: Float) -> Float:
    """Return differential interference contrast: the slope along one direction."""
    turn, focus = rng.uniform(0, 2 * np.pi), rng.uniform(0.8, 1.6)
    slope = [ndi.gaussian_filter(field, focus, order=order) for order in ((1, 0), (0, 1))]
    return np.asarray((slope[0] * np.sin(turn) + slope[1] * np.cos(turn)) * 0.8, np.float32)


def draw_adherent(rng: Rng) -> Scene:
    """Draw adherent cells on a grey ground: hardly different inside, thin halos, some round and bright."""
    radius = between(rng, 8, 55)
    rounds: set[int] = set()
    joined = bool(rng.random() < 0.22)
    if joined:
        labels = tiling(rng, SIDE, 2 * radius, rng.uniform(0.1, 0.25), rng.uniform(1, 2.5))
        hole = smooth_field(rng, SIDE, 5 * radius) > rng.uniform(0.3, 2)
        labels[np.isin(labels, np.unique(labels[hole]))] = 0
    else:
        labels, rounds = spread_cells(rng, radius)
    depth = depths(labels)
    field = blur(thickness(rng, labels, rounds, depth, joined), rng.uniform(0.5, 1))
    mode = rng.choice(["phase", "brightfield", "interference"], p=[0.66, 0.22, 0.12])
    seen = field + debris(rng)
    if mode == "phase":
        scene = image_phase(rng, seen, labels, rounds)
    elif mode == "brightfield":
        scene = image_brightfield(rng, seen)
    else:
        scene = image_interference(rng, seen)
    scene = 0.45 + scene + ground(rng) * rng.uniform(0.2, 1)
    scene = blur(scene, rng.uniform(0.3, 0.9)) + rng.uniform(0.004, 0.025) * noise(rng, SIDE, rng.choice([0, 0.7]))
    return develop(scene), pieces(labels)
