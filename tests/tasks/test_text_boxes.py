"""Text by boxes: words or a caption become boxes, and boxes masks, in tiles and in stacks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.measure import label, regionprops

from napari_foundseg.core.contrast import Limits
from napari_foundseg.core.errors import FoundsegError, PromptError
from napari_foundseg.core.image import Image
from napari_foundseg.models import catalog
from napari_foundseg.models.protocols.words import GroundedBoxes
from napari_foundseg.tasks import TASKS
from napari_foundseg.tasks.classes.box_search import BoxSettings, boxes_above
from napari_foundseg.tasks.classes.concepts import NamedBox, TextInputs
from napari_foundseg.tasks.classes.noun_phrases import noun_phrases
from napari_foundseg.tasks.notes import notes_of
from napari_foundseg.tasks.text import derive, not_found

ROW = catalog.CatalogRow(
    name="stub", title="stub", family="stub", protocols=("Grounded",), sha256="0" * 64, size_mb=0, revision="0",
    code_licence="", weights_licence="", input="", citation="",
)  # fmt: skip


@dataclass(eq=False)
class Planted:
    """Finds squares by their grey value: "bright" ones above 200, others above 100; less sure of the others."""

    most_boxes: int = 900
    calls: list[tuple[tuple[int, ...], tuple[str, ...]]] = field(default_factory=list)
    name = key = "stub"
    device = "cpu"
    window = 64
    longest_text = 8

    def token_count(self, text: str) -> int:
        return len(text.split()) + 2

    def ground(self, rgb: NDArray[np.uint8], phrases: Sequence[str], threshold: float) -> GroundedBoxes:
        self.calls.append((rgb.shape[:2], tuple(phrases)))
        found: list[tuple[list[float], float, int]] = []
        for number, phrase in enumerate(phrases):
            bright = "bright" in phrase
            parts = label(rgb[..., 0] > (200 if bright else 100))
            for part in regionprops(parts):
                y0, x0, y1, x1 = part.bbox
                found.append(([y0, x0, y1 - 1, x1 - 1], 0.9 if bright else 0.6, number))
        kept = [one for one in found if one[1] > threshold][: self.most_boxes]
        boxes = np.array([box for box, _, _ in kept], float).reshape(-1, 4)
        return GroundedBoxes(
            boxes, np.array([s for _, s, _ in kept], np.float32), np.array([n for _, _, n in kept], np.int64)
        )


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalog._adopted, "stub", ROW)


#: Corners of the squares of 9 pixels; every fifth is bright.
CORNERS = [(y, x) for y in range(5, 140, 20) for x in range(5, 200, 20)]
BRIGHT = len(CORNERS[::5])


def squares() -> NDArray[np.uint8]:
    pixels = np.zeros((150, 210), np.uint8)
    for number, (y, x) in enumerate(CORNERS):
        pixels[y : y + 9, x : x + 9] = 250 if number % 5 == 0 else 150
    return pixels


def found(inputs: dict[str, Any], pixels: NDArray[Any] | None = None, model: Any = None, **settings: Any) -> Any:
    image = Image(squares() if pixels is None else pixels, normalisation=Limits(low=0, high=255))
    given = BoxSettings(**{"mask_model": "", **settings})
    return TASKS["text"].run(image, TextInputs.parse(inputs), given, model or Planted())


def test_tiles_give_each_object_once_with_its_phrase_as_class() -> None:
    result = found({"concepts": ["square", "bright square"]})
    assert [(row.name, row.count) for row in result.classes] == [
        ("square", len(CORNERS) - BRIGHT), ("bright square", BRIGHT),
    ]  # fmt: skip
    assert set(result.table["area"]) == {81}
    assert np.array_equal(result.labels > 0, squares() > 0)
    assert np.array_equal(result.semantic == 2, squares() == 250)
    assert sorted(set(result.table["predicted_iou"].round(2))) == [0.6, 0.9]
    json.dumps(result.provenance)
    both = found({"concepts": ["square", "bright square"]}, one_name=False)
    assert [entry["boxes"] for entry in both.provenance["found"]] == [len(CORNERS), BRIGHT]
    assert (
        notes_of(both.provenance)[-1] == f"Masks that are left out, since their pixels belong to better ones: {BRIGHT}."
    )


def test_an_image_gives_what_its_quarters_give() -> None:
    whole = np.tile(squares(), (2, 2))
    assert len(found({"concepts": ["square"]}, whole)) == 4 * len(found({"concepts": ["square"]}))


def test_negatives_take_theirs_and_synonyms_are_one_concept() -> None:
    result = found({"concepts": [{"text": "square", "negative": "bright thing"}]})
    assert len(result) == len(CORNERS) - BRIGHT
    assert not (result.labels[squares() == 250]).any()
    assert len(found({"concepts": ["square, box"]})) == len(CORNERS)


def test_a_stack_is_done_slice_by_slice_and_linked() -> None:
    stack = np.stack([squares(), squares(), np.zeros_like(squares())])
    result = found({"concepts": ["square"]}, stack)
    assert len(result) == len(CORNERS)
    assert np.array_equal(result.labels[0], result.labels[1])
    assert not result.labels[2].any()
    one = found({"concepts": ["square"], "index": (1,), "region": (0, 0, 39, 49)}, stack)
    assert len(one) == 6
    real = found({"concepts": ["square"], "index": (0,), "region": (0, 0, 39, 39)}, stack, mask_model="foundseg-tiny")
    assert np.array_equal(real.labels[1:], np.zeros_like(stack[1:], real.labels.dtype))


def test_boxes_alone_wait_for_their_masks_and_edited_ones_become_masks() -> None:
    first = found({"concepts": ["square", "bright square"]}, masks=False)
    assert not len(first)
    assert "nothing_found" not in first.provenance
    assert not_found(first) == []
    boxes = first.provenance["boxes"]
    assert {box["concept"] for box in boxes} == {"square", "bright square"}
    moved = {**boxes[0], "box": [100, 150, 120, 170]}
    added = {"concept": "bright square", "box": [-3, -2, 10.4, 12.2]}
    model = Planted()
    again = found({"concepts": ["square", "bright square"], "boxes": [moved, added]}, model=model)
    assert not model.calls, "nothing is searched again"
    assert again.table[["y0", "x0", "y1", "x1"]].to_numpy().tolist() == [[0, 0, 10, 12], [100, 150, 120, 170]]
    assert list(again.table["class_name"]) == ["bright square"] * 2
    assert TextInputs.parse(again.provenance["inputs"]).boxes is not None
    raised = derive(again, BoxSettings(threshold=1.0, mask_model=""))
    assert np.array_equal(raised.labels, again.labels), "what the user has drawn stays"


def test_thresholds_act_without_the_model() -> None:
    result = found({"concepts": ["square", "bright square"]}, threshold=0.5)
    higher = derive(result, BoxSettings(threshold=0.7, mask_model=""))
    assert np.array_equal(higher.labels > 0, squares() == 250)
    assert not_found(higher) == ["Nothing found for square (best score 0.60)."]
    assert np.array_equal(derive(result, BoxSettings(threshold=0.5, mask_model="")).labels, result.labels)
    inputs = TextInputs.parse({"concepts": [{"text": "square", "threshold": 0.1}, "bright square"]})
    all_boxes = [NamedBox.model_validate(box) for box in result.provenance["boxes"]]
    assert len(boxes_above(all_boxes, inputs, BoxSettings(threshold=0.95))) == len(CORNERS)


def test_phrases_one_by_one_are_asked_for_alone() -> None:
    model = Planted()
    found({"concepts": ["square, box", "bright square"]}, model=model, phrases="one by one", tile=False)
    assert [asked for _, asked in model.calls] == [("square",), ("box",), ("bright square",)]


def test_what_is_left_out_and_what_is_not_found_is_said() -> None:
    few = found({"concepts": ["square"]}, model=Planted(most_boxes=3))
    assert "there may be more" in few.provenance["notes"][0]
    none = found({"concepts": ["square"]}, np.zeros((40, 50), np.uint8))
    assert "No box was found" in none.provenance["nothing_found"][0]
    assert not_found(none) == ["Nothing found for square (best score 0.00)."]


def test_a_caption_names_the_concepts() -> None:
    caption = "A bright square beside two squares."
    result = found({"caption": caption}, threshold=0.5)
    assert [row.name for row in result.classes] == ["A bright square", "two squares"]
    assert len(result) == len(CORNERS)
    assert result.provenance["inputs"]["caption"] == caption
    again = TextInputs.parse(result.provenance["inputs"])
    assert [concept.name for concept in again.concepts] == ["A bright square", "two squares"]


@pytest.mark.parametrize(
    ("caption", "phrases"),
    [
        ("two syringes and a small vial of vaccine", ["two syringes", "a small vial of vaccine"]),
        ("a black and white cat on a red chair", ["a black and white cat", "a red chair"]),
        ("People sitting on a bench near the river", ["People", "a bench", "the river"]),
        ("There are two cells in the picture.", ["two cells"]),
        ("a fluorescence image showing 3 bright nuclei", ["3 bright nuclei"]),
        ("all the nuclei stained with DAPI", ["all the nuclei", "DAPI"]),
        ("infected and healthy cells", ["infected and healthy cells"]),
        ("a dividing cell holding a cup", ["a dividing cell", "a cup"]),
        ("the nucleus of a living cell; the β-cells", ["the nucleus of a living cell", "the β-cells"]),
        ("a cell and a cell, the cell", ["a cell"]),
        ("the building behind the painting", ["the building", "the painting"]),
    ],
)
def test_noun_phrases_of_captions(caption: str, phrases: list[str]) -> None:
    found = noun_phrases(caption)
    assert [one.text for one in found] == phrases
    assert [" ".join(caption[one.start : one.end].split()) for one in found] == phrases


@pytest.mark.parametrize(
    ("caption", "message"),
    [
        ("it is very large", "No noun was found"),
        ("细胞和细胞核", "English captions only.*commas"),
        ("две клетки", "English captions only.*commas"),
        ("zwei Spritzen und eine Flasche", "English captions only.*commas"),
        ("cell " * 2000, "2000 words; 200 can be at most"),
        ("🔬 …", "no words"),
    ],
)
def test_captions_that_cannot_be_read_are_named(caption: str, message: str) -> None:
    with pytest.raises(PromptError, match=f"^caption: .*{message}"):
        TextInputs.parse({"caption": caption})


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"concepts": ["square"], "boxes": [{"concept": "cell", "box": [0, 0, 5, 5]}]}, "none of the concepts"),
        ({"concepts": ["square"], "boxes": [{"concept": "square", "box": [9, 0, 5, 5]}]}, "y0 <= y1"),
        ({"concepts": ["square"], "boxes": [{"concept": "square", "box": [300, 0, 320, 5]}]}, "outside the image"),
        ({"concepts": ["square"], "boxes": [{"concept": "square", "box": [0, 0, 5, 5], "index": [2]}]}, "in slice"),
        ({"concepts": [f"cell {n}" for n in range(300)]}, "255"),
        ({"concepts": [{"text": "cell", "examples": ["AAAA"]}]}, "pictures as examples"),
        ({"concepts": ["one two three four five six seven"]}, "tokens; stub takes 8"),
        ({}, "concepts"),
    ],
)
def test_bad_inputs_are_named(inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(FoundsegError, match=message):
        found(inputs)
