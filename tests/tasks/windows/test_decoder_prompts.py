"""Prompts from the decoder's maps: as micro-sam itself makes them (frozen by tests/oracles), and what users get."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

import napari_foundseg as fs
from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Mask
from napari_foundseg.io.samples import sample
from napari_foundseg.tasks.automatic_settings import PromptsSettings
from napari_foundseg.tasks.windows.decoder_prompts import kept_masks, prompt_points, prompted_masks
from tests.support.frozen_arrays import read_arrays
from tests.support.random_maps import random_discs, random_maps

#: Written by tests/oracles/apg_outputs.py.
_MICRO_SAM = read_arrays(Path(__file__).parents[2] / "data" / "apg.npz")
OWN = {"foreground_threshold": 0.5, "centre_threshold": 0.5, "boundary_threshold": 0.5}


@pytest.mark.parametrize("seed", range(4))
def test_clicks_are_where_micro_sam_puts_them(seed: int) -> None:
    maps = random_maps(seed)
    expected = _MICRO_SAM[f"points {seed}"]
    points, boxes = prompt_points(maps, **OWN)
    assert len(points) == len(expected) > 5
    # Where several pixels are equally deep, or a part has none that is deep, either may be taken.
    deep = (maps[1] < 0.5) & (maps[2] < 0.5) & (maps[0] >= 0.5)
    parts = ndimage.label(deep)[0]
    assert set(parts[tuple(points.T)]) == set(parts[tuple(expected.T)]) == set(range(1, len(points) + 1))
    far = [np.linalg.norm(expected - point, axis=1).min() for point in points]
    assert np.mean(np.array(far) <= 1.5) >= 0.8
    assert all(b[0] <= y <= b[2] and b[1] <= x <= b[3] for (y, x), b in zip(points, boxes, strict=True))


@pytest.mark.parametrize("threshold", [0.4, 0.9])
@pytest.mark.parametrize("seed", range(4))
def test_suppression_keeps_what_micro_sam_keeps(seed: int, threshold: float) -> None:
    """Best first by predicted IoU times stability; a mask whose IoU with a kept one is above the threshold goes."""
    arrays, scores = random_discs(seed)
    masks = [Mask.from_array(a, predicted_iou=s, stability_score=1.0) for a, s in zip(arrays, scores, strict=True)]
    settings = PromptsSettings(mask_nms_thresh=threshold, min_area=25, pred_iou_thresh=0)
    found = [masks.index(mask) for mask in kept_masks(masks, settings)]
    assert found == _MICRO_SAM[f"kept {seed} {threshold}"].tolist()


def _disc(centre: tuple[float, float], radius: float, score: float, shape: tuple[int, int] = (80, 80)) -> Mask:
    y, x = np.mgrid[: shape[0], : shape[1]]
    inside = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2
    return Mask.from_array(inside, predicted_iou=score, stability_score=1.0)


class _Discs:
    """A model whose mask of a click is the disc that is drawn there; its maps are deep at every disc's centre."""

    name = "foundseg-tiny"
    key = "discs@0"
    device = "cpu"
    maps_window = 512

    def __init__(self, window: int = 64) -> None:
        self.window = window
        self.asked: list[tuple[int, int]] = []

    def encode(self, rgb: NDArray[np.uint8]) -> Any:
        return rgb[..., 0].copy()

    def instance_maps(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        inside = rgb[..., 0] > 60
        parts, count = ndimage.label(inside)
        depth = ndimage.distance_transform_edt(inside)
        most = np.array([1, *(ndimage.maximum(depth, parts, range(1, count + 1)) if count else [])])[parts]
        far = np.where(inside, 1 - depth / most, 1)
        return np.stack([inside, far, far]).astype(np.float32)

    def decode(self, embedding: Any, prompts: Sequence[fs.Prompt], *, multimask: bool) -> list[Any]:
        from napari_foundseg.models.protocols.objects import Candidates

        assert not multimask
        self.asked += [embedding.shape] * len(prompts)
        parts = ndimage.label(embedding > 60)[0]
        found = []
        for prompt in prompts:
            y, x = (int(v) for v in prompt.points[0])
            mask = (parts == parts[y, x]) & (parts[y, x] > 0)
            found.append(
                Candidates(np.where(mask, 4, -4)[None].astype(np.float32), *(np.ones(1, np.float32) * 0.9,) * 2)
            )
        return found


def _picture(*discs: tuple[float, float, float], shape: tuple[int, int] = (150, 200)) -> NDArray[np.uint8]:
    y, x = np.mgrid[: shape[0], : shape[1]]
    inside = [(y - cy) ** 2 + (x - cx) ** 2 <= r**2 for cy, cx, r in discs]
    return np.where(np.any(inside, axis=0), 200, 0).astype(np.uint8) if discs else np.zeros(shape, np.uint8)


@pytest.mark.parametrize("tile", [True, False])
@pytest.mark.parametrize("discs", [[(40, 40, 12), (40, 66, 12), (100, 150, 30), (6, 190, 5)], []])
def test_every_disc_is_one_object_whole_and_in_tiles_and_none_gives_a_reason(
    tile: bool, discs: list[tuple[float, float, float]]
) -> None:
    picture = _picture(*discs)
    found = fs.automatic(picture, model=_Discs(), method="apg", tile=tile, diameter=25)
    assert len(found) == len(discs)
    if discs:
        assert np.array_equal(found.labels > 0, picture > 0)
    else:
        assert "no place to click on" in " ".join(found.provenance["nothing_found"])


def test_an_object_larger_than_a_window_is_looked_at_in_a_coarser_one() -> None:
    model = _Discs(window=32)
    picture = _picture((75, 100, 60))
    points, boxes = np.array([[75, 100]]), [(73, 98, 77, 102)]
    masks = prompted_masks(
        Image(picture), (), (0, 0, 149, 199), points, boxes, model, lambda: None, lambda _: None
    )  # fmt: skip
    assert [m.area for m in masks] == [int((picture > 0).sum())]
    assert len({shape[0] for shape in model.asked}) > 1


def test_a_single_object_of_most_of_the_image_stays_and_two_concentric_masks_are_one_object() -> None:
    from napari_foundseg.tasks.automatic_objects import objects_of_masks

    settings = PromptsSettings(mask_nms_thresh=0.9, min_area=0, pred_iou_thresh=0)
    plane, scores = objects_of_masks([_disc((40, 40), 36, 0.9)], (80, 80), settings)
    assert scores.shape[1] == 1
    assert (plane > 0).mean() > 0.6
    for nesting in ("best score", "larger", "smaller"):
        both = [_disc((40, 40), 20, 0.9), _disc((40, 40), 18.5, 0.8)]
        plane, _ = objects_of_masks(both, (80, 80), settings.model_copy(update={"nesting": nesting}))
        assert plane.max() == 1


def test_thresholds_act_on_the_masks_that_were_kept() -> None:
    from napari_foundseg.tasks.automatic import derive

    found = fs.automatic(sample("nuclei"), method="apg")
    stricter = PromptsSettings(pred_iou_thresh=0.8, min_area=60)
    again = fs.automatic(sample("nuclei"), method="apg", pred_iou_thresh=0.8, min_area=60)
    assert 10 < len(again) < len(found)
    assert np.array_equal(derive(found, stricter).labels, again.labels)
    assert fs.replay(again.provenance, sample("nuclei")).table.equals(again.table)
