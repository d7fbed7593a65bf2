"""Panoptic-DeepLab in detectron2's published layout equals a second composition, written for the tests."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.io import imread

import napari_foundseg as fs
from napari_foundseg.core.contrast import Limits
from napari_foundseg.core.errors import CheckpointError, SettingsError
from napari_foundseg.io.samples import sample
from napari_foundseg.models import loading
from napari_foundseg.models.catalog import CatalogRow, packaged, save_row
from napari_foundseg.models.class_sets import CLASS_SETS
from napari_foundseg.models.families.classes.panoptic_deeplab import FAMILY, recognise
from napari_foundseg.models.family import WeightsView
from napari_foundseg.models.importing import import_model
from napari_foundseg.models.loading import load_model
from tests.support import detectron2_layout

#: Cityscapes' classes that come in objects, by their numbers in the weights.
THINGS = set(range(11, 19))
AS_IT_IS = {"shorter": 0, "longest": 1024, "crop": [], "nms_kernel": 7, "stuff_area": 30}


TINY_WEIGHTS = {
    # Not as many classes as a published model has, so that pictures are not resized to its size.
    "panoptic_deeplab": lambda folder: [
        detectron2_layout.write(detectron2_layout.random_weights(5, separable=True), folder / "model_final.pkl")
    ]
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loading, "_loaded", OrderedDict())


def tissue() -> NDArray[np.uint8]:
    return np.ascontiguousarray(imread(sample("tissue"))[:60, :70, :3])


def seen(pixels: NDArray[np.uint8], axes: str = "YXC") -> fs.Image:
    """Return an image that models see as it is."""
    return fs.Image(pixels, axes, normalisation=Limits(low=0, high=255))


def imported(folder: Path, weights: dict[str, Any], **options: Any) -> CatalogRow:
    """Import weights; pictures are resized to what the test says, since 1024 pixels would take seconds."""
    row = import_model(detectron2_layout.write(weights, folder / "model_final.pkl"))
    changed = replace(row, options={**row.options, **options})
    save_row(changed)
    return changed


def same_maps(found: NDArray[Any], expected: torch.Tensor) -> None:
    """Compare within 5e-4 of how far the map's values spread: two orders of summation through fifty layers."""
    spread = float(expected.std())
    assert spread > 0.05, "a map of one value would prove nothing"
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=5e-4 * spread)


def same_objects(found: NDArray[Any], expected: NDArray[Any]) -> bool:
    pairs = np.unique(np.stack([found.ravel(), expected.ravel()]), axis=1)
    return bool(pairs.shape[1] == len(np.unique(pairs[0])) == len(np.unique(pairs[1])))


@pytest.mark.parametrize("separable", [True, False])
def test_a_published_file_gives_what_the_description_gives(tmp_path: Path, separable: bool) -> None:
    rgb = tissue()
    weights = detectron2_layout.lively(detectron2_layout.random_weights(19, separable=separable), rgb)
    row = imported(tmp_path, weights, **AS_IT_IS)
    assert (row.family, row.classes) == ("panoptic_deeplab", CLASS_SETS["Cityscapes"])
    with torch.inference_mode():
        logits, centres, offsets = detectron2_layout.Reference(weights).maps(rgb)
    found = load_model(row.name).centre_maps(rgb)
    same_maps(found.centres, centres)
    same_maps(found.offsets, offsets)
    semantic = logits.argmax(0).numpy()
    assert len(np.unique(semantic)) > 3
    assert np.array_equal(found.semantic, semantic + 1)
    assert np.array_equal(fs.semantic(seen(rgb), model=row.name).labels, semantic + 1)

    threshold = 0.25
    # Of the very same maps: where a pixel points midway between two centres, a last digit decides.
    maps = (torch.as_tensor(part) for part in (semantic, found.centres, found.offsets))
    classes, objects = detectron2_layout.panoptic(*maps, THINGS, threshold=threshold, kernel=5, stuff_area=30)
    assert objects.max() > 3
    # Random weights leave level ground in the heat map, each pixel of which is as high as any around it.
    options: dict[str, Any] = {"model": row.name, "centre_threshold": threshold, "nms_kernel": 5, "top_k": 5000}
    result = fs.panoptic(seen(rgb), **options)
    assert result.semantic is not None
    assert np.array_equal(result.semantic.astype(int) - 1, classes)
    assert same_objects(result.labels, objects)
    assert result.provenance["grouping"]["stuff_area"] == 30
    assert np.array_equal(fs.replay(result.provenance, rgb).labels, result.labels)
    stack = fs.panoptic(seen(np.stack([rgb, rgb]), "ZYXC"), link=True, **options)
    assert len(stack) == len(result), "the same in both slices is one object"
    assert np.array_equal(stack.labels[0] > 0, result.labels > 0)


@pytest.mark.parametrize("shape", [(60, 70), (30, 70)])
def test_pictures_are_resized_and_padded_as_published(tmp_path: Path, shape: tuple[int, int]) -> None:
    """The pooling of the published weights sees as much as one crop of training."""
    weights = detectron2_layout.random_weights(19, separable=True)
    row = imported(tmp_path, weights, **AS_IT_IS | {"shorter": 48, "longest": 96, "crop": [32, 64]})
    rgb = tissue()[: shape[0]]
    size = (48, 56) if shape == (60, 70) else (41, 96)
    with torch.inference_mode():
        logits, centres, offsets = detectron2_layout.Reference(weights, (32, 64)).maps(rgb, size)
    found = load_model(row.name).centre_maps(rgb)
    same_maps(found.centres, centres)
    same_maps(found.offsets, offsets)
    assert np.array_equal(found.semantic, logits.argmax(0).numpy() + 1)


@pytest.mark.parametrize(
    ("name", "classes", "separable"),
    [
        ("panoptic-deeplab-cityscapes", 19, False),
        ("panoptic-deeplab-cityscapes-separable", 19, True),
        ("panoptic-deeplab-coco", 133, True),
    ],
)
def test_the_published_files_are_known_by_their_tensors(name: str, classes: int, separable: bool) -> None:
    shapes = detectron2_layout.layout(classes, separable=separable)
    named = {f"model.{key}": shape for key, shape in shapes.items()}
    fields = recognise(WeightsView(Path("model_final.pkl"), named, {}))
    row = packaged()[name]
    assert fields is not None
    assert fields["options"] == row.options, "a file of that name is taken for the published one"
    assert fields["classes"] == row.classes
    assert row.protocols == FAMILY.protocols
    assert row.size_mb == pytest.approx(sum(int(np.prod(shape)) for shape in shapes.values()) * 4 / 1e6, rel=0.01)


def test_weights_of_another_training_take_pictures_as_they_are(tmp_path: Path) -> None:
    weights = detectron2_layout.random_weights(4, separable=True)
    row = import_model(detectron2_layout.write(weights, tmp_path / "mine.pkl", protocol=4))
    assert row.classes == ("class 0", "class 1", "class 2", "class 3")
    with torch.inference_mode():
        logits, _, _ = detectron2_layout.Reference(weights).maps(tissue())
    assert np.array_equal(fs.semantic(seen(tissue()), model=row.name).labels, logits.argmax(0).numpy() + 1)
    with pytest.raises(SettingsError, match="nms_kernel = 4"):
        fs.panoptic(tissue(), model=row.name, nms_kernel=4)


def test_an_incomplete_file_is_named(tmp_path: Path) -> None:
    weights = detectron2_layout.random_weights(4, separable=True)
    for lacking, words in (
        ("backbone.res3.1.conv2.weight", r"missing or of odd shapes.*res3\.1\.conv2"),
        ("backbone.res3.1.conv2.norm.running_mean", r"lacks 1 of \d+ tensors"),
    ):
        part = {name: value for name, value in weights.items() if name != lacking}
        row = import_model(detectron2_layout.write(part, tmp_path / f"{len(words)}.pkl"))
        with pytest.raises(CheckpointError, match=words):
            load_model(row.name)
    row = import_model(detectron2_layout.write(weights, tmp_path / "whole.pkl"))
    save_row(replace(row, classes=("a", "b")))
    with pytest.raises(CheckpointError, match="has 4 classes, and its row names 2"):
        load_model(row.name)
