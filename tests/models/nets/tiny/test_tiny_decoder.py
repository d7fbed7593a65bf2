"""The fast decoder of foundseg-tiny against the network itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

import napari_foundseg as fs
from napari_foundseg.io.readers import read_image
from napari_foundseg.io.samples import sample
from napari_foundseg.models.nets.tiny.tiny_decoder import FastTinyDecoder


@pytest.fixture(scope="module")
def model() -> Any:
    return fs.load_model("foundseg-tiny")


@pytest.fixture(scope="module")
def features(model: Any) -> torch.Tensor:
    return model.encode(read_image(sample("nuclei")).rgb()).features


def prompts_of(kind: str) -> tuple[Any, torch.Tensor | None]:
    """Return 6 prompts of a kind: more than are decoded at once."""
    rng = np.random.default_rng(0)
    xy = torch.as_tensor(rng.uniform(0, 256, (6, 2, 2)), dtype=torch.float32)
    corners = torch.as_tensor(np.sort(rng.uniform(0, 256, (6, 2, 2)), axis=1).reshape(6, 4), dtype=torch.float32)
    points = {
        "click": (xy[:, :1], torch.ones(6, 1, dtype=torch.int)),
        "background": (xy, torch.tensor([[1, 0]] * 6)),
        "box": None,
        "click in a box": (xy[:, :1], torch.ones(6, 1, dtype=torch.int)),
    }[kind]
    return points, corners if "box" in kind else None


@pytest.mark.parametrize("several", [True, False])
@pytest.mark.parametrize("kind", ["click", "background", "box", "click in a box"])
def test_it_decodes_what_the_network_decodes(model: Any, features: torch.Tensor, kind: str, several: bool) -> None:
    sam = model.sam
    points, boxes = prompts_of(kind)
    fast = FastTinyDecoder.of(sam)
    assert fast is not None
    with torch.inference_mode():
        sparse, dense = sam.prompt_encoder(points=points, boxes=boxes, masks=None)
        expected, iou = sam.mask_decoder(
            features, sam.prompt_encoder.get_dense_pe(), sparse, dense, multimask_output=several
        )
        kinds = slice(1, None) if several else slice(0, 1)
        found, found_iou, made = fast.decode(fast.picture(features), points, boxes, kinds)
    assert bool(made.all())
    assert expected.std() > 1
    assert_allclose(found.view_as(expected), expected, atol=1e-4 * float(expected.std()))
    assert_allclose(found_iou, iou, atol=1e-5)


@pytest.mark.parametrize("kind", ["click", "box"])
def test_half_precision_is_near(model: Any, features: torch.Tensor, kind: str) -> None:
    points, boxes = prompts_of(kind)
    exact, half = FastTinyDecoder.of(model.sam), FastTinyDecoder.of(model.sam, torch.bfloat16)
    assert exact is not None
    assert half is not None
    with torch.inference_mode():
        expected, iou, _ = exact.decode(exact.picture(features), points, boxes, slice(1, None))
        found, found_iou, _ = half.decode(half.picture(features), points, boxes, slice(1, None))
    assert found.dtype == found_iou.dtype == torch.float32
    assert ((found > 0) != (expected > 0)).float().mean() < 0.01
    assert_allclose(found_iou, iou, atol=0.06)


def test_only_wanted_masks_are_returned(model: Any, features: torch.Tensor) -> None:
    points, _ = prompts_of("click")
    fast = FastTinyDecoder.of(model.sam)
    assert fast is not None
    with torch.inference_mode():
        picture = fast.picture(features)
        every, iou, _ = fast.decode(picture, points, None, slice(1, None))
        best = float(iou.median())
        some, again, made = fast.decode(picture, points, None, slice(1, None), lambda found: found > best)
    assert 0 < len(some) == int(made.sum()) < len(every)
    assert_allclose(again, iou)
    assert_allclose(some, every[(iou > best).flatten()])


def test_another_network_has_no_fast_decoder(model: Any) -> None:
    class Another(type(model.sam.mask_decoder)):  # type: ignore[misc]
        """Whose results nobody knows."""

    kept = model.sam.mask_decoder
    model.sam.mask_decoder = Another()
    try:
        assert FastTinyDecoder.of(model.sam) is None
    finally:
        model.sam.mask_decoder = kept
