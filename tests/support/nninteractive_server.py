"""A server that stands for nninteractive-server: the protocol of its client, a threshold in place of the network."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from nnInteractive.inference.remote._protocol import LEASE_HEADER, META_HEADER
from nnInteractive.inference.remote.serialization import pack_array, unpack_array
from scipy import ndimage

__all__ = ["StandIn", "serving"]

#: Voxels around a negative point that are taken out.
_AWAY = 4


class StandIn:
    """What the server holds, what it was asked, and what it does wrong."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        #: Meta data and arrays that came with a request.
        self.got: list[tuple[str, dict[str, Any], Any]] = []
        #: By path, what is done instead of answering: status code, "garbage", "lost" or "slow".
        self.faults: dict[str, int | str] = {}
        self.version = "2.6.0"
        self.kinds = {"scribble": True, "lasso": True, "points": True, "bbox2d": True, "bbox3d": False}
        self.licence = "CC BY-NC-SA 4.0"
        #: Set when slow answers may go on.
        self.go_on = threading.Event()
        #: Set while a slow answer is waited for.
        self.waits = threading.Event()
        self.leases: set[str] = set()
        self.image = self.mask = self.shown = self.away = np.zeros((0, 0, 0))
        self.address = ""

    def count(self, path: str) -> int:
        return self.asked.count(path)

    def forget(self) -> None:
        self.shown = np.zeros(self.image.shape, bool)
        self.away = np.zeros(self.image.shape, bool)
        self.mask = np.zeros(self.image.shape, np.uint8)

    def marked(self, where: tuple[slice, ...], on: Any, positive: bool) -> list[list[int]] | None:
        """Add a prompt; return the box in which the mask has changed."""
        (self.shown if positive else self.away)[where] |= on
        bright = self.image > (self.image.min() + self.image.max()) / 2
        bright &= ~ndimage.binary_dilation(self.away, iterations=_AWAY) if self.away.any() else True
        parts, _ = ndimage.label(bright)
        new = np.isin(parts, np.setdiff1d(np.unique(parts[self.shown]), [0])).astype(np.uint8)
        changed = np.argwhere(new != self.mask)
        self.mask = new
        return (
            None
            if not len(changed)
            else [[int(a), int(b) + 1] for a, b in zip(changed.min(0), changed.max(0), strict=True)]
        )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stand_in: StandIn

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        own = self.stand_in
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        meta = json.loads(self.headers.get(META_HEADER) or "{}")
        array = unpack_array(body) if self.headers.get("Content-Type") == "application/octet-stream" else None
        values = meta if array is not None else json.loads(body or b"{}")
        own.asked.append(self.path)
        own.got.append((self.path, values, array))
        fault = own.faults.get(self.path)
        if fault == "lost":
            self.close_connection = True
            self.connection.close()
        elif fault == "garbage":
            self.send(200, b"<html>it works!</html>")
        elif fault == "garbage box":
            self.send(
                200,
                pack_array(np.ones((2, 2, 2), np.uint8)),
                {"ran_prediction": True, "bbox": [[-3, 9], [0, 2], [0, 2]]},
            )
        elif isinstance(fault, int):
            self.send(fault, json.dumps({"detail": f"no: {fault}"}).encode())
        else:
            if fault == "slow":
                own.waits.set()
                own.go_on.wait(60)
            self.answer(values, array)

    def answer(self, values: dict[str, Any], array: Any) -> None:
        own = self.stand_in
        if self.path == "/claim":
            own.leases.add(token := f"lease {len(own.asked)}")
            self.send_json({"lease_token": token, "idle_timeout_seconds": 600, "liveness_timeout_seconds": 60})
        elif self.headers.get(LEASE_HEADER) not in own.leases:
            self.send(410, b'{"detail": "lease expired or unknown"}')
        elif self.path == "/capabilities":
            self.send_json(
                {
                    "supported_interactions": own.kinds,
                    "channel_mapping": {"prev_seg": 0, "points": [3, 4]},
                    "num_interaction_channels": 7,
                    "supports_initial_label": True,
                    "supports_zero_shot_label_refinement": True,
                    "preferred_scribble_thickness": [2, 2, 2],
                    "interaction_decay": 0.98,
                    "inference_session_version": own.version,
                    "license": own.licence,
                    "supports_undo": True,
                }
            )
        elif self.path == "/release":
            own.leases.discard(str(self.headers.get(LEASE_HEADER)))
            self.send_json({})
        elif self.path == "/set_image":
            own.image = array[0]
            own.forget()
            self.send_json({"original_image_shape": list(array.shape)})
        elif self.path == "/reset_interactions":
            own.forget()
            self.send_json({})
        elif self.path.startswith("/add_"):
            box = own.marked(*self.place(values, array), values["include_interaction"])
            packed = b"" if box is None else pack_array(own.mask[tuple(slice(*pair) for pair in box)])
            self.send(200, packed, {"ran_prediction": True, "bbox": box})
        else:
            self.send_json({})

    def place(self, values: dict[str, Any], array: Any) -> tuple[tuple[slice, ...], Any]:
        if "coordinates" in values:
            return tuple(slice(v, v + 1) for v in values["coordinates"]), True
        ends = values.get("bbox_coords") or values["interaction_bbox"]
        return tuple(slice(*pair) for pair in ends), True if array is None else array.astype(bool)

    def send_json(self, values: dict[str, Any]) -> None:
        self.send(200, json.dumps(values).encode())

    def send(self, code: int, body: bytes, meta: dict[str, Any] | None = None) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        if meta is not None:
            self.send_header(META_HEADER, json.dumps(meta))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving() -> Iterator[StandIn]:
    """Serve on this computer; yields what the server holds."""
    own = StandIn()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"stand_in": own}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    own.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield own
    finally:
        own.go_on.set()
        server.shutdown()
        server.server_close()
