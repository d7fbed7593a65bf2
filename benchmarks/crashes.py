"""Batches that are killed: at 20 random moments and at fixed points of a result's writing, and run again.

    python benchmarks/crashes.py [RANDOM]

Each time the command `napari-foundseg batch` runs over 20 images and is killed with all its processes (SIGKILL); the
same command then goes on. What it leaves is compared with what an undisturbed run leaves, byte for byte, times set
aside, and no result that was done may be written again. tests/batch/test_crashes.py holds the same, quickly.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support import crashing  # noqa: E402

COMMAND = [sys.executable, "-c", "from napari_foundseg.cli import main; main()", "batch"]
COUNT = 20
#: Runs in every Python that is started; the engine's process kills all once it comes to the point.
SITE = f"""
import os, signal, sys
if "napari_foundseg.engine" in sys.orig_argv and os.environ.get("CRASH_POINT"):
    sys.path.insert(0, {str(ROOT)!r})
    from tests.support import crashing
    kill = lambda: os.killpg(os.getpgrp(), signal.SIGKILL)
    crashing.arm(os.environ["CRASH_POINT"], int(os.environ["CRASH_ITEM"]), kill)
"""


def started(folder: Path, out: str, **environment: str) -> subprocess.Popen[bytes]:
    """Start the command in a group of processes of its own."""
    paths = [str(folder / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [*COMMAND, str(folder / "recipe.yaml"), "--out", str(folder / out)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | environment,
    )


def killed(folder: Path, out: str, after: float) -> float | None:
    """Start the command and kill it after some seconds; where it ends before, return when: its results are gone."""
    process, began = started(folder, out), time.monotonic()
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None
    shutil.rmtree(folder / out)
    return time.monotonic() - began


def fault(folder: Path, out: str, whole: dict[str, Any], least: int = 0) -> str:
    """Run the command again and say what is wrong with what it leaves."""
    done = crashing.finished(folder / out) if (folder / out).exists() else {}
    half = [p.name for p in (folder / out).glob("*_labels.tif") if p.read_bytes() != whole[p.name]]
    code = started(folder, out).wait()
    after = crashing.finished(folder / out)
    faults = {
        f"half written: {half}": half,
        "fewer were done than should be": len(done) < least,
        f"exit code {code}": code,
        "other files than an undisturbed run's": crashing.content(folder / out) != whole,
        "a result that was done was written again": {name: after[name] for name in done} != done,
    }
    return f"{len(done):2d} of {COUNT} done when killed: " + (
        "; ".join(f for f, is_so in faults.items() if is_so) or "ok"
    )


def main() -> int:
    """Run all; the exit code is 1 if anything was wrong."""
    count, chance, said = int((sys.argv[1:] or ["20"])[0]), random.Random(20), []
    with tempfile.TemporaryDirectory() as name:
        folder = crashing.make_batch(Path(name), COUNT, (256, 320))
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(SITE)
        began = time.monotonic()
        assert started(folder, "whole").wait() == 0
        seconds, whole = time.monotonic() - began, crashing.content(folder / "whole")
        lasts = seconds
        for number in range(count):
            out = f"random {number}"
            while (ended := killed(folder, out, after := chance.uniform(0.3, 1.0) * lasts)) is not None:
                lasts = ended
            said.append(f"killed after {after:.2f} s: {fault(folder, out, whole)}")
            print(said[-1], flush=True)
        for number, point in enumerate(crashing.POINTS):
            item = 2 + number
            assert started(folder, point, CRASH_POINT=point, CRASH_ITEM=str(item)).wait() == -signal.SIGKILL
            said.append(f"killed {point!r} of item {item}: {fault(folder, point, whole, item - 1)}")
            print(said[-1], flush=True)
    good = sum(line.endswith("ok") for line in said)
    print(f"{good} of {len(said)} ended as an undisturbed run ({seconds:.1f} s)")
    return int(good < len(said))


if __name__ == "__main__":
    sys.exit(main())
