"""Complete and edited results: a sidecar for each result, a lock for each item.

A sidecar holds the provenance and marks the result as done. Results are first made in a folder of their own and hashed.
Their hashes are announced in the sidecar (*writing*), and the files are moved into place; then the sidecar becomes
*done*. A file whose hash is not in the sidecar was edited by the user. If a process stops at any point, every file in
place is complete, and the sidecar has its hash.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from napari_foundseg.batch.sidecar import Sidecar, SourceFile, read_sidecar
from napari_foundseg.core.errors import FolderLostError, FoundsegError, KeptError, OutputError
from napari_foundseg.io.atomic import named_errors, publish, sweep, sync_name
from napari_foundseg.io.formats.table import label_endings
from napari_foundseg.io.image_facts import read_facts
from napari_foundseg.io.naming import LABELS_SUFFIX, join_name
from napari_foundseg.io.written_files import file_state, hash_file, worked_on

__all__ = [
    "HIDDEN",
    "Folder",
    "ItemFiles",
    "LockedItem",
    "lock_item",
    "open_folder",
    "renumber_folder",
    "thumbnail_path",
]

#: Subfolder of the results for locks, unfinished results and thumbnails.
HIDDEN = ".foundseg"


@dataclass(frozen=True)
class Folder:
    """The folder of the results; it notices if the folder is replaced by another of the same name.

    Parameters
    ----------
    path : Path
        Absolute path.
    device, inode : int
        Its numbers in the file system when it was opened.
    """

    path: Path
    device: int
    inode: int

    @property
    def hidden(self) -> Path:
        """The subfolder for locks, unfinished results and thumbnails."""
        return self.path / HIDDEN

    def check(self) -> None:
        """Raise a FolderLostError if the folder is gone, or if another folder has its path now."""
        try:
            here = self.path.stat()
            same = (here.st_dev, here.st_ino) == _numbers_here.get(self, (self.device, self.inode))
        except OSError:
            same = False
        if not same or self.hidden.is_symlink():
            raise FolderLostError(
                f"The folder of the results, {str(self.path)!r}, is gone or was replaced while the batch ran. "
                "Nothing was written to it; start the batch again."
            )


#: Numbers of folders in this process, if a process on another computer sent the order: each computer numbers
#: network disks in its own way.
_numbers_here: dict[Folder, tuple[int, int]] = {}


def renumber_folder(folder: Folder) -> None:
    """Expect, from now on, the numbers that this computer gives to a folder that another computer opened."""
    here = folder.path.stat()
    _numbers_here[folder] = (here.st_dev, here.st_ino)


def open_folder(path: Path) -> Folder:
    """Make the folder of the results if needed, and remove the partial files of earlier runs."""
    path = path.absolute()
    with named_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        _refuse_link(path / HIDDEN)
        (path / HIDDEN).mkdir(exist_ok=True)
        known = path.stat()
    sweep(path)
    sweep(path / HIDDEN)
    return Folder(path, known.st_dev, known.st_ino)


def lock_item(folder: Folder, stem: str) -> LockedItem | None:
    """Return the locked item, or None if another process has its lock."""
    folder.check()
    path = join_name(folder.hidden, f"{stem}.lock")
    # A lock of the operating system ends with its process. It is acquired on one thread and released on another.
    lock = FileLock(path, thread_local=False)
    with named_errors(path):
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return None
    return LockedItem(folder, stem, lock)


def thumbnail_path(folder: Path, stem: str) -> Path:
    """Return the path of a result's thumbnail."""
    return join_name(folder / HIDDEN, f"{stem}.png")


@dataclass(eq=False)
class ItemFiles:
    """The existing results of an item.

    Parameters
    ----------
    folder : Folder
        The folder of the results.
    stem : str
        Prefix of the names of the results.
    """

    folder: Folder
    stem: str
    known: Sidecar | None = field(default=None, init=False)
    #: Hash of each existing result file; `_states` has the state of the file when it was hashed.
    found: dict[str, str] = field(default_factory=dict, init=False)
    _states: dict[str, tuple[int, ...]] = field(default_factory=dict, init=False)

    @property
    def labels(self) -> str:
        """Name of the labels without ending; the names of all results begin with it."""
        return f"{self.stem}{LABELS_SUFFIX}"

    @property
    def sidecar(self) -> Path:
        """The sidecar's path."""
        return join_name(self.folder.path, f"{self.labels}.json")

    def read_record(self) -> None:
        """Read the sidecar; raise a KeptError if the file is not a sidecar."""
        _refuse_link(self.sidecar)
        try:
            self.known = read_sidecar(self.sidecar)
        except (OSError, ValueError) as error:
            raise KeptError(f"{self.sidecar.name} was kept: it is not a sidecar of this plugin ({error}).") from error

    def read_results(self) -> None:
        """Read the sidecar and hash the existing results; raise a KeptError if the user has edited one of them."""
        if self.known is None:
            self.read_record()
        for name in (f"{self.labels}{ending}" for ending in (*label_endings(), ".csv")):
            path = join_name(self.folder.path, name)
            if os.path.lexists(path):
                _refuse_link(path)
                self._states[name], self.found[name] = file_state(path), hash_file(path)
                self._check_ours(name)
        for name in worked_on(self.folder.path):
            if name in self.found:
                raise KeptError(f"{name} was kept: you have worked on it in the worklist.")

    def has_labels(self) -> bool:
        """Tell whether labels of this item exist, whoever made them; other files with such names do not count."""
        for path in (join_name(self.folder.path, f"{self.labels}{ending}") for ending in label_endings()):
            # A file with such a name may hold anything.
            with suppress(FoundsegError, OSError):
                facts = read_facts(path)
                if facts.dtype.kind in "bui" and "C" not in facts.axes:
                    return True
        return False

    def is_current(self, source: SourceFile, recipe: str, models: Mapping[str, str]) -> bool:
        """Tell whether the existing result is complete, and made from this image with this recipe and these models."""
        known = self.known
        if known is None or known.state != "done":
            return False
        # Results of earlier versions are of the first image in the file.
        before, now = ((one.sha256, one.index, one.inside or "0") for one in (known.input, source))
        same = (before, known.recipe, known.models) == (now, recipe, models)
        return same and all(self.found.get(name) == digest for name, digest in known.outputs.items())

    def _check_ours(self, name: str) -> None:
        if self.known is None or not self.known.is_ours(name, self.found[name]):
            how = "it was not made by a batch" if self.known is None else "it was edited after a run made it"
            raise KeptError(f"{name} was kept: {how}.")


@dataclass(eq=False)
class LockedItem(ItemFiles):
    """An item that this process has locked, and its existing results.

    Parameters
    ----------
    folder, stem
        As in `ItemFiles`.
    lock : FileLock
        The lock, already acquired.
    """

    lock: FileLock

    @property
    def thumbnail(self) -> Path:
        """Path of the result's thumbnail."""
        return thumbnail_path(self.folder.path, self.stem)

    @property
    def stage(self) -> Path:
        """The folder for unfinished results."""
        return join_name(self.folder.hidden, f"{self.stem}.making")

    def release(self) -> None:
        """Release the lock and remove unfinished results."""
        shutil.rmtree(self.stage, ignore_errors=True)
        self.lock.release()

    def make_stage(self) -> Path:
        """Make an empty folder for unfinished results, on the disk of the results."""
        self.folder.check()
        with named_errors(self.stage):
            shutil.rmtree(self.stage, ignore_errors=True)
            self.stage.mkdir()
        return self.stage

    def publish(self, names: list[str], record: Mapping[str, object]) -> None:
        """Move results from `stage` into place, and record them in the sidecar."""
        outputs = {name: hash_file(join_name(self.stage, name)) for name in names}
        self._check_unchanged(names)
        writing = Sidecar.model_validate(
            {**record, "state": "writing", "outputs": outputs, "previous": dict(sorted(self.found.items()))}
        )
        writing.write(self.sidecar)
        for name in names:
            self._check_unchanged([name])
            publish(join_name(self.stage, name), join_name(self.folder.path, name))
        sync_name(join_name(self.folder.path, names[0]))
        left = {name: digest for name, digest in writing.previous.items() if name not in outputs}
        writing.model_copy(update={"state": "done", "previous": left}).write(self.sidecar)

    def _check_unchanged(self, names: list[str]) -> None:
        """Check files again before they are replaced, since the user may have edited them during the run."""
        self.folder.check()
        for name in names:
            path = join_name(self.folder.path, name)
            _refuse_link(path)
            if path.exists() and file_state(path) != self._states.get(name):
                self._states[name], self.found[name] = file_state(path), hash_file(path)
                self._check_ours(name)


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise OutputError(f"{str(path)!r} is a link to another place. Remove it, or choose another folder.")
