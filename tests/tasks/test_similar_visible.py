"""Examples of *Find similar* on bare ground are named, and objects of any kind are not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage.data import coins
from skimage.measure import label

import napari_foundseg as fs
from napari_foundseg.tasks.notes import notes_of
from napari_foundseg.tasks.similar.visible import stands_out

_DISC = np.hypot(*(np.mgrid[:96, :96] - 48)) < 14


def _ground(deviation: float, seed: int = 0) -> NDArray[np.float64]:
    return 60 + np.random.default_rng(seed).normal(0, deviation, (96, 96)) if deviation else np.full((96, 96), 60.0)


def _rgb(grey: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("deviation", [0, 1, 5, 20])
@pytest.mark.parametrize("seed", range(3))
def test_bare_ground_does_not_stand_out(deviation: float, seed: int) -> None:
    assert not stands_out(_rgb(_ground(deviation, seed)), _DISC)


def test_a_gradient_of_the_ground_does_not_stand_out() -> None:
    assert not stands_out(_rgb(_ground(2) + np.linspace(0, 20, 96)), _DISC)


_OBJECTS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "bright": lambda ground: ground + 30 * _DISC,
    "dark": lambda ground: ground - 15 * _DISC,
    "faint": lambda ground: ground + 8 * _DISC,
    "a rim alone": lambda ground: ground + 25 * (_DISC & ~ndimage.binary_erosion(_DISC, iterations=2)),
    "a texture of the same brightness": lambda ground: (
        ground + _DISC * np.random.default_rng(9).normal(0, 25, ground.shape)
    ),
}


@pytest.mark.parametrize("kind", _OBJECTS)
@pytest.mark.parametrize("deviation", [0, 3])
def test_objects_stand_out(kind: str, deviation: float) -> None:
    assert stands_out(_rgb(_OBJECTS[kind](_ground(deviation))), _DISC)


def test_small_objects_and_those_of_one_colour_stand_out() -> None:
    small = np.zeros((96, 96), bool)
    small[40:43, 40:42] = True
    assert stands_out(_rgb(_ground(2) + 40 * small), small)
    red = _rgb(_ground(2))
    red[..., 0] = np.where(_DISC, red[..., 0] + 40, red[..., 0])
    assert stands_out(red, _DISC)
    assert stands_out(_rgb(_ground(2)), np.ones((96, 96), bool)), "nothing is around it"


def _picture() -> NDArray[np.uint8]:
    made = _ground(3)
    for y, x in ((24, 24), (24, 70), (70, 24)):
        made[np.hypot(*(np.mgrid[:96, :96] - np.array([y, x])[:, None, None])) < 9] += 120
    return np.clip(made, 0, 255).astype(np.uint8)


def test_an_example_on_bare_ground_is_named_in_the_result_and_good_ones_are_not() -> None:
    image = _picture()
    empty = np.zeros(image.shape, bool)
    empty[66:78, 66:78] = True
    good = fs.Prompt(box=[14, 14, 34, 34])
    found = fs.find_similar(image, [good, fs.Prompt(mask=empty)])
    assert any(note.startswith("Example 2 shows nothing that differs") for note in notes_of(found.provenance))
    assert "notes" not in fs.find_similar(image, good).provenance


def test_every_coin_is_a_good_example() -> None:
    image = coins()
    found = label(ndimage.binary_opening(ndimage.binary_fill_holes(image > 110), iterations=3))
    sizes = np.bincount(found.ravel())
    shown = [number for number in range(1, len(sizes)) if 500 < sizes[number] < 5000]
    assert len(shown) > 10
    assert all(stands_out(_rgb(image.astype(float)), found == number) for number in shown)
