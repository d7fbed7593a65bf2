"""Images of which one side is a few pixels: every task has a result of the image's shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_foundseg as fs
from napari_foundseg.models.importing import import_model
from tests.support import tiny_checkpoints

SHAPES = pytest.mark.parametrize("shape", [(1, 1), (1, 300), (5, 3000), (300, 2)])


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FOUNDSEG_CACHE", "FOUNDSEG_MODELS"):
        monkeypatch.setenv(name, str(tmp_path / name))


def line(shape: tuple[int, int]) -> Any:
    """Return a dark picture with a bright piece in its first half."""
    pixels = np.random.default_rng(0).integers(0, 30, shape).astype(np.uint8)
    pixels[: shape[0] // 2 + 1, : shape[1] // 2 + 1] = 220
    return pixels


@SHAPES
@pytest.mark.parametrize("tile", [True, False])
def test_a_click_and_a_box_make_a_mask(shape: tuple[int, int], tile: bool) -> None:
    pixels = line(shape)
    place = shape[0] // 4, shape[1] // 4
    box = (0, 0, shape[0] // 2, shape[1] // 2)
    found = fs.prompt(pixels, [fs.Prompt(points=[place]), fs.Prompt(box=box)], tile=tile)
    assert found.labels.shape == shape
    assert len(found.table) == 2
    if max(shape) > 1:
        assert found.labels.any()


@SHAPES
@pytest.mark.parametrize(
    ("task", "settings"),
    [
        ("automatic", {"method": "grid", "points_per_side": 4}),
        ("automatic", {"method": "decoder"}),
        ("panoptic", {}),
        ("cluster", {"n_clusters": 2, "method": "kmeans"}),
    ],
)
def test_every_pixel_is_looked_at(shape: tuple[int, int], task: str, settings: dict[str, Any]) -> None:
    found = getattr(fs, task)(line(shape), **settings)
    assert found.labels.shape == shape
    if task == "cluster":
        assert found.labels.all()


@SHAPES
def test_words_find_and_name_things(shape: tuple[int, int], tmp_path: Path) -> None:
    clipseg = import_model(tiny_checkpoints.write("CLIPSegForImageSegmentation", tmp_path / "a"), name="words").name
    clip = import_model(tiny_checkpoints.write("CLIPModel", tmp_path / "b"), name="names").name
    found = fs.text(line(shape), ["cell", "debris"], model=clipseg)
    assert found.labels.shape == found.semantic.shape == shape
    named = fs.name_masks(line(shape), np.ones(shape, np.uint16), ["cell", "debris"], model=clip)
    assert len(named.table) == 1


@SHAPES
def test_classes_are_found(shape: tuple[int, int], tmp_path: Path) -> None:
    model = import_model(
        tiny_checkpoints.write("Mask2FormerForUniversalSegmentation", tmp_path / "a"), name="classes"
    ).name
    assert fs.semantic(line(shape), model=model).labels.shape == shape
    assert fs.panoptic(line(shape), model=model).labels.shape == shape
