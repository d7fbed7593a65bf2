"""Fast mode of the point grid: the objects of exact mode, with fewer questions to the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import napari_foundseg as fs
from napari_foundseg.core.contrast import Limits
from napari_foundseg.core.image import Image
from napari_foundseg.core.measuring.comparison import match_objects
from napari_foundseg.io.readers import read_image
from napari_foundseg.io.samples import sample
from napari_foundseg.models import catalog
from napari_foundseg.tasks.windows import point_grid
from napari_foundseg.tasks.windows.point_grid import grid_passes


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[int]]:
    """Return a function that counts the points at which a model is asked from now on."""

    def counted(model: Any) -> list[int]:
        counts = [0]
        original = type(model).grid_masks

        def grid_masks(self: Any, embedding: Any, points: NDArray[np.float64], *others: Any) -> Any:
            counts[0] += len(points)
            return original(self, embedding, points, *others)

        monkeypatch.setattr(type(model), "grid_masks", grid_masks)
        return counts

    return counted


def squares() -> tuple[NDArray[np.uint8], Image]:
    truth = np.zeros((128, 128), np.uint8)
    truth[8:60, 8:60], truth[70:120, 20:110] = 1, 2
    picture = np.repeat((truth > 0)[..., None], 3, -1).astype(np.uint8) * 255
    return truth, Image(picture, normalisation=Limits(low=0, high=255))


@pytest.mark.parametrize("decodes", [True, False])
def test_what_is_found_is_not_asked_for_again(
    oracle: Any, asked: Callable[[Any], list[int]], monkeypatch: pytest.MonkeyPatch, decodes: bool
) -> None:
    truth, image = squares()
    counts = asked(oracle)
    if not decodes:
        without = replace(catalog.row("foundseg-tiny"), protocols=("PointGrid",))
        monkeypatch.setattr(point_grid, "row", lambda _: without)
    found = fs.automatic(image, model=oracle, method="grid", mode="fast", points_per_side=16)
    assert ((found.labels > 0) == (truth > 0)).all()
    covered = (truth > 0).mean() * 256
    # Without a decoder every point of the background is tried, with one none is.
    assert counts[0] < (20 if decodes else 256 - covered + 20)


def test_every_point_is_in_one_pass() -> None:
    for per_side in (1, 5, 32):
        passes = grid_passes(per_side, fast=True)
        every = np.concatenate(passes)
        assert len(np.unique(every, axis=0)) == len(every) == per_side**2
        assert np.array_equal(np.sort(every, axis=0), np.sort(grid_passes(per_side, fast=False)[0], axis=0))


def test_on_real_nuclei_it_finds_what_exact_mode_finds(asked: Callable[[Any], list[int]]) -> None:
    image, model = read_image(sample("nuclei")), fs.load_model("foundseg-tiny")
    counts = asked(model)
    options = {"method": "grid", "points_per_side": 16, "tile": False}
    exact = fs.automatic(image, model=model, **options)
    of_exact, counts[0] = counts[0], 0
    fast = fs.automatic(image, model=model, mode="fast", **options)
    assert (of_exact, counts[0] < 128) == (256, True)
    assert len(exact) > 10
    matching = match_objects(exact.labels, fast.labels)
    panoptic_quality = matching.iou[matching.iou > 0.5].sum() / ((len(exact) + len(fast)) / 2)
    assert panoptic_quality > 0.9
