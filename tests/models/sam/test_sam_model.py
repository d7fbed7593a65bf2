from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import napari_foundseg as fs
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.io.readers import read_image
from napari_foundseg.io.samples import sample
from napari_foundseg.models.device import half_precision
from napari_foundseg.models.protocols.objects import GridOptions


@pytest.fixture(scope="module")
def model() -> Any:
    return fs.load_model("foundseg-tiny")


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 60, (180, 230, 3), dtype=np.uint8)
    picture[50:90, 60:110] += 150
    return picture


def test_prompts_of_many_kinds_are_decoded_in_order(model: Any, picture: np.ndarray) -> None:
    """Alike prompts go through the network together; each gets what it gets alone."""
    mask = np.zeros(picture.shape[:2], bool)
    mask[50:90, 60:110] = True
    prompts = [
        Prompt(points=[(70, 80)]),
        Prompt(box=(50, 60, 89, 109)),
        Prompt(points=[(20, 30)]),
        Prompt(points=[(70, 80), (20, 20)], labels=[1, 0]),
        Prompt(mask=mask),
    ]
    encoded = model.encode(picture)
    together = model.decode(encoded, prompts, multimask=True)
    for prompt, found in zip(prompts, together, strict=True):
        alone = model.decode(encoded, [prompt], multimask=True)[0]
        assert found.logits.shape == (3, 180, 230)
        assert_allclose(found.predicted_iou, alone.predicted_iou, atol=1e-4)
        assert ((found.logits > 0) != (alone.logits > 0)).mean() < 1e-3


def test_a_mask_prompt_is_followed(model: Any, picture: np.ndarray) -> None:
    mask = np.zeros(picture.shape[:2], bool)
    mask[50:90, 60:110] = True
    found = model.decode(model.encode(picture), [Prompt(mask=mask)], multimask=False)[0].logits[0] > 0
    assert (found & mask).sum() / (found | mask).sum() > 0.5


def test_one_mask_is_asked_for_by_its_flag(model: Any, picture: np.ndarray) -> None:
    found = model.decode(model.encode(picture), [Prompt(points=[(70, 80)])], multimask=False)
    assert found[0].logits.shape == (1, 180, 230)


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.99])
def test_sifting_in_half_precision_changes_no_mask(model: Any, threshold: float) -> None:
    if half_precision(model.device) is None:
        pytest.skip("this processor is not faster in half precision, so that nothing is sifted")
    encoded = model.encode(read_image(sample("nuclei")).rgb())
    points = np.stack(np.meshgrid(*[(np.arange(10) + 0.5) / 10] * 2), -1).reshape(-1, 2)
    options = GridOptions(64, threshold, 0.5, 1.0)
    sifted = model.grid_masks(encoded, points, options, lambda: None)
    half, model._half = model._half, None
    try:
        expected = model.grid_masks(encoded, points, options, lambda: None)
    finally:
        model._half = half
    assert len(expected) > 3 or threshold > 0.9
    assert [m.box for m in sifted] == [m.box for m in expected]
    assert_allclose([m.predicted_iou for m in sifted], [m.predicted_iou for m in expected], atol=1e-5)
    assert all(np.array_equal(a.crop, b.crop) for a, b in zip(sifted, expected, strict=True))


def test_maps_have_the_pictures_size(model: Any, picture: np.ndarray) -> None:
    for part in (picture, picture[:40, :31], np.tile(picture, (2, 2, 1))):
        maps = model.instance_maps(np.ascontiguousarray(part))
        assert maps.shape == (3, *part.shape[:2])
        assert maps.dtype == np.float32
        assert maps.min() >= 0
        assert maps.max() <= 1
