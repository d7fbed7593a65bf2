"""scikit-image's coins: are all 24 found, is none invented, how well does one click fit each?

Truth: Sobel, markers below 30 and above 150, watershed, holes filled, labelled, pieces under 200 pixels dropped.

    python benchmarks/coins.py
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import data, filters, measure, morphology, segmentation

import napari_foundseg as fs
from accuracy import prompt_iou, prompts
from napari_foundseg.core.measuring.comparison import match_objects


def coins() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the picture and its truth."""
    image = data.coins()
    markers = np.where(image < 30, 1, np.where(image > 150, 2, 0))
    inside = ndimage.binary_fill_holes(segmentation.watershed(filters.sobel(image), markers) == 2)
    labels = morphology.remove_small_objects(measure.label(inside), max_size=199)
    return image, segmentation.relabel_sequential(labels)[0].astype(np.int64)


def main() -> None:
    image, truth = coins()
    found = fs.automatic(image).labels
    best = match_objects(found, truth).best
    print(f"{truth.max()} coins: {int((match_objects(truth, found).best >= 0.7).sum())} found at IoU 0.7, "
          f"{int((best < 0.3).sum())} of {len(best)} objects invented")  # fmt: skip
    ids, clicks, _ = prompts(truth)
    ious = prompt_iou(image, truth, ids, clicks)
    print(f"one click: mean IoU {np.mean(ious):.3f}, least {min(ious):.3f}")


if __name__ == "__main__":
    main()
