"""`Report`: the outcome of each item of a batch, written as JSON."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Literal, get_args

from napari_foundseg.batch.item_stages import ItemOutcome
from napari_foundseg.core.declared_fields import Declared
from napari_foundseg.io.atomic import atomic_write
from napari_foundseg.io.files.json_file import read_json

__all__ = ["REPORT_NAME", "Report", "ReportedItem", "make_entry", "read_report", "write_report"]

#: Name of the report in the folder of the results.
REPORT_NAME = "foundseg-report.json"
_Ended = Literal["done", "already done", "kept", "failed", "not done"]


class ReportedItem(Declared):
    """The outcome of one item."""

    name: str
    """The path of the file relative to the recipe's folder, and the slice."""
    stem: str
    """Start of the names of its results."""
    state: _Ended
    """Already done: by an earlier run, or by another run at the same time. Kept: the user edited the labels. Not done:
    the run ended before."""
    objects: int | None
    """Number of objects, if there is a result."""
    seconds: float
    """Time spent on it in this run."""
    reason: str
    """Why it was kept or failed, or what to check: unusual grey values, or why nothing was found."""
    error: str
    """Type of the error of an item that failed."""
    channel: str = ""
    """The channels that were used if the image has several, such as channel 1 of 3 (DAPI)."""
    counted: str = ""
    """Number of objects in words, such as 22 objects in 8 slices, linked."""
    diameter: float | None = None
    """Diameter of the objects in pixels, if it was found or given."""


class Report(Declared):
    """The report of one run of a batch."""

    format: Literal["foundseg-report 1"] = "foundseg-report 1"
    """Format of this file."""
    recipe: str
    """The recipe's digest."""
    folder: str
    """Folder of the results."""
    started: str
    """Date and time in UTC."""
    seconds: float
    """How long the run took."""
    workers: int
    """Maximum number of workers."""
    threads: int
    """Number of threads of each worker; 0: as the workers of a scheduler were started."""
    engine: str = ""
    """Address of the scheduler that ran it; empty for processes on this computer."""
    versions: dict[str, str]
    """Versions of Python and of the packages that make results."""
    stopped: str
    """Why the run ended before all items were processed; empty if all were."""
    size: str = ""
    """The common diameter of the objects of all images, and the images on which it was found; empty if it is found for
    each image."""
    items: tuple[ReportedItem, ...]
    """The items, in the order of the batch."""

    def count(self, *states: str) -> int:
        """Return the number of items whose state is one of `states`."""
        return sum(item.state in states for item in self.items)

    @property
    def complete(self) -> bool:
        """Whether every item has a result or was kept."""
        return not self.count("failed", "not done")

    def channels(self) -> dict[str, int]:
        """Return each choice of channels in words, with the number of items that used it."""
        return dict(Counter(item.channel for item in self.items if item.channel))

    def diameters(self) -> str:
        """Return a sentence with the diameters of the objects; empty if none was found or set."""
        if self.size:
            return self.size
        known = [item.diameter for item in self.items if item.diameter is not None]
        if not known:
            return ""
        least, greatest = min(known), max(known)
        if f"{least:.3g}" == f"{greatest:.3g}":
            return f"Diameter of the objects: {least:.3g} pixels."
        return f"Diameter of the objects: {median(known):.3g} pixels ({least:.3g} to {greatest:.3g})."

    @property
    def noted(self) -> int:
        """Number of items whose result has a remark for the user."""
        return sum(item.state in ("done", "already done") and bool(item.reason) for item in self.items)

    def in_words(self) -> str:
        """Return the counts in words, such as ``198 done, 2 failed``."""
        counts = Counter(item.state for item in self.items)
        words = ", ".join(f"{counts[state]} {state}" for state in get_args(_Ended) if counts[state]) or "nothing to do"
        return f"{words} ({self.noted} to look at)" if self.noted else words


def make_entry(outcome: ItemOutcome | None, name: str, stem: str) -> ReportedItem:
    """Return an item's entry in the report; without an outcome, it did not begin."""
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
        channel=outcome.channel,
        counted=outcome.counted,
        diameter=outcome.diameter,
    )


def read_report(folder: Path) -> Report | None:
    """Return the report of the last run, or None if there is none that can be read."""
    try:
        return Report.model_validate(read_json(folder / REPORT_NAME))
    except (OSError, ValueError):
        return None


def write_report(folder: Path, report: Report) -> None:
    """Write a report into the folder of the results."""
    # Not pydantic's own JSON: file names may contain undecodable bytes, which Python escapes.
    text = json.dumps(report.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"
    with atomic_write(folder / REPORT_NAME) as file:
        file.write(text.encode("utf-8", "backslashreplace"))
