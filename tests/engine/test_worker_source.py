"""The table of places where tasks run, and one more place that the test alone knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from napari_foundseg.core.errors import EngineError, WorkerLostError
from napari_foundseg.core.image import Image
from napari_foundseg.engine.client import Engine
from napari_foundseg.engine.pool import Pool
from napari_foundseg.engine.worker_source import find_worker_source, register_worker_source, worker_sources
from tests.support import toy_stages
from tests.support.asking import gone, submit, wait_until
from tests.support.toy_source import ToySource

MakeEngine = Callable[..., Engine]


@pytest.fixture
def toy() -> Iterator[type[ToySource]]:
    remove = register_worker_source(ToySource)
    ToySource.workers.clear()
    yield ToySource
    remove()
    assert all(worker.process.poll() is not None for worker in ToySource.workers), "every worker was stopped"


def test_the_address_says_where_workers_come_from() -> None:
    assert find_worker_source("").describe() == "on this computer"
    with pytest.raises(EngineError, match=r"tls://host:port.*without encryption"):
        find_worker_source("tcp://gpu:8786")
    with pytest.raises(EngineError, match=r"'gpu:8786' has no known form.*empty.*tls://host:port"):
        find_worker_source("gpu:8786")


def test_a_source_that_is_removed_is_gone(toy: type[ToySource]) -> None:
    assert toy in worker_sources()
    remove = register_worker_source(toy)
    remove()
    assert worker_sources().count(toy) == 1


def test_an_engine_runs_in_a_place_that_the_test_alone_knows(
    toy: type[ToySource], make_engine: MakeEngine, image: Image
) -> None:
    engine = make_engine(address="toy://here")
    assert submit(engine, image).wait(30).provenance["pid"] == toy.workers[0].process.pid
    toy.workers[0].process.kill()
    wait_until(lambda: not engine.diagnostics()["alive"], 5)
    assert submit(engine, image).wait(30).provenance["pid"] == toy.workers[1].process.pid
    engine.close()
    wait_until(lambda: gone(toy.workers[1].process.pid), 5)


def test_a_pool_has_workers_in_a_place_that_the_test_alone_knows(toy: type[ToySource]) -> None:
    def submit_to(pool: Pool, **order: Any) -> Future[Any]:
        return pool.submit(toy_stages.STAGES, order)

    with Pool(2, source=find_worker_source("toy://here")) as pool:
        pids = {future.result(60)["pid"] for future in [submit_to(pool, compute=0.3) for _ in range(4)]}
        assert pids == {worker.process.pid for worker in toy.workers}
        assert len(pids) == 2
        with pytest.raises(WorkerLostError, match="toy broke"):
            submit_to(pool, act="exit").result(10)
        assert submit_to(pool, number=7).result(60)["number"] == 7
