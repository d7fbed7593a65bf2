"""Scenes of plain shapes, frozen: a benchmark measures sizes on what this module draws.

Blobs, ellipses, rings, strokes, branches, crescents, bubbles and tissues of cells, bright on dark and dark on bright,
textured and shaded.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage as ndi
from skimage.measure import label as connected

SIDE = 384
Float = NDArray[np.float32]
Labels = NDArray[np.uint16]
Shape = Callable[[np.random.Generator, float], NDArray[np.bool_]]


def smooth_field(rng: np.random.Generator, shape: tuple[int, int], grain: float) -> Float:
    """Return smooth noise of unit deviation whose features span about `grain` pixels, shape `(H, W)`."""
    small = tuple(max(2, round(s / grain) + 1) for s in shape)
    field = Image.fromarray(rng.standard_normal(small).astype(np.float32))
    big = np.asarray(field.resize(shape[::-1], Image.Resampling.BICUBIC), np.float32)
    return big / (big.std() + 1e-6)


def grid(half: int) -> tuple[Float, Float]:
    """Return the coordinates (y, x) of a square of side `2 half + 1` about its middle."""
    axis = np.arange(-half, half + 1, dtype=np.float32)
    return axis[:, None], axis[None]


def blob(rng: np.random.Generator, radius: float, waves: float = 0.12, thin: float = 0.55) -> NDArray[np.bool_]:
    """Return a wavy disc, squeezed and turned."""
    y, x = grid(int(radius * 1.8) + 2)
    turn, squeeze = rng.uniform(0, np.pi), np.sqrt(rng.uniform(thin, 1))
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    u, v = u * squeeze, v / squeeze
    angle = np.arctan2(v, u)
    edge = np.ones_like(angle)
    for k in range(2, 6):
        edge += rng.normal(0, waves / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    return np.asarray(np.hypot(u, v) < radius * edge)


def crescent(rng: np.random.Generator, radius: float) -> NDArray[np.bool_]:
    """Return a blob with a bite taken out."""
    mask = blob(rng, radius)
    half = mask.shape[0] // 2
    y, x = grid(half)
    turn, far = rng.uniform(0, 2 * np.pi), radius * rng.uniform(0.6, 1.1)
    bite = np.hypot(y - far * np.sin(turn), x - far * np.cos(turn)) < radius * rng.uniform(0.4, 0.75)
    return np.asarray(mask & ~bite)


def strokes(rng: np.random.Generator, radius: float, arms: int = 1) -> NDArray[np.bool_]:
    """Return one bent stroke, or several that start in one place."""
    half = int(radius * 2.6) + 3
    y, x = grid(half)
    thick = max(1.6, radius * rng.uniform(0.15, 0.35))
    mask = np.zeros((2 * half + 1,) * 2, bool)
    for _ in range(arms):
        heading, bend = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.12)
        at = np.zeros(2) if arms > 1 else -radius * np.array([np.sin(heading), np.cos(heading)])
        step = thick * 0.7
        for _ in range(int(radius * (2 if arms == 1 else 1.5) / step) + 1):
            mask |= (y - at[0]) ** 2 + (x - at[1]) ** 2 < thick**2
            at = at + step * np.array([np.sin(heading), np.cos(heading)])
            heading += bend + rng.normal(0, 0.1)
    return mask


SHAPES: dict[str, Shape] = {
    "blob": blob,
    "ellipse": partial(blob, waves=0.0, thin=0.25),
    "disc": partial(blob, waves=0.02, thin=0.85),
    "rough": partial(blob, waves=0.4, thin=0.4),
    "crescent": crescent,
    "stroke": strokes,
    "branch": partial(strokes, arms=3),
}


def scatter(rng: np.random.Generator) -> Labels:
    """Place shapes of one or two sorts until the scene has its share of them; overlaps are allowed to a degree."""
    labels = np.zeros((SIDE, SIDE), np.uint16)
    radius = float(np.exp(rng.uniform(np.log(5), np.log(60))))
    spread, overlap = rng.uniform(0.05, 0.4), rng.choice([0.02, 0.15, 0.4])
    sorts = rng.choice(list(SHAPES), rng.integers(1, 3), p=[0.3, 0.2, 0.15, 0.1, 0.08, 0.09, 0.08])
    wanted = rng.uniform(0.05, 0.6) * SIDE**2 / (3.1 * radius**2)
    clusters = rng.uniform(0, SIDE, (rng.integers(2, 7), 2)) if rng.random() < 0.4 else None
    for index in range(1, int(np.clip(wanted, 2, 350)) + 1):
        mask = SHAPES[rng.choice(sorts)](rng, max(3.0, radius * np.exp(rng.normal(0, spread))))
        at = rng.uniform(0, SIDE, 2)
        if clusters is not None:
            at = rng.choice(clusters) + rng.normal(0, 2.2 * radius, 2)
        paste(labels, mask, at, index, overlap)
    return labels


def paste(labels: Labels, mask: NDArray[np.bool_], at: NDArray[np.float64], index: int, overlap: float) -> None:
    """Write `mask` centred `at` as `index`, unless too much of it, or of a neighbour, would be hidden."""
    half = mask.shape[0] // 2
    y, x = (int(v) - half for v in at)
    rows, columns = (slice(max(0, v), max(0, min(SIDE, v + mask.shape[0]))) for v in (y, x))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    part = mask[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]
    view = labels[rows, columns]
    if part.any() and (view[part] > 0).mean() <= overlap:
        view[part & ((view == 0) | (index % 2 == 0))] = index


def tissue(rng: np.random.Generator) -> tuple[Labels, Float]:
    """Fill the scene with cells; return them and the distance from each pixel to the walls between them."""
    pitch = np.exp(rng.uniform(np.log(14), np.log(70)))
    count = int((SIDE / pitch) ** 2) + 4
    seeds = np.zeros((SIDE, SIDE), np.int32)
    seeds[tuple(rng.integers(0, SIDE, (2, count)))] = np.arange(1, count + 1)
    nearest = ndi.distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
    cells = seeds[tuple(nearest)]
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    bend = rng.uniform(0, 0.18) * pitch
    where = [axis + bend * smooth_field(rng, (SIDE, SIDE), pitch * 0.6) for axis in (y, x)]
    cells = cells[tuple(np.clip(v, 0, SIDE - 1).astype(int) for v in where)]
    wall = ndi.maximum_filter(cells, 2) != ndi.minimum_filter(cells, 2)
    depth = ndi.distance_transform_edt(~wall).astype(np.float32)
    cells[depth < rng.choice([0, 1.1, 2.1])] = 0
    if rng.random() < 0.4:
        cells[np.isin(cells, rng.permutation(count)[: int(count * rng.uniform(0.1, 0.6))])] = 0
    return cells.astype(np.uint16), depth


def depths(labels: Labels) -> Float:
    """Return the distance of each pixel to the nearest border between objects or to the background, 0 outside."""
    border = ndi.maximum_filter(labels, 3) != ndi.minimum_filter(labels, 3)
    return (ndi.distance_transform_edt(~border) * (labels > 0)).astype(np.float32)


def organelles(rng: np.random.Generator, labels: Labels, depth: Float) -> Float:
    """Return what lies inside objects and is no object itself: one kernel each, or many grains."""
    strength = float(rng.choice([-1, 1]) * rng.uniform(0.15, 0.6))
    if rng.random() < 0.5:
        count = int(labels.max()) + 1
        deepest = np.maximum(ndi.maximum(depth, labels, np.arange(count)), 1)
        return np.asarray(strength * ((depth / deepest[labels] > rng.uniform(0.4, 0.7)) & (labels > 0)), np.float32)
    grains = smooth_field(rng, labels.shape, float(np.exp(rng.uniform(np.log(3), np.log(9)))))
    return np.asarray(strength * (grains > 1) * (labels > 0), np.float32)


def speckle(rng: np.random.Generator, scene: Float) -> Float:
    """Multiply a scene by the speckle of ultrasound: smoothed Rayleigh noise (Wagner et al. 1983)."""
    waves = rng.standard_normal((2, *scene.shape))
    size = rng.uniform(0.5, 1.5, 2)
    amplitude = np.hypot(*(ndi.gaussian_filter(w, size) for w in waves))
    strength = rng.uniform(0.2, 0.7)
    shown = (scene - scene.min()) * (1 - strength + strength * amplitude / amplitude.mean())
    return np.asarray(shown, np.float32)


def paint(rng: np.random.Generator, labels: Labels, depth: Float, walls: bool) -> NDArray[np.uint8]:
    """Give the scene its look, `(H, W, 3)`: levels, profile, texture, shading and colour."""
    count = int(labels.max()) + 1
    level = 1 + rng.uniform(0, 0.35) * rng.standard_normal(count).astype(np.float32)
    reach = np.exp(rng.uniform(np.log(1.0), np.log(12)))
    profile = {
        "flat": np.ones_like(depth), "dome": 1 - 0.8 * np.exp(-depth / reach), "soft": np.clip(depth / 3, 0, 1),
        "ring": 0.25 + np.exp(-((depth - 1.5) ** 2) / (2 * max(1.2, reach / 3) ** 2)),
        "hollow": np.exp(-depth / reach) * 0.9 + 0.1,
    }  # fmt: skip
    chosen = profile[rng.choice(list(profile), p=[0.3, 0.3, 0.15, 0.15, 0.1])]
    inside = (labels > 0) * np.clip(level, 0.3, 2)[labels] * chosen
    if walls:
        inside = inside * rng.uniform(0, 0.5) + rng.choice([-1, 1]) * np.exp(-((depth / rng.uniform(1, 3)) ** 2))
    quiet = rng.choice([0.1, 0.35, 0.7], p=[0.4, 0.35, 0.25])  # even objects on even ground must be found too
    grain = np.exp(rng.uniform(np.log(1.5), np.log(20), 3))
    marks = rng.uniform(0, 0.35) * smooth_field(rng, labels.shape, grain[0]) * (labels > 0)
    ground = rng.uniform(0, 0.3) * smooth_field(rng, labels.shape, grain[1])
    ground = (
        ground
        + rng.uniform(0, 0.4) * smooth_field(rng, labels.shape, 130)
        + 0.1 * smooth_field(rng, labels.shape, grain[2])
    )
    scene = inside * (1 + quiet * marks) + quiet * ground * rng.uniform(0.2, 1)
    if rng.random() < 0.3:
        scene = scene + organelles(rng, labels, depth)
    scene = ndi.gaussian_filter(scene, rng.uniform(0.4, 1.4))
    if rng.random() < 0.15:
        scene = speckle(rng, scene)
    low, high = np.percentile(scene, [0.5, 99.5])
    scene = np.clip((scene - low) / (high - low + 1e-6), 0, 1)[..., None]
    if rng.random() < 0.4:
        scene = 1 - scene
    if rng.random() < 0.4:
        ends = rng.uniform(0, 1, (2, 3)).astype(np.float32)
        ends[1] = 1 - ends[0] + rng.normal(0, 0.15, 3)
        scene = ends[0] + scene * (ends[1] - ends[0]) + 0.05 * smooth_field(rng, labels.shape, 8)[..., None]
    return (np.clip(np.broadcast_to(scene, (*labels.shape, 3)), 0, 1) * 255).astype(np.uint8)


def draw(rng: np.random.Generator) -> tuple[NDArray[np.uint8], Labels]:
    """Return a scene and its truth, shapes `(384, 384, 3)` and `(384, 384)`."""
    sort = rng.random()
    if sort < 0.22:
        labels, depth = tissue(rng)
        return paint(rng, labels, depth, walls=bool(rng.random() < 0.8)), pieces(labels)
    labels = scatter(rng) if sort < 0.96 else np.zeros((SIDE, SIDE), np.uint16)
    return paint(rng, labels, depths(labels), walls=False), pieces(labels)


def pieces(labels: Labels) -> Labels:
    """Give each connected piece an id of its own and drop specks: what lies behind another object is not one to see."""
    parts = connected(labels, background=0, connectivity=1)
    areas = np.bincount(parts.ravel())
    return np.where(areas[parts] < 12, 0, parts).astype(np.uint16)
