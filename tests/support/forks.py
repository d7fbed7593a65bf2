"""Forks of the test process, which may end as a killed process does."""

from __future__ import annotations

import os
from collections.abc import Callable


def in_fork(act: Callable[[], None]) -> int:
    """Do something in a fork of this process, and return how that ended."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
