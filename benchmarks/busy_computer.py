"""Automatic masks while another program takes one processor: how long with libgomp's own waiting, and with ours.

    python benchmarks/busy_computer.py

Each figure is the median of three runs in a process of its own, in turns. The other program only counts.
"""

from __future__ import annotations

import os
import subprocess
import sys

_TIMED = """
import time
import {start}
import napari_foundseg as fs
from napari_foundseg.io.samples import sample
{shorten}
image = sample("nuclei")
fs.automatic(image)
times = []
for _ in range(3):
    began = time.perf_counter()
    fs.automatic(image)
    times.append(time.perf_counter() - began)
print(sorted(times)[1])
"""
_OURS = "napari_foundseg.engine.waiting_threads"
_COUNT = "n = 0\nwhile True: n += 1"


def seconds(shorten: bool) -> float:
    """Return the time of a run in another process."""
    code = _TIMED.format(start=_OURS, shorten=f"{_OURS}.shorten_busy_waiting()" if shorten else "")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Measure, and print."""
    for busy in (False, True):
        other = subprocess.Popen([sys.executable, "-c", _COUNT], start_new_session=True) if busy else None
        try:
            before, now = zip(*((seconds(False), seconds(True)) for _ in range(2)), strict=True)
        finally:
            if other is not None:
                other.kill()
                other.wait()
        words = "another program runs" if busy else "quiet"
        print(f"{words}: before {min(before):.2f} s, now {min(now):.2f} s", flush=True)


if __name__ == "__main__":
    main()
