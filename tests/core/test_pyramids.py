"""Prompts go to a coarser level, masks and labels come back to the finest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Mask, iou
from napari_foundseg.core.object_table import object_table
from napari_foundseg.core.painting import Painting
from napari_foundseg.core.prompts import Prompt
from napari_foundseg.core.pyramids import Level, fitting_level
from napari_foundseg.core.result import Segmentation


def pyramid(shape: tuple[int, ...] = (400, 600), factors: tuple[int, ...] = (1, 2, 4), axes: str = "YX") -> Image:
    return Image(
        [np.zeros((*shape[:-2], shape[-2] // f, shape[-1] // f), np.uint16) for f in factors], axes, spacing={"Y": 0.5}
    )


def disc(shape: tuple[int, int], y: float, x: float, radius: float) -> np.ndarray[Any, Any]:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


@pytest.mark.parametrize(("pixel", "level"), [(0.2, 0), (1, 0), (1.9, 1), (3, 1), (4, 2), (99, 2)])
def test_the_coarsest_level_that_shows_what_is_wanted(pixel: float, level: int) -> None:
    assert fitting_level(pyramid(), pixel) == level
    assert fitting_level(Image(np.zeros((9, 9))), pixel) == 0


def test_levels_that_lose_slices_are_not_worked_at() -> None:
    image = Image([np.zeros((8, 64, 64)), np.zeros((8, 32, 32)), np.zeros((4, 16, 16))], "ZYX")
    assert image.usable_levels == [0, 1]
    assert image.at_level(1).shape == (8, 32, 32)
    assert pyramid().at_level(2).spacing == {"Y": 2.0}
    assert image.at_level(0) is image


@given(y=st.integers(0, 399), x=st.integers(0, 599), number=st.sampled_from([0, 1, 2]))
def test_a_point_lies_in_the_pixel_that_covers_it(y: int, x: int, number: int) -> None:
    level = Level(pyramid(), number)
    (place,) = level.prompt(Prompt([(y, x)])).points
    factor = 2**number
    assert [int(np.floor(v + 0.5)) for v in place] == [y // factor, x // factor]
    assert level.region((y, x, 399, 599)) == (y // factor, x // factor, 400 // factor - 1, 600 // factor - 1)


@given(y=st.integers(60, 340), x=st.integers(60, 540), radius=st.floats(16, 50), number=st.sampled_from([1, 2]))
def test_a_mask_there_and_back_is_the_mask(y: int, x: int, radius: float, number: int) -> None:
    level, shape = Level(pyramid(), number), (400, 600)
    whole = disc(shape, y, x, radius)
    coarse = level.prompt(Prompt(mask=whole, index=())).mask
    mask = Mask.from_array(coarse, predicted_iou=0.5, stability_score=0.25)
    fine = level.mask(mask)
    assert iou(fine, Mask.from_array(whole)) > 0.85
    assert (fine.predicted_iou, fine.stability_score) == (0.5, 0.25)


@given(pixels=st.lists(st.tuples(st.integers(0, 99), st.integers(0, 149)), min_size=1, max_size=9))
def test_every_pixel_of_a_mask_is_kept_where_it_is(pixels: list[tuple[int, int]]) -> None:
    level, coarse = Level(pyramid(), 2), np.zeros((100, 150), bool)
    coarse[tuple(np.transpose(pixels))] = True
    fine = level.mask(Mask.from_array(coarse, index=()))
    whole = np.zeros((400, 600), bool)
    y0, x0, y1, x1 = fine.box
    whole[y0 : y1 + 1, x0 : x1 + 1] = fine.crop
    for y, x in pixels:
        assert whole[4 * y + 1 : 4 * y + 3, 4 * x + 1 : 4 * x + 3].all()
    grown = np.pad(coarse, 1)
    near = np.logical_or.reduce([grown[a : a + 100, b : b + 150] for a in range(3) for b in range(3)])
    assert not (whole & ~np.repeat(np.repeat(near, 4, 0), 4, 1)).any()


def test_labels_come_back_with_their_table() -> None:
    image = pyramid((2, 400, 600), axes="ZYX")
    level = Level(image, 2)
    labels = np.zeros((2, 100, 150), np.uint16)
    labels[1, 10:20, 30:50] = 1
    table = object_table(labels, "ZYX", predicted_iou=[0.5], stability_score=[1.0])
    masks = (Mask((10, 30, 19, 49), np.ones((10, 20), bool), 0.5, index=(1,)),)
    found = level.result(Segmentation(labels, table, provenance={"task": "automatic"}, masks=masks))
    assert found.labels.shape == (2, 400, 600)
    assert found.labels[1, 40:80, 120:200].all()
    assert (found.labels > 0).sum() == 40 * 80
    assert found.table.loc[0, ["area", "y0", "x0", "y1", "x1", "z"]].tolist() == [3200, 40, 120, 79, 199, 1]
    assert found.provenance["level"] == 2
    painted = level.result(Segmentation(Painting((2, 100, 150), "ZYX", masks), table, masks=masks))
    assert painted.masks is not None
    assert painted.masks[0].index == (1,)
    assert painted.table.loc[0, "area"] == painted.masks[0].area
    assert 3100 < painted.masks[0].area <= 3200
    assert painted.labels.shape == (2, 400, 600)


def test_prompts_of_every_kind_at_a_level() -> None:
    level = Level(pyramid((2, 400, 600), axes="ZYX"), 1)
    prompt = level.prompt(Prompt([(1, 10, 20)], [0], box=(1, 0, 0, 1, 399, 599)))
    assert prompt.points == ((1, 4.75, 9.75),)
    assert prompt.labels == (0,)
    assert prompt.box == (1, -0.25, -0.25, 1, 199.25, 299.25)
    thin = np.zeros((400, 600), bool)
    thin[101, 301] = True
    assert np.argwhere(level.prompt(Prompt(mask=thin, index=(1,))).mask).tolist() == [[50, 150]]
