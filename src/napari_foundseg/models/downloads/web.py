"""HTTP requests with the usual variables for proxies and certificates, limited redirects, and readable errors."""

from __future__ import annotations

import http.client
import os
import queue
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from napari_foundseg.core.errors import Cancelled, DownloadError

__all__ = [
    "Answer",
    "DroppedError",
    "HttpStatusError",
    "Request",
    "call_interruptibly",
    "certificates",
    "timeout",
    "untrusted_text",
]

_T = TypeVar("_T")
_CHUNK = 1 << 18
#: Seconds between two checks whether to stop.
_POLL = 0.1
#: Largest number of chunks in the queue before they are written.
_WAITING = 16
#: Variables with a file of certificates. OpenSSL does not read these, only SSL_CERT_FILE and SSL_CERT_DIR.
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_PORTS = {"http": 80, "https": 443}


class DroppedError(DownloadError):
    """A connection ended early, or a server is busy; the same request may succeed if it is sent again."""


class HttpStatusError(DownloadError):
    """A server refused a request.

    Parameters
    ----------
    message : str
        The message for the user.
    status : int
        The HTTP status code.
    headers : Message
        Headers of the answer.
    """

    def __init__(self, message: str, status: int, headers: Message) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


def timeout() -> float:
    """Return the seconds without a byte after which a connection counts as lost: FOUNDSEG_TIMEOUT, or 30."""
    with suppress(ValueError):
        return max(0.1, float(os.environ.get("FOUNDSEG_TIMEOUT") or 30.0))
    return 30.0


def certificates() -> ssl.SSLContext:
    """Return the SSL context of secure connections: the system's certificates, and those that the variables name."""
    context = ssl.create_default_context()
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", *_BUNDLES):
        if (place := os.environ.get(name)) and not Path(place).exists():
            raise DownloadError(f"{name} names certificates at {place}, where nothing is; correct the variable.")
    for place in filter(None, map(os.environ.get, _BUNDLES)):
        try:
            is_folder = Path(place).is_dir()
            context.load_verify_locations(capath=place if is_folder else None, cafile=None if is_folder else place)
        except (OSError, ssl.SSLError) as error:
            raise DownloadError(f"The certificates in {place} cannot be read: {error}.") from error
    if not context.get_ca_certs() and not any(map(os.environ.get, ("SSL_CERT_FILE", "SSL_CERT_DIR", *_BUNDLES))):
        # On macOS, Python from python.org comes without certificates.
        with suppress(ImportError):
            import certifi

            context.load_verify_locations(certifi.where())
    return context


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but none to an insecure scheme, and sends the token to no other server."""

    max_redirections = 10
    max_repeats = 2
    inf_msg = "redirects in a circle: "
    #: The address that was asked last.
    latest = ""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.scheme not in _PORTS or (old.scheme == "https" and new.scheme == "http"):
            fp.close()
            raise DownloadError(f"{req.full_url} redirects to {newurl:.200}, which is not secure; get it by hand.")
        self.latest = newurl
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        token = req.unredirected_hdrs.get("Authorization")
        if following is not None and token and _origin(old) == _origin(new):
            following.add_unredirected_header("Authorization", token)
        return following


def _origin(url: Any) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or _PORTS.get(url.scheme)


@dataclass(frozen=True)
class Answer:
    """An answer; a background thread reads its body.

    Parameters
    ----------
    status : int
        The HTTP status code.
    headers : Message
        Its headers.
    url : str
        The address after all redirects.
    chunks : iterator of bytes
        Its body. Raises DroppedError if the connection ends early and the answer shows that bytes are missing.
    """

    status: int
    headers: Message
    url: str
    chunks: Iterator[bytes]


class Request:
    """A request. As a context manager it returns its `Answer`. It can be cancelled even while the server is silent.

    Raises Cancelled, DroppedError, HttpStatusError, and DownloadError for errors that would happen again.
    """

    def __init__(
        self, url: str, headers: Mapping[str, str], cancelled: Callable[[], bool], token: str | None = None
    ) -> None:
        self._url = url
        self._cancelled = cancelled
        self._timeout = timeout()
        self._items: queue.Queue[Any] = queue.Queue(_WAITING)
        self._stopped = threading.Event()
        try:
            asked = urllib.request.Request(url, headers={"User-Agent": "napari-foundseg", **headers})
        except ValueError as error:
            raise DownloadError(f"{url!r} is not a valid address: {error}.") from error
        if token:
            asked.add_unredirected_header("Authorization", f"Bearer {token}")
        self._redirects = _Redirects()
        opener = urllib.request.build_opener(self._redirects, urllib.request.HTTPSHandler(context=certificates()))
        # A daemon thread: if the server is silent, it ends after the timeout, and nothing waits for it.
        self._thread = threading.Thread(target=self._read, args=(opener, asked), daemon=True)

    def __enter__(self) -> Answer:
        self._thread.start()
        try:
            status, headers, url = self._next()
        except BaseException:
            self._stopped.set()
            raise
        return Answer(status, headers, url, iter(self._next, b""))

    def __exit__(self, *_: object) -> None:
        self._stopped.set()

    def _read(self, opener: urllib.request.OpenerDirector, asked: urllib.request.Request) -> None:
        try:
            with opener.open(asked, timeout=self._timeout) as answer:
                self._put((answer.status, answer.headers, answer.url))
                while not self._stopped.is_set() and (chunk := answer.read1(_CHUNK)):
                    self._put(chunk)
            self._put(b"")
        except Exception as error:  # noqa: BLE001 - raised in the caller's thread
            self._put(error)

    def _put(self, item: Any) -> None:
        while not self._stopped.is_set():
            with suppress(queue.Full):
                self._items.put(item, timeout=_POLL)
                return

    def _next(self) -> Any:
        # The timeout of the connection does not include the lookup of the host's name.
        latest = time.monotonic() + self._timeout + 1
        while not self._cancelled():
            try:
                item = self._items.get(timeout=_POLL)
            except queue.Empty:
                if time.monotonic() > latest:
                    raise _silent(self._server(), self._timeout) from None
                continue
            if isinstance(item, Exception):
                raise _named(item, self._url, self._server(), self._timeout) from item
            return item
        raise Cancelled("The download was cancelled.")

    def _server(self) -> str:
        """Return the server that was asked last, and the one that redirected to it."""
        first, last = _host(self._url), _host(self._redirects.latest or self._url)
        return last if last == first else f"{last} (where {first} redirects)"


def call_interruptibly(function: Callable[[], _T], cancelled: Callable[[], bool]) -> _T:
    """Call a function in a background thread; raise Cancelled, and abandon the thread, if `cancelled` returns True."""
    answers: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue()

    def call() -> None:
        try:
            answers.put((function(), None))
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            answers.put((None, error))

    threading.Thread(target=call, daemon=True).start()
    while not cancelled():
        with suppress(queue.Empty):
            value, error = answers.get(timeout=_POLL)
            if error is not None:
                raise error
            result: _T = value
            return result
    raise Cancelled("The download was cancelled.")


def untrusted_text(what: str) -> str:
    """Return the message about an untrusted certificate; `what` starts with the name of the server."""
    return (
        f"The certificate of {what}. If a proxy of your institution issues it, name its file of certificates in "
        "SSL_CERT_FILE or REQUESTS_CA_BUNDLE."
    )


def _silent(server: str, seconds: float) -> DownloadError:
    return DownloadError(
        f"{server} sent nothing for {seconds:g} seconds. The downloaded part is kept; try again later, or "
        "set FOUNDSEG_TIMEOUT to more seconds."
    )


def _named(error: Exception, url: str, server: str, seconds: float) -> Exception:
    """Return an error with a message for the user: what failed, why, and how to go on."""
    if isinstance(error, DownloadError):
        return error
    if isinstance(error, urllib.error.HTTPError):
        return _refusal(error, url, server)
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return _silent(server, seconds)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return DownloadError(untrusted_text(f"{server} is not trusted ({reason.verify_message})"))
    if isinstance(reason, socket.gaierror):
        return DownloadError(
            f"{server} is not found: there is no connection to the internet, or a proxy is needed (HTTPS_PROXY)."
        )
    if isinstance(reason, ConnectionRefusedError):
        return DownloadError(f"{server} refuses connections; try again later, or check HTTPS_PROXY.")
    if isinstance(reason, http.client.HTTPException | ConnectionError | ssl.SSLError | EOFError):
        why = " ".join(str(reason).split()) or type(reason).__name__
        return DroppedError(f"The connection to {server} was lost ({why:.200}).")
    return DownloadError(f"{url} cannot be fetched: {reason or type(reason).__name__}.")


def _refusal(error: urllib.error.HTTPError, url: str, server: str) -> DownloadError:
    status = error.code
    with suppress(OSError):
        error.close()
    if _Redirects.inf_msg in str(error.msg):
        return DownloadError(f"{url} redirects in a circle or more than ten times; its address has changed.")
    if status in (429, 500, 502, 503, 504):
        return DroppedError(f"{server} is busy or has a fault (HTTP {status}); try again later.")
    what = {
        401: "requires a login",
        403: "denies you access",
        404: "has no such file; it was moved or deleted",
        407: "cannot be reached, since the proxy asks for a password (HTTPS_PROXY=http://user:password@host:port)",
        410: "no longer has this file",
        416: "does not send the rest",
    }.get(status, "redirects to no address, or to one that is not secure" if status // 100 == 3 else "refuses")
    by_hand = f"Open {url} in a browser to see why; a file that you get in another way can be imported."
    return HttpStatusError(f"{server} {what} (HTTP {status}). {by_hand}", status, error.headers)


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2] or url
