"""The engine's own process: who may talk to it, and that it never outlives the window."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed.comm import connect
from distributed.security import Security

from napari_foundseg.core.errors import EngineError
from napari_foundseg.core.image import Image
from napari_foundseg.engine import worker
from napari_foundseg.engine.certificates import Certificates, make_certificates
from napari_foundseg.engine.client import PICKLE_NOTICE, Engine
from tests.support.asking import gone, running, submit, wait_until

MakeEngine = Callable[..., Engine]
Server = tuple[str, Certificates, "subprocess.Popen[bytes]"]

_WINDOW = """
import os, time
import numpy
from tests.support import asking, fake_tasks
fake_tasks.TASKS["fake"] = fake_tasks.TASK
from napari_foundseg.core.image import Image
from napari_foundseg.engine.client import Engine
engine = Engine()
asking.running(engine, Image(numpy.eye(9)), "deaf", seconds=100)
sibling = os.fork() if {fork} else -1
if sibling == 0:
    time.sleep(100)
    os._exit(0)
link = engine._dispatcher.link
print(link.handle.pid, sibling, link.handle.folder, flush=True)
time.sleep(100)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """An engine that is not ours: what a workstation offers."""
    folder = tmp_path / "server"
    folder.mkdir()
    command = [sys.executable, "-m", "napari_foundseg.engine", str(os.getpid()), str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        answer = json.loads(process.stdout.readline())
        yield answer["address"], Certificates(**answer["certificates"]), process
        process.kill()


def test_the_window_goes_before_what_the_engine_computes(server: Server) -> None:
    own, engine = psutil.Process(), psutil.Process(server[2].pid)
    if sys.platform == "win32":
        assert engine.nice() == psutil.BELOW_NORMAL_PRIORITY_CLASS
    else:
        assert engine.nice() == min(own.nice() + 5, 19)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize("fork", [False, True], ids=["alone", "with a forked sibling that holds the pipe"])
def test_a_killed_window_leaves_no_process(fork: bool) -> None:
    code = _WINDOW.format(fork=fork)
    # Python warns of a fork beside threads; that is what is tried.
    command = [sys.executable, "-W", "ignore", "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as window:
        assert window.stdout is not None
        pid, sibling, folder = window.stdout.readline().decode().split(maxsplit=2)
        try:
            window.kill()
            wait_until(lambda: gone(int(pid)), 5)
            wait_until(lambda: not Path(folder.strip()).exists(), 1)
        finally:
            if fork:
                os.kill(int(sibling), signal.SIGKILL)


def test_it_listens_on_this_computer_only_and_opens_no_web_page(engine: Engine) -> None:
    listening = [
        c for c in psutil.Process(engine.diagnostics()["pid"]).net_connections() if c.status == psutil.CONN_LISTEN
    ]
    assert {c.laddr.ip for c in listening} == {"127.0.0.1"}
    assert len(listening) == 2, "the scheduler and the worker"


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_another_user_can_neither_empty_a_file_nor_lend_a_module(
    tmp_path: Path, make_engine: MakeEngine, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Temporary folders are shared: whatever has a name that can be predicted there may be another's."""
    shared = tmp_path / "shared"
    planted = shared / "dask-scratch-space"
    planted.mkdir(parents=True)
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("years of work")
    for name in ("global.lock", "purge.lock"):
        (planted / name).symlink_to(thesis)
    for module in ("torch", "skimage", "napari_foundseg"):
        (planted / f"{module}.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w')")
    monkeypatch.setenv("TMPDIR", str(shared))
    monkeypatch.setattr("tempfile.tempdir", None)
    before = {path.name for path in shared.rglob("*")}
    engine = make_engine()
    submit(engine, image).wait(60)
    link = engine._dispatcher.link
    assert link is not None
    folder = link.handle.folder  # type: ignore[attr-defined] # a process of our own
    assert folder.stat().st_mode & 0o777 == 0o700
    assert thesis.read_text() == "years of work"
    assert not (tmp_path / "owned").exists()
    outside = {path.name for path in shared.rglob("*") if folder not in path.parents} - before
    assert outside == {folder.name}, "everything of ours is in the private folder"


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux's out-of-memory killer")
def test_memory_pressure_ends_the_engine_before_the_window(engine: Engine) -> None:
    assert Path(f"/proc/{engine.diagnostics()['pid']}/oom_score_adj").read_text().strip() == "1000"


def _answer(address: str, certificates: Certificates | None) -> Any:
    """Connect as a stranger would and ask the scheduler who it is."""
    if certificates is None:
        security = Security()
    else:
        security = Security(
            tls_ca_file=certificates.ca, tls_client_cert=certificates.cert, tls_client_key=certificates.key
        )

    async def ask() -> Any:
        comm = await connect(address, timeout=2, **security.get_connection_args("client"))
        try:
            await comm.write({"op": "identity", "reply": True})
            return await asyncio.wait_for(comm.read(), 2)
        finally:
            await comm.close()

    return asyncio.run(ask())


def test_only_the_one_time_certificate_is_let_in(server: Server) -> None:
    address, certificates, _ = server
    assert _answer(address, certificates)["type"] == "LocalScheduler"
    _, stranger = make_certificates()
    trusting = Certificates(certificates.ca, stranger.cert, stranger.key)
    for foreign in (stranger, trusting):
        with pytest.raises((OSError, TimeoutError)):
            _answer(address, foreign)
    with pytest.raises((OSError, TimeoutError)):
        _answer(address.replace("tls://", "tcp://"), None)


def test_a_remote_scheduler_is_joined_and_never_killed(server: Server, make_engine: MakeEngine, image: Image) -> None:
    address, certificates, process = server
    engine = make_engine(address=address, security=certificates)
    result = submit(engine, image).wait(30)
    assert result.provenance["pid"] == process.pid
    job = running(engine, image, "deaf", seconds=4)
    job.cancel()
    assert submit(engine, image).wait(20).provenance["pid"] == process.pid
    assert job.result is None
    engine.close()
    assert process.poll() is None


def test_two_windows_share_a_remote_worker(server: Server, make_engine: MakeEngine, image: Image) -> None:
    address, certificates, _ = server
    first, second = (make_engine(address=address, security=certificates) for _ in range(2))
    assert submit(first, image).wait(30)
    assert submit(second, image).wait(30)
    first.close()
    assert submit(second, image).wait(30)


def test_a_remote_worker_that_goes_is_a_named_error(server: Server, make_engine: MakeEngine, image: Image) -> None:
    address, certificates, process = server
    job = running(make_engine(address=address, security=certificates), image, "deaf", seconds=60)
    process.kill()
    with pytest.raises(EngineError):
        job.wait(20)


def test_other_versions_are_refused_by_name(
    server: Server, make_engine: MakeEngine, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, certificates, _ = server
    mine = worker.versions() | {"numpy": "0.0"}
    monkeypatch.setattr(worker, "versions", lambda: mine)
    with pytest.raises(EngineError, match=r"versions differ: numpy 0\.0 here"):
        submit(make_engine(address=address, security=certificates), image).wait(30)


def test_another_catalogue_row_is_refused(engine: Engine, image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_foundseg.models.catalog import row

    other = replace(row("foundseg-tiny"), sha256="0" * 64)
    monkeypatch.setattr("napari_foundseg.engine.run_transfer.row", lambda _: other)
    with pytest.raises(EngineError, match=r"another foundseg-tiny.*sha256"):
        submit(engine, image).wait(20)


def test_a_model_that_the_worker_does_not_know_comes_by_its_row(
    engine: Engine, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_foundseg.models.catalog import row
    from napari_foundseg.models.store import weights

    path = str(weights(row("foundseg-tiny")))
    mine = replace(row("foundseg-tiny"), name="mine", file=path, source=path)
    monkeypatch.setattr("napari_foundseg.engine.run_transfer.row", lambda _: mine)
    assert len(submit(engine, image, model="mine").wait(60)) == len(submit(engine, image).wait(20))


@pytest.mark.parametrize(
    ("address", "words"), [("tcp://gpu:8786", "tls://host:port"), ("tls://gpu:8786", "FOUNDSEG_TLS_CA")]
)
def test_an_address_without_encryption_or_certificates_is_refused(
    make_engine: MakeEngine, image: Image, address: str, words: str
) -> None:
    with pytest.raises(EngineError, match=words):
        submit(make_engine(address=address), image).wait(20)


def test_who_enters_an_address_is_told_what_it_means() -> None:
    assert "pickle" in PICKLE_NOTICE.lower()
