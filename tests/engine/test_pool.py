from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, wait
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from napari_foundseg.core.errors import BadImageError, Cancelled, EngineError, EngineStartError, WorkerLostError
from napari_foundseg.engine.pool import Pool
from tests.support import toy_stages
from tests.support.asking import gone


@pytest.fixture
def pool() -> Iterator[Pool]:
    with Pool(1) as made:
        yield made


def submit(pool: Pool, **order: Any) -> Future[Any]:
    told = order.pop("told", None)
    return pool.submit(toy_stages.STAGES, order, told)


def begun(pool: Pool, **order: Any) -> Future[Any]:
    """Submit and wait until it is computed."""
    computing = threading.Event()
    future = submit(pool, told=lambda _, words: words == "computing" and computing.set(), **order)
    assert computing.wait(20)
    return future


def test_reading_and_writing_overlap_with_computing(pool: Pool) -> None:
    submit(pool).result(30)
    futures = [submit(pool, number=n, read=0.2, compute=0.2, write=0.2) for n in range(3)]
    answers = [future.result(30) for future in futures]
    assert [answer["number"] for answer in answers] == [0, 1, 2]
    # Works that are submitted at once may arrive in another order.
    reads, computes, writes = (sorted(answer["spans"][k] for answer in answers) for k in range(3))
    for spans in (reads, computes, writes):
        assert all(before[1] <= after[0] for before, after in pairwise(spans)), "one at a time"
    assert overlap(reads, computes), "the next is read while one is computed"
    assert overlap(computes, writes), "the last is written while one is computed"
    assert {answer["model"] for answer in answers} == {"foundseg-tiny"}


def overlap(some: list[tuple[float, float]], others: list[tuple[float, float]]) -> bool:
    return any(max(a[0], b[0]) < min(a[1], b[1]) for a in some for b in others)


def test_two_workers_share_the_works_and_the_processors() -> None:
    with Pool(2, threads=1) as pool:
        answers = [future.result(30) for future in [submit(pool, compute=0.3) for _ in range(4)]]
        assert len({answer["pid"] for answer in answers}) == 2
        assert {answer["threads"] for answer in answers} == {"1"}
        read, _, write = toy_stages.STAGES
        assert pool.submit((read, toy_stages.torch_threads, write), {}).result(60)["torch"] == 1
    assert Pool(2).threads * 2 <= max(2, os.cpu_count() or 1)


def test_a_stage_can_end_the_work(pool: Pool) -> None:
    assert submit(pool, act="known").result(30) == "known"


def test_errors_come_through_and_the_worker_lives(pool: Pool) -> None:
    pid = submit(pool).result(30)["pid"]
    with pytest.raises(BadImageError, match=r"cells.tif: it is damaged"):
        submit(pool, act="bad").result(20)
    with pytest.raises(EngineError, match="SystemExit"):
        submit(pool, act="quit").result(20)
    assert submit(pool).result(20)["pid"] == pid


def test_a_worker_that_ends_takes_its_works_and_the_next_starts_it_again(pool: Pool) -> None:
    pid = submit(pool).result(30)["pid"]
    futures = [submit(pool, act="exit"), submit(pool)]
    for future in futures:
        with pytest.raises(WorkerLostError, match="exit code 3"):
            future.result(20)
    assert submit(pool).result(30)["pid"] != pid


def test_a_work_that_comes_in_the_moment_of_the_end_is_not_lost(pool: Pool) -> None:
    submit(pool).result(30)
    exits = [submit(pool, act="exit")]
    for number in range(200):
        # Three at most, as a batch has.
        wait(exits[-3:-2])
        exits.append(submit(pool, act="exit" if number % 50 == 0 else "known"))
    wait(exits, 60)
    ends = [future.exception(0) for future in exits]
    assert all(end is None or isinstance(end, WorkerLostError) for end in ends)
    assert sum(end is None for end in ends) > 150


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_worker_is_told_apart_and_the_others_go_on() -> None:
    with Pool(2) as pool:
        pids = [future.result(30)["pid"] for future in [submit(pool, compute=0.2) for _ in range(2)]]
        works = [begun(pool, compute=1.0), begun(pool, compute=1.0)]
        os.kill(pids[0], signal.SIGKILL)
        lost, kept = sorted(works, key=lambda work: work.exception(10) is None)
        with pytest.raises(WorkerLostError, match="stopped by the system, most likely because memory ran out"):
            lost.result()
        assert kept.result(20)["pid"] == pids[1]


def test_cancel_ends_what_polls_and_keeps_the_worker(pool: Pool) -> None:
    pid = submit(pool).result(30)["pid"]
    works = [begun(pool, act="poll"), submit(pool, act="poll")]
    pool.cancel(grace=10)
    for work in works:
        with pytest.raises(Cancelled):
            work.result(20)
    assert submit(pool).result(20)["pid"] == pid


def test_cancel_ends_the_worker_of_what_does_not_stop(pool: Pool) -> None:
    pid = submit(pool).result(30)["pid"]
    deaf = begun(pool, compute=60)
    start = time.monotonic()
    pool.cancel(grace=0.3)
    with pytest.raises(Cancelled):
        deaf.result(20)
    assert time.monotonic() - start < 20, "the work would take 60 s"
    assert gone(pid)
    assert submit(pool).result(30)["pid"] != pid


def test_cancel_and_close_while_starting() -> None:
    for end in (lambda pool: pool.cancel(0.1), Pool.close):
        pool = Pool(1)
        work = submit(pool)
        time.sleep(0.2)
        start = time.monotonic()
        end(pool)
        with pytest.raises(Cancelled):
            work.result(20)
        assert time.monotonic() - start < 5
        pool.close()


def test_a_worker_that_cannot_be_started_is_a_named_error(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "sitecustomize.py"
    broken.write_text("import os; os._exit(5)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(EngineStartError, match="did not start"):
        submit(pool).result(30)


def test_close_leaves_no_process_and_no_thread() -> None:
    before = {thread.ident for thread in threading.enumerate()}
    pool = Pool(2)
    pids = {future.result(30)["pid"] for future in [submit(pool, compute=0.2) for _ in range(2)]}
    work = begun(pool, compute=60)
    pool.close()
    with pytest.raises(Cancelled):
        work.result(1)
    with pytest.raises(EngineError, match="closed"):
        submit(pool)
    assert all(gone(pid) for pid in pids)
    # distributed keeps two process-wide pools.
    assert not [
        thread.name
        for thread in threading.enumerate()
        if thread.ident not in before and not thread.name.startswith(("Dask-", "TCP-"))
    ]


def test_a_failing_callback_stops_nothing(pool: Pool, caplog: pytest.LogCaptureFixture) -> None:
    assert submit(pool, told=lambda *_: 1 // 0, compute=0.2).result(30)
    assert "callback" in caplog.text
