"""What tests share: toys, the mouse over a canvas, small checkpoints, programs that tests start.

Tests and benchmarks import it as `tests.support`; a process that a test starts gets it by `child_environment`.
"""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: On the path of a worker process, it gives the worker the task `fake` (a module `sitecustomize`).
WORKER_SITE = Path(__file__).parent / "worker_site"


def python_path(*folders: Path) -> str:
    """Return a PYTHONPATH with these folders, the one that holds `tests` and what is there already."""
    there = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    return os.pathsep.join([*map(str, folders), str(ROOT), *there])


def child_environment(**more: str) -> dict[str, str]:
    """Return the environment of a process that imports `tests.support`."""
    return os.environ | {"PYTHONPATH": python_path()} | more
