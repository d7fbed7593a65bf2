"""Make training samples: a window of an image, what the instance decoder should say of it, and prompts with answers."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage as ndi
from skimage.measure import label as connected
from torch.utils.data import Dataset

from split import PARTLY, data_folder

ROOT = Path(__file__).resolve().parent
WINDOW = 256
K = 1.5
KIND_SHARES = {
    "fluorescence": 0.52, "histology": 0.22, "brightfield": 0.06, "phase contrast": 0.12, "axons": 0.06,
    "superalloy": 0.05, "powder": 0.02, "melt pools": 0.03, "ultrasound": 0.04,
}  # fmt: skip
Float = NDArray[np.float32]
Sample = dict[str, NDArray[np.generic]]


@dataclass
class Picture:
    """An 8-bit RGB image as the product shows it to the model, and its labels."""

    image: NDArray[np.uint8]
    labels: NDArray[np.int32]
    boxes: NDArray[np.float32]
    complete: bool = True


def normalise(image: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Stretch the 0.5th to 99.5th percentile of all channels together to 0..255, `(H, W, 3)`."""
    values = np.asarray(image, np.float32)
    low, high = np.percentile(values, [0.5, 99.5])
    scaled = np.clip((values - low) / max(high - low, 1e-6), 0, 1) * 255
    return np.asarray(np.round(scaled), np.uint8)


def read_pair(row: dict[str, str]) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Return the normalised image and the labels of one row of ``split.csv``."""
    folder = data_folder() / row["folder"]
    image = np.asarray(Image.open(folder / "images" / f"{row['name']}.png").convert("RGB"))
    return normalise(image), np.asarray(Image.open(folder / "labels" / f"{row['name']}.png")).astype(np.int32)


def read_split(split: str) -> list[dict[str, str]]:
    """Return the rows of ``split.csv`` that belong to `split`."""
    with (ROOT / "split.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["split"] == split]


def picture(image: NDArray[np.uint8], labels: NDArray[np.int32], margin: int = 64, *, complete: bool = True) -> Picture:
    """Mirror the borders outwards and note where the objects lie."""
    pad = min(margin, *(s - 1 for s in labels.shape))
    image = np.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode="symmetric")
    labels = mirror(mirror(labels, pad).T, pad).T
    found = [s for s in ndi.find_objects(labels) if s is not None]
    boxes = [(s[0].start, s[1].start, s[0].stop, s[1].stop) for s in found]
    return Picture(image, labels, np.array(boxes, np.float32).reshape(-1, 4), complete)


def mirror(labels: NDArray[np.int32], pad: int) -> NDArray[np.int32]:
    """Mirror the first and the last `pad` rows outwards.

    An object that the border cuts through goes on in its image; one that only touches it has a twin.
    """
    parts = [labels]
    for side in (labels[:pad], labels[::-1][:pad]):
        twin = np.where(side > 0, side + max(int(p.max()) for p in parts), 0).astype(np.int32)
        for index in np.unique(side[:1][side[:1] > 0]):
            own = side == index
            if own[0].sum() >= 0.7 * own.any(axis=0).sum():
                twin[own] = index
        parts.append(twin)
    return np.concatenate([parts[1][::-1], labels, parts[2]])


def random_affine(rng: np.random.Generator, source: Picture) -> tuple[float, NDArray[np.float64]]:
    """Choose scale, turn and place; return the scale and the matrix from window to image coordinates, `(2, 3)`."""
    shape = np.array(source.labels.shape, float)
    centre = shape / 2 + rng.uniform(-0.4, 0.4, 2) * shape
    scale = float(np.exp(rng.uniform(np.log(0.75), np.log(1.4))))
    if len(source.boxes):
        box = source.boxes[rng.integers(len(source.boxes))]
        centre = (box[:2] + box[2:]) / 2
        if (share := rng.random()) < 0.45:
            size = max(4.0, float(np.sqrt(np.prod(box[2:] - box[:2]))))
            # Objects larger than the window teach a click to ask for a wider one: its mask touches the border.
            sizes = (12, 150) if share < 0.32 else (120, 600)
            scale = float(np.clip(np.exp(rng.uniform(*np.log(sizes))) / size, 0.3, 8))
    centre = centre + rng.uniform(-90, 90, 2) / scale
    room = WINDOW / 2 / scale
    centre = np.where(2 * room < shape, np.clip(centre, room, np.maximum(shape - room, room)), shape / 2)
    turn = rng.uniform(0, 2 * np.pi) if rng.random() < 0.5 else rng.integers(4) * np.pi / 2
    squeeze = np.exp(rng.normal(0, 0.07))
    flip = rng.choice([-1, 1])
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    linear = rotation @ np.diag([flip * squeeze, 1 / squeeze]) / scale
    offset = centre[::-1] - linear @ np.array([WINDOW / 2, WINDOW / 2])
    return scale, np.column_stack([linear, offset])


def cut(source: Picture, scale: float, matrix: NDArray[np.float64]) -> tuple[Float, NDArray[np.int32]]:
    """Return the window `(256, 256, 3)` and its labels, each connected piece a number of its own."""
    image = Image.fromarray(source.image)
    fine = matrix.copy()
    if scale < 0.7:
        factor = 2 if scale > 0.35 else 3
        image = image.reduce(factor)
        fine = fine / factor
    size, affine = (WINDOW, WINDOW), Image.Transform.AFFINE
    window = image.transform(size, affine, tuple(fine.ravel()), Image.Resampling.BILINEAR)
    truth = Image.fromarray(source.labels).transform(size, affine, tuple(matrix.ravel()), Image.Resampling.NEAREST)
    labels = connected(np.asarray(truth), background=0, connectivity=1).astype(np.int32)
    areas = np.bincount(labels.ravel())
    labels[areas[labels] < 6] = 0
    return np.asarray(window, np.float32) / 255, labels


def crowd(rng: np.random.Generator, image: Float, labels: NDArray[np.int32]) -> None:
    """Paste turned copies of bright objects beside others, so that more of them touch; changes both arrays."""
    boxes = ndi.find_objects(labels)
    if not boxes or np.median(image[::4, ::4]) > 0.3:
        return
    for _ in range(int(rng.integers(1, 6))):
        which, beside = rng.integers(len(boxes), size=2)
        part, to = boxes[which], boxes[beside]
        if part is None or to is None:
            continue
        turns, mirrored = int(rng.integers(4)), rng.random() < 0.5
        mask, patch = (np.rot90(a[part][:: -1 if mirrored else 1], turns) for a in (labels == which + 1, image))
        size = np.array(mask.shape)
        middle = np.array([(s.start + s.stop) / 2 for s in to])
        away = (size + [s.stop - s.start for s in to]) / 2 * rng.uniform(0.7, 1.05)
        angle = rng.uniform(0, 2 * np.pi)
        y, x = np.round(middle + away * [np.sin(angle), np.cos(angle)] - size / 2).astype(int)
        if y < 0 or x < 0 or y + size[0] > WINDOW or x + size[1] > WINDOW:
            continue
        place = slice(y, y + size[0]), slice(x, x + size[1])
        free = mask & (labels[place] == 0)
        if free.sum() < 0.75 * mask.sum():
            continue
        image[place] = np.where(mask[..., None], np.maximum(image[place], patch * rng.uniform(0.6, 1.1)), image[place])
        labels[place][free] = len(boxes) + 1
        boxes.append(place)


def recolour(rng: np.random.Generator, image: Float) -> Float:
    """Change colours, levels and contrast of an image in 0..1, `(256, 256, 3)`."""
    grey = np.ptp(image[::7, ::7], axis=2).max() < 0.02
    if grey and rng.random() < 0.08:
        ends = rng.uniform(0, 1, (2, 3)).astype(np.float32)
        image = ends[0] + image * (ends[1] - ends[0]) if np.abs(ends[1] - ends[0]).max() > 0.35 else image
    elif not grey:
        if rng.random() < 0.25:
            image = np.repeat(image @ rng.dirichlet(np.ones(3)).astype(np.float32)[:, None], 3, axis=2)
        elif rng.random() < 0.5:
            image = stain(rng, image)
        elif rng.random() < 0.6:
            mix = np.eye(3) + rng.normal(0, 0.15, (3, 3))
            image = image @ mix.astype(np.float32) + rng.normal(0, 0.06, 3).astype(np.float32)
            image = image[..., rng.permutation(3)] if rng.random() < 0.3 else image
    if rng.random() < 0.06:
        image = 1 - image
    image = np.clip(image, 0, 1) ** np.float32(np.exp(rng.normal(0, 0.2)))
    if rng.random() < 0.25:
        image = (image - 0.5) * np.float32(np.exp(rng.normal(0, 0.35))) + np.float32(0.5 + rng.normal(0, 0.12))
    return np.asarray(image, np.float32)


def stain(rng: np.random.Generator, image: Float) -> Float:
    """Change the amounts and colours of the dyes: a linear mix of the optical densities (Lambert-Beer)."""
    density = -np.log(np.clip(image, 1 / 255, 1))
    mix = np.eye(3) * np.exp(rng.normal(0, 0.3, 3)) + rng.normal(0, 0.12, (3, 3))
    return np.asarray(np.exp(-np.clip(density @ mix.astype(np.float32), 0, None)), np.float32)


def spoil(rng: np.random.Generator, image: Float) -> Float:
    """Shade, blur, add noise and compress an image in 0..1."""
    if rng.random() < 0.12:
        corners = rng.uniform(0.5, 1.2, (2, 2)).astype(np.float32)
        shade = Image.fromarray(corners).resize((WINDOW, WINDOW), Image.Resampling.BICUBIC)
        image = image * np.asarray(shade)[..., None]
    if rng.random() < 0.12:
        image = ndi.uniform_filter(image, (s := int(rng.integers(2, 4)), s, 1))
    if rng.random() < 0.45:
        channels = 1 if rng.random() < 0.6 else 3
        noise = rng.standard_normal((WINDOW, WINDOW, channels), dtype=np.float32)
        image = image + noise * np.float32(rng.uniform(0, 0.1) * rng.random())
    image = np.clip(image, 0, 1)
    if rng.random() < 0.1:
        buffer = io.BytesIO()
        Image.fromarray((image * 255).astype(np.uint8)).save(buffer, "JPEG", quality=int(rng.integers(25, 90)))
        image = np.asarray(Image.open(buffer), np.float32) / 255
    return np.asarray(image, np.float32)


def distances(labels: NDArray[np.int32]) -> tuple[Float, Float, dict[int, tuple[int, int]]]:
    """Return each pixel's depth in its object, its centre distance, and the deepest point (y, x) of each object."""
    depth, centre = np.zeros(labels.shape, np.float32), np.ones(labels.shape, np.float32)
    deepest: dict[int, tuple[int, int]] = {}
    for index, box in enumerate(ndi.find_objects(labels), start=1):
        if box is None:
            continue
        wide = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in box)
        mask = labels[wide] == index
        far = ndi.distance_transform_edt(mask) if not mask.all() else np.full(mask.shape, 64.0)
        y, x = np.unravel_index(far.argmax(), far.shape)
        rows, columns = np.nonzero(mask)
        away = np.hypot(rows - y, columns - x)
        depth[wide][mask] = far[mask]
        centre[wide][mask] = away / max(away.max(), 1)
        deepest[index] = (int(y) + wide[0].start, int(x) + wide[1].start)
    return depth, centre, deepest


class Windows(Dataset[Sample]):
    """An endless supply of windows with `prompts` prompts each; sample number `i` is always the same."""

    def __init__(self, scenes: Path, prompts: int, seed: int, synthetic: float) -> None:
        self.pictures: dict[str, list[Picture]] = {}
        for row in read_split("train"):
            complete = row["kind"] not in PARTLY
            self.pictures.setdefault(row["kind"], []).append(picture(*read_pair(row), complete=complete))
        self.scenes = sorted(scenes.glob("*.npz"))
        self.prompts, self.seed, self.synthetic = prompts, seed, synthetic

    def __len__(self) -> int:
        """Return a number larger than any run needs."""
        return 10_000_000

    def choose(self, rng: np.random.Generator) -> Picture:
        """Return a synthetic scene or an image, each kind with its share."""
        if rng.random() < self.synthetic:
            with np.load(self.scenes[rng.integers(len(self.scenes))]) as file:
                scene = dict(file)
            return picture(scene["image"], scene["labels"].astype(np.int32), 1, complete=bool(scene["complete"]))
        kinds = list(self.pictures)
        shares = np.array([KIND_SHARES[kind] for kind in kinds])
        pictures = self.pictures[kinds[rng.choice(len(kinds), p=shares / shares.sum())]]
        return pictures[rng.integers(len(pictures))]

    def __getitem__(self, index: int) -> Sample:
        """Return one window with its truth and prompts."""
        rng = np.random.default_rng([self.seed, index])
        source = self.choose(rng)
        image, labels = cut(source, *random_affine(rng, source))
        if rng.random() < 0.25:
            crowd(rng, image, labels)
        image = spoil(rng, recolour(rng, image)) * 255
        valid = np.ones(labels.shape, bool)
        if rng.random() < 0.12:
            valid[int(rng.integers(90, 257)) :] = False
            valid[:, int(rng.integers(90, 257)) :] = False
            labels = labels * valid
        depth, centre, deepest = distances(labels)
        boundary = np.where(labels > 0, K / (K + depth), 1).astype(np.float32)
        points, boxes, ids = self.prompt(rng, labels, depth, deepest, source.complete)
        image = (image - 96) / 64 * valid[..., None]
        return {
            "image": np.ascontiguousarray(image.transpose(2, 0, 1), np.float32), "labels": labels.astype(np.int16),
            "centre": centre.astype(np.float16), "boundary": boundary.astype(np.float16),
            "points": points, "boxes": boxes, "ids": ids, "complete": np.array(source.complete),
        }  # fmt: skip

    def prompt(
        self,
        rng: np.random.Generator,
        labels: NDArray[np.int32],
        depth: Float,
        deepest: dict[int, tuple[int, int]],
        complete: bool,
    ) -> tuple[Float, Float, NDArray[np.int64]]:
        """Return clicks `(K, 2)` and boxes `(K, 4)`, NaN where there is none, and the objects meant.

        No object, 0, is meant on the background, and -1 where nothing is known: it may be an object without label.
        """
        points = np.full((self.prompts, 2), np.nan, np.float32)
        boxes = np.full((self.prompts, 4), np.nan, np.float32)
        ids = np.zeros(self.prompts, np.int64)
        order = rng.permutation(list(deepest)) if deepest else np.zeros(0, int)
        for i in range(self.prompts):
            if not order.size or rng.random() < 0.06:
                free = np.flatnonzero(labels.ravel()[::31] == 0) * 31
                if free.size:
                    at = rng.choice(free)
                    points[i] = at % WINDOW, at // WINDOW
                    ids[i] = 0 if complete else -1
                    continue
            ids[i] = order[i % max(order.size, 1)] if order.size else labels.flat[0]
            if rng.random() < 0.38:
                boxes[i] = loose_box(rng, labels == ids[i])
            else:
                points[i] = click(rng, labels == ids[i], depth, deepest[int(ids[i])])
        return points, boxes, ids


def click(rng: np.random.Generator, mask: NDArray[np.bool_], depth: Float, deep: tuple[int, int]) -> Float:
    """Return a click (x, y) on the object: its deepest point, or a random one, half of these mostly deep."""
    if rng.random() < 0.35:
        y, x = deep
    else:
        at = np.flatnonzero(mask)
        weights = depth.ravel()[at].astype(float) if rng.random() < 0.5 else np.ones(at.size)
        y, x = divmod(int(rng.choice(at, p=weights / weights.sum())), WINDOW)
    return np.array([x, y], np.float32) + rng.uniform(-0.4, 0.4, 2).astype(np.float32)


def loose_box(rng: np.random.Generator, mask: NDArray[np.bool_]) -> Float:
    """Return the box (x0, y0, x1, y1) of the object, exact or as a hand would draw it."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = np.array([columns[0], rows[0], columns[-1], rows[-1]], np.float32)
    size = np.tile(box[2:] - box[:2] + 1, 2)
    hand = rng.random()
    if hand < 0.3:
        return box
    error = rng.normal(0, 0.07, 4) if hand < 0.65 else rng.uniform(-0.2, 0.2, 4)
    return np.asarray(np.clip(box + np.clip(error * size, -25, 25), 0, WINDOW - 1), np.float32)


def collate(samples: list[Sample]) -> dict[str, torch.Tensor]:
    """Stack samples to a batch of tensors."""
    return {key: torch.from_numpy(np.stack([s[key] for s in samples])) for key in samples[0]}
