"""What is done when memory runs out: freeing, smaller batches, the CPU. Each step is told, none is silent."""

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
    """Notes of the steps that were taken, for the log and the provenance."""

    def __init__(self) -> None:
        self._of_this_run: list[str] = []
        self._from_now_on: list[str] = []

    def note(self, words: str, *, lasting: bool = False) -> None:
        """Write a step down.

        Parameters
        ----------
        words : str
            What was done and why.
        lasting : bool
            Whether it holds for later runs, too.
        """
        _log.warning("%s", words)
        notes = self._from_now_on if lasting else self._of_this_run
        if words not in notes:
            notes.append(words)

    def taken(self) -> list[str]:
        """Return the steps that a run depends on, and begin anew for the next.

        Returns
        -------
        list of str
            In order.
        """
        notes, self._of_this_run = [*self._from_now_on, *self._of_this_run], []
        return notes


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception says that memory could not be had.

    Parameters
    ----------
    error : BaseException
        The exception.

    Returns
    -------
    bool
        True for those of CUDA, MPS and the CPU's allocator.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _ALLOCATION)


def free_memory() -> None:
    """Give back what nothing uses any more."""
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
    """Run something, and again with less where memory runs out.

    Parameters
    ----------
    run : callable
        Takes how many to do at once.
    batch : int
        How many to begin with.
    what : str
        What is done, for the notes: ``encoding``, say.
    fallbacks : Fallbacks
        Where steps are written down.
    to_cpu : callable
        Moves the model; returns False where it is on the CPU already.

    Returns
    -------
    object
        What `run` returned.

    Raises
    ------
    Exception
        The last one, if even the CPU has no memory for one.
    """
    freed = False
    while True:
        try:
            return run(batch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            last = error
        # Outside the handler: its traceback holds the arrays that were too large.
        last.__traceback__ = None
        free_memory()
        if not freed:
            freed = True
            fallbacks.note(f"out of memory in {what}: what nothing used was freed")
        elif batch > 1:
            batch //= 2
            fallbacks.note(f"out of memory in {what}: {batch} at once instead of more")
        elif to_cpu():
            fallbacks.note(f"out of memory in {what}: the CPU is used from here on", lasting=True)
            freed = False
        else:
            raise last
