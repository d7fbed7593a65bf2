"""Schedulers that do not answer, and workers that were stopped: an error says so soon, and nothing of the try stays."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from napari_foundseg.core.errors import EngineError
from napari_foundseg.core.image import Image
from napari_foundseg.engine import dask_client, link
from napari_foundseg.engine.certificates import make_certificates
from napari_foundseg.engine.client import Engine
from napari_foundseg.engine.dask_client import open_client
from napari_foundseg.engine.worker_source import Connection
from tests.support.asking import running, submit, wait_until


@pytest.fixture(params=["nobody listens", "nobody answers", "nobody speaks dask"])
def silent(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """An address at which nothing useful answers, and certificates."""
    monkeypatch.setattr(dask_client, "CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(dask_client, "_CLOSE_SECONDS", 0.5)
    server, client = make_certificates()
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    accepted: list[socket.socket] = []
    if request.param == "nobody listens":
        listener.close()
    elif request.param == "nobody speaks dask":
        for part in ("cert", "key"):
            (tmp_path / part).write_text(getattr(server, part))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "cert", tmp_path / "key")

        def accept() -> None:
            with suppress(OSError):
                while True:
                    accepted.append(context.wrap_socket(listener.accept()[0], server_side=True))

        threading.Thread(target=accept, daemon=True).start()
    yield Connection(f"tls://127.0.0.1:{port}", client, direct=False)
    for connection in (listener, *accepted):
        connection.close()


def _sockets(connection: Connection) -> list[object]:
    port = int(connection.address.rpartition(":")[2])
    return [c for c in psutil.Process().net_connections() if c.raddr and c.raddr.port == port]


def test_each_try_takes_as_long_and_leaves_no_thread_and_no_socket(silent: Connection) -> None:
    before = threading.active_count()
    for _ in range(3):
        began = time.monotonic()
        with pytest.raises(EngineError, match="cannot be reached"):
            open_client(silent)
        assert time.monotonic() - began < 8
    wait_until(lambda: threading.active_count() <= before, 5)
    assert not _sockets(silent)


def test_jobs_that_wait_for_one_scheduler_fail_together(
    silent: Connection, make_engine: Callable[..., Engine], image: Image
) -> None:
    engine = make_engine(address=silent.address, security=silent.certificates)
    jobs = [submit(engine, image) for _ in range(6)]
    began = time.monotonic()
    for job in jobs:
        with pytest.raises(EngineError, match="cannot be reached"):
            job.wait(20)
    assert time.monotonic() - began < 8


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGSTOP")
def test_a_stopped_process_is_named_and_replaced(engine: Engine, image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "_STOPPED_SECONDS", 0.3)
    job = running(engine, image, "deaf", seconds=60)
    os.kill(engine.diagnostics()["pid"], signal.SIGSTOP)
    with pytest.raises(EngineError, match=r"was stopped from outside \(SIGSTOP\)"):
        job.wait(20)
    assert submit(engine, image).wait(30)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGSTOP")
def test_a_process_that_is_continued_goes_on(engine: Engine, image: Image) -> None:
    job = running(engine, image, "deaf", seconds=1)
    pid = engine.diagnostics()["pid"]
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, 5)
    os.kill(pid, signal.SIGCONT)
    assert job.wait(20).provenance["pid"] == pid
