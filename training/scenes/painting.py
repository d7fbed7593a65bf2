"""What the kinds of scenes share: noise, outlines, placing, tilings, distances, and the steps of a camera."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage as ndi
from scipy.spatial import cKDTree
from skimage.measure import label as connected

SIDE = 384
Bools = NDArray[np.bool_]
Float = NDArray[np.float32]
Labels = NDArray[np.uint16]
Picture = NDArray[np.uint8]
Rng = np.random.Generator
Scene = tuple[Picture, Labels]


def between(rng: Rng, low: float, high: float) -> float:
    """Return a number between two others, even in its logarithm."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def smooth_field(rng: Rng, side: int, grain: float, stretch: float = 1) -> Float:
    """Return smooth noise of unit deviation whose features span `grain` pixels, `stretch` times as many across."""
    shape = tuple(max(4, round(side / g) + 3) for g in (grain, grain * stretch))
    small = Image.fromarray(rng.standard_normal(shape, dtype=np.float32))
    box = rng.uniform(0, 1, 2)
    ends = (*box[::-1], shape[1] - 2 + box[1], shape[0] - 2 + box[0])
    field = np.asarray(small.resize((side, side), Image.Resampling.BICUBIC, box=tuple(ends)), np.float32)
    return np.asarray((field - field.mean()) / (field.std() + 1e-6), np.float32)


def fractal(rng: Rng, side: int, grain: float, fall: float = 0.6, octaves: int = 4) -> Float:
    """Return noise of unit deviation with features of `grain` pixels and, each `fall` as strong, of half of it on."""
    total = np.zeros((side, side), np.float32)
    for octave in range(octaves):
        if grain / 2**octave < 1.2:
            break
        total += fall**octave * smooth_field(rng, side, grain / 2**octave)
    return total / (total.std() + 1e-6)


def noise(rng: Rng, side: int, sigma: float = 0) -> Float:
    """Return the noise of a camera, of unit deviation, blurred by `sigma` pixels."""
    field = rng.standard_normal((side, side), dtype=np.float32)
    return field if sigma == 0 else unit(ndi.gaussian_filter(field, sigma))


def unit(field: Float) -> Float:
    """Return a field with mean 0 and deviation 1."""
    return np.asarray((field - field.mean()) / (field.std() + 1e-6), np.float32)


def coordinates(side: int) -> tuple[Float, Float]:
    """Return the coordinates (y, x) of the pixels, shapes `(side, 1)` and `(1, side)`."""
    axis = np.arange(side, dtype=np.float32)
    return axis[:, None], axis[None]


def fibres(rng: Rng, side: int, pitch: float, waviness: float = 1, turn: float | None = None) -> tuple[Float, Float]:
    """Return wavy fibres of about -1..1 and their direction in radians, `(side, side)` each."""
    y, x = coordinates(side)
    turn = rng.uniform(0, np.pi) if turn is None else turn
    across = y * np.cos(turn) - x * np.sin(turn) + waviness * 12 * smooth_field(rng, side, side / 4)
    across = across + waviness * 0.4 * pitch * smooth_field(rng, side, 4 * pitch)
    gy, gx = np.gradient(across)
    across = across + 0.25 * pitch * fractal(rng, side, 6 * pitch)
    steps = np.arange(int(np.ptp(across) / pitch * 2) + 4)
    at = (across - across.min()) / pitch * 2
    strands = [np.interp(at, steps, rng.standard_normal(steps.size)) for _ in range(2)]
    share = 1 / (1 + np.exp(-3 * smooth_field(rng, side, 8 * pitch)))
    strand = share * strands[0] + (1 - share) * strands[1]
    return np.clip(0.8 * strand, -1.5, 1.5).astype(np.float32), np.arctan2(gy, gx) + np.pi / 2


def outline(
    rng: Rng,
    radius: float,
    long: float = 1,
    waves: float = 0.1,
    tips: int = 0,
    reach: float = 0,
    turn: float | None = None,
) -> Bools:
    """Return the mask of a wavy ellipse of this mean radius, `long` times as long as wide, with `tips` pointed arms."""
    half = int(radius * np.sqrt(long) * (1 + 2 * waves) * (1 + reach)) + 3
    axis = np.arange(-half, half + 1, dtype=np.float32)
    turn = rng.uniform(0, np.pi) if turn is None else turn
    u = axis[None] * np.cos(turn) + axis[:, None] * np.sin(turn)
    v = axis[:, None] * np.cos(turn) - axis[None] * np.sin(turn)
    u, v = u / np.sqrt(long), v * np.sqrt(long)
    angle = np.arctan2(v, u)
    edge = np.ones_like(angle)
    for k in range(2, 7):
        edge += rng.normal(0, waves / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    for at in rng.uniform(0, 2 * np.pi / max(tips, 1)) + np.arange(tips) * 2 * np.pi / max(tips, 1):
        away = (angle - at - rng.normal(0, 0.35) + np.pi) % (2 * np.pi) - np.pi
        edge += reach * rng.uniform(0.3, 1) * np.exp(-np.abs(away) / rng.uniform(0.12, 0.3))
    if tips:
        edge *= 1 - 0.3 * min(reach, 1)
    return np.asarray(np.hypot(u, v) < radius * edge)


def capsule(radius: float, length: float, bend: float, turn: float) -> Bools:
    """Return the mask of a rod with round ends, `length` between their middles, bent to a parabola, turned."""
    half = int(length / 2 + radius + abs(bend) * length) + 3
    axis = np.arange(-half, half + 1, dtype=np.float32)
    u = axis[None] * np.cos(turn) + axis[:, None] * np.sin(turn)
    v = axis[:, None] * np.cos(turn) - axis[None] * np.sin(turn)
    v = v - bend * (4 * np.minimum(np.abs(u), length / 2) ** 2 / max(length, 1) - length / 3)
    return np.asarray(np.hypot(np.maximum(np.abs(u) - length / 2, 0), v) < radius)


def brick(radius: float, long: float, power: float, turn: float) -> Bools:
    """Return the mask of a superellipse of this mean radius: an ellipse at power 2, nearly a rectangle at 8."""
    half = int(1.5 * radius * np.sqrt(long)) + 3
    axis = np.arange(-half, half + 1, dtype=np.float32)
    u = axis[None] * np.cos(turn) + axis[:, None] * np.sin(turn)
    v = axis[:, None] * np.cos(turn) - axis[None] * np.sin(turn)
    return np.asarray(np.abs(u / np.sqrt(long)) ** power + np.abs(v * np.sqrt(long)) ** power < radius**power)


def window(side: int, mask: Bools, at: NDArray[np.float64]) -> tuple[tuple[slice, slice], Bools] | None:
    """Return the place of a mask centred at (y, x) in the scene, and the part of it that lies inside."""
    y, x = (round(float(v)) - s // 2 for v, s in zip(at, mask.shape, strict=True))
    rows = slice(max(0, y), min(side, y + mask.shape[0]))
    columns = slice(max(0, x), min(side, x + mask.shape[1]))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return None
    return (rows, columns), mask[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]


def place(labels: Labels, mask: Bools, at: NDArray[np.float64], index: int, overlap: float, front: bool = True) -> bool:
    """Write a mask as `index` unless more than `overlap` of it is taken; return whether it was written."""
    found = window(labels.shape[0], mask, at)
    if found is None:
        return False
    where, part = found
    view = labels[where]
    covered = (view > 0) & part
    if not part.any() or covered.sum() > overlap * part.sum():
        return False
    view[part if front else part & ~covered] = index
    return True


def tiling(rng: Rng, side: int, pitch: float, bend: float = 0.15, stretch: float = 1, spread: float = 0) -> Labels:
    """Divide the scene into cells of about `pitch` pixels; `spread` makes some regions finer than others."""
    y, x = coordinates(side)
    turn = rng.uniform(0, np.pi)
    y = (
        y
        + bend * pitch * smooth_field(rng, side, 0.8 * pitch)
        + 0.3 * bend * pitch * smooth_field(rng, side, 0.3 * pitch)
    )
    x = (
        x
        + bend * pitch * smooth_field(rng, side, 0.8 * pitch)
        + 0.3 * bend * pitch * smooth_field(rng, side, 0.3 * pitch)
    )
    u, v = (x * np.cos(turn) + y * np.sin(turn)) / stretch, y * np.cos(turn) - x * np.sin(turn)
    low, high = (float(u.min()), float(v.min())), (float(u.max()), float(v.max()))
    area = (high[0] - low[0]) * (high[1] - low[1])
    count = max(4, round(area / pitch**2))
    seeds = rng.uniform(low, high, (count, 2))
    if spread:
        middle = rng.uniform(low, high, (max(1, count // 12), 2))
        near = middle[rng.integers(len(middle), size=count)] + rng.normal(0, pitch, (count, 2))
        seeds = np.where(rng.random((count, 1)) < spread, near, seeds)
    cells = cKDTree(seeds).query(np.column_stack([u.ravel(), v.ravel()]))[1]
    return (cells.reshape(side, side) + 1).astype(np.uint16)


def depths(labels: Labels) -> Float:
    """Return the distance of each pixel of an object to its border, 0 outside."""
    border = ndi.maximum_filter(labels, 3) != ndi.minimum_filter(labels, 3)
    if not border.any():
        return np.full(labels.shape, 64, np.float32) * (labels > 0)
    return (ndi.distance_transform_edt(~border) * (labels > 0)).astype(np.float32)


def nearest(labels: Labels) -> tuple[Float, Labels]:
    """Return the distance of each pixel to the nearest object, and which that is."""
    if not labels.any():
        return np.full(labels.shape, 999, np.float32), labels
    away, where = ndi.distance_transform_edt(labels == 0, return_indices=True)
    return away.astype(np.float32), labels[tuple(where)]


@dataclass
class Frames:
    """Coordinates of each object's own: along and across it, in units in which an ellipse's border is 1."""

    u: Float
    v: Float
    radius: Float  # of each object, in pixels, by index
    turn: Float  # of each object, in radians, by index

    @property
    def r(self) -> Float:
        """The distance from the middle, 1 on the border of an ellipse."""
        return np.asarray(np.hypot(self.u, self.v))


def frames(labels: Labels) -> Frames:
    """Measure the middle, direction and size of each object and return every pixel in its object's coordinates."""
    flat = labels.ravel()
    count = int(labels.max()) + 1
    rows, columns = (c.ravel().astype(np.float64) for c in np.indices(labels.shape))
    area = np.maximum(np.bincount(flat, minlength=count), 1)
    cy, cx = (np.bincount(flat, c, count) / area for c in (rows, columns))
    dy, dx = rows - cy[flat], columns - cx[flat]
    yy, xx, xy = (np.bincount(flat, p, count) / area for p in (dy * dy, dx * dx, dy * dx))
    turn = 0.5 * np.arctan2(2 * xy, xx - yy)
    root = np.hypot((xx - yy) / 2, xy)
    long, short = np.sqrt((xx + yy) / 2 + root + 0.1), np.sqrt(np.maximum((xx + yy) / 2 - root, 0) + 0.1)
    c, s = np.cos(turn)[flat], np.sin(turn)[flat]
    u, v = (dx * c + dy * s) / (2 * long[flat]), (dy * c - dx * s) / (2 * short[flat])
    shape = labels.shape
    return Frames(u.reshape(shape).astype(np.float32), v.reshape(shape).astype(np.float32),
                  np.sqrt(area / np.pi).astype(np.float32), turn.astype(np.float32))  # fmt: skip


def levels(rng: Rng, labels: Labels, spread: float, middle: float = 1) -> Float:
    """Return one random level an object at its pixels, `middle` outside."""
    level = (middle + spread * rng.standard_normal(int(labels.max()) + 1)).astype(np.float32)
    level[0] = middle
    return np.asarray(level[labels])


def blur(field: Float, sigma: float) -> Float:
    """Return a field, `(H, W)` or `(H, W, 3)`, blurred by a Gaussian."""
    return np.asarray(ndi.gaussian_filter(field, (sigma, sigma, 0)[: field.ndim]), np.float32)


def mix(colours: Float, share: Float, colour: tuple[float, ...] | Float) -> Float:
    """Return an image `(H, W, 3)` covered by a colour, or another image, to the share `(H, W)` at each pixel."""
    return np.asarray(colours + share[..., None] * (np.asarray(colour, np.float32) - colours), np.float32)


def disc_spots(rng: Rng, side: int, count: int, low: float, high: float) -> Float:
    """Return soft round spots of unit height and radii between `low` and `high` pixels, anywhere in the scene."""
    spots = np.zeros((side, side), np.float32)
    for at in rng.uniform(0, side, (count, 2)):
        radius = between(rng, low, high)
        half = int(3 * radius) + 2
        axis = np.arange(-half, half + 1, dtype=np.float32)
        bump = np.exp(-((axis[:, None] ** 2 + axis[None] ** 2) / radius**2))
        if (found := window(side, np.ones(bump.shape, bool), at)) is None:
            continue
        (rows, columns), _ = found
        y, x = round(float(at[0])) - half, round(float(at[1])) - half
        spots[rows, columns] += bump[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]
    return spots


def lines(rng: Rng, side: int, count: int, width: float, bend: float = 0.02, length: float = 1) -> Float:
    """Return soft bent lines of unit height across the scene."""
    canvas = np.zeros((side, side), bool)
    for _ in range(count):
        at, heading = rng.uniform(0, side, 2), rng.uniform(0, 2 * np.pi)
        steps = int(side * length * rng.uniform(0.3, 1))
        headings = heading + np.cumsum(rng.normal(0, bend, steps) + rng.normal(0, bend / 3))
        path = np.round(at[:, None] + np.cumsum([np.sin(headings), np.cos(headings)], axis=1)).astype(int)
        inside = ((path >= 0) & (path < side)).all(axis=0)
        canvas[tuple(path[:, inside])] = True
    if not canvas.any():
        return canvas.astype(np.float32)
    away = ndi.distance_transform_edt(~canvas)
    return np.exp(-((away / width) ** 2)).astype(np.float32)


def speckle(rng: Rng, scene: Float, strength: float, size: tuple[float, float]) -> Float:
    """Multiply a scene by the speckle of ultrasound: smoothed Rayleigh noise (Wagner et al. 1983)."""
    waves = rng.standard_normal((2, *scene.shape), dtype=np.float32)
    amplitude = np.hypot(*(ndi.gaussian_filter(w, size) for w in waves))
    return np.asarray(scene * (1 - strength + strength * amplitude / amplitude.mean()), np.float32)


def develop(scene: Float, low: float | None = None, high: float | None = None) -> Picture:
    """Return a scene `(H, W)` or `(H, W, 3)` as 8-bit RGB, stretched between two levels or its percentiles."""
    if low is None or high is None:
        low, high = np.percentile(scene[::2, ::2], [0.3, 99.7])
    scaled = np.clip((scene - low) / (high - low + 1e-6), 0, 1) * 255
    return np.ascontiguousarray(
        np.broadcast_to(scaled[..., None], (*scene.shape, 3)) if scene.ndim == 2 else scaled
    ).astype(np.uint8)


def pieces(labels: Labels, least: int = 12) -> Labels:
    """Number the connected pieces from 1 and drop specks: what lies behind another object is not one to see."""
    parts = connected(labels, background=0, connectivity=1)
    areas = np.bincount(parts.ravel())
    kept = areas >= least
    kept[0] = False
    order = np.cumsum(kept) * kept
    return np.asarray(order[parts], np.uint16)
