"""Clients of dask schedulers that do not change dask's settings in this process."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import cache
from typing import Any

from napari_foundseg.core.errors import EngineError
from napari_foundseg.engine.certificates import Certificates
from napari_foundseg.engine.worker_source import Connection

__all__ = ["CONNECT_SECONDS", "open_client", "unreachable"]

CONNECT_SECONDS = 10
_CLOSE_SECONDS = 1


def open_client(connection: Connection) -> Any:
    """Return a connected `distributed.Client`; raise an EngineError if the scheduler cannot be reached."""
    try:
        return _bounded_client()(
            connection.address,
            security=_security(connection.certificates),
            # If the client were dask's default, every dask-backed layer of the window would be computed in our worker.
            set_as_default=False,
            direct_to_workers=connection.direct,
            timeout=CONNECT_SECONDS,
            name="napari-foundseg",
        )
    except (OSError, TimeoutError, ValueError) as error:
        raise unreachable(connection.address, error) from error


@cache
def _bounded_client() -> type[Any]:
    """Return dask's client class with a time limit for connecting, and with cleanup if connecting fails."""
    # This import takes half a second, while our own process starts.
    from distributed import Client

    class BoundedClient(Client):
        def start(self, **options: Any) -> None:
            try:
                super().start(**options)  # type: ignore[no-untyped-call]
            except BaseException:
                # Otherwise its thread and sockets stay, and it keeps trying to connect.
                with suppress(Exception):
                    self.close(timeout=_CLOSE_SECONDS)  # type: ignore[no-untyped-call]
                with suppress(Exception):
                    self._loop_runner.stop()  # type: ignore[no-untyped-call]
                raise

        async def _start(self, *values: Any, **options: Any) -> Any:
            # Its own timeout does not include the time until an encrypted connection is answered.
            waiting = super()._start(*values, **options)  # type: ignore[no-untyped-call]
            return await asyncio.wait_for(waiting, CONNECT_SECONDS + _CLOSE_SECONDS)

    return BoundedClient


def unreachable(address: str | None, error: BaseException) -> EngineError:
    """Return the error to show if a scheduler does not answer."""
    return EngineError(
        f"The engine at {address} cannot be reached ({type(error).__name__}: {error}). "
        "Check that it runs, the address, and the certificates."
    )


def _security(certificates: Certificates) -> Any:
    from distributed.security import Security

    return Security(  # type: ignore[no-untyped-call]
        require_encryption=True,
        tls_ca_file=certificates.ca,
        tls_client_cert=certificates.cert,
        tls_client_key=certificates.key,
    )
