"""Work beside runs: it goes on while a run computes, tells its progress, stops when asked, and is not lost silently."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from napari_foundseg.core.errors import BadImageError, Cancelled, EngineError
from napari_foundseg.core.image import Image
from napari_foundseg.engine.client import BackgroundWork, Engine
from tests.support import toy_works
from tests.support.asking import running, submit, wait_until


def _work(engine: Engine, act: str = "", *, computes: bool = False) -> tuple[BackgroundWork, list[Any]]:
    told: list[Any] = []
    work = engine.work(
        toy_works.count,
        {"act": act},
        computes=computes,
        progress=lambda share, words: told.append((share, words)),
        done=lambda work: told.append(work.state),
    )
    return work, told


def _ended(work: BackgroundWork) -> BackgroundWork:
    wait_until(lambda: work.state != "under way", 60)
    return work


def test_it_is_done_beside_a_run_in_the_same_process(engine: Engine, image: Image) -> None:
    job = running(engine, image, "poll", seconds=60)
    work, told = _work(engine)
    assert _ended(work).state == "done"
    assert not job.ended, "it did not wait for the run"
    assert work.result["pid"] == engine.diagnostics()["pid"] != os.getpid()
    wait_until(lambda: told and told[-1] == "done")
    assert told.count("done") == 1
    job.cancel()


def test_what_computes_waits_for_the_run(engine: Engine, image: Image) -> None:
    job = running(engine, image, "poll", seconds=60)
    work, _ = _work(engine, computes=True)
    beside, _ = _work(engine)
    _ended(beside)
    assert work.state == "under way"
    job.cancel()
    assert _ended(work).result["thread"].startswith("foundseg-compute")


def test_it_starts_the_engine_and_fails_with_its_named_error(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine()
    work, told = _work(engine, "poll")
    wait_until(lambda: (0.5, "half of it") in told, 60)
    failing, _ = _work(engine, "bad")
    assert isinstance(_ended(failing).error, BadImageError)
    work.cancel()
    assert _ended(work).state == "cancelled"
    assert isinstance(work.error, Cancelled)


def test_cancelled_before_the_engine_has_started_it_never_begins(make_engine: Callable[..., Engine]) -> None:
    work, told = _work(make_engine(), "poll")
    work.cancel()
    assert _ended(work).state == "cancelled"
    assert (0.5, "half of it") not in told


def test_when_the_process_ends_it_fails_and_the_next_starts_it_again(engine: Engine, image: Image) -> None:
    beside, _ = _work(engine, "poll")
    work, _ = _work(engine, "exit")
    assert isinstance(_ended(work).error, EngineError)
    assert _ended(beside).state == "failed"
    again, _ = _work(engine)
    assert _ended(again).state == "done"
    assert submit(engine, image).wait(60)


def test_a_closed_engine_ends_it(make_engine: Callable[..., Engine], image: Image) -> None:
    engine = make_engine()
    submit(engine, image).wait(60)
    work, _ = _work(engine, "poll")
    engine.close()
    assert _ended(work).state == "cancelled"
    with pytest.raises(EngineError, match="closed"):
        _work(engine)
