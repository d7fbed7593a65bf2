"""The built-in model on held-out images: the least that may ship; `benchmarks/accuracy.py` has the whole table."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.io import imread

import napari_foundseg as fs
from napari_foundseg.core.measuring.comparison import match_objects
from tests.support import ROOT


@pytest.mark.data
def test_clicks_boxes_and_automatic_masks_on_held_out_images(
    dsb: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from accuracy import prompt_iou, prompts

    ap, click, box = [], [], []
    for number, row in enumerate(dsb[::5]):
        image, truth = imread(row["image"]), imread(row["labels"]).astype(np.int64)
        ap.append(match_objects(truth, fs.automatic(image).labels).precision.mean())
        if number % 2:
            continue  # the clicks take two thirds of the time; 16 images with up to 12 objects each are enough for them
        ids, clicks, boxes = prompts(truth)
        click += prompt_iou(image, truth, ids[:12], clicks[:12])
        box += prompt_iou(image, truth, ids[:12], boxes[:12])
    figures = {"mSA": np.mean(ap), "click": np.mean(click), "box": np.mean(box)}
    assert figures["mSA"] >= 0.55, figures
    assert figures["click"] >= 0.72, figures
    assert figures["box"] >= 0.84, figures
