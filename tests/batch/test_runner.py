"""What a runner does with what comes back from real workers; the stages are toys that misbehave on demand."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from napari_foundseg.batch import runner as module
from napari_foundseg.batch.recipe import ModelOf, Recipe, Sources, Step
from napari_foundseg.batch.report import REPORT_NAME, Report
from napari_foundseg.batch.runner import Runner
from napari_foundseg.core.errors import OutputError
from napari_foundseg.engine.pool import Pool
from tests.support import python_path, toy_batch

Make = Callable[..., Runner]


@pytest.fixture(scope="module")
def pools() -> Iterator[dict[int, Pool]]:
    """Warm pools by their number of workers, since each worker takes a second to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", python_path())
        with Pool(1) as one, Pool(2, threads=1) as two:
            yield {1: one, 2: two}


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pools: dict[int, Pool]) -> Make:
    """Makes a runner over images that say in words what is to happen."""
    monkeypatch.setattr(module, "STAGES", toy_batch.STAGES)
    monkeypatch.setenv("PYTHONPATH", python_path())

    def made(*texts: str, workers: int = 1, **options: Any) -> Runner:
        images = tmp_path / "images"
        images.mkdir()
        for number, text in enumerate(texts):
            (images / f"{number}.tif").write_text(text)
        recipe = Recipe(
            inputs=Sources(paths=("images",)),
            steps=(Step(task="automatic", model=ModelOf(name="foundseg-tiny")),),
        )
        return Runner(recipe, tmp_path, pool=pools[workers], **options)

    return made


class Changes:
    """What the runner told, by the item's stem."""

    def __init__(self) -> None:
        self.states: dict[str, list[str]] = defaultdict(list)
        self.words: set[str] = set()
        self.called: dict[tuple[str, str], Callable[[], None]] = {}

    def __call__(self, item: Any, state: str, _outcome: Any, _share: float, words: str) -> None:
        self.words.add(words)
        if not words:
            self.states[item.stem].append(state)
        # What a test wants to happen in this moment.
        if call := self.called.pop((item.stem, words or state), None):
            call()


def log(runner: Runner) -> list[list[str]]:
    return [line.split() for line in (runner.out / "log").read_text().splitlines()]


def states(report: Report) -> list[str]:
    return [item.state for item in report.items]


def test_every_item_ends_and_the_report_names_what_failed_and_why(make: Make) -> None:
    changes = Changes()
    # Long enough for a loaded machine to hear that it computes.
    runner = make("done", "fail", "raise", "sleep 2", on_change=changes)
    report = runner.run()
    assert states(report) == ["done", "failed", "failed", "done"]
    assert (report.count("done"), report.count("failed"), report.complete) == (2, 2, False)
    assert report.items[1].name == "images/1.tif"
    assert report.items[1].reason == "it is damaged"
    assert report.items[2].error == "OutputError"
    assert report.items[0].objects == 3
    assert report.in_words() == "2 done, 2 failed"
    assert changes.states["0"] == ["running", "done"]
    assert changes.words >= {"computing"}
    written = json.loads((runner.out / REPORT_NAME).read_text())
    assert Report.model_validate(written) == report
    assert {"python", "torch", "napari-foundseg"} <= set(written["versions"])


def test_three_items_a_worker_are_under_way_and_no_more(make: Make) -> None:
    most: list[int] = []
    runner = make(*["sleep 0.02"] * 30, workers=2, on_change=lambda *_: most.append(len(runner._under_way)))
    assert states(runner.run()) == ["done"] * 30
    assert max(most) == 6
    assert len({pid for pid, *_ in log(runner)}) == 2


def test_an_item_that_ends_its_worker_twice_has_failed_and_the_rest_is_done(make: Make) -> None:
    changes = Changes()
    runner = make("done", "exit", *["sleep 0.05"] * 8, workers=2, on_change=changes)
    report = runner.run()
    assert states(report) == ["done", "failed", *["done"] * 8]
    assert report.items[1].error == "WorkerLostError"
    assert "ended 2 times" in report.items[1].reason
    assert "exit code 3" in report.items[1].reason
    assert changes.states["1"] == ["running", "waiting", "running", "failed"]
    asked = Counter(stem for _, stem, _ in log(runner))
    assert asked.pop("1") == 2
    assert sum(count - 1 for count in asked.values()) <= 2, "only those beside it are done again"


def test_pause_begins_nothing_and_resume_goes_on(make: Make) -> None:
    changes = Changes()
    runner = make(*["sleep 0.05"] * 8, on_change=changes)
    changes.called["0", "done"] = runner.pause
    running = threading.Thread(target=lambda: reports.append(runner.run()))
    reports: list[Report] = []
    running.start()
    time.sleep(1.5)
    assert running.is_alive()
    begun = sum("running" in told for told in changes.states.values())
    assert 1 <= begun <= 4
    assert sum("done" in told for told in changes.states.values()) == begun, "what is under way goes on"
    runner.resume()
    running.join(20)
    assert states(reports[0]) == ["done"] * 8


@pytest.mark.parametrize("text", ["poll", "poll raise", "sleep 60"])
def test_stop_takes_less_than_five_seconds_and_another_run_goes_on(make: Make, text: str) -> None:
    changes = Changes()
    runner = make("done", text, "done", "done", on_change=changes)
    stopped: list[float] = []
    changes.called["1", "computing"] = lambda: (stopped.append(time.monotonic()), runner.stop())
    report = runner.run()
    assert time.monotonic() - stopped[0] < 20
    assert report.stopped == "stopped by the user"
    assert report.items[0].state == "done"
    assert report.items[1].state == "not done"
    assert not report.complete
    runner.items[1].path.write_text("done")
    again = runner.run()
    assert states(again) == ["done"] * 4
    assert [stem for _, stem, _ in log(runner)].count("0") == 1


def test_stop_before_the_run_and_stop_while_paused(make: Make) -> None:
    runner = make("done", "done")
    runner.stop()
    assert states(runner.run()) == ["not done"] * 2
    runner.pause()
    threading.Timer(0.3, runner.stop).start()
    assert states(runner.run()) == ["not done"] * 2
    runner.stop()
    runner.resume()
    assert states(runner.run()) == ["done"] * 2, "a stop that comes after the end means nothing"


def test_retry_does_what_failed_again_and_nothing_else(make: Make) -> None:
    changes = Changes()
    runner = make("done", "fail once", "fail", on_change=changes)
    changes.called["1", "failed"] = lambda: runner.retry([runner.items[1].name, runner.items[0].name])
    assert states(runner.run()) == ["done", "done", "failed"], "while it runs"
    assert [stem for _, stem, _ in log(runner)].count("0") == 1
    runner.items[2].path.write_text("done")
    runner.retry([runner.items[2].name])
    assert states(runner.run()) == ["done"] * 3, "and after it"
    assert len(log(runner)) == 5


def test_what_another_run_has_is_asked_for_again(make: Make) -> None:
    changes = Changes()
    runner = make("elsewhere", "done", on_change=changes)
    assert states(runner.run()) == ["done", "done"]
    assert changes.states["0"] == ["running", "elsewhere", "running", "done"]


def test_a_full_disk_ends_the_batch_with_its_reason(make: Make) -> None:
    report = make("done", "full", *["sleep 0.1"] * 10).run()
    assert report.stopped == "No space left on device"
    assert report.items[1].state == "failed"
    assert report.count("not done") >= 5


def test_workers_that_cannot_be_started_end_the_batch(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    runner = make(*["done"] * 5)
    runner._pool = None
    (tmp_path / "sitecustomize.py").write_text("import os; os._exit(5)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    report = runner.run()
    assert "did not start" in report.stopped
    assert states(report) == ["not done"] * 5


def test_a_folder_that_cannot_be_made_is_named_before_anything_begins(make: Make, tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(OutputError, match="results"):
        make("done").run()


def test_a_folder_that_is_exchanged_while_it_runs_gets_no_report(make: Make, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    runner = make("done", on_change=lambda *_: exchange())

    def exchange() -> None:
        if not (tmp_path / "before").exists():
            runner.out.rename(tmp_path / "before")
            runner.out.symlink_to(tmp_path / "elsewhere", target_is_directory=True)

    assert "replaced" in runner.run().stopped
    assert not (tmp_path / "elsewhere" / REPORT_NAME).exists()


def test_a_failing_callback_stops_nothing(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    assert states(make("done", "done", on_change=lambda *_: 1 // 0).run()) == ["done"] * 2
    assert "callback" in caplog.text


def test_the_estimate_follows_the_pace(make: Make) -> None:
    told: list[float | None] = []
    runner = make(*["sleep 0.1"] * 12, on_change=lambda *_: told.append(runner.seconds_left()))
    assert runner.seconds_left() is None
    runner.run()
    halfway = [left for left in told if left is not None]
    assert 0.5 < halfway[0] < 5
    assert halfway[-1] == 0
