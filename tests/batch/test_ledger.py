"""Whose a result is, whether it is done, and what becomes of it wherever a process stops. No model is needed."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_foundseg.batch import item_stages, ledger
from napari_foundseg.batch.sidecar import read_sidecar
from napari_foundseg.core.errors import FolderLostError, OutputError
from napari_foundseg.engine.stages import Ended, StageContext
from napari_foundseg.io import atomic
from napari_foundseg.io.worklist import Record, write_record
from napari_foundseg.models import catalog
from napari_foundseg.tasks.settings import ignore_progress
from tests.support import child_environment, toy_steps

SEAT = StageContext(None, ignore_progress, bool)


@pytest.fixture(autouse=True)
def _no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_stages, "run_steps", toy_steps.steps_without_model)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The folder of the results, with that of image a in it."""
    toy_steps.picture_file(tmp_path / "images" / "a.tif")
    assert states(tmp_path) == ["done"]
    return tmp_path / "results"


def states(folder: Path, **options: Any) -> list[str]:
    return [outcome.state for outcome in toy_steps.run(toy_steps.recipe(**options), folder)]


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir() if p.is_file()}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the process is forked, so that a crash costs no start of Python")
@pytest.mark.parametrize("ending", [".tif", ".ome.zarr"])
def test_wherever_a_process_ends_the_next_makes_the_same_files_and_keeps_a_persons(tmp_path: Path, ending: str) -> None:
    command = [sys.executable, "-m", "tests.support.every_point", str(tmp_path), ending]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=child_environment())
    assert done.returncode == 0, done.stderr
    points = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(points) > 12
    assert points[-1]["state"] == "already done", "the last points are those after the mark"
    assert points[0]["state"] == "done"
    for point in points:
        assert point["equal"], point
        assert point["left"] == [], point
        assert point["person's"] == "kept", point


def test_what_is_done_is_not_touched_again(tmp_path: Path, results: Path) -> None:
    before = snapshot(results)
    assert states(tmp_path) == ["already done"]
    assert snapshot(results) == before
    assert set(before) == {"a_labels.tif", "a_labels.csv", "a_labels.json"}


def forget_labels(folder: Path, _: pytest.MonkeyPatch) -> dict[str, Any]:
    (folder / "results" / "a_labels.tif").unlink()
    return {}


def forget_table(folder: Path, _: pytest.MonkeyPatch) -> dict[str, Any]:
    (folder / "results" / "a_labels.csv").unlink()
    return {}


def other_image(folder: Path, _: pytest.MonkeyPatch) -> dict[str, Any]:
    toy_steps.picture_file(folder / "images" / "a.tif", seed=1)
    return {}


def other_setting(_: Path, __: pytest.MonkeyPatch) -> dict[str, Any]:
    return {"min_area": 20}


def other_format(_: Path, __: pytest.MonkeyPatch) -> dict[str, Any]:
    return {"labels": ".ome.tif"}


def other_weights(_: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    rows = {n: replace(row, sha256="0" * 64) for n, row in catalog.catalog().items()}
    patch.setattr(catalog, "_adopted", rows)
    return {}


def half_written(folder: Path, _: pytest.MonkeyPatch) -> dict[str, Any]:
    path = folder / "results" / "a_labels.json"
    path.write_text(path.read_text().replace('"done"', '"writing"'))
    return {}


@pytest.mark.parametrize(
    "change",
    [forget_labels, forget_table, other_image, other_setting, other_format, other_weights, half_written],
)
def test_a_result_is_made_again_when_something_that_it_was_made_of_changed(
    tmp_path: Path,
    results: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path, pytest.MonkeyPatch], dict[str, Any]],
) -> None:
    options = change(tmp_path, monkeypatch)
    assert states(tmp_path, **options) == ["done"]
    assert states(tmp_path, **options) == ["already done"]


def test_our_file_of_another_format_stays_ours(tmp_path: Path, results: Path) -> None:
    for ending, min_area in ((".png", 0), (".tif", 20), (".ome.zarr", 20), (".tif", 0)):
        assert states(tmp_path, labels=ending, min_area=min_area) == ["done"], ending


def edit_labels(results: Path) -> str:
    labels = tifffile.imread(results / "a_labels.tif")
    labels[:3] = 7
    tifffile.imwrite(results / "a_labels.tif", labels)
    return "edited after a run made it"


def edit_table(results: Path) -> str:
    with (results / "a_labels.csv").open("a") as file:
        file.write("my note\n")
    return "a_labels.csv"


def say_done(results: Path) -> str:
    write_record(results, "a.tif", Record("a_labels.tif", "done", 3))
    return "worklist"


def say_in_work(results: Path) -> str:
    write_record(results, "whatever", Record("a_labels.tif", "in work", None))
    return "worklist"


def lose_the_sidecar(results: Path) -> str:
    (results / "a_labels.json").unlink()
    return "it was not made by a batch"


def have_another_json(results: Path) -> str:
    (results / "a_labels.json").write_text('{"shapes": []}')
    return "not a sidecar of this plugin"


def break_the_sidecar(results: Path) -> str:
    content = (results / "a_labels.json").read_bytes()
    (results / "a_labels.json").write_bytes(content[: len(content) // 2])
    return "not a sidecar of this plugin"


@pytest.mark.parametrize("options", [{}, {"min_area": 20}, {"labels": ".png"}])
@pytest.mark.parametrize(
    "act", [edit_labels, edit_table, say_done, say_in_work, lose_the_sidecar, have_another_json, break_the_sidecar]
)
def test_what_is_a_persons_is_left_as_it_is(
    tmp_path: Path, results: Path, act: Callable[[Path], str], options: dict[str, Any]
) -> None:
    words = act(results)
    before = snapshot(results)
    [outcome] = toy_steps.run(toy_steps.recipe(**options), tmp_path)
    assert outcome.state == "kept"
    assert words in outcome.reason
    assert snapshot(results) == before


def test_labels_that_nobody_has_touched_in_the_worklist_are_ours(tmp_path: Path, results: Path) -> None:
    write_record(results, "a.tif", Record("a_labels.tif", "automatic", 3))
    assert states(tmp_path, min_area=20) == ["done"]


def test_a_person_who_saves_while_the_item_is_computed_keeps_the_labels(tmp_path: Path, results: Path) -> None:
    [order] = toy_steps.orders(toy_steps.recipe(min_area=20), tmp_path)
    computed = item_stages.compute(item_stages.read(order, SEAT), SEAT)
    edit_labels(results)
    before = snapshot(results)
    assert item_stages.write(computed, SEAT).state == "kept"
    assert snapshot(results) == before


def test_an_image_that_changes_while_it_is_computed_has_no_result(tmp_path: Path, results: Path) -> None:
    [order] = toy_steps.orders(toy_steps.recipe(min_area=20), tmp_path)
    computed = item_stages.compute(item_stages.read(order, SEAT), SEAT)
    toy_steps.picture_file(tmp_path / "images" / "a.tif", seed=1)
    before = snapshot(results)
    outcome = item_stages.write(computed, SEAT)
    assert (outcome.state, outcome.error) == ("failed", "BadImageError")
    assert "changed while" in outcome.reason
    assert snapshot(results) == before
    assert states(tmp_path, min_area=20) == ["done"]


@pytest.fixture
def full_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """Fills the disk at the n-th time that something is written to it; tells how many times are left."""
    real, left = os.fsync, [0]

    def fsync(descriptor: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    def full(n: int) -> list[int]:
        left[0] = n
        return left

    monkeypatch.setattr(atomic.os, "fsync", fsync)
    return full


def test_a_full_disk_at_labels_table_or_sidecar_is_named_and_costs_nothing(
    tmp_path: Path, results: Path, full_at: Callable[[int], list[int]]
) -> None:
    old = snapshot(results)
    outcomes = []
    for n in range(1, 50):
        left = full_at(n)
        [outcome] = toy_steps.run(toy_steps.recipe(min_area=20), tmp_path)
        if left[0] > 0:
            break
        outcomes.append(outcome.state)
        if outcome.state == "done":
            assert states(tmp_path) == ["done"]
            continue
        assert (outcome.state, outcome.error, outcome.ends_batch) == ("failed", "OutputError", True), n
        assert "the disk is full" in outcome.reason
        assert "a_labels" in outcome.reason
        # What stands there is whole and ours: old or new, and the sidecar knows it.
        known = read_sidecar(results / "a_labels.json")
        assert known is not None
        for name in ("a_labels.tif", "a_labels.csv"):
            assert known.is_ours(name, ledger.hash_file(results / name)), n
        assert states(tmp_path, min_area=20) in (["done"], ["already done"])
        assert states(tmp_path) == ["done"]
        assert {k: v[0] for k, v in snapshot(results).items() if k != "a_labels.json"} == {
            k: v[0] for k, v in old.items() if k != "a_labels.json"
        }
    # Labels and table; the sidecar and its folder; the folder once both have their names; the sidecar. The picture
    # waits for no disk.
    assert outcomes == ["failed"] * 6


def test_a_link_to_elsewhere_is_no_place_for_a_result(tmp_path: Path) -> None:
    toy_steps.picture_file(tmp_path / "images" / "a.tif")
    mine = tmp_path / "mine.tif"
    mine.write_bytes(b"mine")
    (tmp_path / "results").mkdir()
    for name in ("a_labels.tif", "a_labels.csv", "a_labels.json"):
        (tmp_path / "results" / name).symlink_to(mine)
        [outcome] = toy_steps.run(toy_steps.recipe(), tmp_path)
        assert outcome.state == "failed", name
        assert name in outcome.reason
        assert "link" in outcome.reason
        assert mine.read_bytes() == b"mine"
        (tmp_path / "results" / name).unlink()
    assert states(tmp_path) == ["done"]


def test_a_hidden_folder_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / ledger.HIDDEN).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="link to another place"):
        ledger.open_folder(tmp_path / "results")


@pytest.mark.parametrize("moment", ["before reading", "before writing", "between the files"])
def test_a_folder_that_is_swapped_for_another_gets_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    toy_steps.picture_file(tmp_path / "images" / "a.tif")
    [order] = toy_steps.orders(toy_steps.recipe(), tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def swap() -> None:
        (tmp_path / "results").rename(tmp_path / "moved")
        (tmp_path / "results").symlink_to(elsewhere)

    if moment == "between the files":
        real = ledger.publish

        def publish(staged: Path, target: Path) -> None:
            real(staged, target)
            swap()

        monkeypatch.setattr(ledger, "publish", publish)
    elif moment == "before reading":
        swap()
    passed: Any = item_stages.read(order, SEAT)
    if moment == "before writing":
        swap()
    for stage in (item_stages.compute, item_stages.write):
        passed = passed if isinstance(passed, Ended) else stage(passed, SEAT)
    outcome = passed.value if isinstance(passed, Ended) else passed
    assert (outcome.state, outcome.error, outcome.ends_batch) == ("failed", "FolderLostError", True)
    assert list(elsewhere.iterdir()) == []
    with pytest.raises(FolderLostError, match="replaced"):
        order.folder.check()


def test_the_lock_is_the_processs_and_dies_with_it(tmp_path: Path) -> None:
    toy_steps.picture_file(tmp_path / "images" / "a.tif")
    [order] = toy_steps.orders(toy_steps.recipe(), tmp_path)
    code = (
        "import sys, pathlib; from napari_foundseg.batch import ledger; "
        "held = ledger.lock_item(ledger.open_folder(pathlib.Path(sys.argv[1])), 'a'); "
        "print(held is not None, flush=True); "
        "sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, order.folder.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        assert item_stages.run_item_here(order).state == "elsewhere"
        holder.kill()
        holder.wait()
    assert item_stages.run_item_here(order).state == "done"


def test_an_item_is_held_once_in_a_process_too(tmp_path: Path) -> None:
    folder = ledger.open_folder(tmp_path / "results")
    first = ledger.lock_item(folder, "a")
    assert first is not None
    assert ledger.lock_item(folder, "a") is None
    other = ledger.lock_item(folder, "b")
    assert other is not None
    first.release()
    again = ledger.lock_item(folder, "a")
    assert again is not None
    again.release()
    other.release()


def test_names_that_end_alike_do_not_meet_in_the_hidden_folder(tmp_path: Path) -> None:
    for name in ("a.tif", "a.lock.tif", "a.png.tif", "a.making.tif", "a_labels.png.tif"):
        toy_steps.picture_file(tmp_path / "images" / name)
    assert states(tmp_path) == ["done"] * 5
    assert states(tmp_path) == ["already done"] * 5


def test_the_thumbnail_is_small_and_no_part_of_the_result(tmp_path: Path) -> None:
    import PIL.Image

    toy_steps.picture_file(tmp_path / "images" / "a.tif", shape=(300, 401))
    assert states(tmp_path) == ["done"]
    path = tmp_path / "results" / ledger.HIDDEN / "a.png"
    with PIL.Image.open(path) as picture:
        assert max(picture.size) <= item_stages.THUMBNAIL
        assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 5
    path.unlink()
    assert states(tmp_path) == ["already done"]
