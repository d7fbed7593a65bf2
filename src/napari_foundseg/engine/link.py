"""`Link`: the connection to one worker of any source."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any
from uuid import uuid4

from napari_foundseg.core.errors import EngineError, NoFreeWorkerError
from napari_foundseg.engine import worker
from napari_foundseg.engine.dask_client import CONNECT_SECONDS, open_client, unreachable
from napari_foundseg.engine.worker_source import OnDeath, WorkerSource

__all__ = ["Link"]

_CLOSE_SECONDS = 0.4
_WATCH_SECONDS = 0.5
#: Seconds until our own process that was stopped (SIGSTOP), or a remote worker that does not answer, counts as lost.
_STOPPED_SECONDS = 20.0
_SILENT_SECONDS = 120.0


class Link:
    """A worker and its actor; `open` connects to it.

    Parameters
    ----------
    source : WorkerSource
        Where the worker comes from.
    on_event : callable
        Called with each message of a run (its progress, or a slice that it needs), on the client's thread.
    on_death : callable
        Called with the error when the worker is lost.
    threads : int, optional
        Number of threads with which a worker of our own computes.
    """

    def __init__(
        self,
        source: WorkerSource,
        on_event: Callable[[dict[str, Any]], None],
        on_death: OnDeath,
        threads: int | None = None,
    ) -> None:
        self.source = source
        self._on_event = on_event
        self._on_death = on_death
        self.topic = f"foundseg-{uuid4().hex}"
        #: Address of the scheduler, once it is available.
        self.address: str | None = source.address or None
        #: Keys of planes that were sent.
        self.sent: set[str] = set()
        self.facts: dict[str, Any] = {}
        self.alive = True
        self._client: Any = None
        self._asked: set[Future[Any]] = set()
        self._lock = threading.Lock()
        self.handle = source.start_worker(self._report_death, threads)

    def open(self) -> None:
        """Connect, compare versions and create the actor."""
        connection = self.handle.connect()
        self.address = connection.address
        client = open_client(connection)
        with self._lock:
            self._client = client
        if not self.alive:
            self.close()
            raise EngineError("The engine was closed.")
        self._place_actor(client)

    def ask(self, method: str, *args: Any) -> Future[Any]:
        """Call a method of the actor; the returned future gets its answer."""

        async def answer() -> Any:
            return await getattr(self._actor, method)(*args)

        return self._start(answer())

    def cancel(self, job: str) -> None:
        """Set the cancel flag of a run, given the id of its job."""

        async def flag() -> None:
            await self._client.run(worker.request_cancel, job, workers=[self._worker], wait=False)

        self._start(flag())

    def close(self) -> None:
        """Disconnect, and stop the worker if it is ours; can be called from any thread, and more than once."""
        self.alive = False
        with self._lock:
            client = self._client
            self._client = None
        if client is not None:
            for asked in list(self._asked):
                asked.cancel()
            # The client must be closed first: if it noticed the loss by itself, it would try to reconnect.
            with contextlib.suppress(Exception):
                client.close(timeout=_CLOSE_SECONDS)
        self.handle.stop()

    def _place_actor(self, client: Any) -> None:
        workers = client.scheduler_info(n_workers=-1)["workers"]
        if not workers:
            raise NoFreeWorkerError(f"The scheduler at {self.address} has no worker. Start one and run again.")
        self._worker = self.handle.choose_worker(workers)
        if self.source.reports_death:
            self._start(self._watch_stopped())
        self.facts = self._read_facts(client)
        client.subscribe_topic(self.topic, lambda event: self._on_event(event[1]))
        # One actor per worker, shared by all windows: its name is made from the worker's.
        key = f"foundseg-runner-{self._worker}"
        try:
            self._actor_future = client.submit(
                worker.TaskRunner, actor=True, key=key, workers=[self._worker], pure=False
            )
            self._actor = contextvars.copy_context().run(_bound_result, client, self._actor_future)
        except Exception as error:
            raise unreachable(self.address, error) from error
        if not self.source.reports_death:
            self._start(self._watch())
            self._start(self._watch_silence())

    def _read_facts(self, client: Any) -> dict[str, Any]:
        """Return the worker's facts; raise an EngineError that names versions that differ from those here."""
        try:
            facts: dict[str, Any] = client.run(worker.facts, workers=[self._worker])[self._worker]
        except Exception as error:
            raise EngineError(
                f"The worker {self._worker} cannot run napari-foundseg ({type(error).__name__}: {error}). "
                "Install the same version there."
            ) from error
        here = worker.versions()
        there = facts["versions"]
        if differing := [f"{name} {here[name]} here, {there.get(name)} there" for name in here
                         if here[name] != there.get(name)]:  # fmt: skip
            raise EngineError(f"The versions differ: {'; '.join(differing)}. Install the same on both sides.")
        return facts

    def _start(self, asking: Coroutine[Any, Any, Any]) -> Future[Any]:
        client = self._client
        if client is None:
            asking.close()
            raise EngineError("The engine was closed.")
        asked = asyncio.run_coroutine_threadsafe(asking, client.loop.asyncio_loop)
        self._asked.add(asked)
        asked.add_done_callback(self._asked.discard)
        return asked

    async def _watch(self) -> None:
        """Report the loss of a remote worker: the client alone would wait for another worker to take the actor."""
        client = self._client
        while self.alive:
            await asyncio.sleep(_WATCH_SECONDS)
            try:
                found = await asyncio.wait_for(client.scheduler.identity(n_workers=-1), CONNECT_SECONDS)
            except Exception as error:  # noqa: BLE001 - however the connection ends, it has ended
                self._report_death(unreachable(self.address, error))
                return
            if self._worker not in found["workers"]:
                self._report_death(EngineError(self.source.describe_loss(self._worker)))
                return

    async def _watch_stopped(self) -> None:
        """Report that our own process was stopped (SIGSTOP): it neither ends nor answers."""
        since: float | None = None
        while self.alive:
            await asyncio.sleep(_WATCH_SECONDS)
            if not self.handle.is_stopped():
                since = None
                continue
            since = time.monotonic() if since is None else since
            if time.monotonic() - since > _STOPPED_SECONDS:
                self._report_death(
                    EngineError(
                        f"The engine's process {self.handle.pid} was stopped from outside (SIGSTOP) and has not gone "
                        f"on for {_STOPPED_SECONDS:.0f} s, so it was ended. Run again."
                    )
                )
                # Everything that still waits for an answer gets an error.
                await asyncio.to_thread(self.handle.stop)

    async def _watch_silence(self) -> None:
        """Report a remote worker whose process does not answer, although its scheduler still lists it."""
        while self.alive:
            await asyncio.sleep(_SILENT_SECONDS / 10)
            try:
                await asyncio.wait_for(self._actor.answer(), _SILENT_SECONDS)
            except TimeoutError:
                self._report_death(
                    EngineError(
                        f"The worker {self._worker} has not answered for {_SILENT_SECONDS:.0f} s: it was stopped, or "
                        "its computer sleeps. Run again, or choose another scheduler."
                    )
                )
            except Exception:  # noqa: BLE001 - that the connection broke is reported by whoever notices it first
                return

    def _report_death(self, error: EngineError) -> None:
        if self.alive:
            self.alive = False
            self._on_death(error)


def _bound_result(client: Any, future: Any) -> Any:
    """Return an actor that knows its client; must be called in a separate context.

    `client.as_current()` does the same, but meanwhile sets dask's scheduler for the whole process. A layer that the
    window draws at that moment would have no client to compute it. If two threads leave it in another order than they
    entered it, the setting would stay.
    """
    from distributed.client import _current_client

    _current_client.set(client)
    return future.result(timeout=CONNECT_SECONDS)
