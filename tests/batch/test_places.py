"""Where a batch runs: on a real dask scheduler with two workers, and in a place that the test alone knows."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from napari_foundseg.batch import runner as module
from napari_foundseg.batch.recipe import ModelOf, Recipe, Sources, Step, write_recipe
from napari_foundseg.batch.report import REPORT_NAME, Report
from napari_foundseg.batch.runner import Runner
from napari_foundseg.cli import app
from napari_foundseg.core.errors import EngineError, EngineStartError
from napari_foundseg.engine.pool import Pool
from napari_foundseg.engine.worker_source import find_worker_source, register_worker_source
from tests.support import crashing, python_path, toy_batch
from tests.support.dask_cluster import BLIND_SITE, DaskCluster
from tests.support.toy_source import ToySource

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are killed")
Make = Callable[..., Runner]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """A scheduler; each test adds the workers that it ends."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", python_path())
        made = DaskCluster(tmp_path_factory.mktemp("cluster") / "dask")
        made.set_certificates(patch)
        made.add_worker()
        made.add_worker()
        wait_for_workers(made, 2)
        yield made
        made.close()


def wait_for_workers(cluster: DaskCluster, count: int) -> None:
    source = find_worker_source(cluster.address)
    end = time.monotonic() + 60
    while True:
        try:
            if source.count_workers(None) == count:
                return
        except EngineStartError:
            pass
        assert time.monotonic() < end, f"there are not {count} workers"
        time.sleep(0.2)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a runner over images that say in words what is to happen."""
    monkeypatch.setattr(module, "STAGES", toy_batch.STAGES)
    monkeypatch.setenv("PYTHONPATH", python_path())

    def made(*texts: str, **options: Any) -> Runner:
        images = tmp_path / "images"
        images.mkdir()
        for number, text in enumerate(texts):
            (images / f"{number}.tif").write_text(text)
        recipe = Recipe(
            inputs=Sources(paths=("images",)), steps=(Step(task="automatic", model=ModelOf(name="foundseg-tiny")),)
        )
        return Runner(recipe, tmp_path, workers=options.pop("workers", None), **options)

    return made


def log(runner: Runner) -> list[list[str]]:
    return [line.split() for line in (runner.out / "log").read_text().splitlines()]


def states(report: Report) -> list[str]:
    return [item.state for item in report.items]


def test_a_batch_uses_both_workers_of_a_scheduler_at_once(cluster: DaskCluster, make: Make) -> None:
    runner = make(*["sleep 0.2"] * 8, engine=cluster.address)
    report = runner.run()
    assert states(report) == ["done"] * 8
    assert (report.workers, report.engine) == (2, cluster.address)
    assert set(Counter(pid for pid, *_ in log(runner))) == worker_pids(cluster), "the scheduler's own processes"
    assert not list((runner.out / ".foundseg").glob("*.shared"))


def worker_pids(cluster: DaskCluster) -> set[str]:
    return {str(process.pid) for process in cluster._processes[1:] if process.poll() is None}


def test_a_worker_that_is_asked_for_alone_does_all(cluster: DaskCluster, make: Make) -> None:
    runner = make(*["done"] * 4, engine=cluster.address, workers=1)
    assert states(runner.run()) == ["done"] * 4
    assert len({pid for pid, *_ in log(runner)}) == 1


@pytest.mark.parametrize("text", ["poll", "poll raise", "sleep 4"])
def test_stop_ends_the_run_and_no_worker(cluster: DaskCluster, make: Make, text: str) -> None:
    before = worker_pids(cluster)
    runner = make("done", text, text, engine=cluster.address)
    stopped: list[float] = []

    def stop(item: Any, _state: str, _outcome: Any, _share: float, words: str) -> None:
        if item.stem == "1" and words == "computing" and not stopped:
            stopped.append(time.monotonic())
            runner.stop()

    runner._on_change = stop
    report = runner.run()
    assert time.monotonic() - stopped[0] < 20
    assert report.stopped
    assert "not done" in states(report)
    for item in runner.items:
        item.path.write_text("done")
    assert states(runner.run()) == ["done"] * 3
    assert worker_pids(cluster) == before


def test_results_are_those_of_this_computer(cluster: DaskCluster, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = crashing.make_batch(tmp_path_factory.mktemp("batch"), 4)
    contents = []
    for name, options in (("here", []), ("there", ["--engine", cluster.address])):
        call = ["batch", str(folder / "recipe.yaml"), "--out", str(folder / name), "--workers", "2", *options]
        ran = CliRunner().invoke(app, call)
        assert ran.exit_code == 0, ran.stderr
        assert (f"Running on the scheduler at {cluster.address}." in ran.stderr) == (name == "there")
        contents.append(crashing.content(folder / name))
    here, there = contents
    assert here.keys() == there.keys()
    assert [name for name in here if here[name] != there[name]] == []
    environment = {"FOUNDSEG_ENGINE": cluster.address}
    ran = CliRunner().invoke(app, ["batch", str(folder / "recipe.yaml"), "--out", str(folder / "env")], env=environment)
    assert ran.exit_code == 0, ran.stderr
    assert Report.model_validate(json.loads((folder / "env" / REPORT_NAME).read_text())).workers == 2, "all by default"


def test_an_item_that_ends_its_worker_twice_has_failed_and_the_rest_is_done(cluster: DaskCluster, make: Make) -> None:
    cluster.add_worker()
    cluster.add_worker()
    wait_for_workers(cluster, 4)
    report = make("done", "exit", *["sleep 0.05"] * 8, engine=cluster.address).run()
    assert states(report) == ["done", "failed", *["done"] * 8]
    assert report.items[1].error == "WorkerLostError"
    assert "ended 2 times" in report.items[1].reason
    wait_for_workers(cluster, 2)


def test_items_of_a_lost_worker_go_to_the_others_and_the_last_ends_the_batch(cluster: DaskCluster, make: Make) -> None:
    runner = make(*["sleep 0.3"] * 12, engine=cluster.address)
    process = next(process for process in cluster._processes[1:] if process.poll() is None)
    threading.Timer(1.5, process.kill).start()
    assert states(runner.run()) == ["done"] * 12
    left = next(process for process in cluster._processes[1:] if process.poll() is None)
    for item in runner.items:
        item.path.write_text("sleep 1")
    runner = Runner(runner._recipe, runner.out.parent, runner.out, engine=cluster.address, workers=2)
    threading.Timer(3, left.kill).start()
    report = runner.run()
    assert "has no worker" in report.stopped
    assert "failed" not in states(report)
    with pytest.raises(EngineStartError, match=r"has no worker\. Start one"):
        runner.run()
    cluster.add_worker()
    cluster.add_worker()
    wait_for_workers(cluster, 2)
    assert runner.run().complete


@pytest.mark.parametrize("hidden", ["results", "images"])
def test_a_worker_that_does_not_see_the_files_is_named(
    cluster: DaskCluster, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hidden: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", python_path(BLIND_SITE))
    blind = cluster.add_worker(FOUNDSEG_TEST_HIDDEN=str(tmp_path / hidden))
    wait_for_workers(cluster, 3)
    try:
        report = make(*["sleep 0.1"] * 9, engine=cluster.address).run()
    finally:
        blind.kill()
        wait_for_workers(cluster, 2)
    assert f"does not see '{tmp_path / hidden}" in report.stopped
    assert "Mount its disk there under the same path" in report.stopped
    assert "failed" not in states(report)


def test_a_bad_address_is_refused_before_anything_begins(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CA", "CERT", "KEY"):
        monkeypatch.delenv(f"FOUNDSEG_TLS_{name}", raising=False)
    runner = make("done")
    write_recipe(tmp_path / "recipe.yaml", runner._recipe)
    for address, words in (("tcp://gpu:8786", "tls://host:port"), ("tls://gpu:8786", "FOUNDSEG_TLS_CA")):
        with pytest.raises(EngineError, match=words):
            Runner(runner._recipe, tmp_path, engine=address)
        ran = CliRunner().invoke(app, ["batch", str(tmp_path / "recipe.yaml"), "--engine", address])
        assert (ran.exit_code, words in ran.stderr) == (2, True)
    assert not runner.out.exists()


def test_a_batch_runs_in_a_place_that_the_test_alone_knows(make: Make) -> None:
    remove = register_worker_source(ToySource)
    ToySource.workers.clear()
    try:
        runner = make("done", "exit", *["sleep 0.05"] * 6, engine="toy://here", workers=2)
        report = runner.run()
    finally:
        remove()
    assert states(report) == ["done", "failed", *["done"] * 6]
    assert "The toy broke" in report.items[1].reason
    pids = {str(worker.process.pid) for worker in ToySource.workers}
    assert {pid for pid, *_ in log(runner)} <= pids
    assert all(worker.process.poll() is not None for worker in ToySource.workers)


def test_on_this_computer_no_file_is_marked(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "mark_shared_files", lambda *_: pytest.fail("this computer sees its own files"))
    with Pool(1) as pool:
        runner = make("done", pool=pool)
        assert states(runner.run()) == ["done"]
