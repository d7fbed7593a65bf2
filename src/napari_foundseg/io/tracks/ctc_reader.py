"""Results and truths of the Cell Tracking Challenge, read one frame at a time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import BadImageError
from napari_foundseg.io.tracks.ctc_writer import CTC_TRACKS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CTCMasks", "is_ctc_folder", "read_ctc"]

#: Tables of results and of truths.
_TABLES = (CTC_TRACKS, "man_track.txt")


class CTCMasks:
    """The masks of a folder as a lazy array, time first."""

    def __init__(self, files: list[Path]) -> None:
        first = _read(files[0])
        self._files = files
        self.shape = (len(files), *first.shape)
        self.dtype = first.dtype

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Return a frame; the key starts with its number."""
        t = int(key[0] if isinstance(key, tuple) else key)
        frame = _read(self._files[t])
        if frame.shape != self.shape[1:]:
            raise BadImageError(self._files[t], f"it has the shape {frame.shape}, the first frame {self.shape[1:]}")
        return frame


def is_ctc_folder(path: Path) -> bool:
    """Tell whether a folder contains a table of tracks of the Cell Tracking Challenge."""
    return any((path / name).is_file() for name in _TABLES)


def read_ctc(folder: Path) -> tuple[CTCMasks, pd.DataFrame]:
    """Open the masks of a folder, and read its table: ``label``, ``parent``, ``first_frame`` and ``last_frame``.

    Raises
    ------
    BadImageError
        If there are no masks, or the table has another format.
    """
    import pandas as pd

    table = next(folder / name for name in _TABLES if (folder / name).is_file())
    try:
        rows = np.array(
            [[int(n) for n in line.split()] for line in table.read_text("ascii").splitlines() if line.split()]
        )
        rows = rows.reshape(-1, 4) if rows.size else np.empty((0, 4), np.int64)
    except (OSError, ValueError) as error:
        raise BadImageError(table, f"expected four whole numbers a line, L B E P ({error})") from error
    files = sorted(path for path in folder.glob("*.tif") if path.name.startswith(("mask", "man_track")))
    if not files:
        raise BadImageError(folder, "there is no mask000.tif or man_track000.tif in this folder")
    known = dict(zip(("label", "first_frame", "last_frame", "parent"), rows.T, strict=True))
    return CTCMasks(files), pd.DataFrame(known)[["label", "parent", "first_frame", "last_frame"]]


def _read(path: Path) -> NDArray[Any]:
    import tifffile

    try:
        return np.asarray(tifffile.imread(path))
    except (OSError, ValueError) as error:
        raise BadImageError(path, f"the mask cannot be read ({error}); copy it again") from error
