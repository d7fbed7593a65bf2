from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import nms

from napari_foundseg.core.masks import Mask
from napari_foundseg.core.suppression import select, suppress

BOXES = st.lists(st.tuples(*[st.integers(0, 12)] * 4, st.sampled_from([0.1, 0.5, 0.5, 0.9])), max_size=25)


@given(found=BOXES, threshold=st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]))
def test_suppression_is_torchvisions(found: list[tuple[float, ...]], threshold: float) -> None:
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h, _ in found], np.float32).reshape(-1, 4)
    scores = np.array([f[4] for f in found], np.float32)
    expected = nms(torch.as_tensor(boxes), torch.as_tensor(scores), threshold)
    assert suppress(boxes, scores, threshold) == expected.tolist()


def test_an_iou_that_is_the_threshold_falls_as_in_torchvision() -> None:
    boxes = np.array([[0, 0, 3, 9], [0, 0, 4, 3]], np.float32)
    scores = np.array([0.9, 0.1], np.float32)
    for threshold in (0.3, 9 / 30, float(np.float32(0.3)), 0.29, 0.31):
        expected = nms(torch.as_tensor(boxes), torch.as_tensor(scores), threshold).tolist()
        assert suppress(boxes, scores, threshold) == expected
    assert suppress(boxes, scores, 0.3) == [0]


def test_a_predicted_iou_must_exceed_and_a_stability_reach_its_threshold() -> None:
    def mask(at: int, iou: float, stability: float, index: tuple[int, ...] = ()) -> Mask:
        return Mask((at, at, at + 4, at + 4), np.ones((5, 5), bool), iou, stability, index)

    masks = [mask(0, 0.5, 0.9), mask(10, 0.6, 0.7), mask(20, 0.6, 0.69), mask(30, 0.7, 0.8), mask(30, 0.8, 0.8, (1,))]
    kept = select(masks, pred_iou_thresh=0.5, stability_score_thresh=0.7, box_nms_thresh=0.7)
    assert kept == [masks[3], masks[1], masks[4]]
    assert len(select(masks, pred_iou_thresh=0, stability_score_thresh=0, box_nms_thresh=0.7)) == 5


@pytest.mark.parametrize("thresholds", [(0.3, 0.5, 0.7), (0.6, 0.0, 0.3)])
def test_selecting_in_two_steps_is_selecting_at_once(thresholds: tuple[float, float, float]) -> None:
    """What a live threshold does after a run is what a run with it does."""
    rng = np.random.default_rng(0)
    masks = [
        Mask((y, x, y + h, x + w), np.ones((h + 1, w + 1), bool), float(i), float(s))
        for y, x, h, w, i, s in zip(*rng.integers(0, 60, (2, 200)), *rng.integers(4, 30, (2, 200)),
                                    *rng.random((2, 200)), strict=True)
    ]  # fmt: skip
    names = ("pred_iou_thresh", "stability_score_thresh", "box_nms_thresh")
    options = dict(zip(names, thresholds, strict=True))
    floors = options | {"pred_iou_thresh": 0.2, "box_nms_thresh": 1.0}
    assert select(select(masks, **floors), **options) == select(masks, **options)
