"""Scenes of even shapes on even ground, from dots to objects that fill the picture, and of light without objects.

Discs, ellipses, rings, frames, polygons and crosses with sharp or soft rims, without texture: test targets, wells,
beads, wafers and silhouettes.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi
from skimage.draw import polygon2mask
from skimage.measure import label as connected

from scenes.plain import SIDE, Float, Labels, grid, smooth_field

__all__ = ["draw_even"]

Mask = NDArray[np.bool_]
#: Smallest and largest radius in pixels, and in how many scenes of ten.
RADII = {(2.5, 8): 2, (6, 30): 3, (25, 90): 3, (80, 185): 2}
SORTS = ["disc", "ellipse", "ring", "square", "rectangle", "frame", "polygon", "cross"]


def shape(rng: np.random.Generator, sort: str, radius: float) -> Mask:
    """Return one shape in a square that holds it."""
    half = int(radius * 1.6) + 2
    y, x = grid(half)
    turn = rng.uniform(0, 2 * np.pi) if rng.random() < 0.6 else 0.0
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    long = rng.uniform(1, 1.5)
    thick = rng.uniform(0.3, 0.7)
    if sort in ("disc", "ring"):
        far = np.hypot(u, v) / radius
    elif sort == "ellipse":
        far = np.hypot(u / long, v * long) / radius
    elif sort in ("square", "frame"):
        far = np.maximum(np.abs(u), np.abs(v)) / (0.85 * radius)
    elif sort == "rectangle":
        far = np.maximum(np.abs(u) / long, np.abs(v) * long) / (0.85 * radius)
    elif sort == "cross":
        arms = [np.maximum(np.abs(a), np.abs(b) / thick) / radius for a, b in ((u, v), (v, u))]
        far = np.minimum(*arms)
    else:
        angles = np.sort(turn + (np.arange(n := rng.integers(3, 8)) + rng.uniform(-0.3, 0.3, n)) * 2 * np.pi / n)
        corners = half + radius * np.column_stack([np.sin(angles), np.cos(angles)])
        return np.asarray(polygon2mask((2 * half + 1,) * 2, corners))
    inside = far < 1
    return np.asarray(inside & (far > 1 - thick) if sort in ("ring", "frame") else inside)


def place(rng: np.random.Generator) -> Labels:
    """Place shapes without overlap, anywhere or in a grid; they touch in few scenes."""
    labels = np.zeros((SIDE, SIDE), np.uint16)
    ranges = list(RADII)
    low, high = ranges[rng.choice(len(ranges), p=np.array(list(RADII.values())) / 10)]
    radius = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    spread = rng.choice([0, 0.15, 0.6])
    gap = int(rng.choice([0, 1, 3, 8], p=[0.1, 0.2, 0.4, 0.3]))
    sorts = rng.choice(SORTS, rng.integers(1, 4), p=[0.35, 0.12, 0.15, 0.12, 0.08, 0.06, 0.08, 0.04])
    most = max(1, int(rng.uniform(0.03, 0.7) * SIDE**2 / (5 * radius**2)))
    if rng.random() < 0.25:
        pitch = radius * rng.uniform(2.3, 5)
        line = np.arange(rng.uniform(0.3, 1.3) * pitch, SIDE, pitch)
        spots = [np.array([a, b]) + rng.normal(0, 0.03 * pitch, 2) for a in line for b in line][:400]
        gap = 1
    else:
        spots = list(rng.uniform(-0.1 * radius, SIDE + 0.1 * radius, (min(3 * most, 400), 2)))
        if most == 1 and rng.random() < 0.6:
            spots = [SIDE / 2 + rng.normal(0, 20, 2)]
    count = 0
    for at in spots:
        if count == most and gap > 1:
            break
        size = float(np.clip(radius * np.exp(rng.normal(0, spread)), 2.5, 185))
        mask = shape(rng, str(rng.choice(sorts)), size)
        y, x = (round(v) - mask.shape[0] // 2 for v in at)
        rows, columns = (slice(max(0, v), max(0, min(SIDE, v + mask.shape[0]))) for v in (y, x))
        part = mask[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]
        if not part.any():
            continue
        around = (
            slice(max(0, rows.start - gap), rows.stop + gap),
            slice(max(0, columns.start - gap), columns.stop + gap),
        )
        wide = np.zeros((SIDE, SIDE), bool)
        wide[rows, columns] = part
        wide = ndi.binary_dilation(wide[around], iterations=gap) if gap else wide[around]
        if (labels[around][wide] > 0).any():
            continue
        count += 1
        labels[rows, columns][part] = count
    return labels


def light(rng: np.random.Generator) -> Float:
    """Return the light of an empty picture: even, a slope, a cone, a vignette, bands or smooth clouds."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32) / SIDE - rng.uniform(0.2, 0.8, (2, 1, 1)).astype(np.float32)
    far = np.hypot(y, x)
    turn = rng.uniform(0, 2 * np.pi)
    kinds = {
        "slope": np.cos(turn) * x + np.sin(turn) * y, "cone": -far, "vignette": -(far**2), "lamp": np.exp(-6 * far**2),
        "band": np.exp(-8 * (np.cos(turn) * x + np.sin(turn) * y) ** 2),
        "clouds": 0.5 * smooth_field(rng, (SIDE, SIDE), rng.uniform(40, 200)), "even": np.zeros_like(far),
    }  # fmt: skip
    field = kinds[str(rng.choice(list(kinds)))]
    return np.asarray(field / (np.ptp(field) + 1e-6), np.float32)


def draw_even(rng: np.random.Generator) -> tuple[NDArray[np.uint8], Labels]:
    """Return a scene and its truth, shapes `(384, 384, 3)` and `(384, 384)`."""
    empty = rng.random() < 0.06
    labels = np.zeros((SIDE, SIDE), np.uint16) if empty else place(rng)
    level = 1 + rng.choice([0, 0.1, 0.3]) * rng.standard_normal(int(labels.max()) + 1)
    scene = (np.clip(level, 0.4, 2)[labels] * (labels > 0)).astype(np.float32)
    scene = ndi.gaussian_filter(scene, rng.choice([0, 0.6, 1.2, 2.5]))
    scene = scene + rng.choice([0, 0.3, 1.0], p=[0.6, 0.3, 0.1]) * rng.random() * light(rng)
    if empty:
        scene = light(rng)
    noise = rng.choice([0, 0.02, 0.08, 0.25]) * rng.uniform(0.5, 1)
    if rng.random() < 0.5:
        scene = -scene
    scene = scene + noise * rng.standard_normal(scene.shape, dtype=np.float32)
    share = max(0.02, 0.5 * min(1.0, 20 * (labels > 0).mean()))
    low, high = np.percentile(scene, [share, 100 - share])
    scene = np.clip((scene - low) / (high - low + 1e-6), 0, 1)[..., None]
    # A picture is rarely stretched to the full range by what lies in the window alone.
    bottom, top = (0.0, 1.0) if rng.random() < 0.6 else np.sort(rng.uniform(0, 1, 2))
    if top - bottom > 0.15:
        scene = bottom + (top - bottom) * scene
    if rng.random() < 0.2:
        ends = rng.uniform(0, 1, (2, 3)).astype(np.float32)
        ends[1] = 1 - ends[0] + rng.normal(0, 0.15, 3)
        scene = ends[0] + scene * (ends[1] - ends[0])
    parts = connected(labels, background=0, connectivity=1).astype(np.uint16)
    return (np.clip(np.broadcast_to(scene, (SIDE, SIDE, 3)), 0, 1) * 255).astype(np.uint8), parts
