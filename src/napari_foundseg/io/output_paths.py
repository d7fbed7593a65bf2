"""The one rule of what may be written: no input, no file of somebody else, no result that was edited since.

Every write to a name that the user gave passes here before the run. After a Save dialog, which has asked already, only
`refuse_inputs` applies. Demo, reports and caches are exempt.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from napari_foundseg.core.errors import InputReplacedError
from napari_foundseg.io.formats.file_format import FileHead
from napari_foundseg.io.formats.ome_zarr_writer import METADATA_FILES

__all__ = ["refuse_inputs"]


def refuse_inputs(outputs: Iterable[str | Path], inputs: Iterable[str | Path]) -> None:
    """Raise an InputReplacedError if an output is an input, is inside one, or is a folder that contains one.

    Links, other spellings and other cases of a name are the same file where the disk says so. An output inside an
    OME-Zarr folder is refused whether that is an input or not: the folder is one image.
    """
    read = [Path(given) for given in inputs]
    for output in map(Path, outputs):
        for given in read:
            if _is_same(output, given):
                raise InputReplacedError(
                    f"{str(output)!r} was not written: it is the input {str(given)!r}, which is never replaced. Give "
                    "another name."
                )
            if any(_is_same(folder, given) for folder in _real(output).parents):
                raise InputReplacedError(
                    f"{str(output)!r} was not written: it is inside the input {str(given)!r}, which is never changed. "
                    "Choose another folder."
                )
            if any(_is_same(output, folder) for folder in _real(given).parents):
                raise InputReplacedError(
                    f"{str(output)!r} was not written: this folder contains the input {str(given)!r}, which would be "
                    "gone. Give another name."
                )
        for folder in _real(output).parents:
            if FileHead(folder).holds(*METADATA_FILES):
                raise InputReplacedError(
                    f"{str(output)!r} was not written: it is inside the OME-Zarr {str(folder)!r}, to which nothing is "
                    "added. Choose another folder."
                )


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _is_same(one: Path, other: Path) -> bool:
    """Tell whether two paths are one file or folder; hard links are."""
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        # One of them does not exist.
        return os.path.normcase(_real(one)) == os.path.normcase(_real(other))
