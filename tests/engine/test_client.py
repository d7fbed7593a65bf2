from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from napari_foundseg.core.errors import BadImageError, Cancelled, EngineError, ModelNotFoundError
from napari_foundseg.core.image import Image
from napari_foundseg.engine import dispatch
from napari_foundseg.engine.client import Engine
from tests.support.asking import gone, running, submit, wait_until

MakeEngine = Callable[..., Engine]


def test_runs_and_tells_its_progress(make_engine: MakeEngine, image: Image) -> None:
    told: list[tuple[float, str]] = []
    ended: list[str] = []
    job = submit(
        make_engine(),
        image,
        seconds=0.2,
        progress=lambda *t: told.append(t),
        done=lambda job: ended.append(job.state),
    )
    result = job.wait(30)
    wait_until(lambda: ended)
    assert ended == [job.state] == ["done"]
    assert told[-1] == (1.0, "slice 1 of 1")
    assert (result.labels == (image.data > image.limits[0])).all()
    assert result.labels.flags.writeable, "a person edits them"
    assert result.provenance["pid"] != os.getpid()
    assert result.provenance["fingerprint"] == image.fingerprint()
    assert result.provenance["limits"] == list(image.limits)


def test_submitting_never_blocks(make_engine: MakeEngine, image: Image) -> None:
    assert not submit(make_engine(), image).ended, "it returns before the engine has started"


def test_cancel_while_starting(make_engine: MakeEngine, image: Image) -> None:
    engine = make_engine()
    ended = threading.Event()
    job = submit(engine, image, done=lambda _: ended.set())
    job.cancel()
    assert ended.wait(20)
    assert (job.state, job.result) == ("cancelled", None)
    assert submit(engine, image).wait(30)


def test_cancel_stops_a_task_that_polls(engine: Engine, image: Image) -> None:
    pid = engine.diagnostics()["pid"]
    job = running(engine, image, "poll", seconds=60)
    start = time.monotonic()
    job.cancel()
    with pytest.raises(Cancelled):
        job.wait(20)
    assert submit(engine, image).wait(20).provenance["pid"] == pid
    assert time.monotonic() - start < 30, "the task would take 60 s"


def test_a_cancelled_run_that_goes_on_for_a_while_keeps_its_worker(engine: Engine, image: Image) -> None:
    pid = engine.diagnostics()["pid"]
    job = running(engine, image, "deaf", seconds=4)
    job.cancel()
    said: list[str] = []
    following = submit(engine, image, progress=lambda _share, words: said.append(words))
    assert following.wait(20).provenance["pid"] == pid
    assert "waiting for the cancelled run to end" in said
    assert (job.state, job.result) == ("cancelled", None)


def test_a_cancelled_run_that_nobody_waits_for_keeps_its_worker(
    engine: Engine, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "_LEAST_PATIENCE", 0.2)
    monkeypatch.setattr(dispatch, "_MOST_PATIENCE", 0.2)
    pid = engine.diagnostics()["pid"]
    running(engine, image, "deaf", seconds=2).cancel()
    waiting = submit(engine, image)
    waiting.cancel()
    wait_until(lambda: engine._dispatcher._running is None)
    assert submit(engine, image).wait(20).provenance["pid"] == pid


def test_a_long_run_that_does_not_stop_is_replaced_when_something_new_is_asked(
    engine: Engine, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "_LEAST_PATIENCE", 0.5)
    monkeypatch.setattr(dispatch, "_MOST_PATIENCE", 0.5)
    pid = engine.diagnostics()["pid"]
    ended = threading.Event()
    job = running(engine, image, "deaf", seconds=60, done=lambda _: ended.set())
    job.cancel()
    assert ended.wait(20)
    said: list[str] = []
    following = submit(engine, image, progress=lambda _share, words: said.append(words))
    assert following.wait(30).provenance["pid"] != pid
    assert any("did not stop" in words for words in said)
    assert job.state == "cancelled"
    wait_until(lambda: gone(pid), 2)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_worker_is_a_named_error_and_the_next_run_works(engine: Engine, image: Image) -> None:
    job = running(engine, image, "deaf", seconds=60)
    os.kill(engine.diagnostics()["pid"], signal.SIGKILL)
    with pytest.raises(EngineError, match="stopped by the system, most likely because memory ran out"):
        job.wait(20)
    assert submit(engine, image).wait(30)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_worker_killed_between_runs_is_started_again(engine: Engine, image: Image) -> None:
    pid = engine.diagnostics()["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not engine.diagnostics()["alive"], 10)
    assert submit(engine, image).wait(30).provenance["pid"] != pid


def test_a_worker_that_exits_is_a_named_error_and_the_next_run_works(engine: Engine, image: Image) -> None:
    start = time.monotonic()
    job = submit(engine, image, "exit")
    with pytest.raises(EngineError, match="exit code 3"):
        job.wait(20)
    assert time.monotonic() - start < 10
    assert submit(engine, image).wait(30)


@pytest.mark.parametrize(
    ("act", "kind", "words"),
    [
        ("allocate", EngineError, "ran out of memory.*smaller region"),
        ("allocate array", EngineError, "ran out of memory"),
        ("divide", EngineError, "ZeroDivisionError"),
        ("quit", EngineError, "SystemExit"),
        ("bad image", BadImageError, "cells.tif: it is damaged"),
    ],
)
def test_errors_come_through_and_the_worker_lives(
    engine: Engine, image: Image, act: str, kind: type[Exception], words: str
) -> None:
    pid = engine.diagnostics()["pid"]
    job = submit(engine, image, act)
    with pytest.raises(kind, match=words) as caught:
        job.wait(20)
    assert job.state == "failed"
    if kind is EngineError:
        assert "fake_tasks" in "".join(caught.value.__notes__), "the worker's traceback is kept"
    assert submit(engine, image).wait(20).provenance["pid"] == pid


def test_an_unknown_model_is_the_jobs_error(engine: Engine, image: Image) -> None:
    job = submit(engine, image, model="no-such-model")
    with pytest.raises(ModelNotFoundError, match="no-such-model"):
        job.wait(20)


def test_of_those_waiting_the_latest_runs(engine: Engine, image: Image) -> None:
    first = running(engine, image, "poll", seconds=0.5, replace="prompt")
    jobs = [submit(engine, image, replace="prompt") for _ in range(3)]
    other = submit(engine, image)
    other.wait(20)
    assert first.wait(20)
    assert [job.state for job in jobs] == ["cancelled", "cancelled", "done"]
    assert isinstance(jobs[0].error, Cancelled)


def test_two_engines_side_by_side(engine: Engine, make_engine: MakeEngine, image: Image) -> None:
    slow = running(engine, image, "poll", seconds=60)
    assert submit(make_engine(), image).wait(30)
    assert slow.state == "running"


def test_a_failing_callback_stops_nothing(engine: Engine, image: Image, caplog: pytest.LogCaptureFixture) -> None:
    submit(engine, image, progress=lambda *_: 1 // 0, done=lambda _: 1 // 0).wait(20)
    assert submit(engine, image).wait(20)
    # It is logged on the thread of callbacks.
    wait_until(lambda: "callback" in caplog.text, 5)


def test_large_results_travel_fast(engine: Engine) -> None:
    image = Image(np.zeros((2048, 2048), np.uint16))
    start = time.monotonic()
    result = submit(engine, image, "maps").wait(30)
    assert result.maps is not None
    assert time.monotonic() - start < 20


def test_close_leaves_no_process_no_thread_and_no_folder(make_engine: MakeEngine, image: Image) -> None:
    before = {thread.ident for thread in threading.enumerate()}
    engine = make_engine()
    submit(engine, image).wait(30)
    link = engine._dispatcher.link
    assert link is not None
    assert link.handle.pid is not None
    pid, folder = link.handle.pid, link.handle.folder
    assert folder.is_dir()
    job = running(engine, image, "deaf", seconds=60)
    start = time.monotonic()
    engine.close()
    assert time.monotonic() - start < 10
    engine.close()
    assert job.state == "cancelled"
    assert gone(pid)
    assert not folder.exists()
    # distributed keeps two process-wide pools.
    own = [t for t in threading.enumerate() if t.ident not in before and not t.name.startswith(("Dask-", "TCP-"))]
    assert not own


def test_close_while_starting(make_engine: MakeEngine, image: Image) -> None:
    engine = make_engine()
    engine.start()
    wait_until(lambda: engine._dispatcher.link is not None, 5)
    start = time.monotonic()
    engine.close()
    assert time.monotonic() - start < 10
    with pytest.raises(EngineError, match="closed"):
        engine.start()


def test_the_windows_process_loads_no_torch_and_starts_no_default_client() -> None:
    code = (
        "import sys, napari_foundseg.engine.client as c\n"
        "assert not {'torch', 'distributed'} & set(sys.modules)\n"
        "import numpy\n"
        "from tests.support import asking, fake_tasks\n"
        "fake_tasks.TASKS['fake'] = fake_tasks.TASK\n"
        "from napari_foundseg.core.image import Image\n"
        "engine = c.Engine()\n"
        "asking.submit(engine, Image(numpy.eye(9))).wait(30)\n"
        "import dask, distributed\n"
        "assert 'torch' not in sys.modules\n"
        "assert dask.config.get('scheduler', None) is None\n"
        "try: distributed.default_client()\n"
        "except ValueError: print(engine.diagnostics()['pid'])\n"
    )  # the engine is not closed: the interpreter's end must do
    ran = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    wait_until(lambda: gone(int(ran.stdout)), 5)


def test_diagnostics_say_what_runs_where(engine: Engine) -> None:
    told = engine.diagnostics()
    assert told["address"].startswith("tls://127.0.0.1:")
    assert told["versions_here"] == told["versions_there"]
    assert told["device"] == "cpu"
    assert told["resident_memory"] > 1 << 20
    assert "distributed" in engine.log_tail()
