"""What is done and whose it is: a sidecar beside each result, a lock for each item.

A sidecar is provenance and done-marker in one. Results are made in a folder of their own, hashed, announced in the
sidecar (*writing*), put in place, and only then is the sidecar *done*. A file whose hash the sidecar does not know is a
person's. Wherever a process stops, every file in its place is whole, and the sidecar knows its hash.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from filelock import FileLock, Timeout

from napari_foundseg.batch.sidecar import Sidecar, digest_of, read_sidecar, state_of
from napari_foundseg.core.errors import FolderLostError, KeptError, OutputError
from napari_foundseg.io.atomic import named_errors, publish, sweep
from napari_foundseg.io.formats.table import label_endings
from napari_foundseg.io.naming import LABELS_SUFFIX, join_name
from napari_foundseg.io.worklist import STATE_FILE, read_records

__all__ = ["HIDDEN", "Folder", "Held", "hold", "open_folder", "renumber_folder", "thumbnail_of"]

#: Locks, results in the making and thumbnails, in the folder of the results.
HIDDEN = ".foundseg"


@dataclass(frozen=True)
class Folder:
    """The folder of the results, told from any other that may take its name.

    Parameters
    ----------
    path : Path
        Absolute.
    device, inode : int
        What the disk knows it by.
    """

    path: Path
    device: int
    inode: int

    @property
    def hidden(self) -> Path:
        """The folder in it that holds what is no result."""
        return self.path / HIDDEN

    def check(self) -> None:
        """Make sure that it still is the folder that it was.

        Raises
        ------
        FolderLostError
            If it is not.
        """
        try:
            here = self.path.stat()
            same = (here.st_dev, here.st_ino) == _numbers_here.get(self, (self.device, self.inode))
        except OSError:
            same = False
        if not same or self.hidden.is_symlink():
            raise FolderLostError(
                f"The folder of the results, {str(self.path)!r}, is gone or was exchanged while the batch ran. "
                "Nothing was written to it; start the batch again."
            )


#: Numbers of folders in this process, where another computer's process gave the order: each computer numbers network
#: disks in its own way.
_numbers_here: dict[Folder, tuple[int, int]] = {}


def renumber_folder(folder: Folder) -> None:
    """From now on, expect the numbers that this computer's system gives a folder that another computer opened."""
    here = folder.path.stat()
    _numbers_here[folder] = (here.st_dev, here.st_ino)


def open_folder(path: Path) -> Folder:
    """Make the folder of the results if need be, and sweep what earlier runs left half written.

    Parameters
    ----------
    path : Path
        The folder.

    Returns
    -------
    Folder
        For orders.

    Raises
    ------
    OutputError
        If it cannot be made.
    """
    path = path.absolute()
    with named_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        _refuse_link(path / HIDDEN)
        (path / HIDDEN).mkdir(exist_ok=True)
        known = path.stat()
    sweep(path)
    sweep(path / HIDDEN)
    return Folder(path, known.st_dev, known.st_ino)


def hold(folder: Folder, stem: str) -> Held | None:
    """Take the lock of an item, if no other process has it.

    Parameters
    ----------
    folder : Folder
        The folder of the results.
    stem : str
        What the names of the item's results begin with.

    Returns
    -------
    Held or None
        To be released; None if it is held elsewhere.

    Raises
    ------
    OutputError
        If nothing can be written there.
    """
    folder.check()
    path = join_name(folder.hidden, f"{stem}.lock")
    # The lock is the system's, so that it ends with its process; it is taken on one thread and given back on another.
    lock = FileLock(path, thread_local=False)
    with named_errors(path):
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return None
    return Held(folder, stem, lock)


def thumbnail_of(folder: Path, stem: str) -> Path:
    """Return the path of the small picture of a result.

    Parameters
    ----------
    folder : Path
        The folder of the results.
    stem : str
        What the names of the item's results begin with.

    Returns
    -------
    Path
        A PNG, which need not exist.
    """
    return join_name(folder / HIDDEN, f"{stem}.png")


@dataclass(eq=False)
class Held:
    """An item whose lock is ours, and what is known of its results.

    Parameters
    ----------
    folder : Folder
        The folder of the results.
    stem : str
        What the names of the results begin with.
    lock : FileLock
        Acquired.
    """

    folder: Folder
    stem: str
    lock: FileLock
    known: Sidecar | None = field(default=None, init=False)
    #: Hash of each result file that is there, and the state that the file had then.
    found: dict[str, str] = field(default_factory=dict, init=False)
    _states: dict[str, tuple[int, ...]] = field(default_factory=dict, init=False)

    @property
    def labels(self) -> str:
        """What the names of all results begin with, the labels' first."""
        return f"{self.stem}{LABELS_SUFFIX}"

    @property
    def sidecar(self) -> Path:
        """The sidecar's path."""
        return join_name(self.folder.path, f"{self.labels}.json")

    @property
    def thumbnail(self) -> Path:
        """Path of the small picture of the result."""
        return thumbnail_of(self.folder.path, self.stem)

    @property
    def stage(self) -> Path:
        """The folder in which results are made."""
        return join_name(self.folder.hidden, f"{self.stem}.making")

    def release(self) -> None:
        """Give the lock back; what is half made goes."""
        shutil.rmtree(self.stage, ignore_errors=True)
        self.lock.release()

    def look(self) -> None:
        """Look at what is there, and make sure that all of it is ours.

        Raises
        ------
        KeptError
            If something is a person's, saying what.
        OutputError
            If a result is a link to elsewhere.
        """
        _refuse_link(self.sidecar)
        try:
            self.known = read_sidecar(self.sidecar)
        except (OSError, ValueError) as error:
            raise KeptError(f"{self.sidecar.name} was left as it is, since it is not ours ({error}).") from error
        for name in (f"{self.labels}{ending}" for ending in (*label_endings(), ".csv")):
            path = join_name(self.folder.path, name)
            _refuse_link(path)
            if path.exists():
                self._states[name], self.found[name] = state_of(path), digest_of(path)
                self._check_ours(name)
        for name in _persons(self.folder.path):
            if name in self.found:
                raise KeptError(f"{name} was left as it is: the worklist says that a person has worked on it.")

    def believes(self, source: str, index: tuple[int, ...] | None, recipe: str, models: Mapping[str, str]) -> bool:
        """Tell whether the result that is there is the one that a run would give.

        Parameters
        ----------
        source : str
            Hash of the image's file.
        index : tuple of int or None
            The slice.
        recipe : str
            `Recipe.digest`.
        models : mapping of str to str
            Hashes of the models.

        Returns
        -------
        bool
            True only if image, recipe, models and all files are those of the sidecar, and it is done.
        """
        known = self.known
        if known is None or known.state != "done":
            return False
        same = (known.input.sha256, known.input.index, known.recipe, known.models) == (source, index, recipe, models)
        return same and all(self.found.get(name) == digest for name, digest in known.outputs.items())

    def new_stage(self) -> Path:
        """Return an empty folder to make results in.

        Returns
        -------
        Path
            On the same disk as the results.
        """
        self.folder.check()
        with named_errors(self.stage):
            shutil.rmtree(self.stage, ignore_errors=True)
            self.stage.mkdir()
        return self.stage

    def publish(self, names: list[str], record: Mapping[str, object]) -> None:
        """Put results that were made in `stage` in their places.

        Parameters
        ----------
        names : list of str
            Their names.
        record : mapping
            The fields of `Sidecar` that are not about files.

        Raises
        ------
        KeptError
            If a person has changed a result meanwhile.
        OutputError
            If something cannot be written.
        """
        outputs = {name: digest_of(join_name(self.stage, name)) for name in names}
        self._check_unchanged(names)
        writing = Sidecar.model_validate(
            {**record, "state": "writing", "outputs": outputs, "previous": dict(sorted(self.found.items()))}
        )
        writing.write(self.sidecar)
        for name in names:
            self._check_unchanged([name])
            publish(join_name(self.stage, name), join_name(self.folder.path, name))
        left = {name: digest for name, digest in writing.previous.items() if name not in outputs}
        writing.model_copy(update={"state": "done", "previous": left}).write(self.sidecar)

    def _check_ours(self, name: str) -> None:
        if self.known is None or not self.known.is_ours(name, self.found[name]):
            how = "no run made it" if self.known is None else "it was changed since a run made it"
            raise KeptError(f"{name} was left as it is: {how}, so it is a person's.")

    def _check_unchanged(self, names: list[str]) -> None:
        """Look again before anything is replaced: a run takes long, and a person may have saved meanwhile."""
        self.folder.check()
        for name in names:
            path = join_name(self.folder.path, name)
            _refuse_link(path)
            if path.exists() and state_of(path) != self._states.get(name):
                self._states[name], self.found[name] = state_of(path), digest_of(path)
                self._check_ours(name)


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise OutputError(f"{str(path)!r} is a link to elsewhere: remove it, or choose another folder.")


def _persons(folder: Path) -> frozenset[str]:
    """Return the labels files of a folder that a person has worked on in the window."""
    try:
        state = (folder / STATE_FILE).stat()
    except OSError:
        return frozenset()
    return _persons_of(folder, state.st_ino, state.st_size, state.st_mtime_ns)


@lru_cache(4)
def _persons_of(folder: Path, *_state_of_file: int) -> frozenset[str]:
    records = read_records(folder).values()
    return frozenset(record.labels for record in records if record.state in ("in work", "done"))
