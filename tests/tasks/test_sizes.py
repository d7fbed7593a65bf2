"""Automatic masks at any magnification and in any light, with default settings."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray
from scipy import ndimage

import napari_foundseg as fs
from napari_foundseg.core.measuring.comparison import match_objects
from napari_foundseg.tasks.notes import notes_of, what_was_chosen

Pixels = NDArray[np.uint8]


def discs(side: int, places: list[tuple[float, float, float]], noise: float = 2.0) -> tuple[Pixels, NDArray[np.int64]]:
    """Draw even discs, (row, column, diameter) each, on quiet ground."""
    y, x = np.mgrid[:side, :side]
    image = np.full((side, side), 15.0)
    truth = np.zeros((side, side), np.int64)
    for number, (row, column, diameter) in enumerate(places, 1):
        distance = np.hypot(y - row, x - column)
        cover = np.clip(diameter / 2 - distance + 0.5, 0, 1)
        image = image * (1 - cover) + 120 * cover
        truth[distance < diameter / 2] = number
    image += np.random.default_rng(0).normal(0, noise, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), truth


@pytest.mark.parametrize("diameter", [20, 60, 140, 300])
def test_one_even_disc_of_any_size_is_found(diameter: int) -> None:
    image, truth = discs(
        max(256, int(1.5 * diameter)), [(max(128, 0.75 * diameter), max(128, 0.75 * diameter), diameter)]
    )
    found = fs.automatic(image)
    assert len(found) == 1
    assert match_objects(truth, found.labels).best[0] > 0.9


def test_objects_of_very_different_sizes_are_found_in_one_picture() -> None:
    places = [(110, 110, 160.0), (60, 300, 20.0), (200, 330, 20.0), (330, 60, 20.0), (300, 290, 70.0), (350, 180, 25.0)]
    image, truth = discs(400, places)
    found = fs.automatic(image)
    assert match_objects(truth, found.labels).precision[0] == 1


def test_the_diameter_that_was_found_is_told_and_can_be_given() -> None:
    image, truth = discs(400, [(100, 100, 120.0), (280, 120, 120.0), (200, 300, 120.0)])
    found = fs.automatic(image)
    assert found.provenance["size"]["how"] == "found"
    assert found.provenance["size"]["diameter"] == pytest.approx(120, rel=0.05)
    assert "diameter 12" in found.size_choice or "diameter 11" in found.size_choice
    given = fs.automatic(image, diameter=found.provenance["size"]["diameter"])
    assert match_objects(truth, given.labels).precision[0] == 1
    assert given.size_choice == ""


def test_a_stack_has_one_diameter_unless_each_slice_is_to_have_its_own() -> None:
    large, _ = discs(256, [(128, 128, 150.0)])
    stack = np.stack([large] * 4)
    found = fs.automatic(fs.Image(stack, "ZYX"))
    assert found.labels.max() == 1
    assert found.provenance["size"]["scale"] < 1
    own = fs.automatic(fs.Image(stack, "ZYX"), find_diameter="each slice")
    assert np.array_equal(own.labels, found.labels)


@pytest.mark.parametrize(
    "kind", ["noise", "photons", "even", "slope", "cone", "vignette", "cylinder", "lamp", "smooth", "smoother", "hot"]
)
def test_nothing_is_invented(kind: str) -> None:
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:256, :256].astype(float)
    drawn = {
        "noise": rng.normal(100, 15, (256, 256)),
        "photons": rng.poisson(4, (256, 256)),
        "even": np.full((256, 256), 7.0),
        "slope": x + rng.normal(0, 1, x.shape),
        "cone": 200 - np.hypot(y - 128, x - 128),
        "vignette": 200 - 0.004 * ((y - 100) ** 2 + (x - 128) ** 2) + rng.normal(0, 1, x.shape),
        "cylinder": 200 - 0.004 * (x - 128) ** 2 + rng.normal(0, 1, x.shape),
        "lamp": 200 * np.cos((x - 128) / 91) * np.cos((y - 128) / 107) + rng.normal(0, 1, x.shape),
        "smooth": ndimage.gaussian_filter(rng.normal(0, 1, x.shape), 2),
        "smoother": ndimage.gaussian_filter(rng.normal(0, 1, x.shape), 4),
        "hot": rng.normal(100, 2, x.shape) + 3000 * (rng.random(x.shape) < 0.0005),
    }[kind]
    assert len(fs.automatic(drawn.astype(np.float32))) == 0


def test_one_object_that_fills_the_picture_is_no_shading() -> None:
    for diameter in (200, 230):
        image, truth = discs(256, [(128, 128, diameter)])
        found = fs.automatic(image)
        assert len(found) == 1
        assert match_objects(truth, found.labels).best[0] > 0.9


def test_sizes_of_1_to_30_are_found_in_one_picture() -> None:
    places = [(260.0, 260.0, 360.0)]
    places += [(40.0 + 60 * i, 550.0 + 30 * j, 12.0) for i in range(8) for j in range(4)]
    image, truth = discs(660, places)
    assert match_objects(truth, fs.automatic(image).labels).precision[0] > 0.9


@pytest.mark.parametrize("kind", ["NaN", "dots", "infinite", "one red pixel", "transparent"])
def test_odd_pixels_change_no_objects(kind: str) -> None:
    places = [(60.0 + 60 * i, 60.0 + 60 * j, 30.0) for i in range(3) for j in range(3)]
    image, truth = discs(256, places)
    values = image.astype(np.float32)
    if kind == "NaN":
        values[:20, :200] = np.nan
    elif kind == "dots":
        values[::17, ::19] = np.nan
    elif kind == "infinite":
        values[5, 5], values[200, 9] = np.inf, -np.inf
    elif kind == "one red pixel":
        values = np.stack([image] * 3, -1)
        values[3, 3] = (255, 0, 0)
    else:
        values = np.dstack([image, image, image, np.zeros_like(image)])
    found = fs.automatic(values)
    assert match_objects(truth, found.labels).precision[0] > 0.95
    assert kind == "one red pixel" or notes_of(found.provenance), "what is odd is said"


def test_a_stack_whose_objects_change_their_size_says_so() -> None:
    small, of_small = discs(256, [(30.0 + 40 * i, 30.0 + 40 * j, 22.0) for i in range(6) for j in range(6)])
    large, of_large = discs(256, [(128.0, 128.0, 180.0)])
    stack = np.stack([small, small, small, small, large])
    found = fs.automatic(fs.Image(stack, "ZYX"), link="none")
    assert match_objects(of_large, found.labels[4]).precision[0] == 1
    assert match_objects(of_small, found.labels[1]).precision[0] > 0.95
    assert "far larger or smaller" in " ".join(notes_of(found.provenance))
    own = fs.automatic(fs.Image(stack, "ZYX"), link="none", find_diameter="each slice")
    assert match_objects(of_large, own.labels[4]).precision[0] == 1
    assert "far larger or smaller" not in " ".join(notes_of(own.provenance))


@pytest.mark.parametrize("axes", ["TYX", "ZYX"])
def test_a_stack_that_bleaches_is_seen_in_its_last_slice_too(axes: str) -> None:
    places = [(60.0 + 60 * i, 60.0 + 60 * j, 30.0) for i in range(3) for j in range(3)]
    image, truth = discs(256, places, noise=0.0)
    film = np.stack([100 + 20 * share * image for share in np.geomspace(1, 0.05, 6)])
    film += np.random.default_rng(0).normal(0, 2, film.shape)
    found = fs.automatic(fs.Image(film.astype(np.uint16), axes), link="none")
    for labels in (found.labels[0], found.labels[5]):
        assert match_objects(truth, labels).precision[0] > 0.95
    assert "brightness falls to 5" in " ".join(notes_of(found.provenance))
    # What was seen before is seen by records of then.
    kept = fs.Image(film.astype(np.uint16), axes, normalisation=fs.Percentile(outliers="kept"))
    assert kept.limits_of((0,)) == kept.limits_of((5,))
    # Objects that end do not brighten what is empty.
    ends = np.stack([film[0], film[0], film[0], film[5] * 0 + 100 + np.random.default_rng(1).normal(0, 2, (256, 256))])
    assert not fs.automatic(fs.Image(ends.astype(np.uint16), axes), link="none").labels[3].any()


def test_what_is_burnt_in_and_dust_do_not_hide_the_objects() -> None:
    places = [(60.0 + 60 * i, 60.0 + 60 * j, 30.0) for i in range(3) for j in range(3)]
    image, truth = discs(256, places)
    shaded = (image * (0.6 + 0.4 * ndimage.gaussian_filter(np.random.default_rng(2).random(image.shape), 3))).astype(
        float
    )
    with_bar = shaded.copy()
    with_bar[240:246, 180:246] = 255
    framed = np.pad(shaded, 10, constant_values=255)
    dusty = shaded.copy()
    dusty[4:30, 220:246] = 2000
    for picture, labels in ((with_bar, truth), (framed, np.pad(truth, 10)), (dusty, truth)):
        found = fs.automatic(picture.astype(np.uint16))
        assert match_objects(labels, found.labels).precision[0] > 0.99
        assert "left out" in " ".join(found.provenance["contrast_notes"])


def test_a_noisy_picture_is_smoothed_and_the_result_says_so() -> None:
    places = [(60.0 + 60 * i, 60.0 + 60 * j, 30.0) for i in range(3) for j in range(3)]
    clean, truth = discs(256, places)
    noisy = np.random.default_rng(3).poisson(clean / 12)
    found = fs.automatic(noisy.astype(np.uint16))
    assert match_objects(truth, found.labels).precision[0] > 0.99
    assert found.provenance["size"]["smoothing"] > 0
    assert fs.automatic(clean).provenance["size"]["smoothing"] == 0


def test_a_blurred_picture_is_sharpened_and_the_result_says_so() -> None:
    rng = np.random.default_rng(5)
    places = [(40.0 + 36 * i, 40.0 + 36 * j, 28.0) for i in range(6) for j in range(6)]
    clean, truth = discs(256, places)
    blurred = ndimage.gaussian_filter(clean.astype(float), 3) + rng.normal(0, 0.3, clean.shape)
    found = fs.automatic((100 * blurred).astype(np.uint16))
    assert match_objects(truth, found.labels).precision[0] > 0.9
    assert found.provenance["size"]["sharpening"] >= 1
    assert "sharpened" in " ".join(what_was_chosen(found.provenance))
    size = np.array(clean.shape) * 2
    enlarged = np.asarray(PIL.Image.fromarray(clean).resize(tuple(size), PIL.Image.Resampling.BICUBIC))
    for picture in (clean, clean.repeat(2, 0).repeat(2, 1), enlarged):
        sharp = fs.automatic(picture).provenance
        assert sharp["size"]["sharpening"] == 0
        assert "sharpened" not in " ".join(what_was_chosen(sharp))


def test_records_of_earlier_versions_keep_their_contrast_and_second_look() -> None:
    from napari_foundseg.core.contrast import Percentile
    from napari_foundseg.tasks.automatic_settings import DecoderSettings

    assert Percentile.model_validate({"kind": "percentile", "low": 0.5, "high": 99.5}).outliers == "kept"
    assert Percentile.model_validate(Percentile().model_dump()).outliers == "left out"
    assert DecoderSettings().find_diameter == "once"


def test_slices_without_small_objects_are_seen_at_their_own_size() -> None:
    dots = [(20.0 + 30 * i, 20.0 + 30 * j, 6.0) for i in range(7) for j in range(7)]
    small, truth = discs(220, dots)
    large, whole = discs(220, [(110, 110, 60.0)])
    stack = fs.Image(np.stack([small, small, large, small, small]), "ZYX")
    found = fs.automatic(stack, link="none")
    assert found.provenance["size"]["scale"] == 2
    for z, reference in ((0, truth), (2, whole)):
        assert match_objects(reference, found.labels[z]).precision[0] > 0.95


def test_few_doubtful_large_objects_do_not_outvote_many_small_ones() -> None:
    from napari_foundseg.tasks.windows.sizes.octaves import Octave, best_octave

    def octave(scale: float, quality: list[float]) -> Octave:
        flat = np.zeros((1, 1), np.int64)
        return Octave(scale, np.zeros((3, 1, 1), np.float16), flat, np.array(quality), np.array(quality))

    assert best_octave([[octave(1.0, [0.45] * 60), octave(0.5, [0.4] * 50), octave(0.25, [0.5] * 4)]]) == 1
    assert best_octave([[octave(1.0, [0.1] * 60), octave(0.5, [0.5] * 9)]]) == 0.5


def test_the_ground_of_a_slope_does_not_decide_the_contrast() -> None:
    places = [(40.0 + 40 * i, column, 20.0) for i in range(3) for column in (60.0, 200.0)]
    image, truth = discs(256, places, noise=0.5)
    shaded = image * np.linspace(1, 3, 256)[None]
    found = fs.automatic(shaded.astype(np.uint16))
    assert found.provenance["image"]["limits"][1] > 0.8 * shaded.max()
    assert match_objects(truth, found.labels).precision[0] == 1
