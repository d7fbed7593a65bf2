"""How threads of torch wait for each other in processes of the plugin's own."""

from __future__ import annotations

import os

__all__ = ["shorten_busy_waiting"]

#: How often a waiting thread of libgomp, which torch uses on Linux, looks for work before it sleeps. libgomp's default
#: is 300,000 times: if another program takes one of two processors, automatic masks then take 15 times as long.
_LOOKS = "1000"


def shorten_busy_waiting() -> None:
    """Let waiting threads sleep soon, unless the environment says how they wait; call it before torch is imported.

    A thread that waits busily keeps its processor from the thread that it waits for, and from the window.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _LOOKS)
