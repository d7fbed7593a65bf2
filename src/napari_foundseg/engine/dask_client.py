"""Clients of dask schedulers that leave the settings of this process as they are."""

from __future__ import annotations

from typing import Any

from napari_foundseg.core.errors import EngineError
from napari_foundseg.engine.certificates import Certificates
from napari_foundseg.engine.worker_source import Connection

__all__ = ["CONNECT_SECONDS", "open_client", "unreachable"]

CONNECT_SECONDS = 10


def open_client(connection: Connection) -> Any:
    """Return a connected `distributed.Client`; an EngineError says why there is none."""
    # Half a second, spent while a process of our own starts.
    from distributed import Client

    try:
        return Client(  # type: ignore[no-untyped-call]
            connection.address,
            security=_security(connection.certificates),
            # A default client would make every dask-backed layer of the window compute in our worker.
            set_as_default=False,
            direct_to_workers=connection.direct,
            timeout=CONNECT_SECONDS,
            name="napari-foundseg",
        )
    except (OSError, TimeoutError, ValueError) as error:
        raise unreachable(connection.address, error) from error


def unreachable(address: str | None, error: BaseException) -> EngineError:
    """Return the error to show when a scheduler does not answer."""
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
