"""A server on this computer that stands for the internet: files with their faults, and the hub's API."""

from __future__ import annotations

import gzip
import hashlib
import json
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

__all__ = ["Fault", "Repo", "WebServer"]

COMMIT = "c0ffee" + "0" * 34
#: What a server does wrong with one request: it has answered where this returns True.
Fault = Callable[["Handler", bytes], bool]


@dataclass
class Repo:
    """A repository of the hub."""

    files: dict[str, bytes]
    gated: bool = False
    licence: str = "apache-2.0"
    commit: str = COMMIT
    #: Tokens of accounts that have access.
    accepted: set[str] = field(default_factory=set)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    web: WebServer

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        # A proxy is asked for whole addresses.
        self.web.requests.append((path, {name.lower(): value for name, value in self.headers.items()}))
        if path.startswith("/api/"):
            self._api(path)
        elif "/resolve/" in path:
            self._resolve(path)
        elif path in self.web.files:
            self.send_file(path, self.web.files[path])
        else:
            self.send(404, b"Not found")

    do_HEAD = do_GET  # noqa: N815 - as http.server calls it

    def send_file(self, path: str, content: bytes) -> None:
        faults = self.web.faults.get(path, [])
        if faults and faults.pop(0)(self, content):
            return
        start = self.start(content)
        headers = {"ETag": self.web.etag(path, content)} if self.web.etags else {}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.send(206 if start else 200, content[start:], **headers)

    def start(self, content: bytes) -> int:
        """Return where the wanted range begins; 0 if the whole is to be sent."""
        condition = self.headers.get("If-Range")
        path = unquote(urlsplit(self.path).path)
        if condition is not None and condition != self.web.etag(path, content):
            return 0
        return int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.web.sent += len(body)
            for at in range(0, len(body), 1 << 16):
                self.wfile.write(body[at : at + (1 << 16)])

    def send_share(self, content: bytes, share: float) -> None:
        """Send the head of the answer, and a share of its body."""
        path = unquote(urlsplit(self.path).path)
        start = self.start(content)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if self.web.etags:
            self.send_header("ETag", self.web.etag(path, content))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(content[start : start + int((len(content) - start) * share)])
        self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        pass

    def _token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _api(self, path: str) -> None:
        if self.web.api_status:
            self.send(self.web.api_status, self.web.api_body)
            return
        if path == "/api/whoami-v2":
            known = self._token() in self.web.accounts
            body = {"name": self.web.accounts.get(self._token(), ""), "type": "user",
                    "auth": {"accessToken": {"role": "read", "displayName": "test"}}}  # fmt: skip
            self.send(200 if known else 401, json.dumps(body if known else {"error": "Invalid token"}).encode())
            return
        name, _, commit = path.removeprefix("/api/models/").partition("/revision/")
        repo = self.web.repos.get(name)
        if repo is None:
            self.send(401 if not self._token() else 404, b"{}", X_Error_Code="RepoNotFound")
        elif commit not in ("", "main", repo.commit):
            self.send(404, b"{}", X_Error_Code="RevisionNotFound")
        else:
            self.send(200, json.dumps(self._info(name, repo)).encode(), Content_Type="application/json")

    def _info(self, name: str, repo: Repo) -> dict[str, Any]:
        siblings = []
        for file, content in repo.files.items():
            one: dict[str, Any] = {"rfilename": file, "size": len(content)}
            if file.endswith((".json", ".txt", ".md")):
                one["blobId"] = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
            else:
                digest = hashlib.sha256(content).hexdigest()
                one |= {"blobId": "0" * 40, "lfs": {"sha256": digest, "size": len(content), "pointerSize": 130}}
            siblings.append(one)
        return {"id": name, "modelId": name, "sha": repo.commit, "private": False, "downloads": 0, "tags": [],
                "gated": "manual" if repo.gated else False, "siblings": siblings,
                "cardData": {"license": repo.licence}}  # fmt: skip

    def _resolve(self, path: str) -> None:
        name, _, rest = path.lstrip("/").partition("/resolve/")
        commit, _, file = rest.partition("/")
        repo = self.web.repos.get(name)
        if repo is None or file not in repo.files or commit not in ("main", repo.commit):
            self.send(404, b"", X_Error_Code="EntryNotFound")
        elif repo.gated and self._token() not in repo.accepted:
            self.send(403 if self._token() else 401, b"", X_Error_Code="GatedRepo")
        else:
            # As the hub: the bytes lie elsewhere.
            self.web.files[f"/cdn/{name}/{file}"] = repo.files[file]
            self.send(302, b"", Location=f"{self.web.elsewhere}/cdn/{name}/{file}")


class WebServer:
    """The server, with a log of the requests; a second address of the same stands for other servers."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.repos: dict[str, Repo] = {}
        self.accounts: dict[str, str] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.sent = 0
        self.etags = True
        #: Answer of the API in place of its own, where the status is not 0.
        self.api_status, self.api_body = 0, b""
        #: Set to let requests go on that stall.
        self.released = threading.Event()
        handler = type("HandlerOfServer", (Handler,), {"web": self})
        self._servers = [_Quiet(("127.0.0.1", 0), handler) for _ in range(2)]
        if context is not None:
            for one in self._servers:
                one.socket = context.wrap_socket(one.socket, server_side=True)
        self.url, self.elsewhere = (f"http://127.0.0.1:{one.server_address[1]}" for one in self._servers)
        for one in self._servers:
            one.daemon_threads = True
            threading.Thread(target=one.serve_forever, args=(0.02,), daemon=True).start()

    def etag(self, path: str, content: bytes) -> str:
        return f'"{hashlib.md5(path.encode() + content).hexdigest()}"'

    def asked(self, path: str) -> list[dict[str, str]]:
        """Return the headers of all requests for a path."""
        return [headers for asked, headers in self.requests if asked == path]

    def close(self) -> None:
        self.released.set()
        for one in self._servers:
            one.shutdown()
            one.server_close()


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """A client that goes away is no error."""


def drop_at(share: float) -> Fault:
    """End the connection after a share of what was asked for."""

    def fault(handler: Handler, content: bytes) -> bool:
        handler.send_share(content, share)
        handler.close_connection = True
        return True

    return fault


def stall_at(share: float) -> Fault:
    """Send a share and then nothing, until the server is released."""

    def fault(handler: Handler, content: bytes) -> bool:
        handler.send_share(content, share)
        handler.web.released.wait(60)
        handler.close_connection = True
        return True

    return fault


def refuse(status: int) -> Fault:
    """Answer with an error."""
    return lambda handler, _content: handler.send(status, b"") or True


def whole(handler: Handler, content: bytes) -> bool:
    """Send all, whatever was asked for."""
    handler.send(200, content, ETag=handler.web.etag(unquote(urlsplit(handler.path).path), content))
    return True


def range_as_200(handler: Handler, content: bytes) -> bool:
    """Send the range under the number of a whole file."""
    start = handler.start(content)
    handler.send(200, content[start:], Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}")
    return True


def other_offset(shift: int) -> Fault:
    """Send a range that begins elsewhere."""

    def fault(handler: Handler, content: bytes) -> bool:
        start = max(handler.start(content) + shift, 0)
        handler.send(206, content[start:], Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}")
        return True

    return fault


def page(handler: Handler, _content: bytes) -> bool:
    """Send a page that asks for a login."""
    handler.send(200, b"<!DOCTYPE html><html><body>Log in</body></html>", Content_Type="text/html; charset=utf-8")
    return True


def flipped(handler: Handler, content: bytes) -> bool:
    """Send other bytes of the right number."""
    handler.send(200, content[:-1] + bytes([content[-1] ^ 1]))
    return True


def packed(handler: Handler, content: bytes) -> bool:
    """Send it compressed, though it was asked for as it is."""
    handler.send(200, gzip.compress(content), Content_Encoding="gzip")
    return True


def answer(body: bytes, **headers: str) -> Fault:
    """Send something else, as if it were the file."""
    return lambda handler, _content: handler.send(200, body, **headers) or True


def redirect(address: str) -> Fault:
    """Redirect to another address."""
    return lambda handler, _content: handler.send(302, b"", Location=address) or True
