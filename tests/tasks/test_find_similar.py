from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from skimage.data import coins
from skimage.measure import label

import napari_foundseg as fs
from napari_foundseg.core.errors import PromptError
from napari_foundseg.core.masks import Mask
from napari_foundseg.models.importing import import_model
from napari_foundseg.models.loading import load_model
from napari_foundseg.models.protocols.words import ConceptQuery, GroundedBoxes
from napari_foundseg.tasks import find_similar
from napari_foundseg.tasks.classes.concepts import TextInputs
from napari_foundseg.tasks.find_similar import ExemplarSettings, FeatureSettings, GuidedSettings, SimilarInputs
from napari_foundseg.tasks.similar.examples import Example
from tests.support import tiny_checkpoints

Pixels = np.ndarray

PLACES = [(40, 40), (40, 120), (110, 60), (120, 150), (60, 190), (160, 220)]


def scene(side: int = 200, places: list[tuple[int, int]] = PLACES, seed: int = 0) -> tuple[Pixels, Pixels]:
    """Draw discs of radius 12 and, far larger, a square; return the image and the labels of the discs."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, : side + 50]
    labels = np.zeros(y.shape, np.uint16)
    for number, (cy, cx) in enumerate(places, 1):
        labels[np.hypot(y - cy, x - cx) < 12] = number
    image = np.where(labels > 0, 160.0, 20.0)
    image[150:195, 10:95] = 160
    return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8), labels


def matched(labels: Pixels, truth: Pixels) -> list[int]:
    """Return the discs that an object covers with IoU of 0.7 or more."""
    found = []
    for number in range(1, int(truth.max()) + 1):
        inside = truth == number
        ids = np.unique(labels[inside])
        ious = [np.count_nonzero((labels == i) & inside) / np.count_nonzero((labels == i) | inside) for i in ids if i]
        if max(ious, default=0) >= 0.7:
            found.append(number)
    return found


def test_all_discs_are_found_from_one_and_the_square_is_not() -> None:
    image, truth = scene()
    found = fs.find_similar(image, fs.Prompt(mask=truth == 1))
    assert matched(found.labels, truth) == [1, 2, 3, 4, 5, 6]
    assert not found.labels[170, 50]
    assert found.table["predicted_iou"].between(0.2, 1).all()
    assert np.array_equal(fs.replay(found.provenance, image).labels, found.labels)


def test_a_box_is_an_example_and_examples_serve_other_images() -> None:
    image, truth = scene()
    example = fs.Example.cut(fs.Image(image), fs.Prompt(box=(26, 27, 53, 54)))
    other, discs = scene(places=[(50, 60), (100, 130), (60, 200)], seed=1)
    found = fs.find_similar(other, example)
    assert matched(found.labels, discs) == [1, 2, 3]
    assert matched(fs.find_similar(image, fs.Prompt(box=(26, 27, 53, 54))).labels, truth) == [1, 2, 3, 4, 5, 6]


def test_coins_are_found_from_one_of_them() -> None:
    image = coins()
    one = fs.prompt(image, fs.Prompt(points=[(125, 107)]))
    found = fs.find_similar(image, fs.Prompt(mask=one.labels > 0))
    assert 22 <= len(found) <= 26


def test_objects_of_300_pixels_are_found() -> None:
    image, truth = scene()
    large, discs = np.kron(image, np.ones((12, 12), np.uint8)), np.kron(truth, np.ones((12, 12), np.uint16))
    example = fs.Example.cut(fs.Image(large), fs.Prompt(mask=discs == 1))
    assert max(example.rgb.shape) < 200, "recipes stay small"
    found = fs.find_similar(large[:, :1900], example)
    assert matched(found.labels, discs[:, :1900])[:3] == [1, 2, 3]


def test_slices_are_linked_unless_asked_otherwise() -> None:
    image, truth = scene()
    stack = np.stack([image, np.full_like(image, 20), image])
    mask_of_first = fs.Prompt(mask=truth == 1, index=(0,))
    linked = fs.find_similar(np.stack([image, image]), mask_of_first)
    assert matched(linked.labels[0], truth) == [1, 2, 3, 4, 5, 6]
    assert len(linked) == len(np.unique(linked.labels[0])) - 1
    found = fs.find_similar(stack, mask_of_first, link="none")
    assert matched(found.labels[0], truth) == matched(found.labels[2], truth) == [1, 2, 3, 4, 5, 6]
    assert not set(np.unique(found.labels[0])[1:]) & set(np.unique(found.labels[2])[1:])


def test_the_threshold_acts_without_a_model_and_says_what_it_leaves_out() -> None:
    image, truth = scene()
    found = fs.find_similar(image, fs.Prompt(mask=truth == 1))
    again = find_similar.derive(found, FeatureSettings())
    assert (again.labels == found.labels).all()
    none = find_similar.derive(found, FeatureSettings(threshold=1.0))
    assert not len(none)
    assert "best match" in none.provenance["nothing_found"][0]


def test_inputs_and_results_are_plain_json() -> None:
    image, truth = scene()
    example = Example.cut(fs.Image(image), fs.Prompt(mask=truth == 1))
    inputs = SimilarInputs(examples=(example,))
    again = SimilarInputs.parse(json.loads(inputs.model_dump_json()))
    assert (again.examples[0].rgb == example.rgb).all()
    assert (again.examples[0].prompt.mask == example.prompt.mask).all()


def test_bad_examples_are_named() -> None:
    image, truth = scene()
    with pytest.raises(PromptError, match="needs an outline"):
        fs.find_similar(image, fs.Prompt(points=[(40, 40)]))
    with pytest.raises(PromptError, match="outside the image"):
        fs.find_similar(image, fs.Prompt(box=(300, 300, 320, 320)))
    with pytest.raises(fs.FoundsegError, match="examples"):
        fs.find_similar(image, [])
    example = Example.cut(fs.Image(image), fs.Prompt(mask=truth == 1))
    damaged = {**example.model_dump(), "picture": "no picture"}
    with pytest.raises(PromptError, match="not a PNG"):
        fs.find_similar(image, damaged)
    with pytest.raises(fs.FoundsegError, match=r"pixel.*finite"):
        fs.find_similar(image, {**example.model_dump(), "pixel": float("inf")})
    for pixel in (1e-9, 1e-3, 1e6):
        with pytest.raises(PromptError, match=r"pixels across in this image of 200 by 250.*cut them again"):
            fs.find_similar(image, {**example.model_dump(), "pixel": pixel})
    with pytest.raises(PromptError, match="Example 2 is also among the objects not to look for"):
        fs.find_similar(
            image, [fs.Prompt(mask=truth == 2), fs.Prompt(mask=truth == 1)], negatives=fs.Prompt(mask=truth == 1)
        )


def test_an_example_on_an_empty_place_finds_nothing_says_so_and_the_next_one_finds() -> None:
    image, truth = scene()
    assert not truth[185:196, 5:16].any()
    found = fs.find_similar(image, fs.Prompt(box=(185, 5, 195, 15)))
    assert not len(found)
    assert "best match" in found.provenance["nothing_found"][0]
    again = fs.find_similar(image, fs.Prompt(mask=truth == 1))
    assert matched(again.labels, truth) == [1, 2, 3, 4, 5, 6]


def test_an_image_without_the_like_gives_no_object_and_says_so() -> None:
    image, truth = scene()
    example = Example.cut(fs.Image(image), fs.Prompt(mask=truth == 1))
    empty = np.random.default_rng(0).normal(100, 5, (160, 160)).clip(0, 255).astype(np.uint8)
    found = fs.find_similar(empty, example, threshold=0.3)
    assert not len(found)
    assert found.provenance["nothing_found"]


class Exemplars:
    """A model that outlines what has about the colour of the objects in the boxes, wherever it is."""

    name = "foundseg-tiny"
    key = "planted"
    device = "cpu"
    window = 128
    longest_text = 32
    most_objects = 200

    def token_count(self, words: str) -> int:
        return len(words.split())

    def concept_masks(self, rgb: Pixels, queries: list[ConceptQuery], threshold: float) -> list[list[Mask]]:
        (query,) = queries
        wanted = [rgb[round((y0 + y1) / 2), round((x0 + x1) / 2), 0] for y0, x0, y1, x1 in query.boxes]
        parts = label(np.abs(rgb[..., 0].astype(int) - int(np.median(wanted))) < 30)
        masks = [Mask.from_array(parts == i, predicted_iou=0.8) for i in range(1, int(parts.max()) + 1)]
        return [[mask for mask in masks if mask.area > 30 and mask.predicted_iou > threshold]]


def test_exemplars_are_shown_beside_each_tile_and_found_once() -> None:
    image, truth = scene()
    image = np.where(truth > 0, 160, 20).astype(np.uint8)
    opened = fs.Image(image, normalisation=fs.Limits(low=0, high=255))
    examples = (
        Example.cut(opened, fs.Prompt(mask=truth == 1)),
        Example.cut(opened, fs.Prompt(box=(28, 108, 52, 132))),
    )
    found = find_similar.run(
        opened, SimilarInputs(examples=examples), ExemplarSettings(), Exemplars(), lambda *_: None, bool
    )
    assert len(found) == 6
    assert matched(found.labels, truth) == [1, 2, 3, 4, 5, 6]
    assert set(found.table["area"]) == set(np.bincount(truth.ravel())[1:].tolist())
    assert "notes" not in found.provenance
    many = SimilarInputs(examples=examples * 4)
    found = find_similar.run(opened, many, ExemplarSettings(), Exemplars(), lambda *_: None, bool)
    assert "of 8 examples were used" in found.provenance["notes"][0]
    none = find_similar.derive(found, ExemplarSettings(threshold=0.9))
    assert not len(none)


def test_what_is_more_like_a_negative_is_left_out() -> None:
    image, truth = scene()
    x = np.arange(image.shape[1])
    # The last two discs are rings of stripes: as large, and of another texture.
    other = np.isin(truth, (5, 6))
    image = np.where(other, np.where((x // 2) % 2, 250, 70), image).astype(np.uint8)
    like, unlike = fs.Prompt(mask=truth == 1), fs.Prompt(mask=truth == 5)
    both = fs.find_similar(image, like, threshold=0.05)
    assert {1, 2, 3, 4} <= set(matched(both.labels, truth))
    found = fs.find_similar(image, like, negatives=unlike, threshold=0.05)
    assert {1, 2, 3, 4} <= set(matched(found.labels, truth))
    assert 5 not in matched(found.labels, truth)
    assert np.array_equal(fs.replay(found.provenance, image).labels, found.labels)
    assert len(found.provenance["inputs"]["negatives"]) == 1


def test_negatives_are_shown_to_sam3_with_their_sign() -> None:
    image, truth = scene()
    opened = fs.Image(image, normalisation=fs.Limits(low=0, high=255))
    first, second, third = (Example.cut(opened, fs.Prompt(mask=truth == n)) for n in (1, 2, 3))
    asked: list[ConceptQuery] = []

    class Asked(Exemplars):
        def concept_masks(self, rgb: Pixels, queries: list[ConceptQuery], threshold: float) -> list[list[Mask]]:
            asked.extend(queries)
            super().concept_masks(rgb, queries, threshold)
            return [[Mask.from_array(np.ones((2, 2), bool), (5, 90 + 4 * i), predicted_iou=0.9) for i in range(8)]]

    few = type("Few", (Asked,), {"most_objects": 8})()
    inputs = SimilarInputs(examples=(first, second), negatives=(third,))
    found = find_similar.run(opened, inputs, ExemplarSettings(min_area=0), few, lambda *_: None, bool)
    assert asked[0].signs[:2] == (1, 0), "one of each kind is always shown"
    assert "8 objects at most" in found.provenance["notes"][-1]


class Likeness:
    """A model that finds boxes of squares of about the grey value of an example."""

    name = "foundseg-tiny"
    key = "planted"
    device = "cpu"
    window = 64
    most_boxes = 100

    def example_vector(self, rgb: Pixels, box: tuple[float, ...]) -> Pixels:
        y0, x0, y1, x1 = (round(v) for v in box)
        return np.array([rgb[y0 : y1 + 1, x0 : x1 + 1, 0].mean()], np.float32)

    def boxes_like(self, rgb: Pixels, vectors: Pixels, threshold: float) -> GroundedBoxes:
        parts = label(rgb[..., 0] > 30)
        found = []
        for number in range(1, int(parts.max()) + 1):
            y, x = np.nonzero(parts == number)
            alike = 1 - np.abs(rgb[y, x, 0].mean() - vectors[:, 0]) / 255
            found.append(([y.min(), x.min(), y.max(), x.max()], alike.max(), int(alike.argmax())))
        kept = [one for one in found if one[1] > threshold]
        boxes = np.array([box for box, _, _ in kept], float).reshape(-1, 4)
        return GroundedBoxes(
            boxes, np.array([s for _, s, _ in kept], np.float32), np.array([n for _, _, n in kept], np.int64)
        )


def test_boxes_like_examples_become_masks_once_and_without_negatives() -> None:
    _, truth = scene()
    image = np.where(np.isin(truth, (2, 6)), 90, np.where(truth > 0, 180, 0)).astype(np.uint8)
    opened = fs.Image(image, normalisation=fs.Limits(low=0, high=255))
    like, unlike = (Example.cut(opened, fs.Prompt(mask=truth == n)) for n in (1, 2))
    settings = GuidedSettings(threshold=0.4)
    every = find_similar.run(opened, SimilarInputs(examples=(like,)), settings, Likeness(), lambda *_: None, bool)
    assert matched(every.labels, truth) == [1, 2, 3, 4, 5, 6]
    assert "outlined by foundseg-tiny" in every.provenance["notes"][0]
    inputs = SimilarInputs(examples=(like,), negatives=(unlike,))
    found = find_similar.run(opened, inputs, settings, Likeness(), lambda *_: None, bool)
    assert matched(found.labels, truth) == [1, 3, 4, 5]
    assert len(found) == 4
    assert not len(find_similar.derive(found, GuidedSettings(threshold=1.0)))
    stack = fs.Image(np.stack([image, image]), normalisation=fs.Limits(low=0, high=255))
    linked = find_similar.run(stack, inputs, settings, Likeness(), lambda *_: None, bool)
    assert len(linked) == 4
    assert matched(linked.labels[1], truth) == [1, 3, 4, 5]


def test_owl_takes_examples_of_another_image(tmp_path: Path) -> None:
    name = import_model(tiny_checkpoints.write("Owlv2ForObjectDetection", tmp_path / "owl-small")).name
    image, truth = scene()
    example = Example.cut(fs.Image(image), fs.Prompt(mask=truth == 1))
    other = scene(places=[(50, 60), (100, 130)], seed=1)[0][:90, :100]
    square = Example.cut(fs.Image(image), fs.Prompt(box=(150, 10, 194, 94)))
    found = fs.find_similar(other, example, negatives=[square], model=name, threshold=0.3)
    assert found.provenance["settings"]["method"] == "boxes"
    assert found.labels.shape == other.shape
    assert np.array_equal(fs.replay(found.provenance, other).labels, found.labels)


def test_places_beyond_the_limit_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    image, truth = scene()
    monkeypatch.setattr("napari_foundseg.tasks.similar.proposals.MOST_PLACES", 3)
    found = find_similar.run(
        fs.Image(image),
        SimilarInputs(examples=(Example.cut(fs.Image(image), fs.Prompt(mask=truth == 1)),)),
        FeatureSettings(),
        load_model("foundseg-tiny"),
        lambda *_: None,
        bool,
    )
    assert "there may be more" in found.provenance["notes"][0]


def test_results_of_before_there_were_negatives_stay_current() -> None:
    image, truth = scene()
    example = Example.cut(fs.Image(image), fs.Prompt(mask=truth == 1))
    assert "negatives" not in SimilarInputs(examples=(example,)).digested()
    assert set(TextInputs.parse({"concepts": "cell"}).digested()) == {"concepts", "index", "region"}


def test_sam3_takes_examples_of_another_image(tmp_path: Path) -> None:
    name = import_model(tiny_checkpoints.write("Sam3Model", tmp_path / "sam3-small")).name
    image, truth = scene()
    example = Example.cut(fs.Image(image), fs.Prompt(mask=truth == 1))
    other = scene(places=[(50, 60), (100, 130)], seed=1)[0][:150, :170]
    found = fs.find_similar(other, example, model=name, threshold=0.0, words="disc")
    assert found.labels.shape == other.shape
    assert found.provenance["settings"]["method"] == "exemplars"
    assert np.array_equal(fs.replay(found.provenance, other).labels, found.labels)
