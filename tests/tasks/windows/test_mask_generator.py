"""The generator against ``segment_anything``'s own, on foundseg-tiny, whose weights keep real masks."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import napari_foundseg as fs
from napari_foundseg.core.masks import Mask
from napari_foundseg.io.readers import read_image
from napari_foundseg.io.samples import sample
from napari_foundseg.tasks.windows.mask_generator import GeneratorOptions, clean_small_regions, generate


def full(mask: Mask, shape: tuple[int, int]) -> np.ndarray:
    plane = np.zeros(shape, bool)
    y0, x0, y1, x1 = mask.box
    plane[y0 : y1 + 1, x0 : x1 + 1] = mask.crop
    return plane


def best_ious(expected: list[np.ndarray], found: list[np.ndarray]) -> np.ndarray:
    a, b = (np.array(m).reshape(len(m), -1).astype(np.float32) for m in (expected, found))
    shared = a @ b.T
    return (shared / (a.sum(1)[:, None] + b.sum(1) - shared)).max(axis=1)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("tissue", {"pred_iou_thresh": 0.3, "stability_score_thresh": 0.3}),
        ("nuclei", {"pred_iou_thresh": 0.4, "stability_score_thresh": 0}),
        ("nuclei", {"pred_iou_thresh": 0.5, "stability_score_thresh": 0.7, "crop_n_layers": 1, "points_per_batch": 7}),
    ],
)
def test_the_masks_are_the_references(name: str, options: dict[str, Any]) -> None:
    from segment_anything import SamAutomaticMaskGenerator

    options = {"points_per_side": 8} | options
    model = fs.load_model("foundseg-tiny")
    rgb = read_image(sample(name)).rgb()
    expected = SamAutomaticMaskGenerator(model.sam, **options).generate(rgb)
    found = generate(model, rgb, GeneratorOptions(**options))
    assert len(expected) > 3
    assert abs(len(found) - len(expected)) <= 0.02 * len(expected)
    ious = best_ious([m["segmentation"] for m in expected], [full(m, rgb.shape[:2]) for m in found])
    assert (ious >= 0.95).mean() >= 0.98
    if len(found) == len(expected):
        scores = ([m["predicted_iou"] for m in expected], [m.predicted_iou for m in found])
        assert np.allclose(*scores, atol=1e-4)


def test_small_regions_are_cleaned_as_the_reference_cleans_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference wants OpenCV for one function, which a stand-in of scikit-image gives it here."""
    import types

    import torch
    from segment_anything.automatic_mask_generator import MaskData, SamAutomaticMaskGenerator
    from segment_anything.utils.amg import batched_mask_to_box, mask_to_rle_pytorch, rle_to_mask
    from skimage.measure import label

    def components(mask: np.ndarray, _connectivity: int) -> tuple[Any, ...]:
        regions = label(mask, connectivity=2)
        sizes = np.bincount(regions.ravel(), minlength=regions.max() + 1)
        return regions.max() + 1, regions, sizes[:, None], None

    monkeypatch.setitem(sys.modules, "cv2", types.SimpleNamespace(connectedComponentsWithStats=components))
    rng = np.random.default_rng(3)
    planes = []
    for _ in range(30):
        plane = np.zeros((60, 70), bool)
        y, x = rng.integers(0, 40, 2)
        plane[y : y + 20, x : x + 25] = True
        planes.append(plane ^ (rng.random(plane.shape) < 0.01))
    planes[0][:] = False
    planes[0][5, 5] = planes[0][9:11, 9] = True
    stacked = torch.as_tensor(np.array(planes))
    data = MaskData(rles=mask_to_rle_pytorch(stacked), boxes=batched_mask_to_box(stacked))
    expected = SamAutomaticMaskGenerator.postprocess_small_regions(data, 12, 0.7)
    found = clean_small_regions([Mask.from_array(p) for p in planes], (60, 70), 12, 0.7)
    assert len(found) == len(expected["rles"]) > 3
    for mask, rle in zip(found, expected["rles"], strict=True):
        assert np.array_equal(full(mask, (60, 70)), rle_to_mask(rle))
