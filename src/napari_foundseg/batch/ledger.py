"""What is done and whose it is: a sidecar beside each result, a lock for each item.

A sidecar is provenance and done-marker in one. Results are made in a folder of their own, hashed, announced in the
sidecar (*writing*), put in place, and only then is the sidecar *done*. A file whose hash no sidecar knows is a person's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Folder", "Held", "open_folder"]


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
        If it cannot be made or written to.
    """
    raise NotImplementedError


class Held:
    """The lock of an item, and what is known of its results."""
