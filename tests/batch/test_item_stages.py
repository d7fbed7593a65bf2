"""What a worker does to an item, and what it says when something is wrong; no model is needed."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_foundseg.batch import item_stages, ledger, recipe_steps
from napari_foundseg.batch.recipe import ModelOf, Step
from napari_foundseg.core.errors import Cancelled, CheckpointError, OutputError
from napari_foundseg.core.image import Image
from napari_foundseg.core.object_table import object_table
from napari_foundseg.core.result import Segmentation
from napari_foundseg.engine.stages import Ended, StageContext
from napari_foundseg.tasks import TASKS
from napari_foundseg.tasks.settings import ignore_progress
from tests.support import toy_steps

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")


@pytest.fixture(autouse=True)
def _no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_stages, "run_steps", toy_steps.steps_without_model)


def outcomes(folder: Path, **options: Any) -> dict[str, item_stages.ItemOutcome]:
    return {outcome.stem: outcome for outcome in toy_steps.run(toy_steps.recipe(**options), folder)}


def test_a_bad_item_is_named_and_the_others_are_done(tmp_path: Path) -> None:
    images = tmp_path / "images"
    for name in ("a.tif", "z.tif"):
        toy_steps.picture_file(images / name)
    content = (images / "a.tif").read_bytes()
    (images / "cut.tif").write_bytes(content[: len(content) // 2])
    (images / "empty.png").write_bytes(b"")
    (images / "page.tif").write_bytes(b"<html>")
    (images / "cube.tif").mkdir()
    found = outcomes(tmp_path)
    assert {stem: outcome.state for stem, outcome in found.items()} == {
        "a": "done", "cut": "failed", "empty": "failed", "page": "failed", "z": "done",
    }  # fmt: skip
    for stem in ("cut", "empty", "page"):
        assert found[stem].error == "BadImageError"
        assert f"{stem}." in found[stem].reason
        assert not found[stem].ends_batch
    assert {path.name for path in (tmp_path / "results").iterdir()} == {
        ledger.HIDDEN, *(f"{stem}_labels.{ending}" for stem in "az" for ending in ("tif", "csv", "json")),
    }  # fmt: skip


@POSIX
def test_a_missing_file_a_folder_and_a_pipe_are_named_and_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "folder.tif").mkdir()
    os.mkfifo(tmp_path / "pipe.tif")
    (tmp_path / "all.txt").write_text("gone.tif\nfolder.tif\npipe.tif\n")
    found = toy_steps.run(toy_steps.recipe("all.txt"), tmp_path)
    assert [outcome.error for outcome in found] == ["BadImageError"] * 3


@POSIX
def test_images_of_odd_names_have_results_in_the_folder(tmp_path: Path) -> None:
    odd = [
        "a\nb.tif",
        "a:b.tif",
        "\u00e9 \u00b5.tif",
        "'; rm -rf.tif",
        os.fsdecode(b"\xff\xfe.tif"),
        "x" * 250 + ".tif",
    ]
    content = toy_steps.picture_file(tmp_path / "first.tif").read_bytes()
    (tmp_path / "images").mkdir()
    for name in odd:
        (tmp_path / "images" / name).write_bytes(content)
    for state in ("done", "already done"):
        found = toy_steps.run(toy_steps.recipe(), tmp_path)
        assert [outcome.state for outcome in found] == [state] * len(odd), [outcome.reason for outcome in found]
        for outcome in found:
            outcome.name.encode()
    assert {path.name for path in tmp_path.iterdir()} == {"first.tif", "images", "results"}
    assert len(list((tmp_path / "results").glob("*_labels.tif"))) == len(odd)


def test_an_order_is_small_and_travels(tmp_path: Path) -> None:
    toy_steps.picture_file(tmp_path / "images" / "a.tif")
    [order] = toy_steps.orders(toy_steps.recipe(), tmp_path)
    packed = pickle.dumps(order)
    assert len(packed) < 2000
    outcome = item_stages.run_item_here(pickle.loads(packed))
    assert pickle.loads(pickle.dumps(outcome)) == outcome


@pytest.mark.parametrize(
    ("error", "state", "words", "ends"),
    [
        (Cancelled("stop"), "stopped", "stop", False),
        (MemoryError(), "failed", "out of memory", False),
        (ZeroDivisionError("by nought"), "failed", "by nought", False),
        (CheckpointError("other weights"), "failed", "other weights", True),
        (OutputError("no such luck"), "failed", "no such luck", False),
    ],
)
def test_whatever_a_step_raises_is_an_outcome_and_the_item_is_free_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, state: str, words: str, ends: bool
) -> None:
    toy_steps.picture_file(tmp_path / "images" / "a.tif")

    def fail(*_: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(item_stages, "run_steps", fail)
        outcome = outcomes(tmp_path)["a"]
    assert (outcome.state, outcome.ends_batch) == (state, ends)
    assert words in outcome.reason
    assert [path.name for path in (tmp_path / "results").iterdir()] == [ledger.HIDDEN]
    assert outcomes(tmp_path)["a"].state == "done"


def test_a_keyboard_interrupt_goes_on_and_frees_the_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy_steps.picture_file(tmp_path / "images" / "a.tif")

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(item_stages, "run_steps", interrupt)
        with pytest.raises(KeyboardInterrupt):
            outcomes(tmp_path)
    assert outcomes(tmp_path)["a"].state == "done"


def test_a_format_that_cannot_hold_the_labels_is_named(tmp_path: Path) -> None:
    toy_steps.picture_file(tmp_path / "images" / "a.tif", shape=(3, 20, 20))
    outcome = outcomes(tmp_path, labels=".png")["a"]
    assert (outcome.state, outcome.error, outcome.ends_batch) == ("failed", "OutputError", False)
    assert "PNG" in outcome.reason


@pytest.mark.parametrize("ending", [".tif", ".ome.tif", ".png", ".ome.zarr"])
def test_results_hold_the_labels_and_a_row_an_object(tmp_path: Path, ending: str) -> None:
    import pandas as pd

    from napari_foundseg.io.readers import read_image

    path = toy_steps.picture_file(tmp_path / "images" / "a.tif")
    outcome = outcomes(tmp_path, labels=ending)["a"]
    expected = toy_steps.steps_without_model(
        toy_steps.recipe().steps, Image(tifffile.imread(path)), StageContext(None, ignore_progress, bool)
    )
    written = np.asarray(read_image(tmp_path / "results" / f"a_labels{ending}").levels[0])
    assert np.array_equal(written, expected[0])
    table = pd.read_csv(tmp_path / "results" / "a_labels.csv", encoding="utf-8-sig")
    assert outcome.objects == len(table) == expected[0].max()
    assert table["area"].tolist() == expected[1]["area"].tolist()


# The steps, one after the other.

LABELS = arrays(np.uint16, (6, 7), elements=st.integers(0, 4))


def task_that_gives(labels: np.ndarray) -> Callable[..., Segmentation]:
    def run(image: Image, *_: Any) -> Segmentation:
        scores = np.full(4, 0.5)
        table = object_table(labels, "YX", predicted_iou=scores, stability_score=scores)
        return Segmentation(labels, table, provenance={"task": "automatic"})

    return run


def both(first: np.ndarray, second: np.ndarray, rule: Any) -> Any:
    made = iter([first, second])
    task = replace(TASKS["automatic"], function=lambda *a: task_that_gives(next(made))(*a))
    context = StageContext(None, ignore_progress, bool)
    chain = [Step(task="automatic", model=ModelOf(name="foundseg-tiny"), rule=rule) for _ in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, "automatic", task)
        patch.setattr(StageContext, "model", lambda *_: None)
        return recipe_steps.run_steps(chain, Image(np.zeros((6, 7))), context)


@given(LABELS, LABELS)
def test_objects_of_a_later_step_fill_what_is_free_or_win(first: np.ndarray, second: np.ndarray) -> None:
    before = first.copy(), second.copy()
    kept, table, told = both(first, second, "keep others")
    assert np.array_equal(kept, np.where(first > 0, first, np.where(second > 0, second + 4, 0)))
    won, _, _ = both(first, second, "overwrite")
    assert np.array_equal(won, np.where(second > 0, second + 4, first))
    assert table["label"].tolist() == list(range(1, 9))
    assert table["area"].tolist() == [int((kept == i).sum()) for i in range(1, 9)]
    assert [record.get("rule") for record in told] == [None, "keep others"]
    assert np.array_equal(first, before[0])
    assert np.array_equal(second, before[1])


def test_read_says_elsewhere_and_leaves_no_lock_behind(tmp_path: Path) -> None:
    toy_steps.picture_file(tmp_path / "images" / "a.tif")
    [order] = toy_steps.orders(toy_steps.recipe(), tmp_path)
    context = StageContext(None, ignore_progress, bool)
    ready = item_stages.read(order, context)
    assert isinstance(ready, item_stages.Ready)
    other = item_stages.read(order, context)
    assert isinstance(other, Ended)
    assert other.value.state == "elsewhere"
    ready.held.release()
    assert item_stages.run_item_here(order).state == "done"
