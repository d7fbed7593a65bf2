"""Splitting an object with the built-in model, in Python."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

import napari_foundseg as fs
from napari_foundseg.core.errors import AxesError, PromptError


def pair() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Two long nuclei side by side without a waist: a dark seam tells them apart. Image and truth."""
    y, x = np.indices((96, 110))
    whole = ((y - 48) / 30) ** 2 + ((x - 55) / 34) ** 2 <= 1
    truth = np.where(whole, np.where(x < 47, 1, 2), 0).astype(np.int64)
    rng = np.random.default_rng(0)
    bright = np.where(whole, 150.0, 15.0)
    bright[whole & (np.abs(x - 47) <= 2)] = 70
    image = ndimage.gaussian_filter(bright, 1.2) + rng.normal(0, 3, whole.shape)
    return np.clip(image, 0, 255).astype(np.uint8), truth


def worst(labels: NDArray[Any], truth: NDArray[Any], ids: tuple[int, int]) -> float:
    return min(float(((labels == n) & (truth == i)).sum() / ((labels == n) | (truth == i)).sum())
               for n, i in zip(ids, (1, 2), strict=True))  # fmt: skip


def test_a_pair_is_split_by_what_the_model_sees() -> None:
    image, truth = pair()
    labels = np.where(truth > 0, 7, 0)
    labels[2:6, 2:6] = 3
    found = fs.split(image, labels, 7, [(30, 38), (66, 75)])
    assert worst(found.labels, truth, (7, 8)) > 0.9
    assert (found.labels[2:6, 2:6] == 3).all()
    assert sorted(found.table["label"]) == [3, 7, 8]
    told = found.provenance
    assert told["evidence"] == ["borders", "scores"]
    assert told["model"]["name"] == "foundseg-tiny"
    assert told["inputs"]["clicks"] == [[30, 38], [66, 75]]
    json.dumps(told)
    assert set(np.unique(labels)) == {0, 3, 7}, "what was given stays as it is"


def test_of_a_stack_the_slices_are_looked_at_one_by_one() -> None:
    image, truth = pair()
    stack = np.stack([image] * 3)
    labels = (np.stack([truth] * 3) > 0).astype(np.uint16)
    one = fs.split(stack, labels, 1, [(1, 30, 38), (1, 66, 75)], axes="ZYX")
    assert one.provenance["evidence"] == ["borders", "scores"]
    assert worst(one.labels, np.stack([truth] * 3), (1, 2)) > 0.85
    several = fs.split(stack, labels, 1, [(0, 30, 38), (2, 66, 75)], axes="ZYX")
    assert several.provenance["evidence"] == ["borders"]
    assert several.labels[0, 30, 38] == 1
    assert several.labels[2, 66, 75] == 2
    film = fs.split(stack, labels, 1, [(1, 30, 38), (1, 66, 75)], axes="TYX")
    np.testing.assert_array_equal(film.labels[[0, 2]], labels[[0, 2]])
    assert worst(film.labels[1], truth, (1, 2)) > 0.9


def test_what_cannot_be_split_is_named() -> None:
    image, truth = pair()
    labels = (truth > 0).astype(np.uint8)
    with pytest.raises(PromptError, match="once in each"):
        fs.split(image, labels, 1, [(48, 40)])
    with pytest.raises(PromptError, match="is not in object 1"):
        fs.split(image, labels, 1, [(48, 40), (1, 1)])
    with pytest.raises(PromptError, match="not in object 5"):
        fs.split(image, labels, 5, [(48, 40), (48, 70)])
    with pytest.raises(PromptError, match="3 coordinates"):
        fs.split(image, labels, 1, [(0, 48, 40), (0, 48, 70)])
    with pytest.raises(AxesError, match="shape"):
        fs.split(image[:50], labels, 1, [(48, 40), (48, 70)])
