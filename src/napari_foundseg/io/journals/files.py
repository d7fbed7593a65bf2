"""Journals on the disk: list them, read them, and append notes to them."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import BadImageError
from napari_foundseg.core.labels import common_dtype
from napari_foundseg.io.formats.free_memory import available_memory, format_bytes
from napari_foundseg.io.journals.header import END, Header, is_base, is_step, note, step_of, with_note
from napari_foundseg.io.journals.records import Records, appended

__all__ = [
    "Kept", "Recovered", "discard_journal", "end_journal", "kept_journal", "kept_journals", "open_journals",
    "prune_journals", "read_journal", "reoffer_journal",
]  # fmt: skip

#: Number of saved or discarded journals to keep for each image.
KEPT = 3
#: Seconds for which discarded journals are always kept.
_KEPT_SECONDS = 14 * 24 * 3600.0
#: The journals that this process is writing.
open_journals: set[Path] = set()


@dataclass(frozen=True)
class Kept:
    """A journal on the disk.

    Parameters
    ----------
    path : Path
        The file.
    header : Header
        Its label image.
    steps : int
        Number of complete steps.
    ended : bool
        Whether everything in it was saved to a file or discarded.
    changed : float
        Time of the last write, in seconds since 1970.
    has_base : bool
        Whether it starts with labels.
    lost_steps : int
        Number of damaged steps.
    edited : float or None
        Time of the last change, in seconds since 1970; None in journals of older versions.
    now : float
        The current time by the clock of the file system.
    """

    path: Path
    header: Header
    steps: int
    ended: bool
    changed: float
    has_base: bool = False
    lost_steps: int = 0
    edited: float | None = None
    now: float = 0.0

    @property
    def lost(self) -> bool:
        """Whether its labels are in no file, as far as can be told, and no process is working on them."""
        return self.holds_labels and not self.ended and not self.in_use

    @property
    def holds_labels(self) -> bool:
        """Whether it has anything to recover."""
        return bool(self.steps or self.has_base)

    @property
    def discarded(self) -> bool:
        """Whether the user discarded its labels, which can still be recovered."""
        return self.holds_labels and self.ended and self.header.discarded and not self.in_use

    @property
    def in_use(self) -> bool:
        """Whether a process is still writing it."""
        if self.header.is_own:
            return self.path in open_journals
        return self.header.in_use(self.changed, self.now or time.time())


def kept_journals(folder: Path, image: str | None = None) -> list[Kept]:
    """Return the journals in a folder, latest first. With an image's fingerprint, return only its journals."""
    found = _kept(folder, "*.journal" if image is None else f"{image[:16]}-*.journal")
    return [kept for kept in found if image in (None, kept.header.image)]


def kept_journal(path: Path) -> Kept | None:
    """Return the current state of a journal; None if it no longer exists."""
    return next(iter(_kept(path.parent, path.name)), None)


def _kept(folder: Path, pattern: str) -> list[Kept]:
    found = []
    now = 0.0
    for path in folder.glob(pattern):
        try:
            kept = _look(path)
            if kept.header.computer and not kept.header.is_own:
                now = now or _file_time(folder)
            found.append(replace(kept, now=now))
        except Exception:  # noqa: BLE001 - whatever is in a file, the other journals are found
            continue
    return sorted(found, key=lambda kept: kept.changed, reverse=True)


def _look(path: Path) -> Kept:
    with path.open("rb") as file:
        found = Records(file)
        following = iter(found)
        header = Header.from_json(next(following))
        steps = 0
        ended = has_base = False
        edited = None
        for record in following:
            was = header.discarded
            header = with_note(header, record)
            steps += is_step(record)
            has_base |= is_base(record)
            edited = found.when if is_step(record) or is_base(record) else edited
            if is_step(record):
                ended = False
                header = replace(header, discarded=False)
            elif record == END or header.discarded > was:
                ended = True
            elif was > header.discarded:
                ended = False
    # A crash may have cut off the labels at the start.
    has_base &= header.ready or bool(steps) or found.damaged
    return Kept(path, header, steps, ended, path.stat().st_mtime, has_base, found.lost, edited)


def _file_time(folder: Path) -> float:
    """Return the current time by the clock of a file system, which other computers share."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return time.time()


class Recovered(NamedTuple):
    """Content of a journal: header, labels after the last complete step, facts about their objects."""

    header: Header
    labels: NDArray[np.integer[Any]]
    known: dict[int, Any]


def read_journal(path: Path) -> Recovered:
    """Return the labels in a journal. Damaged steps are left out; `Kept.lost_steps` is their number.

    Raises
    ------
    BadImageError
        If the file is not a journal.
    """
    try:
        with path.open("rb") as file:
            found = iter(Records(file))
            header = Header.from_json(next(found))
            steps = []
            for record in found:
                header = with_note(header, record)
                if is_step(record) or is_base(record):
                    steps.append(step_of(record))
        dtype = common_dtype(np.uint16, *(part.dtype for step in steps for part in step.parts))
        labels = np.zeros(_checked(path, header.shape, dtype.itemsize), dtype)
        known: dict[int, Any] = {}
        for step in steps:
            step.apply(labels)
            known |= step.known_after
    except (BadImageError, MemoryError):
        raise
    except Exception as error:
        raise BadImageError(path, f"it is not a foundseg journal, or its start is damaged ({error})") from error
    return Recovered(header, labels, {label: facts for label, facts in known.items() if facts})


def _checked(path: Path, shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Return a shape if there is memory for it; raise `BadImageError` otherwise."""
    size, free = prod(shape) * itemsize, available_memory()
    if size > free:
        raise BadImageError(
            path, f"its labels are {format_bytes(size)}, but only {format_bytes(free)} of memory are free; close others"
        )
    return shape


def end_journal(path: Path) -> None:
    """Append the end mark after the last complete record, since the labels are saved elsewhere."""
    _append(path, END)


def discard_journal(path: Path) -> None:
    """Record that the user does not want the labels. They can be recovered for some time."""
    _append(path, note(discarded=True))


def reoffer_journal(path: Path) -> None:
    """Record that the user wants discarded labels after all."""
    _append(path, note(discarded=False, closed=True))


def _append(path: Path, record: bytes) -> None:
    with path.open("r+b") as file:
        appended(file, record, when=time.time())


def prune_journals(folder: Path, stem: str) -> None:
    """Remove the oldest journals of a label image to make room for one more, but none that is unsaved or in use."""
    over = [kept for kept in _kept(folder, f"{stem}-*.journal") if kept.ended or not kept.holds_labels]
    for kept in [kept for kept in over if not kept.in_use][KEPT - 1 :]:
        if not kept.discarded or time.time() - kept.changed > _KEPT_SECONDS:
            kept.path.unlink(missing_ok=True)
