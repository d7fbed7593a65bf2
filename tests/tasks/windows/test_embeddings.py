"""The one cache of encoded windows: how often a model's encoder runs, counted."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import napari_foundseg as fs
from napari_foundseg.core.errors import Cancelled
from napari_foundseg.core.image import Image
from napari_foundseg.models.sam import prompted_masks
from napari_foundseg.tasks import SIDE_TASKS, TASKS
from napari_foundseg.tasks.regions import Region
from napari_foundseg.tasks.side_tasks.encode import EncodeSettings
from napari_foundseg.tasks.windows import embeddings

#: Of the stack; more of them show nothing else.
SLICES = 10


class Counting:
    """foundseg-tiny, whose encodings are counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.model = fs.load_model("foundseg-tiny")
        self.count = 0
        encode = type(self.model).encode

        def counted(model: Any, rgb: np.ndarray) -> Any:
            self.count += 1
            return encode(model, rgb)

        monkeypatch.setattr(type(self.model), "encode", counted)
        self.forget = lambda: monkeypatch.setattr(embeddings, "_kept", OrderedDict())


@pytest.fixture
def counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counting:
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path / "cache"))
    counting = Counting(monkeypatch)
    counting.forget()
    return counting


@pytest.fixture
def stack() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (SLICES, 64, 64), np.uint8)


def opened_again(counting: Counting) -> None:
    """Forget what is in memory, as a new process does."""
    embeddings.flush()
    counting.forget()
    counting.count = 0


def test_a_second_opening_encodes_nothing_and_a_changed_slice_only_itself(
    counting: Counting, stack: np.ndarray
) -> None:
    task = TASKS["prompt"]
    prompts = tuple(fs.Prompt(points=[(z, 30, 30)]) for z in range(SLICES))

    def prompted(pixels: np.ndarray) -> Any:
        image = Image(pixels, "ZYX")
        return task.run(image, task.inputs(prompts=prompts), task.settings("sam", {"tile": False}), counting.model)

    first = prompted(stack)
    assert counting.count == SLICES
    opened_again(counting)
    second = prompted(stack.copy())
    assert counting.count == 0
    assert np.array_equal(first.labels, second.labels)
    opened_again(counting)
    # The limits of contrast are the stack's, so a change that leaves them alone touches its own slice only.
    changed = stack.copy()
    changed[7] = changed[7][::-1]
    prompted(changed)
    assert counting.count == 1


def test_clicks_automatic_masks_and_encoding_ahead_share_it(counting: Counting) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (100, 120), np.uint8)
    image = Image(pixels)
    found = SIDE_TASKS["encode"].run(image, Region(), EncodeSettings(), counting.model)
    assert (len(found), counting.count) == (0, 1)
    fs.automatic(image, model=counting.model, method="grid", tile=False, points_per_side=2)
    fs.prompt(image, fs.Prompt(points=[(50, 60)]), model=counting.model, tile=False)
    assert counting.count == 1


def test_encoding_ahead_covers_what_clicks_look_at_first(counting: Counting) -> None:
    pixels = np.random.default_rng(2).integers(0, 255, (2, 300, 430), np.uint8)
    image = Image(pixels, "ZYX")
    embeddings.encode_ahead(image, counting.model)
    before = counting.count
    for at in [(0, 5, 5), (1, 150, 215), (1, 299, 429), (0, 130, 300)]:
        prompt = fs.Prompt(points=[at[1:]]).in_plane((300, 430), "YX")[1]
        box = embeddings.tiling.surrounding((*prompt.points[0], *prompt.points[0]), (300, 430), counting.model.window)
        embeddings.embedding(counting.model, image.rgb((at[0],), box))
    assert counting.count == before


def test_encoding_ahead_tells_how_far_it_is_and_stops_when_asked(counting: Counting, stack: np.ndarray) -> None:
    told: list[float] = []

    def poll() -> None:
        if len(told) == 3:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        embeddings.encode_ahead(Image(stack, "ZYX"), counting.model, None, lambda share, _: told.append(share), poll)
    assert told == [0, 1 / SLICES, 2 / SLICES]
    assert counting.count == 3


def test_large_encoders_are_stored_as_float16_and_give_one_result(
    counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(3).integers(0, 255, (90, 90, 3), np.uint8)
    exact = counting.model.encode(pixels)
    embeddings.embedding(counting.model, pixels)
    embeddings.flush()
    disk = embeddings.disk_cache()
    assert disk is not None
    size = disk.size()
    monkeypatch.setattr(prompted_masks, "_LARGE", 1)
    counting.forget()
    made = embeddings.embedding(counting.model, pixels)
    embeddings.flush()
    assert disk.size() - size < 0.6 * size
    opened_again(counting)
    read = embeddings.embedding(counting.model, pixels)
    assert counting.count == 0
    assert np.array_equal(made.features, read.features)
    assert_allclose(read.features, exact.features, atol=1e-3 * float(exact.features.abs().max()))


def test_other_preprocessing_of_the_same_weights_is_another_entry(
    counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.zeros((40, 40, 3), np.uint8)
    embeddings.embedding(counting.model, pixels)
    monkeypatch.setattr(type(counting.model), "preprocessing", "another")
    opened_again(counting)
    embeddings.embedding(counting.model, pixels)
    assert counting.count == 1


@pytest.mark.parametrize("gigabytes", ["0", "nonsense"])
def test_the_size_is_the_persons_choice(counting: Counting, monkeypatch: pytest.MonkeyPatch, gigabytes: str) -> None:
    monkeypatch.setenv("FOUNDSEG_CACHE_GB", gigabytes)
    disk = embeddings.disk_cache()
    assert disk is None if gigabytes == "0" else disk is not None and disk.limit == 4e9
    embeddings.embedding(counting.model, np.ones((40, 40, 3), np.uint8))
    opened_again(counting)
    embeddings.embedding(counting.model, np.ones((40, 40, 3), np.uint8))
    assert counting.count == (gigabytes == "0")
