"""Find out which process writes a journal and whether it still runs, without clocks, which differ and are reset."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from datetime import datetime
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, Self

__all__ = ["ALIVE", "Writer"]

#: Seconds after which a process marks its journals as in use again, for other computers.
ALIVE = 600.0
#: Seconds without such a mark after which the journal of another computer counts as abandoned.
_ABANDONED = 24 * 3600.0


class Writer(NamedTuple):
    """A process on a computer.

    Parameters
    ----------
    process : int
        Its id.
    computer : str
        Identifies the computer; empty in journals of older versions.
    host : str
        The computer's name.
    boot, namespace, born : str
        Identify the start of the computer, the container, and the start of the process; empty if unknown.
    """

    process: int
    computer: str = ""
    host: str = ""
    boot: str = ""
    namespace: str = ""
    born: str = ""

    @classmethod
    def this(cls) -> Self:
        """Return this process."""
        process = os.getpid()
        return cls(process, _computer(), platform.node(), _boot(), _namespace(), _born(process))

    def is_this(self) -> bool:
        """Tell whether it is this process, as far as the recorded facts can tell."""
        if self.process != os.getpid() or self.computer not in ("", _computer()) or self._is_apart():
            return False
        return not self.born or (self.boot in ("", _boot()) and self.born == _born(self.process))

    def is_running(self, began: str, changed: float, now: float) -> bool:
        """Tell whether the process is still running.

        Parameters
        ----------
        began : str
            Time when it started the journal, as ISO 8601. Only journals of older versions need it.
        changed, now : float
            Time when it last marked the journal as in use, and the current time, by the clock of the file system.
        """
        if self.computer not in ("", _computer()) or self._is_apart():
            return now - changed < _ABANDONED
        if self.boot and _boot() and self.boot != _boot():
            # The computer was restarted since.
            return False
        if self.born:
            return self.born == _born(self.process)
        return self._was_there(began)

    def _is_apart(self) -> bool:
        """Tell whether it is on another computer of the same name, or in a container with its own process ids."""
        if self.boot == _boot():
            return self.namespace not in ("", _namespace())
        machine, own = self.boot.partition("/")[0], _boot().partition("/")[0]
        return bool(machine and own) and machine != own

    def _was_there(self, began: str) -> bool:
        """Tell whether a process with its id was started before the journal was."""
        import psutil

        try:
            born = psutil.Process(self.process).create_time()
        except psutil.Error:
            return False
        return bool(born <= datetime.fromisoformat(began).timestamp() + 1)


def _computer() -> str:
    return blake2b(platform.node().encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()


@cache
def _boot() -> str:
    """Return an identifier of this computer and, after a slash, of its last start; empty if unknown."""
    machine = ""
    with suppress(OSError):
        machine = Path("/etc/machine-id").read_text().strip()
    try:
        return f"{machine}/{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}"
    except OSError:
        return ""


def _namespace() -> str:
    """Return an identifier of the container in which this process runs; empty outside Linux."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _born(process: int) -> str:
    """Return the start time of a process, which tells it from others with the same id; empty if it does not run."""
    with suppress(OSError, IndexError):
        # The time is counted from the start of the computer. A zombie, a process that has ended but was not waited
        # for, no longer writes.
        state, *fields = Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return "" if state in ("Z", "X") else fields[18]
    if Path("/proc/self/stat").exists():
        return ""
    import psutil

    try:
        # On these systems, later changes of the clock do not change this time.
        return f"{psutil.Process(process).create_time():.2f}"
    except psutil.Error:
        return ""
