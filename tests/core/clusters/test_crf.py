from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from napari_foundseg.core.clusters.crf import CRF, refine_with_crf


def _scene(side: int, *, grey: bool, seed: int = 0):
    """Three regions of different colour, and probabilities that are right in most pixels only."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((side, side), int)
    truth[side // 4 : 3 * side // 4, side // 4 :] = 1
    truth[side // 2 :, : side // 3] = 2
    colours = np.array([[60, 80, 60], [160, 120, 90], [90, 190, 120]])[truth] + rng.normal(0, 6, (side, side, 3))
    rgb = np.clip(colours, 0, 255).astype(np.uint8)
    rgb = np.repeat(rgb[..., :1], 3, 2) if grey else rgb
    logits = rng.normal(0, 1, (3, side, side)) + 2 * np.stack([truth == k for k in range(3)])
    return truth, rgb, np.exp(logits) / np.exp(logits).sum(0)


def _brute_force(p, rgb, crf: CRF):
    """The mean field, pixel by pixel, as the authors wrote it down."""
    _, height, width = p.shape
    places = list(itertools.product(range(height), range(width)))
    flat = p.reshape(len(p), -1)
    unary = np.log(np.clip(flat, 1e-5, 1))
    kernels = []
    for weight, kind in ((crf.gaussian_weight, "space"), (crf.bilateral_weight, "both")):
        kernel = np.zeros((len(places), len(places)))
        for i, (y, x) in enumerate(places):
            for j, (v, u) in enumerate(places):
                away = (y - v) ** 2 + (x - u) ** 2
                if kind == "space":
                    kernel[i, j] = math.exp(-away / (2 * crf.gaussian_sigma**2))
                else:
                    apart = sum((int(a) - int(b)) ** 2 for a, b in zip(rgb[y, x], rgb[v, u], strict=True))
                    of_space = away / (2 * crf.bilateral_sigma**2)
                    kernel[i, j] = math.exp(-of_space - apart / (2 * crf.colour_sigma**2))
        rows = kernel.sum(1)
        kernels.append((weight, kernel / np.sqrt(rows[:, None] * rows[None])))
    q = np.exp(unary) / np.exp(unary).sum(0)
    for _ in range(crf.iterations):
        energy = unary + sum(weight * q @ kernel.T for weight, kernel in kernels)
        q = np.exp(energy - energy.max(0))
        q /= q.sum(0)
    return q.reshape(p.shape)


@pytest.mark.parametrize("grey", [True, False])
def test_on_small_images_it_is_the_brute_force_mean_field(grey: bool) -> None:
    _, rgb, p = _scene(24, grey=grey)
    assert np.abs(refine_with_crf(p, rgb) - _brute_force(p, rgb, CRF())).max() < 1e-4


@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize(("space", "colour"), [(67, 3), (10, 20), (30, 13)])
def test_the_filters_stay_near_the_matrices(grey: bool, space: float, colour: float) -> None:
    _, rgb, p = _scene(40, grey=grey, seed=1)
    crf = CRF(bilateral_sigma=space, colour_sigma=colour)
    exact, fast = refine_with_crf(p, rgb, crf, exact=True), refine_with_crf(p, rgb, crf, exact=False)
    assert np.abs(exact - fast).mean() < 0.02
    assert (exact.argmax(0) == fast.argmax(0)).mean() > 0.995


def test_it_mends_what_is_wrong_and_keeps_the_borders() -> None:
    truth, rgb, p = _scene(64, grey=False, seed=2)
    before, after = (p.argmax(0) == truth).mean(), (refine_with_crf(p, rgb).argmax(0) == truth).mean()
    assert before < 0.92
    assert after > 0.99


def test_the_sparse_filter_of_large_images_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    _, rgb, p = _scene(64, grey=False, seed=3)
    dense = refine_with_crf(p, rgb)
    monkeypatch.setattr("napari_foundseg.core.clusters.crf._SPARSE_PIXELS", 100)
    assert (refine_with_crf(p, rgb).argmax(0) == dense.argmax(0)).mean() > 0.99


def test_probabilities_of_one_class_and_of_one_pixel_come_back() -> None:
    np.testing.assert_allclose(refine_with_crf(np.ones((1, 5, 6)), np.zeros((5, 6, 3), np.uint8)), 1)
    np.testing.assert_allclose(refine_with_crf(np.full((2, 1, 1), 0.5), np.zeros((1, 1, 3), np.uint8)), 0.5)


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="probabilities are"):
        refine_with_crf(np.ones((2, 4, 4)), np.zeros((4, 5, 3), np.uint8))


def test_it_can_be_stopped() -> None:
    def poll() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        refine_with_crf(np.full((2, 4, 4), 0.5), np.zeros((4, 4, 3), np.uint8), poll=poll)
