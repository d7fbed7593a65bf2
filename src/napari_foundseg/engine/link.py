"""`Link`: the connection to a worker, our own or one behind a scheduler that the user named."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any
from uuid import uuid4

from napari_foundseg.core.errors import EngineError
from napari_foundseg.engine import worker
from napari_foundseg.engine.certificates import Certificates
from napari_foundseg.engine.engine_process import Child

__all__ = ["Link"]

_CONNECT_SECONDS = 10
_CLOSE_SECONDS = 0.4
_WATCH_SECONDS = 0.5


class Link:
    """A worker and its actor; `open` connects.

    Parameters
    ----------
    address : str or None
        ``tls://host:port`` of a scheduler; None starts a process of our own.
    certificates : Certificates or None
        To show to the scheduler; our own process brings its own.
    on_event : callable
        Told what a run sends (progress, slices it needs), on the client's thread.
    on_death : callable
        Told the error when the worker is lost.
    threads : int, optional
        How many threads a process of our own computes with.
    """

    def __init__(
        self,
        address: str | None,
        certificates: Certificates | None,
        on_event: Callable[[dict[str, Any]], None],
        on_death: Callable[[EngineError], None],
        threads: int | None = None,
    ) -> None:
        self.address, self._certificates = address, certificates
        self._on_event, self._on_death = on_event, on_death
        self.topic = f"foundseg-{uuid4().hex}"
        #: Keys of planes that were sent.
        self.sent: set[str] = set()
        self.facts: dict[str, Any] = {}
        self.child = Child(self._died, threads) if address is None else None
        self.alive = True
        self._client: Any = None
        self._asked: set[Future[Any]] = set()
        self._lock = threading.Lock()

    def open(self) -> None:
        """Connect, compare versions and place the actor.

        Raises
        ------
        EngineError
            If the worker cannot be reached or does not fit.
        """
        # Half a second, spent while our own process starts.
        from distributed import Client

        if self.child is not None:
            self.address, self._certificates = self.child.greeting()
        try:
            client = Client(  # type: ignore[no-untyped-call]
                self.address,
                security=_security(self._certificates),
                # A default client would make every dask-backed layer of the window compute in our worker.
                set_as_default=False,
                direct_to_workers=self.child is not None,
                timeout=_CONNECT_SECONDS,
                name="napari-foundseg",
            )
        except (OSError, TimeoutError, ValueError) as error:
            raise self._unreachable(error) from error
        with self._lock:
            self._client = client
        if not self.alive:
            self.close()
            raise EngineError("The engine was closed.")
        self._place(client)

    def ask(self, method: str, *args: Any) -> Future[Any]:
        """Call a method of the actor.

        Parameters
        ----------
        method : str
            Its name.
        *args
            Its arguments.

        Returns
        -------
        Future
            Of its answer.
        """

        async def answer() -> Any:
            return await getattr(self._actor, method)(*args)

        return self._start(answer())

    def cancel(self, job: str) -> None:
        """Set a run's flag.

        Parameters
        ----------
        job : str
            The job's id.
        """

        async def flag() -> None:
            await self._client.run(worker.request_cancel, job, workers=[self._worker], wait=False)

        self._start(flag())

    def close(self) -> None:
        """Leave the worker and stop our own process; from any thread, any number of times."""
        self.alive = False
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            for asked in list(self._asked):
                asked.cancel()
            # The client must not find out by itself, it would try to reconnect.
            with contextlib.suppress(Exception):
                client.close(timeout=_CLOSE_SECONDS)
        if self.child is not None:
            self.child.stop()

    def _place(self, client: Any) -> None:
        workers = client.scheduler_info(n_workers=-1)["workers"]
        if not workers:
            raise EngineError(f"The scheduler at {self.address} has no worker. Start one and run again.")
        self._worker = min(workers, key=lambda name: workers[name]["metrics"].get("cpu", 0))
        self.facts = self._compared(client)
        client.subscribe_topic(self.topic, lambda event: self._on_event(event[1]))
        # One actor a worker, whichever window asks: its name is the worker's.
        key = f"foundseg-runner-{self._worker}"
        try:
            self._actor_future = client.submit(
                worker.TaskRunner, actor=True, key=key, workers=[self._worker], pure=False
            )
            self._actor = contextvars.copy_context().run(_bound_result, client, self._actor_future)
        except Exception as error:
            raise self._unreachable(error) from error
        if self.child is None:
            self._start(self._watch())

    def _compared(self, client: Any) -> dict[str, Any]:
        try:
            facts: dict[str, Any] = client.run(worker.facts, workers=[self._worker])[self._worker]
        except Exception as error:
            raise EngineError(
                f"The worker {self._worker} cannot run napari-foundseg ({type(error).__name__}: {error}). "
                "Install the same version there."
            ) from error
        here, there = worker.versions(), facts["versions"]
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
        """See a remote worker go: the client alone would wait for another to take the actor."""
        client = self._client
        while self.alive:
            await asyncio.sleep(_WATCH_SECONDS)
            try:
                found = await asyncio.wait_for(client.scheduler.identity(n_workers=-1), _CONNECT_SECONDS)
            except Exception as error:  # noqa: BLE001 - however the connection ends, it has ended
                self._died(self._unreachable(error))
                return
            if self._worker not in found["workers"]:
                self._died(EngineError(f"The worker {self._worker} is gone, most likely because memory ran out or "
                                       "its computer stopped. Run again, or choose a smaller region."))  # fmt: skip
                return

    def _died(self, error: EngineError) -> None:
        if self.alive:
            self.alive = False
            self._on_death(error)

    def _unreachable(self, error: BaseException) -> EngineError:
        return EngineError(
            f"The engine at {self.address} cannot be reached ({type(error).__name__}: {error}). "
            "Check that it runs, the address, and the certificates."
        )


def _bound_result(client: Any, future: Any) -> Any:
    """Return an actor that knows its client; to be called in a context of its own.

    `client.as_current()` does the same, but sets dask's scheduler for the whole process meanwhile: a layer that the
    window draws then would have no client to compute it, and where two threads leave in another order than they
    entered, the setting stays for good.
    """
    from distributed.client import _current_client

    _current_client.set(client)
    return future.result(timeout=_CONNECT_SECONDS)


def _security(certificates: Certificates | None) -> Any:
    from distributed.security import Security

    assert certificates is not None  # our own process brought some, an address is refused without
    return Security(  # type: ignore[no-untyped-call]
        require_encryption=True,
        tls_ca_file=certificates.ca,
        tls_client_cert=certificates.cert,
        tls_client_key=certificates.key,
    )
