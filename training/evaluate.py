"""Measure a weight file on one split: one click, one box, and the instance decoder, at the images' own scale.

For choosing, on ``val``. Windows of 256 pixels at scale 1 (a box: at the power of two nearest to a third of the
window), the image cut so that the prompt lies as central as it can.

    python training/evaluate.py --weights src/napari_foundseg/models/weights/foundseg-tiny.safetensors --split val
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage as ndi
from segment_anything import SamPredictor
from skimage.segmentation import watershed
from torch.nn import functional as F

from samples import distances, read_pair, read_split

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
from napari_foundseg.models.nets.tiny import InstanceDecoder, load_foundseg_tiny

WINDOW = 256
STEPS = np.arange(0.5, 1.0, 0.05)
Image = NDArray[np.uint8]
Labels = NDArray[np.int32]
Figures = dict[str, list[float]]


def window_about(shape: tuple[int, ...], at: NDArray[np.float64], side: int) -> tuple[slice, slice]:
    """Return the square of `side` pixels about `at` (y, x), moved into the image."""
    starts = [int(np.clip(round(a - side / 2), 0, max(0, n - side))) for a, n in zip(at, shape, strict=False)]
    return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)


def overlap(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Return the IoU of two masks."""
    return float((mask & truth).sum() / max((mask | truth).sum(), 1))


def prompt_figures(predictor: SamPredictor, image: Image, labels: Labels, most: int, figures: Figures) -> None:
    """Add the IoU of a click and of a box for up to `most` objects, chosen evenly."""
    deepest = distances(labels)[2]
    keys = list(deepest)
    for index in [keys[i] for i in np.unique(np.linspace(0, len(keys) - 1, min(most, len(keys))).astype(int))]:
        at = np.array(deepest[index], float)
        rows, columns = window_about(labels.shape, at, WINDOW)
        truth = labels[rows, columns] == index
        predictor.set_image(np.ascontiguousarray(image[rows, columns]))
        point = (at - [rows.start, columns.start])[None, ::-1]
        masks, quality, _ = predictor.predict(point, np.ones(1), multimask_output=True)
        ious = [overlap(mask, truth) for mask in masks]
        figures["click"].append(ious[int(quality.argmax())])
        figures["click_best"].append(max(ious))
        figures["quality_error"].append(float(np.abs(quality - ious).mean()))
        figures["box"].append(box_iou(predictor, image, labels == index))


def box_iou(predictor: SamPredictor, image: Image, truth: NDArray[np.bool_]) -> float:
    """Return the IoU of the mask that the object's own box gives, at the scale that suits the box."""
    y, x = np.nonzero(truth)
    extent = max(np.ptp(y), np.ptp(x)) + 1
    side = int(np.clip(2.0 ** round(np.log2(3 * extent)), 64, 1024))
    middle = np.array([(y.min() + y.max()) / 2, (x.min() + x.max()) / 2])
    rows, columns = window_about(truth.shape, middle, side)
    cut = np.ascontiguousarray(image[rows, columns])
    predictor.set_image(cut)
    corners = np.array([x.min() - columns.start, y.min() - rows.start, x.max() - columns.start, y.max() - rows.start])
    masks, _, _ = predictor.predict(box=corners.clip(0), multimask_output=False)
    whole = np.zeros_like(truth)
    whole[rows, columns] = masks[0]
    return overlap(whole, truth)


@torch.inference_mode()
def predict_maps(predictor: SamPredictor, decoder: InstanceDecoder, image: Image) -> NDArray[np.float32]:
    """Return foreground, centre and boundary distance of a whole image in one pass, `(3, H, W)`."""
    height, width = image.shape[:2]
    x = torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32))
    x = (x - predictor.model.pixel_mean) / predictor.model.pixel_std
    x = F.pad(x, (0, -width % 32, 0, -height % 32))
    maps = torch.sigmoid(decoder(predictor.model.image_encoder(x)))
    return np.asarray(maps[0, :, :height, :width].numpy(), np.float32)


def instances(maps: NDArray[np.float32], smooth: float, level: float, smallest: int) -> Labels:
    """Return the objects that the maps tell of, as the product finds them."""
    foreground = ndi.gaussian_filter(maps[0], smooth / 1.6)
    centre, boundary = ndi.gaussian_filter(maps[1], smooth), ndi.gaussian_filter(maps[2], smooth)
    seeds, _ = ndi.label((centre < level) & (boundary < level) & (foreground > 0.5))
    labels = np.asarray(watershed(boundary, seeds, mask=foreground > 0.5), np.int32)
    areas = np.bincount(labels.ravel())
    return np.where(areas[labels] < smallest, 0, labels)


def average_precision(labels: Labels, truth: Labels) -> NDArray[np.float64]:
    """Return tp / (tp + fp + fn) at IoU 0.5 to 0.95."""
    rows, a = np.unique(labels, return_inverse=True)
    columns, b = np.unique(truth, return_inverse=True)
    table = np.zeros((rows.size, columns.size))
    np.add.at(table, (a.ravel(), b.ravel()), 1)
    union = table.sum(1, keepdims=True) + table.sum(0, keepdims=True) - table
    iou = (table / union)[np.ix_(rows > 0, columns > 0)]
    count = (rows > 0).sum() + (columns > 0).sum()
    best = np.sort(iou.max(axis=1, initial=0)) if iou.size else np.zeros(0)
    hits = np.array([(best > step).sum() for step in STEPS])
    return np.asarray(hits / np.maximum(count - hits, 1) if count else np.ones(STEPS.size))


def evaluate(options: argparse.Namespace) -> dict[str, Figures]:
    """Return the figures of each kind."""
    sam, decoder = load_foundseg_tiny(options.weights)
    predictor = SamPredictor(sam)
    figures: dict[str, Figures] = defaultdict(lambda: defaultdict(list))
    for row in read_split(options.split)[:: options.every]:
        image, labels = read_pair(row["name"])
        ours = figures[row["kind"]]
        prompt_figures(predictor, image, labels, options.objects, ours)
        maps = predict_maps(predictor, decoder, image)
        precision = average_precision(instances(maps, options.smooth, options.level, options.smallest), labels)
        ours["mSA"].append(float(precision.mean()))
        ours["AP50"].append(float(precision[0]))
    return figures


def main() -> None:
    """Print a line for each kind and one for all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--objects", type=int, default=8)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--smooth", type=float, default=1.0)
    parser.add_argument("--level", type=float, default=0.5)
    parser.add_argument("--smallest", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    figures = evaluate(options)
    every: Figures = defaultdict(list)
    for own in figures.values():
        for name, values in own.items():
            every[name] += values
    for kind, own in [*figures.items(), ("all", every)]:
        print(f"{kind:12}", f"{len(own['mSA'])} images", *(f"{n} {np.mean(v):.3f}" for n, v in own.items()))


if __name__ == "__main__":
    main()
