"""Splitting an object by clicks that are made anywhere in its parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.io import imread

from napari_foundseg.core.editing import split_edits
from napari_foundseg.core.editing.splitting import Evidence
from napari_foundseg.core.errors import PromptError
from napari_foundseg.core.image import Image
from tests.support import ROOT


def split(
    labels: NDArray[Any],
    clicks: Sequence[Sequence[float]],
    spacing: Sequence[float | None] | None = None,
    picture: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Split object 1; return the label image with the parts 1, 2, …."""
    out = labels.copy()
    more = {} if picture is None else {"picture": lambda box: picture[box]}
    for box, values in split_edits.split(labels, 1, clicks, spacing or [1.0] * labels.ndim, 2, **more):
        out[box] = values
    return out


def worst(parts: NDArray[Any], truth: NDArray[Any]) -> float:
    ids = range(1, int(truth.max()) + 1)
    return min(float(((parts == i) & (truth == i)).sum() / ((parts == i) | (truth == i)).sum()) for i in ids)


def discs(*middles: tuple[float, ...], radii: Sequence[float], shape: tuple[int, ...], z: float = 1) -> NDArray[Any]:
    """Balls that overlap; each pixel belongs to the one in which it lies deepest."""
    at = np.indices(shape) * np.array([z, *[1] * (len(shape) - 1)] if len(shape) > 2 else [1, 1]).reshape(
        -1, *[1] * len(shape)
    )
    away = np.stack(
        [
            np.sqrt(((at - np.reshape(m, (-1, *[1] * len(shape)))) ** 2).sum(0)) / r
            for m, r in zip(middles, radii, strict=True)
        ]
    )
    return np.where(away.min(0) <= 1, away.argmin(0) + 1, 0)


@pytest.mark.parametrize("first", [(30, 22), (16, 25), (42, 18), (29, 12)])
@pytest.mark.parametrize("second", [(30, 58), (20, 62), (38, 52), (30, 66)])
def test_a_click_anywhere_in_a_part_means_that_part(first: tuple[int, int], second: tuple[int, int]) -> None:
    truth = discs((30, 26), (30, 56), radii=(18, 14), shape=(60, 80))
    assert truth[first] == 1
    assert truth[second] == 2
    assert worst(split(np.minimum(truth, 1), [first, second]), truth) > 0.9
    other = split(np.minimum(truth, 1), [second, first])
    assert other[second] == 1
    assert worst(3 - other * (other > 0) - 3 * (other == 0), truth) > 0.9


def test_where_there_is_no_waist_the_image_tells_the_parts_apart() -> None:
    truth = np.zeros((50, 90), int)
    truth[10:40, 10:35] = 1
    truth[10:40, 35:80] = 2
    noise = np.random.default_rng(0).normal(0, 4, truth.shape)
    bright = np.choose(truth, [5, 60, 140]) + noise
    for clicks in ([(25, 20), (25, 60)], [(13, 13), (36, 44)], [(37, 30), (13, 76)]):
        assert worst(split(np.minimum(truth, 1), clicks, picture=bright), truth) > 0.95
        assert worst(split(np.minimum(truth, 1), clicks, picture=255 - bright), truth) > 0.95
    valley = np.where(np.abs(np.arange(90) - 34.5) < 2, 40.0, 100.0) + noise
    assert worst(split(np.minimum(truth, 1), [(20, 24), (30, 62)], picture=valley), truth) > 0.92


def test_an_image_without_contrast_is_as_good_as_none() -> None:
    truth = discs((30, 26), (30, 56), radii=(18, 14), shape=(60, 80))
    whole = np.minimum(truth, 1)
    alone = split(whole, [(22, 20), (30, 66)])
    np.testing.assert_array_equal(split(whole, [(22, 20), (30, 66)], picture=np.full(truth.shape, 7.0)), alone)


def test_three_clicks_make_three_parts() -> None:
    truth = discs((25, 20), (25, 45), (25, 72), radii=(14, 13, 15), shape=(50, 95))
    assert worst(split(np.minimum(truth, 1), [(18, 16), (32, 47), (20, 80)]), truth) > 0.9


@pytest.mark.parametrize("z", [1.0, 3.0, 0.5])
def test_a_volume_is_split_by_lengths_not_by_pixels(z: float) -> None:
    shape = (round(46 / z), 30, 30)
    truth = discs((13, 15, 15), (33, 15, 15), radii=(12, 11), shape=shape, z=z)
    clicks = [(round(8 / z), 12, 19), (round(38 / z), 19, 12)]
    assert worst(split(np.minimum(truth, 1), clicks, [z, 1.0, 1.0]), truth) > 0.88


def test_large_objects_are_split_as_small_ones() -> None:
    truth = discs((600, 500), (600, 1250), radii=(440, 400), shape=(1200, 1800))
    parts = split(np.minimum(truth, 1), [(400, 300), (800, 1500)])
    assert worst(parts, truth) > 0.95
    tall = discs((40, 60, 60), (110, 60, 60), radii=(42, 38), shape=(160, 120, 120))
    assert worst(split(np.minimum(tall, 1), [(20, 70, 50), (130, 45, 70)]), tall) > 0.9


def test_pieces_that_no_click_reaches_belong_to_the_nearest_part() -> None:
    labels = np.zeros((40, 90), int)
    labels[10:30, 5:40] = 1
    labels[18:22, 44:50] = 1  # an island nearer to the second part
    labels[2:5, 2:8] = 1  # and one near the first
    parts = split(labels, [(20, 10), (20, 36)])
    assert (parts[18:22, 44:50] == 2).all()
    assert (parts[2:5, 2:8] == 1).all()
    apart = np.zeros((20, 40), int)
    apart[5:15, 2:12] = 1
    apart[5:15, 20:38] = 1
    parts = split(apart, [(6, 3), (13, 36)])
    assert (parts[5:15, 2:12] == 1).all()
    assert (parts[5:15, 20:38] == 2).all()


def test_a_click_on_the_bridge_is_in_its_own_part() -> None:
    truth = discs((20, 18), (20, 52), radii=(13, 13), shape=(40, 70))
    whole = np.minimum(truth, 1)
    whole[18:23, 18:52] = 1
    parts = split(whole, [(20, 34), (20, 60)])
    assert parts[20, 34] == 1
    assert parts[20, 60] == 2
    assert parts[20, 52] == 2
    near = split(whole, [(20, 34), (20, 35)])
    assert (near[20, 34], near[20, 35]) == (1, 2)
    assert min((near == 1).sum(), (near == 2).sum()) > 100


def test_other_times_stay_as_they_are() -> None:
    frame = np.minimum(discs((20, 15), (20, 40), radii=(12, 12), shape=(40, 55)), 1)
    labels = np.stack([frame, frame, frame])
    parts = split(labels, [(1, 14, 12), (1, 26, 44)], [None, 1.0, 1.0])
    np.testing.assert_array_equal(parts[[0, 2]], labels[[0, 2]])
    assert set(np.unique(parts[1])) == {0, 1, 2}


def test_clicks_that_cannot_split_are_named() -> None:
    labels = np.ones((10, 10), int)
    labels[0] = 0
    with pytest.raises(PromptError, match="once in each"):
        split(labels, [(5, 5), (5.2, 4.9)])
    with pytest.raises(PromptError, match="is not in object 1"):
        split(labels, [(5, 5), (0, 3)])
    with pytest.raises(PromptError, match="is not in object 1"):
        split(labels, [(5, 5), (5, 30)])


@given(seed=st.integers(0, 500), volume=st.booleans(), count=st.integers(2, 4), seen=st.booleans())
def test_every_click_is_in_its_part_and_no_pixel_is_lost(seed: int, volume: bool, count: int, seen: bool) -> None:
    rng = np.random.default_rng(seed)
    shape = (6, 14, 15) if volume else (24, 26)
    labels = (rng.random(shape) < rng.uniform(0.4, 1)).astype(int)
    inside = np.argwhere(labels)
    clicks = [tuple(map(int, inside[i])) for i in rng.choice(len(inside), count, replace=False)]
    picture = rng.random(shape) if seen else None
    parts = split(labels, clicks, [2.0, 1.0, 1.0] if volume else None, picture)
    np.testing.assert_array_equal(parts > 0, labels > 0)
    assert [int(parts[click]) for click in clicks] == list(range(1, count + 1))


@pytest.mark.data
def test_nuclei_that_touch_are_split_where_people_click(
    dsb: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import splits

    figures: dict[str, list[float]] = {}
    rng = np.random.default_rng(0)
    for row in dsb[::3]:
        image, truth = Image(imread(row["image"])), imread(row["labels"]).astype(np.int64)
        for ids in splits.touching(truth)[:3]:
            for way in splits.WAYS:
                clicks = [splits.click(truth == i, way, rng) for i in ids]
                figures.setdefault(way, []).append(splits.worst(image, truth, ids, clicks, "image"))
    for way, values in figures.items():
        assert np.mean(values) >= 0.88, (way, np.mean(values))
        assert np.mean(np.array(values) < 0.7) <= 0.12, way


def test_where_a_model_sees_a_border_it_is_cut() -> None:
    labels = np.zeros((30, 70), int)
    labels[5:25, 5:65] = 1
    borders = np.full(labels.shape, 0.2)
    borders[:, 39:41] = 1.0

    def look(box: Any) -> Evidence:
        return Evidence(borders=borders[box])

    clicks = [(15, 10), (15, 54)]
    alone = split(labels, clicks)
    assert (alone[10:20, 37] == 2).all(), "without it, half way"
    out = labels.copy()
    for box, values in split_edits.split(labels, 1, clicks, [1.0, 1.0], 2, evidence=look):
        out[box] = values
    assert (out[8:22, 8:38] == 1).all()
    assert (out[8:22, 43:62] == 2).all()


def test_scores_of_a_model_move_the_cut_and_keep_each_click_in_its_part() -> None:
    labels = np.zeros((30, 70), int)
    labels[5:25, 5:65] = 1
    scores = np.zeros((2, *labels.shape))
    scores[0, :, :20] = scores[1, :, 20:] = 6
    scores[1, :, :20] = scores[0, :, 20:] = -6

    def look(box: Any) -> Evidence:
        return Evidence(scores=scores[(slice(None), *box)])

    clicks = [(15, 24), (15, 44)]  # the first lies where the model takes it for the other
    out = labels.copy()
    for box, values in split_edits.split(labels, 1, clicks, [1.0, 1.0], 2, evidence=look):
        out[box] = values
    assert out[15, 24] == 1
    assert out[15, 44] == 2
    assert (out == 1).sum() < (split(labels, clicks) == 1).sum()


def test_parts_found_elsewhere_are_refused_where_the_object_changed() -> None:
    labels = np.zeros((20, 30), int)
    labels[4:16, 4:26] = 3
    box = split_edits.object_box(labels, 3, [1, 1])
    parts = np.where(labels[box] == 3, 1, 0)
    parts[:, 12:][parts[:, 12:] > 0] = 2
    ((where, values),) = split_edits.split_as(labels, 3, box, parts, 9)
    assert where == box
    assert set(np.unique(values)) == {0, 3, 9}
    for change in ((4, 4), (18, 28)):
        changed = labels.copy()
        changed[change] = 3 - changed[change]
        with pytest.raises(PromptError, match="changed while it was being split"):
            split_edits.split_as(changed, 3, box, parts, 9)
    with pytest.raises(PromptError, match="changed"):
        split_edits.split_as(np.zeros((4, 4, 4), int), 3, box, parts, 9)
