"""Channels by number and name, images that look like something else, and lists of images that are no pyramid."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import napari_foundseg as fs
from napari_foundseg.core.errors import AxesError, BadImageError
from napari_foundseg.core.image import Image


@pytest.fixture
def cells() -> Image:
    planes = np.stack([np.full((16, 20), value, np.uint16) for value in (1, 2, 3)])
    return Image(planes, "CYX", channel_names=("DAPI", "GFP ", "488"))


@pytest.mark.parametrize(
    ("chosen", "numbers", "words"),
    [
        (None, (0,), "channel 1 of 3 (DAPI)"),
        (2, (2,), "channel 3 of 3 (488)"),
        ("dapi", (0,), "channel 1 of 3 (DAPI)"),
        ("GFP", (1,), "channel 2 of 3 (GFP)"),
        ("2", (2,), "channel 3 of 3 (488)"),
        ("488", (2,), "channel 3 of 3 (488)"),
        (("GFP", 0), (1, 0), "channels 2, 1 of 3 (GFP, DAPI)"),
    ],
)
def test_channels_are_chosen_by_number_or_name(cells: Image, chosen: Any, numbers: tuple[int, ...], words: str) -> None:
    image = replace(cells, channels=chosen)
    assert image.channels == numbers
    assert image.channel_choice == words
    assert (image.raw()[..., 0] if len(numbers) > 1 else image.raw()).min() == numbers[0] + 1


@pytest.mark.parametrize(("chosen", "words"), [("YFP", "'DAPI', 'GFP', '488'"), ("7", "0 to 2"), (3, "0 to 2")])
def test_a_channel_that_is_not_there_is_named(cells: Image, chosen: Any, words: str) -> None:
    with pytest.raises(AxesError, match=words):
        replace(cells, channels=chosen)


def test_there_is_nothing_to_choose_among_colours_or_in_one_channel() -> None:
    rgb = Image(np.zeros((16, 20, 3), np.uint8))
    assert rgb.channel_choice == ""
    assert replace(rgb, channels=1).channel_choice == "channel 2 of 3 (green)"
    assert Image(np.zeros((16, 20), np.uint8)).channel_choice == ""
    assert Image(np.zeros((1, 16, 20), np.uint8), "CYX").channel_choice == ""


def test_objects_belong_to_an_image_whichever_channel_is_used(cells: Image) -> None:
    assert replace(cells, channels=2).identity() == cells.identity() == cells.fingerprint()
    assert replace(cells, channels=2).fingerprint() != cells.fingerprint()


def test_a_result_says_which_channel_it_is_of(cells: Image) -> None:
    found = fs.automatic(replace(cells, channels="GFP"))
    assert found.channel_choice == "channel 2 of 3 (GFP)"
    assert found.provenance["image"]["channels"] == [1]
    assert fs.automatic(cells.only_channel().levels[0]).channel_choice == ""


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((64, 80, 1), "YXC"),
        ((64, 80, 2), "YXC"),
        ((64, 80, 3), "YXC"),
        ((64, 80, 4), "YXC"),
        ((64, 80, 5), "ZYX"),
        ((1, 64, 80), "ZYX"),
        ((2, 64, 80), "ZYX"),
        ((5, 64, 80, 1), "ZYXC"),
        ((3, 4, 1), "ZYX"),
        ((64, 1), "YX"),
    ],
)
def test_the_axes_of_a_bare_array(shape: tuple[int, ...], axes: str) -> None:
    image = Image(np.zeros(shape, np.uint8))
    assert image.axes == axes
    assert image.rgb((0,) * len(image.slice_axes)).shape == (*image.plane_shape, 3)


def arrays(*shapes: tuple[int, ...]) -> list[np.ndarray[Any, Any]]:
    return [np.zeros(shape, np.uint8) for shape in shapes]


@pytest.mark.parametrize(
    "shapes",
    [
        [(512, 400), (256, 200), (128, 100)],
        [(513, 401), (257, 201), (129, 101), (65, 51)],
        [(513, 401), (256, 200), (128, 100), (64, 50)],
        [(1024, 800), (256, 200), (64, 50), (32, 25)],
        [(300, 210), (100, 70)],
        [(40, 3), (20, 1), (10, 1), (5, 1)],
    ],
)
def test_levels_that_shrink_by_one_factor_are_a_pyramid(shapes: list[tuple[int, ...]]) -> None:
    assert len(Image(arrays(*shapes)).levels) == len(shapes)


@pytest.mark.parametrize(
    "shapes",
    [
        [(512, 400), (256, 100)],
        [(512, 400), (400, 300)],
        [(512, 400), (512, 200)],
        [(512, 400), (300, 400), (100, 100)],
        [(64, 64), (16, 17), (8, 2)],
    ],
)
def test_a_list_of_other_images_is_refused(shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(BadImageError, match="not a pyramid"):
        Image(arrays(*shapes))
