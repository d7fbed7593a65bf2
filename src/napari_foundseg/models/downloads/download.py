"""The download of a model's weights. It runs in the engine's process or on the command line, never in a window."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from napari_foundseg.core.errors import Cancelled, DownloadError, OutputError
from napari_foundseg.io import folders
from napari_foundseg.io.atomic import named_errors
from napari_foundseg.models.catalog import UNVERIFIED, CatalogRow, catalog, models_folder, save_row
from napari_foundseg.models.downloads.hub import check_access, endpoint, hub_token
from napari_foundseg.models.downloads.places import (
    Plan,
    PlannedFile,
    bytes_here,
    download_folder,
    record_path,
    target,
    write_plan,
)
from napari_foundseg.models.downloads.planning import Offer, make_plan
from napari_foundseg.models.downloads.size_text import bytes_text, megabytes
from napari_foundseg.models.downloads.transfer import Transfer, transfer
from napari_foundseg.models.downloads.web import HttpStatusError
from napari_foundseg.models.store import combined_hash, locate, name_in, weight_files

__all__ = ["download"]

#: Space that a download leaves free on the disk, in bytes.
_SPARE = 50_000_000


def _no_progress(_share: float, _words: str) -> None:
    pass


def download(
    row: CatalogRow,
    progress: Callable[[float, str], None] = _no_progress,
    cancelled: Callable[[], bool] = lambda: False,
) -> CatalogRow:
    """Download the weights of a model, or continue an earlier download.

    Parameters
    ----------
    row : CatalogRow
        The model.
    progress : callable, optional
        Called with the fraction done (0 to 1) and a text.
    cancelled : callable, optional
        Returns whether to stop. The downloaded part is kept, and the next call continues from it.

    Returns
    -------
    CatalogRow
        The model's row with the file, hash, size and version of the download.

    Raises
    ------
    Cancelled
        If `cancelled` returned True.
    OfflineError
        If the network may not be used.
    DownloadError
        If the download fails; the message says why, and how to go on.
    OutputError
        If the files cannot be written, for example because the disk is full or the folder was removed.
    """
    progress(0.0, f"Looking for {row.title}")
    with _lock(row, progress, cancelled):
        row = catalog().get(row.name, row)
        if locate(row) is not None:
            # Another window has downloaded it in the meantime.
            return row
        offer = make_plan(row, cancelled)
        try:
            with named_errors(download_folder(row)):
                target_folder(row).mkdir(parents=True, exist_ok=True)
            hashes = _Run(row, offer, progress, cancelled).fetch()
        except BaseException:
            if not bytes_here(row):
                # There are no bytes to continue from, and no table would show a folder with only the record.
                shutil.rmtree(download_folder(row), ignore_errors=True)
            raise
        return _complete(row, offer.plan, hashes)


def target_folder(row: CatalogRow) -> Path:
    """Return the folder into which the files of a model are downloaded."""
    place = target(row)
    return place if row.beside or row.source.startswith("hf:") else place.parent


class _Run:
    """One download, which fetches its files one after another."""

    def __init__(
        self, row: CatalogRow, offer: Offer, progress: Callable[[float, str], None], cancelled: Callable[[], bool]
    ) -> None:
        self._row = row
        self._offer = offer
        self._files = list(offer.plan.files)
        self._progress = progress
        self._cancelled = cancelled
        self._done = 0
        self._position = 0
        self._told = 0.0
        self._speed = _Speed()

    def fetch(self) -> dict[str, str]:
        """Fetch the missing files, and return the hash of each file by name."""
        folder = target_folder(self._row)
        self._need(self._total() - bytes_here(self._row))
        write_plan(self._row, self._plan())
        hashes = {}
        for at, file in enumerate(self._offer.plan.files):
            path = folder / file.name
            hashes[file.name] = self._known_file(path, file) or self._transfer(at, path)
            with named_errors(path):
                self._done += path.stat().st_size
            self._position = 0
        return hashes

    def _known_file(self, path: Path, file: PlannedFile) -> str:
        """Return the hash of a file that an earlier attempt completed; empty if it is missing or differs."""
        if not path.is_file() or (file.size is not None and path.stat().st_size != file.size):
            return ""
        with path.open("rb") as there:
            found = hashlib.file_digest(there, "sha256").hexdigest()
        return found if found.startswith(file.sha256) else ""

    def _transfer(self, at: int, path: Path) -> str:
        file = self._files[at]

        def learned(told: PlannedFile) -> None:
            self._files[at] = told
            write_plan(self._row, self._plan())

        token = hub_token() if file.url.startswith(f"{endpoint()}/") else None
        by = Transfer(self._look, self._reach, learned, self._need, token)
        try:
            return transfer(file, path, by, self._offer.cached.get(file.name))
        except HttpStatusError as error:
            if error.status in (401, 403):
                for repository in self._offer.repositories:
                    check_access(repository, error)
            raise
        except Cancelled:
            raise Cancelled(f"The download of {self._row.name} was stopped; the downloaded part is kept.") from None

    def _look(self) -> bool:
        # Also called while no bytes arrive; then it reports the last position again.
        self._tell()
        return self._cancelled()

    def _reach(self, position: int) -> None:
        self._position = position
        self._tell()

    def _tell(self) -> None:
        here = self._done + self._position
        if time.monotonic() < self._told + 0.1:
            return
        self._told = time.monotonic()
        total = max(self._total(), here, 1)
        words = f"{bytes_text(here, total)}{self._speed.in_words(here, total)}"
        self._progress(min(here / total, 1.0), words)

    def _need(self, count: int) -> None:
        """Raise OutputError if the disk has no space for this number of bytes."""
        folder = target_folder(self._row)
        with named_errors(folder):
            free = shutil.disk_usage(folder).free
        if count > 0 and count + _SPARE > free:
            raise OutputError(
                f"{self._row.title} needs {(count + _SPARE) / 1e6:.0f} MB more at {folder}, where {free / 1e6:.0f} MB "
                "are free. Free some space, or choose another folder for models (preferences, or FOUNDSEG_MODELS)."
            )

    def _plan(self) -> Plan:
        return replace(self._offer.plan, files=tuple(self._files))

    def _total(self) -> int:
        return self._plan().size or int(self._row.size_mb * 1e6)


class _Speed:
    """The speed of a download over the last five seconds."""

    def __init__(self) -> None:
        self._marks: list[tuple[float, int]] = []

    def in_words(self, here: int, total: int) -> str:
        now = time.monotonic()
        self._marks = [*(mark for mark in self._marks if mark[0] > now - 5.0), (now, here)]
        (since, before), seconds = self._marks[0], now - self._marks[0][0]
        if seconds < 1.0 or here <= before:
            return ""
        speed = (here - before) / (now - since)
        words = f"{speed / 1e6:.1f} MB" if speed >= 1e6 else bytes_text(round(speed), None)
        return f", {words}/s, about {_duration((total - here) / speed)} left"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _complete(row: CatalogRow, plan: Plan, hashes: dict[str, str]) -> CatalogRow:
    """Check the complete weights and record them; weights with a wrong hash are deleted."""
    place = target(row)
    parts = weight_files(place)
    found = combined_hash(
        {name: hashes[name] for name in (name_in(place, part) for part in parts)}, single=not place.is_dir()
    )
    if row.sha256 not in (UNVERIFIED, found):
        shutil.rmtree(download_folder(row), ignore_errors=True)
        raise DownloadError(
            f"The weights at {row.source} are not the ones that were here before: sha256 {found[:12]}… instead of "
            f"{row.sha256[:12]}…. Nothing of them is kept. To take the new ones, remove the model, then download it."
        )
    size = sum(part.stat().st_size for part in parts)
    new = replace(
        row,
        file=place.relative_to(models_folder()).as_posix(),
        sha256=found,
        size_mb=megabytes(size),
        revision=plan.revision or row.revision,
    )
    save_row(new)
    with suppress(OSError):
        record_path(row).unlink()
    return new


@contextmanager
def _lock(row: CatalogRow, progress: Callable[[float, str], None], cancelled: Callable[[], bool]) -> Iterator[None]:
    """Hold the lock of a model's downloads among all processes of this computer; wait while another one has it."""
    name = hashlib.sha256(str(download_folder(row).resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    place = folders.cache() / "locks" / f"download-{name}.lock"
    with named_errors(place):
        place.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place)
    try:
        while not _acquires(lock, place):
            if cancelled():
                raise Cancelled("The download was cancelled.")
            here = bytes_here(row)
            share = min(here / 1e6 / (row.size_mb or 1e9), 1.0)
            progress(share, f"Another window downloads it: {bytes_text(here, None)} are here")
        yield
    finally:
        lock.release()


def _acquires(lock: FileLock, place: Path) -> bool:
    with named_errors(place):
        try:
            lock.acquire(timeout=0.2)
        except Timeout:
            return False
    return True
