"""`Report`: what a run of a batch did, for people and for programs."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Literal, get_args

from napari_foundseg.batch.item_stages import ItemOutcome
from napari_foundseg.core.declared_fields import Declared
from napari_foundseg.io.atomic import atomic_write

__all__ = ["REPORT_NAME", "Report", "ReportedItem", "read_report", "reported", "write_report"]

#: In the folder of the results.
REPORT_NAME = "foundseg-report.json"
_Ended = Literal["done", "already done", "kept", "failed", "not done"]


class ReportedItem(Declared):
    """What became of one item."""

    name: str
    """The file as the recipe's folder sees it, and the slice."""
    stem: str
    """What the names of its results begin with."""
    state: _Ended
    """Already done: by an earlier run, or by another at the same time. Kept: the labels are a person's. Not done: the
    run ended before."""
    objects: int | None
    """Number of objects, where there is a result."""
    seconds: float
    """Spent on it in this run."""
    reason: str
    """Why it was kept or failed."""
    error: str
    """Type of the error, of an item that failed."""


class Report(Declared):
    """What a run of a batch did."""

    format: Literal["foundseg-report 1"] = "foundseg-report 1"
    """What this file is."""
    recipe: str
    """The recipe's digest."""
    folder: str
    """Where the results are."""
    started: str
    """Date and time in UTC."""
    seconds: float
    """How long the run took."""
    workers: int
    """How many workers at most."""
    threads: int
    """How many threads each computed with; 0: as many as the workers of a scheduler were started with."""
    engine: str = ""
    """Address of the scheduler that ran it; empty for processes on this computer."""
    versions: dict[str, str]
    """Of Python and the packages that make results."""
    stopped: str
    """Why the run ended before all items had; empty where they all have."""
    items: tuple[ReportedItem, ...]
    """In the order of the batch."""

    def count(self, *states: str) -> int:
        """Return how many items are in one of some states.

        Parameters
        ----------
        *states : str
            As in `ReportedItem`.

        Returns
        -------
        int
            Their number.
        """
        return sum(item.state in states for item in self.items)

    @property
    def complete(self) -> bool:
        """Whether every item has its result, or a person's."""
        return not self.count("failed", "not done")

    def in_words(self) -> str:
        """Return the counts in words.

        Returns
        -------
        str
            Such as ``198 done, 2 failed``.
        """
        counts = Counter(item.state for item in self.items)
        return ", ".join(f"{counts[state]} {state}" for state in get_args(_Ended) if counts[state]) or "nothing to do"


def reported(outcome: ItemOutcome | None, name: str, stem: str) -> ReportedItem:
    """Return an item's line of the report.

    Parameters
    ----------
    outcome : ItemOutcome or None
        What became of it; None where nothing did.
    name : str
        The item's name.
    stem : str
        What the names of its results begin with.

    Returns
    -------
    ReportedItem
        The line.
    """
    if outcome is None or outcome.state in ("elsewhere", "stopped"):
        return ReportedItem(name=name, stem=stem, state="not done", objects=None, seconds=0, reason="", error="")
    return ReportedItem(
        name=name,
        stem=stem,
        state=outcome.state,
        objects=outcome.objects,
        seconds=round(outcome.seconds, 3),
        reason=outcome.reason,
        error=outcome.error,
    )


def read_report(folder: Path) -> Report | None:
    """Read the report of the last run.

    Parameters
    ----------
    folder : Path
        The folder of the results.

    Returns
    -------
    Report or None
        None if there is none, or none that can be read: it tells nothing that the next run needs.
    """
    try:
        return Report.model_validate(json.loads((folder / REPORT_NAME).read_bytes()))
    except (OSError, ValueError):
        return None


def write_report(folder: Path, report: Report) -> None:
    """Write a report into the folder of the results.

    Parameters
    ----------
    folder : Path
        The folder.
    report : Report
        The report.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    # Not pydantic's own JSON: names of files may hold what is no letter. Python escapes it as JSON does.
    text = json.dumps(report.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"
    with atomic_write(folder / REPORT_NAME) as file:
        file.write(text.encode("utf-8", "backslashreplace"))
