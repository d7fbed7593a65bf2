"""Translation of any exception of a run into a named error of `core.errors`."""

from __future__ import annotations

import pickle
import signal
import sys
import traceback

from napari_foundseg.core.errors import EngineError, FoundsegError

__all__ = ["death_error", "named_error"]

_TO_DO = "Choose a smaller region or close other programs, then run again; your layers are untouched."
#: Parts of the messages of memory allocators, most of which raise a plain RuntimeError.
_ALLOCATION = ("out of memory", "not enough memory", "allocate memory", "defaultcpuallocator", "alloc_failed")


def named_error(error: BaseException) -> FoundsegError:
    """Return the error if it is a FoundsegError that can be pickled, otherwise an EngineError with the traceback."""
    if isinstance(error, FoundsegError):
        if _travels(error):
            return error
        # distributed pickles causes, too, and some exceptions of other packages cannot be unpickled.
        error.add_note("".join(traceback.format_exception(error)))
        error.__cause__ = error.__context__ = None
        if _travels(error):
            return error
        if (plain := _as_plain(error)) is not None:
            return plain
    if _is_allocation(error):
        shown = EngineError(f"The engine ran out of memory ({_first_line(error)}). {_TO_DO}")
    else:
        shown = EngineError(f"Unexpected error in the engine: {type(error).__name__}: {error}")
    shown.add_note("".join(traceback.format_exception(error)))
    return shown


def death_error(code: int, log: str) -> EngineError:
    """Return the error for a process that ended with an exit code (negative: a signal), with the log as a note."""
    killed = sys.platform != "win32" and code == -signal.SIGKILL
    if killed:
        text = f"The engine was stopped by the system, most likely because memory ran out. {_TO_DO}"
    else:
        how = signal.Signals(-code).name if code < 0 and -code in set(signal.Signals) else f"exit code {code}"
        text = f"The engine ended unexpectedly ({how}). Run again; if it happens again, copy the diagnostics."
    error = EngineError(text)
    if log:
        error.add_note(log)
    return error


def _travels(error: BaseException) -> bool:
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:  # noqa: BLE001 - a foreign exception's pickling may raise anything
        return False


def _as_plain(error: FoundsegError) -> FoundsegError | None:
    """Return an error that cannot be pickled as its nearest base class that can be made from the message alone."""
    for base in type(error).__mro__[1:]:
        if not issubclass(base, FoundsegError):
            break
        try:
            plain = base(str(error))
        except TypeError:
            continue
        plain.__notes__ = list(getattr(error, "__notes__", []))
        if str(plain) == str(error) and _travels(plain):
            return plain
    return None


def _is_allocation(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(part in text for part in _ALLOCATION)
    )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
