"""Objects followed through stacks: where they end, holes, neighbours, corrections, several axes, and bad input."""

from __future__ import annotations

import json
from typing import Any

import dask.array as da
import numpy as np
import pytest
from skimage.draw import disk

import napari_foundseg as fs
from napari_foundseg.core.errors import AxesError, BadImageError, Cancelled, PromptError, SettingsError
from napari_foundseg.core.image import Image
from napari_foundseg.core.masks import Mask
from napari_foundseg.models.loading import load_model
from napari_foundseg.models.protocols.frames import FrameMasks
from napari_foundseg.tasks import TASKS
from tests.support.drawn_stacks import draw_stack, middle_slice

RNG = np.random.default_rng(0)


def discs(
    slices: int, places: list[tuple[int, int, int]], *, side: int = 128, ends: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw discs (y, x, radius) through the slices `ends`, both included, and their truth."""
    truth = np.zeros((slices, side, side), np.uint8)
    first, last = ends or (0, slices - 1)
    for label, (y, x, radius) in enumerate(places, 1):
        rows, columns = disk((y, x), radius, shape=(side, side))
        truth[first : last + 1, rows, columns] = label
    grey = np.where(truth > 0, 180.0, 50.0) + np.random.default_rng(1).normal(0, 8, truth.shape)
    return np.clip(grey, 0, 255).astype(np.uint8), truth


def in_stack(mask: Mask, shape: tuple[int, int]) -> np.ndarray:
    full = np.zeros(shape, bool)
    if mask.area:
        full[mask.box[0] : mask.box[2] + 1, mask.box[1] : mask.box[3] + 1] = mask.crop
    return full


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def filled(labels: np.ndarray, label: int = 1) -> list[int]:
    return [int(z) for z in np.flatnonzero((labels == label).any((1, 2)))]


@pytest.mark.parametrize(("kind", "spacing"), [("ellipsoids", 3), ("touching", 4)])
def test_one_click_an_object_gives_the_volume(kind: Any, spacing: float) -> None:
    drawn = draw_stack(kind, spacing=spacing, seed=2, shape=(20, 160, 160))
    labels = [int(i) for i in np.unique(drawn.truth)[1:]][:2]
    prompts = {}
    for label in labels:
        at = middle_slice(drawn.truth, label)
        rows, columns = np.nonzero(drawn.truth[at] == label)
        prompts[label] = fs.Prompt(box=(at, rows.min(), columns.min(), at, rows.max(), columns.max()))
    found = fs.propagate(drawn.stack, prompts, axes="ZYX").labels
    for label in labels:
        truth = drawn.truth == label
        mine = found == label
        assert iou(truth, mine) > 0.8
        assert abs(mine.sum() / truth.sum() - 1) < 0.15
        assert np.abs(np.array(filled(mine))[[0, -1]] - np.array(filled(truth))[[0, -1]]).max() <= 2


def test_noise_behind_an_end_stays_empty() -> None:
    stack, truth = discs(12, [(60, 60, 14)], ends=(4, 8))
    found = fs.propagate(stack, fs.Prompt([(6, 60, 60)]), axes="ZYX")
    assert filled(found.labels) == filled(truth)
    ends = found.provenance["propagation"]["ends"]["1"]
    assert ends["onward"].startswith("slice 9")
    assert ends["backward"].startswith("slice 3")


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int16", ">i2", "float64", "bool"])
def test_any_dtype_gives_the_masks_of_its_float32_copy(dtype: str) -> None:
    stack, _ = discs(6, [(40, 40, 12)], side=96, ends=(1, 4))
    made = (stack > 115) if dtype == "bool" else (stack.astype(np.int16) - 128 if dtype == "int8" else stack)
    made = made.astype(dtype)
    prompt = fs.Prompt(box=(2, 28, 28, 2, 52, 52))
    found = fs.propagate(made, prompt, axes="ZYX").labels
    assert np.array_equal(found, fs.propagate(made.astype(np.float32), prompt, axes="ZYX").labels)
    assert filled(found) == [1, 2, 3, 4]


@pytest.mark.parametrize(("first", "last", "key"), [(2, 6, 2), (2, 6, 6), (0, 7, 0), (0, 7, 7), (3, 3, 3)])
def test_each_slice_of_a_range_comes_once(first: int, last: int, key: int) -> None:
    stack, _ = discs(8, [(40, 40, 12)], side=96)
    seen: list[int] = []
    found = fs.propagate(
        stack, fs.Prompt([(key, 40, 40)]), first=first, last=last, axes="ZYX",
        callback=lambda index, _masks: seen.append(index[0]),
    )  # fmt: skip
    assert sorted(seen) == list(range(first, last + 1))
    assert filled(found.labels) == list(range(first, last + 1))
    assert seen[0] == key


def test_objects_marked_in_different_slices_are_each_followed() -> None:
    stack, _ = discs(10, [(30, 30, 10), (30, 90, 12), (90, 60, 11)])
    prompts = [fs.Prompt([(1, 30, 30)]), fs.Prompt([(4, 30, 90)]), fs.Prompt([(9, 90, 60)])]
    found = fs.propagate(stack, prompts, axes="ZYX").labels
    assert [len(filled(found, label)) for label in (1, 2, 3)] == [10, 10, 10]


def test_touching_objects_never_overlap() -> None:
    stack, truth = discs(8, [(60, 50, 16), (60, 78, 14)])
    stack[truth == 2] = np.clip(stack[truth == 2].astype(int) + 45, 0, 255)
    found = fs.propagate(stack, [fs.Prompt([(4, 60, 45)]), fs.Prompt([(4, 60, 82)])], axes="ZYX")
    areas = np.zeros(8, int)
    union = np.zeros(stack.shape, bool)
    for mask in found.masks or ():
        areas[mask.index[0]] += mask.area
        union[mask.index[0]] |= in_stack(mask, stack.shape[1:])
    assert np.array_equal(areas, union.sum((1, 2)))
    assert all(iou(found.labels == i, truth == i) > 0.8 for i in (1, 2))


def test_a_similar_object_far_away_is_never_taken() -> None:
    stack, truth = discs(10, [(40, 30, 12), (40, 130, 12)], side=160)
    stack[6:, :, :80] = stack[0, 100:101, 100:101]
    found = fs.propagate(stack, fs.Prompt([(2, 40, 30)]), axes="ZYX").labels
    assert not found[truth == 2].any()
    assert filled(found) == [0, 1, 2, 3, 4, 5]


def test_a_ring_keeps_its_hole() -> None:
    rows, columns = np.mgrid[:128, :128]
    far = np.hypot(rows - 64, columns - 64)
    ring = (far < 30) & (far > 16)
    stack = np.clip(np.where(ring, 180, 50) + RNG.normal(0, 8, (12, 128, 128)), 0, 255).astype(np.uint8)
    found = fs.propagate(stack, fs.Prompt(mask=ring, index=(6,)), axes="ZYX").labels
    areas = (found == 1).sum((1, 2)) / ring.sum()
    assert np.mean(np.abs(areas - 1) < 0.2) >= 0.95
    assert not found[:, 60:69, 60:69].any()


def test_a_correction_keeps_its_slice_and_moves_its_neighbours() -> None:
    stack, _ = discs(9, [(60, 60, 16)])
    first = fs.propagate(stack, fs.Prompt([(1, 60, 60)]), axes="ZYX").labels == 1
    shown = np.zeros((128, 128), bool)
    shown[disk((60, 60), 9)] = True
    prompts = {7: [fs.Prompt([(1, 60, 60)]), fs.Prompt(mask=shown, index=(7,))]}
    found = fs.propagate(stack, prompts, axes="ZYX").labels == 7
    assert np.array_equal(found[7], shown)
    # Halfway to the other mark nothing changes; a single click has no say in what lies behind.
    assert np.array_equal(found[:5], first[:5])


def test_an_object_that_leaves_and_comes_back_needs_a_mark_on_each_side() -> None:
    stack, truth = discs(14, [(60, 60, 14)])
    stack[4:9] = stack[:, 100:101, 100:101][:5]
    truth[4:9] = 0
    prompts = {1: [fs.Prompt([(2, 60, 60)]), fs.Prompt([(11, 60, 60)])]}
    found = fs.propagate(stack, prompts, axes="ZYX").labels
    assert filled(found) == filled(truth)
    assert filled(fs.propagate(stack, prompts[1][0], axes="ZYX").labels) == list(range(4))


def test_one_dark_slice_is_bridged_and_stays_empty() -> None:
    stack, _ = discs(9, [(60, 60, 14)])
    stack[5] = RNG.normal(50, 8, stack[5].shape).clip(0, 255)
    found = fs.propagate(stack, fs.Prompt([(2, 60, 60)]), axes="ZYX").labels
    assert filled(found) == [0, 1, 2, 3, 4, 6, 7, 8]
    assert filled(fs.propagate(stack, fs.Prompt([(2, 60, 60)]), axes="ZYX", bridge=0).labels) == [0, 1, 2, 3, 4]


def test_objects_of_a_label_image_are_kept_as_they_are() -> None:
    stack, truth = discs(7, [(40, 40, 12), (90, 90, 10)])
    painted = np.zeros_like(truth)
    painted[3][truth[3] == 1] = 5
    painted[2][truth[2] == 2] = 9
    found = fs.propagate(stack, painted, axes="ZYX")
    assert np.array_equal(found.labels[3] == 5, painted[3] == 5)
    assert np.array_equal(found.labels[2] == 9, painted[2] == 9)
    assert sorted(found.table["label"]) == [5, 9]
    assert found.table.set_index("label")["area"].to_dict() == {i: int((found.labels == i).sum()) for i in (5, 9)}


def test_four_axes_ask_for_the_one_to_follow() -> None:
    stack, _ = discs(6, [(40, 40, 12)], side=96)
    both = np.stack([stack, stack[::-1]])
    prompt = fs.Prompt([(1, 3, 40, 40)])
    with pytest.raises(AxesError, match=r"axis='T' or axis='Z'"):
        fs.propagate(both, prompt, axes="TZYX")
    along_z = fs.propagate(both, prompt, axis="z", axes="TZYX").labels
    assert not along_z[0].any()
    assert filled(along_z[1]) == list(range(6))
    along_t = fs.propagate(both, prompt, axis="T", axes="TZYX").labels
    assert along_t[:, 3].any((1, 2)).all()
    assert not np.delete(along_t, 3, axis=1).any()


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"prompts": fs.Prompt([(9, 40, 40)])}, PromptError, "outside the image"),
        ({"prompts": fs.Prompt([(1, 40, 40)]), "first": 2}, PromptError, "outside the range 2 to 5"),
        ({"prompts": fs.Prompt([(40, 40)])}, PromptError, "3 coordinates"),
        ({"prompts": [fs.Prompt([(1, 40, 40)]), fs.Prompt([(1, 40, 40)])]}, PromptError, "1 and 2 are marked in one"),
        ({"prompts": fs.Prompt([(1, 40, 40)]), "first": 4, "last": 2}, SettingsError, "4 to 2"),
        ({"prompts": fs.Prompt([(1, 40, 40)]), "last": 6}, SettingsError, "slices 0 to 5"),
        ({"prompts": fs.Prompt([(1, 40, 40)]), "axis": "T"}, AxesError, "no axis 'T'"),
        ({"prompts": {0: [fs.Prompt([(1, 40, 40)])]}}, SettingsError, "ids from 1"),
        ({"prompts": {}}, SettingsError, "prompts"),
    ],
)
def test_bad_input_is_named(given: dict[str, Any], error: type[Exception], words: str) -> None:
    stack, _ = discs(6, [(40, 40, 12)], side=96)
    with pytest.raises(error, match=words):
        fs.propagate(stack, axes="ZYX", **given)


def test_images_without_several_slices_are_named() -> None:
    stack, _ = discs(2, [(40, 40, 12)], side=96)
    with pytest.raises(AxesError, match="no slices"):
        fs.propagate(stack[0], fs.Prompt([(40, 40)]), axes="YX")
    with pytest.raises(AxesError, match="one slice"):
        fs.propagate(stack[:1], fs.Prompt([(0, 40, 40)]), axis="Z", axes="ZYX")


def broken_at(stack: np.ndarray, bad: int) -> Any:
    """Return a lazy stack of which one slice cannot be read."""

    def block(plane: np.ndarray, block_info: Any = None) -> np.ndarray:
        if block_info and block_info[0]["array-location"][0][0] == bad:
            raise OSError("damaged chunk")
        return plane

    return da.from_array(stack, chunks=(1, -1, -1)).map_blocks(block, dtype=stack.dtype, meta=stack[:0])


def test_a_slice_that_cannot_be_read_is_named_and_the_others_are_kept() -> None:
    stack, _ = discs(9, [(40, 40, 12)], side=96)
    image = Image(broken_at(stack, 6), "ZYX", normalisation=fs.Limits(low=0, high=255))
    found = fs.propagate(image, fs.Prompt([(2, 40, 40)]))
    assert filled(found.labels) == [0, 1, 2, 3, 4, 5, 7, 8]
    assert "[6]" in found.provenance["propagation"]["notes"][0]
    assert "damaged chunk" in found.provenance["propagation"]["notes"][0]


def test_a_marked_slice_that_cannot_be_read_is_an_error() -> None:
    stack, _ = discs(5, [(40, 40, 12)], side=96)
    image = Image(broken_at(stack, 2), "ZYX", normalisation=fs.Limits(low=0, high=255))
    with pytest.raises((BadImageError, OSError), match="damaged chunk"):
        fs.propagate(image, fs.Prompt([(2, 40, 40)]))


def test_it_is_cancelled_between_slices() -> None:
    stack, _ = discs(12, [(40, 40, 12)], side=96)
    task = TASKS["propagate"]
    done: list[int] = []

    def progress(_share: float, _words: str, shown: Any = None) -> None:
        done.extend(index[0] for index, _ in shown["parts"])

    with pytest.raises(Cancelled):
        task.run(
            Image(stack, "ZYX"), task.inputs.parse({"prompts": fs.Prompt([(0, 40, 40)])}),
            task.settings("projection", {}), load_model("foundseg-tiny"), progress, lambda: len(done) >= 4,
        )  # fmt: skip
    assert done == [0, 1, 2, 3]


def test_inputs_survive_json() -> None:
    mask = np.zeros((20, 30), bool)
    mask[3:9, 4:8] = True
    parse = TASKS["propagate"].inputs.parse
    inputs = parse({"prompts": {3: [fs.Prompt([(1, 2, 3)]), fs.Prompt(mask=mask, index=(4,))]}, "axis": "Z", "last": 5})
    again: Any = parse(json.loads(json.dumps(inputs.model_dump(mode="json"))))
    assert again.model_dump(mode="json") == inputs.model_dump(mode="json")
    assert np.array_equal(again.prompts[3][1].mask, mask)


class Remembering:
    """A model with memory: every frame shows its objects where they were marked, but frame 3 without the first."""

    name = "foundseg-tiny"
    key = "remembering"
    device = "cpu"
    window = 64

    def propagate(self, frames: Any, prompts: Any, first: int, last: int, poll: Any) -> Any:
        key = prompts[0].frame
        for frame in [key, *range(key + 1, last + 1), *range(key - 1, first - 1, -1)]:
            poll()
            shape = frames[frame].shape[:2]
            logits = np.full((len(prompts), *shape), -5, np.float32)
            for i, prompt in enumerate(prompts):
                y, x = map(int, prompt.prompt.points[0])
                logits[i, y - 8 : y + 9, x - 8 : x + 9] = 5 + i
            ids = np.array([prompt.object_id for prompt in prompts])
            presence = np.array([0.1 if (frame, i) == (3, 0) else 0.9 for i in range(len(prompts))], np.float32)
            yield FrameMasks(frame, ids, logits, presence)


def test_a_model_with_memory_is_asked_once_and_its_objects_do_not_overlap() -> None:
    task = TASKS["propagate"]
    stack, _ = discs(7, [(40, 40, 12)], side=96)
    inputs = task.inputs.parse({"prompts": {4: fs.Prompt([(2, 40, 40)]), 6: fs.Prompt([(2, 40, 50)])}, "first": 1})
    seen: list[int] = []
    found = task.run(
        Image(stack, "ZYX"), inputs, task.settings("memory", {}), Remembering(),
        lambda _share, _words, shown=None: seen.extend(index[0] for index, _ in shown["parts"]),
    )  # fmt: skip
    assert seen == [2, 3, 4, 5, 6, 1]
    assert filled(found.labels, 4) == [1, 2, 4, 5, 6]
    assert filled(found.labels, 6) == [1, 2, 3, 4, 5, 6]
    # The higher logit has the contested pixels.
    assert found.labels[2, 40, 45] == 6


def test_cells_that_touch_keep_their_borders_through_the_stack() -> None:
    drawn = draw_stack("touching", spacing=1, seed=13)
    stack, truth = drawn.stack[32:50, 70:, 40:220], drawn.truth[32:50, 70:, 40:220]
    labels = (4, 5, 6, 7, 8)
    prompts = {}
    for label in labels:
        rows, columns = np.nonzero(truth[10] == label)
        prompts[label] = fs.Prompt(box=(10, rows.min(), columns.min(), 10, rows.max(), columns.max()))
    found = fs.propagate(stack, prompts, axes="ZYX").labels
    for label in labels:
        of_slices = [iou(truth[z] == label, found[z] == label) for z in range(18) if (truth[z] == label).sum() >= 100]
        assert min(of_slices) > 0.75, (label, of_slices)
