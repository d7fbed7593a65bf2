"""Which process writes a journal, and whether it is still running: without clocks, which differ and are put back."""

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

#: Seconds after which a process marks its journals as in use again, which other computers see.
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
        Identify when the computer was started, the container, and when the process was; empty where that is unknown.
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
        """Tell whether it is this process, or one that had the same id."""
        if self.process != os.getpid() or self.computer not in ("", _computer()) or self._is_apart():
            return False
        return not self.born or (self.boot in ("", _boot()) and self.born == _born(self.process))

    def is_running(self, began: str, changed: float, now: float) -> bool:
        """Tell whether it is still running.

        Parameters
        ----------
        began : str
            When it began the journal, as ISO 8601; only what older versions have written needs it.
        changed, now : float
            When it has marked the journal as in use, and the present, by the clock of the folder's file system.
        """
        if self.computer not in ("", _computer()) or self._is_apart():
            return now - changed < _ABANDONED
        if self.boot and _boot() and self.boot != _boot():
            # The computer has been started again since.
            return False
        if self.born:
            return self.born == _born(self.process)
        return self._was_there(began)

    def _is_apart(self) -> bool:
        """Tell whether it is on another computer of the same name, or in a container with processes of its own."""
        if self.boot == _boot():
            return self.namespace not in ("", _namespace())
        machine, own = self.boot.partition("/")[0], _boot().partition("/")[0]
        return bool(machine and own) and machine != own

    def _was_there(self, began: str) -> bool:
        """Tell whether a process with its id was started before the journal was begun."""
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
    """Return what identifies this computer and, behind a slash, its start; empty where that is not known."""
    machine = ""
    with suppress(OSError):
        machine = Path("/etc/machine-id").read_text().strip()
    try:
        return f"{machine}/{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}"
    except OSError:
        return ""


def _namespace() -> str:
    """Return what identifies the container that this process is in; empty outside Linux."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _born(process: int) -> str:
    """Return what tells a process from others that had its id: when it was started; empty where there is none."""
    with suppress(OSError, IndexError):
        # Counted from the start of the computer. A process that has ended, and that nobody asked for its exit code,
        # is not a writer any more.
        state, *fields = Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return "" if state in ("Z", "X") else fields[18]
    if Path("/proc/self/stat").exists():
        return ""
    import psutil

    try:
        # These systems keep the time as it was at the start.
        return f"{psutil.Process(process).create_time():.2f}"
    except psutil.Error:
        return ""
