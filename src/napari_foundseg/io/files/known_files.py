"""The state of files when they were opened or saved here, so that a save detects changes by others."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from napari_foundseg.core.errors import BadImageError, ChangedError
from napari_foundseg.io.written_files import file_state, hash_file

__all__ = ["KnownFiles"]

#: State and hash of a file; None and an empty string if there is no file.
_Seen = tuple[tuple[int, ...] | None, str]


class KnownFiles:
    """The files of one layer, table or recipe, in the state in which it last opened or saved them.

    Each has its own instance, since two windows of one process may have opened the same file.
    """

    def __init__(self, *paths: Path) -> None:
        self._seen: dict[str, _Seen] = {}
        self.note(*paths)

    def note(self, *paths: Path) -> None:
        """Hash files and remember them, before they are read or after they were written. Slow for large files."""
        for path in paths:
            state = _state(path)
            self._seen[_key(path)] = (state, "" if state is None else _hash(path))

    def take(self, other: KnownFiles) -> None:
        """Take over the states that another instance remembers."""
        self._seen |= other._seen

    def same_states(self, other: KnownFiles) -> bool:
        """Tell whether another instance remembers the same files in the same state."""
        return {key: seen[0] for key, seen in self._seen.items()} == {k: seen[0] for k, seen in other._seen.items()}

    def refuse_changed(self, *paths: Path) -> None:
        """Raise `ChangedError` if others have written one of some files since it was remembered."""
        if words := self.changed(*paths):
            raise ChangedError(f"{words} Saving would replace what was saved there.")

    def changed(self, *paths: Path) -> str:
        """Return in words which of some files others have written since it was remembered; empty if none.

        A missing file may be written again. So may a file that is not remembered here, since the Save dialog has asked.
        """
        for path in paths:
            seen = self._seen.get(_key(path))
            now = _state(path)
            if seen is None or now is None or now == seen[0]:
                continue
            # Backups and copies change times but not the content.
            if seen[0] is None or _hash(path) != seen[1]:
                what = "made" if seen[0] is None else "changed"
                return f"{path.name!r} was {what}{_when(path)} by another window or program, after it was opened here."
        return ""


def _key(path: Path) -> str:
    return os.path.normcase(os.path.realpath(path))


def _state(path: Path) -> tuple[int, ...] | None:
    try:
        return file_state(path)
    except OSError:
        return None


def _hash(path: Path) -> str:
    with suppress(BadImageError):
        return hash_file(path)
    return ""


def _when(path: Path) -> str:
    try:
        changed = path.stat().st_mtime
    except OSError:
        return ""
    today = time.localtime(changed)[:3] == time.localtime()[:3]
    return time.strftime(" at %H:%M" if today else " on %d %B at %H:%M", time.localtime(changed))
