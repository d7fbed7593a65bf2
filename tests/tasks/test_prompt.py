from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from scipy import ndimage

import napari_foundseg as fs
from napari_foundseg.core.contrast import Limits
from napari_foundseg.core.errors import Cancelled
from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Mask, iou
from napari_foundseg.io.readers import read_image
from napari_foundseg.io.samples import sample
from napari_foundseg.models.protocols.objects import Candidates
from napari_foundseg.tasks import TASKS
from napari_foundseg.tasks.prompt import PromptInputs, PromptSettings, slices
from tests.support.drawn_stacks import draw_stack, middle_slice


def squares(side: int, shape: tuple[int, int] = (500, 500), at: tuple[int, int] = (200, 150)) -> Image:
    """A picture that `Oracle` reads as one square."""
    image = np.zeros((*shape, 3), np.uint8)
    image[at[0] : at[0] + side, at[1] : at[1] + side] = 255
    return Image(image, normalisation=Limits(low=0, high=255))


@pytest.mark.parametrize("side", [10, 60, 120, 290])
def test_an_object_of_any_size_is_found_whole(oracle: Any, side: int) -> None:
    """The oracle's window is 128 pixels: larger objects are only seen whole when it zooms out."""
    image = squares(side)
    y = 200 + side // 2
    by_click = fs.prompt(image, fs.Prompt(points=[(y, 150 + side // 2)]), model=oracle)
    by_box = fs.prompt(image, fs.Prompt(box=(200, 150, 200 + side - 1, 150 + side - 1)), model=oracle)
    for found in (by_click, by_box):
        assert found.table.loc[0, "area"] == side * side
        assert found.table.loc[0, ["y0", "x0", "y1", "x1"]].tolist() == [200, 150, 199 + side, 149 + side]


def test_a_click_that_the_model_doubts_is_looked_at_in_a_wider_window(
    oracle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model to which an object that fills a tenth of its window looks like nothing."""
    decode = oracle.decode

    def shortsighted(embedding: Any, prompts: Any, *, multimask: bool, **_: Any) -> list[Candidates]:
        found = decode(embedding, prompts, multimask=multimask)
        if (embedding[..., 0] > 127).mean() < 0.1:
            return found
        return [
            Candidates(np.full_like(c.logits, -1), np.full_like(c.predicted_iou, 0.1), c.stability_score) for c in found
        ]

    monkeypatch.setattr(oracle, "decode", shortsighted)
    for side, windows in ((31, 1), (61, 2), (111, 3)):
        oracle.seen.clear()
        found = fs.prompt(squares(side), fs.Prompt(points=[(200 + side // 2, 150 + side // 2)]), model=oracle)
        assert found.table.loc[0, "area"] == side * side
        assert len(oracle.seen) == windows


def test_where_all_windows_are_doubted_the_most_trusted_mask_is_taken(
    oracle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = oracle.decode

    def doubting(embedding: Any, prompts: Any, *, multimask: bool, **_: Any) -> list[Candidates]:
        trust = 0.5 if len(embedding) == 128 else 0.2
        found = decode(embedding, prompts, multimask=multimask)
        return [Candidates(c.logits, np.full_like(c.predicted_iou, trust), c.stability_score) for c in found]

    monkeypatch.setattr(oracle, "decode", doubting)
    found = fs.prompt(squares(20), fs.Prompt(points=[(210, 160)]), model=oracle)
    assert found.table.loc[0, "area"] == 400
    assert found.table.loc[0, "predicted_iou"] == pytest.approx(0.5)


@pytest.mark.parametrize(("side", "windows"), [(10, [128, 32]), (20, [128, 64]), (40, [128]), (90, [128, 256])])
def test_a_click_is_looked_at_again_where_its_mask_fills_a_third_of_the_window(
    oracle: Any, side: int, windows: list[int]
) -> None:
    fs.prompt(squares(side), fs.Prompt(points=[(200 + side // 2, 150 + side // 2)]), model=oracle)
    assert [seen[0] for seen in oracle.seen] == windows


def test_a_model_whose_windows_take_seconds_looks_at_a_click_once(oracle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_foundseg.tasks.windows.tiling.QUICK", oracle.window - 1)
    fs.prompt(squares(10), fs.Prompt(points=[(205, 155)]), model=oracle)
    assert [seen[0] for seen in oracle.seen] == [oracle.window]


def test_of_several_clicks_masks_one_that_obeys_them_is_taken(oracle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose single mask takes in what a negative click forbids, and one of whose three does not."""
    whole = np.full((128, 128), 5, np.float32)
    left = np.where(np.arange(128) < 64, whole, -5)

    def careless(_embedding: Any, prompts: Any, *, multimask: bool, one_by_one: bool) -> list[Candidates]:
        assert one_by_one
        logits = np.stack([whole, left, whole]) if multimask else whole[None]
        scores = np.array([0.8, 0.4, 0.7])[: len(logits)]
        return [Candidates(logits, scores, scores) for _ in prompts]

    monkeypatch.setattr(oracle, "decode", careless)
    image = squares(50, shape=(128, 128), at=(10, 10))
    found = fs.prompt(image, fs.Prompt(points=[(60, 20), (60, 100)], labels=[1, 0]), model=oracle)
    assert np.array_equal(found.labels > 0, left > 0)
    assert found.table.loc[0, "predicted_iou"] == pytest.approx(0.4)


def test_a_box_is_looked_at_through_a_window_three_times_its_size(oracle: Any) -> None:
    fs.prompt(squares(20), fs.Prompt(box=(200, 150, 219, 169)), model=oracle)
    assert oracle.seen == [(64, 64)]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 499), st.integers(0, 499))
def test_coordinates_are_rows_and_columns_of_the_image(oracle: Any, y: int, x: int) -> None:
    """One lit pixel block anywhere: a click on it finds it where it is, whatever window it was decoded in."""
    image = np.zeros((500, 500, 3), np.uint8)
    image[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] = 255
    found = fs.prompt(Image(image, normalisation=Limits(low=0, high=255)), fs.Prompt(points=[(y, x)]), model=oracle)
    assert np.array_equal(found.labels > 0, image[..., 0] > 0)


def test_prompts_keep_their_order_and_an_empty_mask_its_row(oracle: Any) -> None:
    prompts = [fs.Prompt(points=[(5, 5)]), fs.Prompt(points=[(210, 160)]), fs.Prompt(points=[(480, 480)])]
    found = fs.prompt(squares(40), prompts, model=oracle)
    assert found.table["label"].tolist() == [1, 2, 3]
    assert found.table["area"].tolist() == [0, 1600, 0]
    assert np.unique(found.labels).tolist() == [0, 2]


def test_candidates_come_best_first(oracle: Any) -> None:
    found = fs.prompt(squares(40), fs.Prompt(points=[(210, 160)]), model=oracle)
    assert [round(mask.predicted_iou, 1) for mask in found.masks or ()] == [0.9, 0.7, 0.5]
    assert found.table.loc[0, "predicted_iou"] == pytest.approx(0.9)
    single = fs.prompt(squares(40), fs.Prompt(points=[(210, 160)]), model=oracle, output="single")
    assert len(single.masks or ()) == 1


def test_a_stack_is_prompted_slice_by_slice(oracle: Any) -> None:
    stack = np.zeros((4, 300, 300, 3), np.uint8)
    stack[1, 20:40, 30:50] = 255
    stack[3, 100:130, 10:40] = 255
    image = Image(stack, "ZYXC", normalisation=Limits(low=0, high=255))
    prompts = [fs.Prompt(points=[(3, 110, 20)]), fs.Prompt(box=(1, 20, 30, 1, 39, 49))]
    assert slices(image, PromptInputs(prompts=tuple(prompts))) == [(1,), (3,)]
    found = fs.prompt(image, prompts, model=oracle)
    assert found.table["z"].tolist() == [3, 1]
    assert np.array_equal(found.labels[3], np.where(stack[3, ..., 0] > 0, 1, 0))
    assert np.array_equal(found.labels[1], np.where(stack[1, ..., 0] > 0, 2, 0))


def test_cancel(oracle: Any) -> None:
    task = TASKS["prompt"]
    inputs = PromptInputs(prompts=(fs.Prompt(points=[(5, 5)]),))
    with pytest.raises(Cancelled):
        task.run(squares(10), inputs, PromptSettings(), oracle, cancelled=lambda: True)
    assert oracle.seen == []


@pytest.mark.parametrize("name", ["nuclei", "tissue"])
@pytest.mark.parametrize(
    "given_prompt",
    [
        {"points": [(100, 120)]},
        {"points": [(100, 120), (110, 140)], "labels": [1, 0]},
        {"box": (90, 100, 130, 150)},
        {"points": [(100, 120)], "labels": [1], "box": (90, 100, 130, 150)},
    ],
)
def test_untiled_equals_the_reference_predictor(name: str, given_prompt: dict[str, Any]) -> None:
    from segment_anything import SamPredictor

    model = fs.load_model("foundseg-tiny")
    image = read_image(sample(name))
    found = fs.prompt(image, fs.Prompt(**given_prompt), model=model, tile=False)
    predictor = SamPredictor(model.sam)
    predictor.set_image(image.rgb())
    one_click = len(given_prompt.get("points", ())) == 1 and "box" not in given_prompt
    box = given_prompt.get("box")
    masks, iou, _ = predictor.predict(
        np.array(given_prompt["points"])[:, ::-1] if "points" in given_prompt else None,
        np.array(given_prompt.get("labels", [1])) if "points" in given_prompt else None,
        None if box is None else np.array([box[1], box[0], box[3], box[2]]),
        multimask_output=one_click,
    )
    best = int(np.argmax(iou))
    assert_allclose(found.table.loc[0, "predicted_iou"], iou[best], rtol=1e-5)
    assert np.count_nonzero((found.labels > 0) != masks[best]) <= 2


def test_a_window_is_encoded_once_between_calls(oracle: Any) -> None:
    image = squares(40)
    for _ in range(3):
        fs.prompt(image, fs.Prompt(points=[(220, 170)]), model=oracle)
    assert len(oracle.seen) == 1


def drawn(side: int, diameter: int, look: str = "even") -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    inside = np.hypot(y, x) < diameter / 2
    rng = np.random.default_rng(diameter)
    shown = np.where(inside, 60, 210) if look == "dark" else np.where(inside, 180, 30)
    if look == "textured":
        grain = ndimage.gaussian_filter(rng.normal(size=inside.shape), diameter / 20)
        shown = shown + inside * 12 * grain / grain.std()
    if look == "noisy":
        shown = shown + rng.normal(0, 12, inside.shape)
    return np.clip(shown, 0, 255).astype(np.uint8), inside


def overlap(found: NDArray[Any], truth: NDArray[np.bool_]) -> float:
    return float(((found > 0) & truth).sum() / ((found > 0) | truth).sum())


@pytest.mark.parametrize(
    ("side", "diameter", "look"),
    [
        (512, 200, "dark"),
        (512, 300, "even"),
        (512, 400, "noisy"),
        (512, 450, "even"),
        (600, 400, "textured"),
        (1024, 450, "even"),
        (200, 180, "even"),
    ],
)
def test_a_click_on_a_large_disc_gives_all_of_it(side: int, diameter: int, look: str) -> None:
    """Discs larger than the model's window, up to what fits the picture; by a click in the middle or elsewhere."""
    picture, truth = drawn(side, diameter, look)
    image = Image(picture)
    middle = side // 2
    beside = (middle + diameter // 5, middle - diameter // 4)
    one = fs.prompt(image, fs.Prompt(points=[(middle, middle)]))
    other = fs.prompt(image, fs.Prompt(points=[beside]))
    assert overlap(one.labels, truth) >= 0.9
    assert overlap(other.labels, truth) >= 0.9
    assert 0 < one.provenance["scales"][0] < 256 / diameter
    # One more click on it, or beside it, corrects the mask and does not replace it.
    for further, label in (((middle, middle + diameter // 3), 1), ((middle, middle + diameter // 2 + 9), 0)):
        if further[1] < side:
            two = fs.prompt(image, fs.Prompt(points=[(middle, middle), further], labels=[1, label]))
            assert overlap(two.labels, one.labels > 0) >= 0.85


def test_a_click_on_a_nucleus_does_not_give_the_cell() -> None:
    picture, cell = drawn(512, 300)
    y, x = np.mgrid[:512, :512]
    nucleus = np.hypot(y - 230, x - 270) < 40
    picture = np.where(nucleus, 230, picture // 2).astype(np.uint8)
    by_nucleus = fs.prompt(picture, fs.Prompt(points=[(235, 262)]))
    assert overlap(by_nucleus.labels, nucleus) >= 0.9
    by_cell = fs.prompt(picture, fs.Prompt(points=[(330, 200)]))
    assert overlap(by_cell.labels, cell) >= 0.8


def test_the_other_object_that_a_click_has_shown_is_the_last_candidate(
    oracle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that sees the part in small windows, doubtfully, and the whole in wide ones."""

    def decode(embedding: Any, prompts: Any, *, multimask: bool, **_: Any) -> list[Candidates]:
        part = embedding[..., 0] > 200
        seen, score = (part, 0.7) if len(embedding) == 128 else (embedding[..., 0] > 127, 0.75)
        scores = np.full(3 if multimask else 1, score, np.float32)
        logits = np.repeat(np.where(seen, 5, -5)[None].astype(np.float32), len(scores), 0)
        return [Candidates(logits, scores, scores) for _ in prompts]

    monkeypatch.setattr(oracle, "decode", decode)
    picture = np.zeros((256, 256, 3), np.uint8)
    picture[60:180, 60:180] = 150
    picture[100:150, 100:150] = 255
    image = Image(picture, normalisation=Limits(low=0, high=255))
    found = fs.prompt(image, fs.Prompt(points=[(125, 125)]), model=oracle)
    assert [mask.area for mask in found.masks or ()] == [2500, 2500, 2500, 14400]
    single = fs.prompt(image, fs.Prompt(points=[(125, 125)]), model=oracle, output="single")
    assert len(single.masks or ()) == 1


def test_a_click_on_the_ground_does_not_give_the_picture() -> None:
    picture, truth = drawn(512, 120, "noisy")
    found = fs.prompt(picture, fs.Prompt(points=[(40, 40)]))
    assert found.table.loc[0, "area"] < 0.5 * truth.size or found.table.loc[0, "predicted_iou"] < 0.6


def test_a_click_on_one_of_touching_cells_gives_that_cell() -> None:
    drawn = draw_stack("touching", spacing=2, seed=3)
    at = middle_slice(drawn.truth, 3)
    cell = drawn.truth[at] == 3
    for point in np.argwhere(ndimage.binary_erosion(cell, iterations=6))[::200]:
        (first, *others) = fs.prompt(drawn.stack[at], fs.Prompt(points=[point])).masks or ()
        assert iou(first, Mask.from_array(cell)) > 0.8
        # What the click alone means to the model remains a candidate.
        assert all(iou(first, other) < 0.9 for other in others)
    middle = tuple(int(v) for v in ndimage.center_of_mass(cell))
    both = fs.Prompt(points=[middle, (middle[0] + 5, middle[1] + 5)])
    assert iou((fs.prompt(drawn.stack[at], both).masks or ())[0], Mask.from_array(cell)) > 0.7


def test_a_click_beyond_the_instance_of_the_decoder_adds_to_the_mask() -> None:
    drawn = draw_stack("touching", spacing=2, seed=3)
    at = middle_slice(drawn.truth, 3)
    points = [tuple(int(v) for v in ndimage.center_of_mass(drawn.truth[at] == label)) for label in (3, 2)]
    found = fs.prompt(drawn.stack[at], fs.Prompt(points=points)).labels
    assert all(found[point] for point in points)
