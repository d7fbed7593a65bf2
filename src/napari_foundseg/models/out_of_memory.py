"""Fallbacks when memory runs out: free memory, halve batches, move to the CPU. Each one is logged and recorded."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Callable
from typing import TypeVar

__all__ = ["Fallbacks", "free_memory", "is_out_of_memory", "with_fallbacks"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
#: Parts of the messages of allocators that raise a bare RuntimeError.
_ALLOCATION = ("out of memory", "not enough memory", "allocate memory", "alloc_failed")


class Fallbacks:
    """Notes about the fallbacks that were taken, for the log and the provenance."""

    def __init__(self) -> None:
        self._of_this_run: list[str] = []
        self._from_now_on: list[str] = []

    def note(self, words: str, *, lasting: bool = False) -> None:
        """Log and keep a fallback; a lasting one is reported for later runs too."""
        _log.warning("%s", words)
        notes = self._from_now_on if lasting else self._of_this_run
        if words not in notes:
            notes.append(words)

    def taken(self) -> list[str]:
        """Return the fallbacks since the last call, and the lasting ones."""
        notes = [*self._from_now_on, *self._of_this_run]
        self._of_this_run = []
        return notes


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception of CUDA, MPS or the CPU's allocator means that memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _ALLOCATION)


def free_memory() -> None:
    """Free the unused memory of Python and of the GPUs."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is None:
        return
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def with_fallbacks(
    run: Callable[[int], _T], batch: int, what: str, fallbacks: Fallbacks, to_cpu: Callable[[], bool]
) -> _T:
    """Run a function; when memory runs out, run it again with smaller batches, and then on the CPU.

    If even the CPU has no memory for a batch of one, the last exception is raised.
    """
    freed = False
    while True:
        try:
            return run(batch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            last = error
        # Outside the except block, since its traceback keeps the large arrays in memory.
        last.__traceback__ = None
        free_memory()
        if not freed:
            freed = True
            fallbacks.note(f"out of memory in {what}: unused memory was freed")
        elif batch > 1:
            batch //= 2
            fallbacks.note(f"out of memory in {what}: {batch} at once instead of more")
        elif to_cpu():
            fallbacks.note(f"out of memory in {what}: the CPU is used from here on", lasting=True)
            freed = False
        else:
            raise last
