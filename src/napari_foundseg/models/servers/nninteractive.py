"""nnInteractive on a server, through the client of its authors."""

from __future__ import annotations

import hashlib
import re
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import FoundsegError, OfflineError, PromptError, ServerError, SettingsError
from napari_foundseg.io.preferences import offline_switch
from napari_foundseg.models.catalog import CatalogRow
from napari_foundseg.models.family import installed_version
from napari_foundseg.models.protocols.volumes import ChangedBox, Server, VolumePrompt, VolumePromptKind

__all__ = ["NNInteractive"]

_CLIENT = "nninteractive-client"
#: Kinds of prompts, by the server's names for them.
_KINDS: dict[str, VolumePromptKind] = {
    "points": "point",
    "bbox2d": "box in a slice",
    "bbox3d": "box",
    "scribble": "scribble",
    "lasso": "mask",
}
#: Seconds between two checks whether the user has cancelled.
_LOOK = 0.05
#: How many times longer than a prediction an upload may take, and the longest wait for a connection in seconds.
_UPLOAD = 10
_CONNECT = 10.0
_T = TypeVar("_T")


class _Session:
    """A volume on a server, and the mask of the present object."""

    def __init__(self, client: Any, server: Server, volume: str, shape: tuple[int, ...]) -> None:
        self.client = client
        self.server = server
        #: Hash of the volume and its spacing.
        self.volume = volume
        self.shape = shape


class NNInteractive:
    """nnInteractive on a server; implements `PromptableVolume`."""

    window = 192

    def __init__(self, row: CatalogRow, device: str) -> None:
        self.name = row.name
        self.key = row.key
        self.device = device
        self._licence = row.weights_licence
        self._kept: _Session | None = None

    def begin(
        self,
        volume: NDArray[np.float32],
        spacing: tuple[float, float, float],
        server: Server | None,
        poll: Callable[[], None],
    ) -> _Session:
        """Open a session for a volume. A volume that is already on the server is not sent again."""
        server = _checked(server)
        digest = hashlib.blake2b(np.ascontiguousarray(volume).data, digest_size=16)
        digest.update(repr((volume.shape, spacing)).encode())
        kept = self._kept
        if kept is not None and kept.server == server and kept.volume == digest.hexdigest():
            # If the session has ended in the meantime, a new one is opened below.
            with suppress(ServerError):
                self.reset(kept, poll)
                return kept
        self._end()
        client = self._wait(lambda: _connect(server), server, "connecting", poll)
        session = self._kept = _Session(client, server, digest.hexdigest(), volume.shape)
        _check_version(client, server)

        def send() -> None:
            client.set_image(volume[None], {"spacing": list(spacing)})
            client.set_target_buffer(np.zeros(volume.shape, np.uint8))

        self._wait(send, server, "taking the volume", poll)
        return session

    def prompt_kinds(self, session: _Session) -> frozenset[VolumePromptKind]:
        """Return the kinds of prompts that the server's model accepts."""
        offered = session.client.supported_interactions
        return frozenset(kind for name, kind in _KINDS.items() if offered.get(name))

    def describe(self, session: _Session) -> str:
        """Describe the model, its server, and the licence of its weights."""
        client = session.client
        licence = str(client.license or "")
        known = (
            licence if licence.strip("!").lower() not in ("", "missing") else f"not said; {self._licence} as published"
        )
        return (
            f"nnInteractive {client.INFERENCE_SESSION_VERSION} on {session.server.address}; licence of its weights: "
            f"{known:.200}."
        )

    def add(self, session: _Session, prompt: VolumePrompt, poll: Callable[[], None]) -> ChangedBox | None:
        """Add a prompt for the object; return the part of its mask that has changed, None if nothing has."""
        offered = self.prompt_kinds(session)
        kind = "box in a slice" if prompt.kind == "box" and prompt.box[0] == prompt.box[3] else prompt.kind
        if kind not in offered:
            raise PromptError(
                f"The model on {session.server.address} takes no {kind}; it takes: {', '.join(sorted(offered))}."
            )
        client = session.client
        ends = [[low, high + 1] for low, high in zip(prompt.box[:3], prompt.box[3:], strict=True)]

        def send() -> Any:
            if kind == "point":
                return client.add_point_interaction(list(prompt.box[:3]), prompt.positive)
            if prompt.mask is None:
                return client.add_bbox_interaction(ends, prompt.positive)
            call = client.add_scribble_interaction if kind == "scribble" else client.add_lasso_interaction
            return call(prompt.mask.astype(np.uint8), prompt.positive, interaction_bbox=ends)

        def changed() -> ChangedBox | None:
            found = send()
            if found is None:
                return None
            low, high = ([int(pair[end]) for pair in found] for end in (0, 1))
            if any(not 0 <= a < b <= n for a, b, n in zip(low, high, session.shape, strict=True)):
                raise ValueError(f"a change at {found} of a volume of {session.shape}")
            part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            z1, y1, x1 = (b - 1 for b in high)
            return ChangedBox((*low, z1, y1, x1), client.target_buffer[part] > 0)  # type: ignore[arg-type] # three

        return self._wait(changed, session.server, f"predicting from a {kind}", poll)

    def reset(self, session: _Session, poll: Callable[[], None]) -> None:
        """Clear all prompts and the mask."""
        self._wait(session.client.reset_interactions, session.server, "resetting", poll)

    def __del__(self) -> None:
        # Without this, the client's own thread would keep the client and the session on the server.
        with suppress(Exception):
            self._end()

    def _wait(self, call: Callable[[], _T], server: Server, doing: str, poll: Callable[[], None]) -> _T:
        """Run a call in a background thread and return its result. An error or a cancellation ends the session."""
        result: list[_T] = []
        failed: list[BaseException] = []

        def run() -> None:
            try:
                result.append(call())
            except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
                failed.append(error)

        thread = threading.Thread(target=run, name="foundseg-server", daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                poll()
                thread.join(_LOOK)
        except BaseException:
            self._end()
            raise
        if failed:
            self._end()
            raise _named(failed[0], server, doing) from failed[0]
        return result[0]

    def _end(self) -> None:
        """Close the session on the server, in a background thread because the server may not answer any more."""
        session, self._kept = self._kept, None
        if session is not None:
            threading.Thread(target=session.client.close, name="foundseg-server", daemon=True).start()


def _checked(server: Server | None) -> Server:
    from urllib.parse import urlsplit

    address = "" if server is None else server.address.strip()
    if server is None or not address:
        raise SettingsError(
            "nnInteractive runs on a server, and no address is given. Write it into Server, such as "
            "http://localhost:1527: that of a computer on which nninteractive-server was started."
        )
    try:
        parts = urlsplit(address)
        host = parts.hostname if parts.scheme in ("http", "https") else None
        _ = parts.port
    except ValueError:
        host = None
    if not host:
        raise SettingsError(f"Server: {address!r} is not a valid address; write it like http://localhost:1527.")
    if (why := offline_switch()) and host not in ("localhost", "127.0.0.1", "::1"):
        raise OfflineError(f"{address} is not contacted: {why}. A server on this computer can be used all the same.")
    return Server(address.rstrip("/"), server.timeout)


def _connect(server: Server) -> Any:
    from nnInteractive.inference.remote import nnInteractiveRemoteInferenceSession as Client

    client = Client.__new__(Client)
    try:
        client.__init__(
            server.address,
            connect_timeout=min(_CONNECT, server.timeout),
            read_timeout=server.timeout,
            write_timeout=_UPLOAD * server.timeout,
            set_image_read_timeout=_UPLOAD * server.timeout,
        )
    except BaseException:
        # A client whose constructor fails leaves its connection open, and perhaps a session on the server.
        with suppress(Exception):
            client.close()
        with suppress(Exception):
            client._http.close()
        raise
    return client


def _check_version(client: Any, server: Server) -> None:
    """Raise ServerError if the server has another major version than the client."""
    theirs = str(client.INFERENCE_SESSION_VERSION)
    ours = installed_version(_CLIENT)
    main = re.match(r"\d+", theirs)
    if main is None or main[0] != ours.partition(".")[0]:
        raise ServerError(
            f"{server.address} runs nnInteractive {theirs:.40}, and the client here is {ours}: both need the same main "
            f"version. Install the fitting one: pip install '{_CLIENT}=={theirs.partition('.')[0]:.20}.*', or update "
            "the server."
        )


def _named(error: BaseException, server: Server, doing: str) -> BaseException:
    """Return a readable error about the server for an exception of its client."""
    import httpx
    from nnInteractive.inference.remote import ServerAtCapacityError, SessionExpiredError

    where = server.address
    if isinstance(error, FoundsegError):
        return error
    if isinstance(error, SessionExpiredError):
        return ServerError(
            f"The session on {where} has ended ({error!s:.200}): it was idle for too long, or the server was started "
            "again. Objects that were done are kept; run again."
        )
    if isinstance(error, ServerAtCapacityError):
        return ServerError(f"{where} has no free session ({error!s:.200}). Try again when another user has finished.")
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
        return ServerError(
            f"{where} cannot be reached ({error!s:.200}). Check the address, that nninteractive-server runs there, and "
            "that no firewall is between."
        )
    if isinstance(error, httpx.TimeoutException):
        return ServerError(
            f"{where} did not answer within {server.timeout:g} s ({doing}). Objects that were done are kept. Raise "
            "Seconds to wait, or choose a smaller range."
        )
    if isinstance(error, httpx.HTTPStatusError):
        return ServerError(_refusal(error.response, where, doing))
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return SettingsError(
            f"Server: {where!r} is not a valid address ({error}); write it like http://localhost:1527."
        )
    if isinstance(error, httpx.HTTPError | OSError):
        return ServerError(
            f"The connection to {where} was lost ({doing}; {type(error).__name__}: {error!s:.200}). Objects that were "
            "done are kept; run again when the server is back."
        )
    if isinstance(
        error, ValueError | TypeError | LookupError | AttributeError | RuntimeError | MemoryError | struct.error
    ):
        return ServerError(
            f"{where} sent an answer that nnInteractive's client cannot read ({doing}; {type(error).__name__}: "
            f"{error!s:.200}). It is another program, or of another version than the client here "
            f"({installed_version(_CLIENT)})."
        )
    return error


def _refusal(response: Any, where: str, doing: str) -> str:
    code = response.status_code
    if code in (401, 403):
        return f"{where} requires another key ({code}): set the variable NN_INTERACTIVE_API_KEY to it, then restart."
    if code == 404:
        return (
            f"{where} does not know {response.url.path} (404): it is another program, or an older nninteractive-server "
            f"than the client here ({installed_version(_CLIENT)})."
        )
    return f"{where} refused ({doing}; {code}): {response.text:.300}"
