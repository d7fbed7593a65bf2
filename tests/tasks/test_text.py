"""Text: concepts, heat maps of pictures of any size, and labels that follow thresholds without a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_foundseg.core.contrast import Limits
from napari_foundseg.core.errors import PromptError
from napari_foundseg.core.image import Image
from napari_foundseg.models import catalog
from napari_foundseg.tasks import TASKS
from napari_foundseg.tasks.classes.concepts import Concept, TextInputs, example_of
from napari_foundseg.tasks.text import TextSettings, derive, not_found
from napari_foundseg.tasks.windows.heat_maps import blended_maps, scales

ROW = catalog.CatalogRow(
    name="stub", title="stub", family="stub", protocols=("TextMaps",), sha256="0" * 64, size_mb=0,
    revision="0", code_licence="", weights_licence="", input="", citation="",
)  # fmt: skip


class Stub:
    """Answers by grey value: "bright" and pictures of bright things with the brightness, all else with the darkness."""

    name, key, device, window, longest_text = "stub", "stub@0", "cpu", 32, 20

    def __init__(self, border: float = 0.0) -> None:
        self.border = border
        self.asked: list[Any] = []
        self.seen: list[tuple[int, ...]] = []

    def token_count(self, text: str) -> int:
        return len(text.split()) + 2

    def text_maps(self, rgb: NDArray[np.uint8], prompts: Sequence[Any]) -> NDArray[np.float32]:
        self.asked, _ = list(prompts), self.seen.append(rgb.shape[:2])
        bright = rgb[..., 0].astype(np.float32) / 255
        if self.border:
            # As networks do, it errs at the border of what it sees.
            bright = bright.copy()
            for part in (bright[0], bright[-1], bright[:, 0], bright[:, -1]):
                part += self.border
        likes = [p.mean() > 127 if isinstance(p, np.ndarray) else "bright" in p for p in prompts]
        return np.stack([bright if like else 1 - bright for like in likes])


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalog._adopted, "stub", ROW)


def picture() -> NDArray[np.uint8]:
    grey = np.full((60, 90), 20, np.uint8)
    grey[10:20, 10:25], grey[30:50, 50:70], grey[5, 80] = 220, 180, 250
    return grey


def image(pixels: NDArray[Any] | None = None) -> Image:
    return Image(picture() if pixels is None else pixels, normalisation=Limits(low=0, high=255))


def found(concepts: Any, pixels: NDArray[Any] | None = None, model: Any = None, **settings: Any) -> Any:
    inputs = TextInputs.parse({"concepts": concepts})
    return TASKS["text"].run(image(pixels), inputs, TextSettings(**settings), model or Stub())


def test_concepts_become_classes_and_their_parts_objects() -> None:
    result = found(["bright things", "background"], threshold=0.6)
    assert [(row.name, row.kind, row.count) for row in result.classes] == [
        ("bright things", "thing", 3),
        ("background", "stuff", 0),
    ]
    assert np.array_equal(result.labels > 0, picture() > 100)
    assert np.array_equal(result.semantic, np.where(picture() > 100, 1, 2))
    assert list(result.table["class_name"]) == ["bright things"] * 3
    assert result.table[["y0", "x0", "y1", "x1", "area"]].to_numpy().tolist() == [
        [5, 80, 5, 80, 1], [10, 10, 19, 24, 150], [30, 50, 49, 69, 400],
    ]  # fmt: skip
    json.dumps(result.provenance)


def test_thresholds_sizes_smoothing_and_the_overlap_rule_act_without_a_model() -> None:
    model = Stub()
    result = found(["bright", "dark"], model=model, threshold=0.6, scales=1)
    calls = len(model.seen)
    higher = derive(result, TextSettings(threshold=0.75, scales=1))
    assert np.array_equal(higher.semantic == 1, picture() > 200)
    for change in ({"min_area": 10}, {"smoothing": 2.0}, {"overlap": "first in the list", "threshold": 0.0}):
        settings = TextSettings(**{"threshold": 0.6, "scales": 1, **change})
        again = found(
            ["bright", "dark"],
            threshold=settings.threshold,
            scales=1,
            **{k: v for k, v in change.items() if k != "threshold"},
        )
        derived = derive(result, settings)
        assert np.array_equal(derived.labels, again.labels)
        assert np.array_equal(derived.semantic, again.semantic)
        assert derived.table.equals(again.table)
        assert derived.classes == again.classes
        assert derived.provenance["settings"] == settings.model_dump(mode="json")
    assert len(model.seen) == calls
    own = TextInputs.parse({"concepts": [{"text": "bright", "threshold": 0.9, "colour": "#102030"}, "dark"]})
    moved = derive(result, TextSettings(threshold=0.6, scales=1), own)
    assert np.array_equal(moved.semantic == 1, picture() > 240)
    assert moved.classes[1].colour == "#102030"
    assert TextInputs.parse(moved.provenance["inputs"]) == own


def test_what_is_not_found_is_said_and_recorded() -> None:
    result = found(["bright", "dim thing"], np.full((40, 50), 51, np.uint8), threshold=0.9)
    assert not_found(result) == [
        "Nothing found for bright (best score 0.20).",
        "Nothing found for dim thing (best score 0.80).",
    ]
    assert [entry["pixels"] for entry in result.provenance["found"]] == [0, 0]
    assert len(result) == 0


def test_synonyms_negatives_and_examples_are_asked() -> None:
    model = Stub()
    shown = example_of(np.full((500, 300, 3), 240, np.uint8))
    concepts = [{"text": "spot, bright spot", "negative": "dark"}, {"text": "shown", "examples": [shown]}]
    result = found(concepts, model=model, threshold=0.3)
    assert [q for q in model.asked if isinstance(q, str)] == ["spot", "bright spot", "dark"]
    assert model.asked[2].shape == (352, 211, 3)
    assert result.maps[()].shape == (3, 60, 90)
    assert np.array_equal(result.semantic > 0, picture() > 100), "darkness keeps the first concept out"
    only = found(["spot, bright spot"], threshold=0.3)
    assert (only.semantic == 1).all(), "of synonyms the highest score counts"


def test_a_stack_is_done_slice_by_slice_and_linked() -> None:
    stack = np.stack([picture(), picture(), np.full_like(picture(), 20)])
    assert len(found(["bright"], stack, threshold=0.6, link="none")) == 6
    assert len(found(["bright"], stack, threshold=0.6)) == 3, "a new run gives objects in 3-D"
    linked = found(["bright"], stack, threshold=0.6, link=True)
    assert len(linked) == 3
    assert np.array_equal(linked.labels[0], linked.labels[1])
    classes = found(["bright", "dark"], stack, threshold=0.6, output="classes")
    assert np.array_equal(classes.labels, classes.semantic)
    assert list(classes.table["class_name"]) == ["bright", "dark"]


def test_a_region_of_one_slice() -> None:
    inputs = TextInputs.parse({"concepts": "bright", "index": (1,), "region": (5, 8, 44, 60)})
    result = TASKS["text"].run(image(np.stack([picture(), picture()])), inputs, TextSettings(threshold=0.6), Stub())
    inside = np.zeros((60, 90), bool)
    inside[5:45, 8:61] = True
    assert np.array_equal(result.labels[1] > 0, (picture() > 100) & inside)
    assert not result.labels[0].any()
    assert result.table.iloc[0][["z", "y0", "x0"]].tolist() == [1, 10, 10]
    assert np.array_equal(derive(result, TextSettings(threshold=0.6)).labels, result.labels)


@pytest.mark.parametrize(
    ("concepts", "words"),
    [
        ([], "at least 1"),
        ("", "at least 1"),
        ([""], "needs a name"),
        (["  , "], "needs a name"),
        (["cell", "Cell, cells"], "'cell' appears twice"),
        ([f"c{i}" for i in range(256)], "at most 255"),
        ([{"text": "a", "threshold": 2}], "less than or equal to 1"),
        ([{"text": "a", "colour": "red"}], "colour"),
        ([{"text": "a", "examples": ["nonsense"]}], "not a PNG"),
        (["word " * 30], r"32 tokens; stub takes 20"),
    ],
)
def test_what_is_wrong_with_a_concept_is_said(concepts: Any, words: str) -> None:
    with pytest.raises(PromptError, match=words):
        found(concepts)


def test_two_hundred_concepts_emoji_and_other_scripts() -> None:
    names = [f"thing {i}" for i in range(198)] + ["🔬 bright", "细胞核"]
    result = found(names, threshold=0.6, scales=1)
    assert len(result.classes) == 200
    assert result.classes[199].name == "🔬 bright"
    assert result.classes[199].area == (picture() > 153).sum()
    assert TextInputs.parse(json.loads(json.dumps(result.provenance["inputs"]))).concepts[199].name == "细胞核"


def test_one_text_with_semicolons_is_several_concepts() -> None:
    inputs = TextInputs.parse({"concepts": " mitochondria,  mitochondrion ; nucleus;background; "})
    assert [concept.words for concept in inputs.concepts] == [
        ("mitochondria", "mitochondrion"),
        ("nucleus",),
        ("background",),
    ]
    assert inputs.class_table().things == (1, 2)
    assert Concept(text="a").pictures == ()


def test_scales_halve_down_to_the_models_own() -> None:
    assert scales((100, 80), 352, 5) == [(100, 80)]
    assert scales((2000, 3000), 352, 1) == [(2000, 3000)]
    assert scales((2000, 3000), 352, 9) == [(2000, 3000), (1500, 1500), (750, 750), (375, 375), (352, 352)]


def maps_of(pixels: NDArray[Any], model: Any, most: int = 9) -> NDArray[np.float16]:
    height, width = pixels.shape
    return blended_maps(
        image(pixels),
        (),
        (0, 0, height - 1, width - 1),
        model,
        ["bright"],
        lambda: None,
        lambda _: None,
        most_scales=most,
    )[0]


def test_a_constant_picture_gives_a_constant_map() -> None:
    for shape in ((130, 200), (33, 31), (32, 500)):
        found = maps_of(np.full(shape, 102, np.uint8), Stub())
        assert np.abs(found - np.float16(0.4)).max() <= 0.001
        assert np.ptp(maps_of(np.full(shape, 102, np.uint8), Stub(border=0.5))) <= 0.001


def test_of_blank_windows_one_is_asked_for_each_colour() -> None:
    class Watched(Stub):
        def text_maps(self, rgb: NDArray[np.uint8], prompts: Sequence[Any]) -> NDArray[np.float32]:
            if not np.ptp(rgb):
                blank.append(int(rgb[0, 0, 0]))
            return super().text_maps(rgb, prompts)

    blank: list[int] = []
    pixels = np.repeat(np.array([20, 200], np.uint8), 160)[None].repeat(64, 0)
    np.testing.assert_allclose(maps_of(pixels, Watched()), pixels / 255, atol=0.001)
    assert sorted(blank) == [20, 200]


def test_a_shift_by_half_a_window_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    pixels = np.kron(rng.integers(0, 255, (20, 26), np.uint8), np.ones((8, 8), np.uint8))
    one, other = maps_of(pixels, Stub()), maps_of(pixels[16:, 16:], Stub())
    assert np.abs(one[16:, 16:].astype(float) - other).max() <= 0.001


def test_windows_that_err_at_their_borders_leave_no_seam() -> None:
    """A map that is 0.5 too high along the border of each window would jump by 0.5 at each seam if simply laid out."""
    nearly_flat = np.random.default_rng(0).integers(102, 104, (130, 200), np.uint8)
    found = maps_of(nearly_flat, Stub(border=0.5), most=2).astype(float)
    inner = found[3:-3, 3:-3]
    jumps = max(np.abs(np.diff(inner, axis=0)).max(), np.abs(np.diff(inner, axis=1)).max())
    assert jumps <= 0.015


def test_each_window_is_asked_and_cancelling_stops() -> None:
    model = Stub()
    maps_of(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8), model, most=2)
    assert model.seen == [(64, 64), *[(32, 32)] * 9]
    from napari_foundseg.core.errors import Cancelled

    inputs = TextInputs.parse({"concepts": "bright"})
    with pytest.raises(Cancelled):
        TASKS["text"].run(image(), inputs, TextSettings(), Stub(), cancelled=lambda: True)


def test_parts_are_drawn_anew_by_a_promptable_model() -> None:
    """Half of a bright disc is found by its heat map; the built-in model, asked with its box, draws more of it."""
    rows, columns = np.ogrid[:96, :96]
    pixels = np.full((96, 96), 20, np.uint8)
    pixels[(rows - 48) ** 2 + (columns - 48) ** 2 <= 20**2] = 150
    pixels[(rows - 48) ** 2 + (columns - 48) ** 2 <= 20**2 - 180 * (columns > 48)] = 200
    plain = found(["bright", "background"], pixels, threshold=0.6)
    refined = found(["bright", "background"], pixels, threshold=0.6, refine_model="foundseg-tiny")
    assert len(plain) == len(refined) == 1
    assert refined.table["class_name"].tolist() == ["bright"]
    assert refined.provenance["settings"]["refine_model"] == "foundseg-tiny"
    truth = pixels > 100

    def overlap(labels: NDArray[Any]) -> float:
        return float(((labels > 0) & truth).sum() / ((labels > 0) | truth).sum())

    assert overlap(refined.labels) > 0.7
    assert not np.array_equal(refined.labels, plain.labels)
    assert np.array_equal(refined.semantic == 1, refined.labels > 0)
