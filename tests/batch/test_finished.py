"""Results that are complete cost no worker; whatever is not is asked of one."""

from __future__ import annotations

import os
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from napari_foundseg.batch import item_stages
from napari_foundseg.batch.runner import Runner
from tests.support import toy_steps


class Here:
    """A pool of one worker that is this process."""

    workers = threads = 1

    class source:  # noqa: N801 - like an attribute
        address = ""
        shares_files = True

    def __init__(self) -> None:
        self.asked: list[str] = []

    def submit(self, _stages: Any, order: Any, _progress: Any) -> Future[Any]:
        self.asked.append(order.item.stem)
        future: Future[Any] = Future()
        future.set_result(item_stages.run_item_here(order))
        return future


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(item_stages, "run_steps", toy_steps.steps_without_model)
    for i, name in enumerate("abc"):
        toy_steps.picture_file(tmp_path / "images" / f"{name}.tif", i)
    return tmp_path


def asked(folder: Path, **options: Any) -> tuple[list[str], list[str]]:
    """Run a batch; return which items a worker was asked for, and how all ended."""
    pool = Here()
    report = Runner(toy_steps.recipe(**options), folder, pool=pool).run()  # type: ignore[arg-type] # as much as it takes
    return pool.asked, [item.state for item in report.items]


def test_only_what_is_not_done_is_asked_of_a_worker(folder: Path) -> None:
    assert asked(folder) == (["a", "b", "c"], ["done"] * 3)
    assert asked(folder) == ([], ["already done"] * 3)
    (folder / "results" / "a_labels.csv").write_text("label\n")
    toy_steps.picture_file(folder / "images" / "b.tif", 7)
    assert asked(folder) == (["a", "b"], ["kept", "done", "already done"])
    (folder / "results" / "c_labels.tif").unlink()
    os.utime(folder / "images" / "b.tif")
    assert asked(folder) == (["a", "c"], ["kept", "already done", "done"])
    assert asked(folder, min_area=20)[0] == ["a", "b", "c"]


def test_a_look_may_be_stopped(folder: Path) -> None:
    assert asked(folder)[1] == ["done"] * 3
    seen = []

    def stop(item: Any, state: str, *_: Any) -> None:
        seen.append(state)
        runner.stop()

    runner = Runner(toy_steps.recipe(), folder, pool=Here(), on_change=stop)  # type: ignore[arg-type] # as above
    Here.cancel = lambda *_: None  # type: ignore[attr-defined]
    report = runner.run()
    assert seen == ["already done"]
    assert [item.state for item in report.items] == ["already done", "not done", "not done"]
    assert report.stopped
