"""Results of the Cell Tracking Challenge: ``mask000.tif`` and so on, and ``res_track.txt``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.errors import OutputError
from napari_foundseg.core.films.lineage import Lineage
from napari_foundseg.io.atomic import atomic_folder

__all__ = ["CTC_TABLE", "CTC_TRACKS", "ctc_tracks", "write_ctc"]

#: The table of tracks: one line per track with L B E P.
CTC_TRACKS = "res_track.txt"
#: Table of the original track of each written track, if the numbers differ.
CTC_TABLE = "track_numbers.csv"
_LARGEST = np.iinfo(np.uint16).max


def ctc_tracks(lineage: Lineage) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return tracks in the challenge's form: each is in all frames from its first to its last.

    A track with gaps is divided into one track for each part, whose parent is the part before. Ids that do not fit into
    16 bits are renumbered.

    Returns
    -------
    (k, 4) ndarray of int
        L, B, E and P, by ascending L.
    (k,) ndarray of int
        The original track of each row.

    Raises
    ------
    OutputError
        If there are more tracks than the format can number.
    """
    free = int(lineage.ids.max(initial=0))
    rows: list[tuple[int, int, int, int]] = []
    own: list[int] = []
    last_part: dict[int, int] = {}
    for label, first, last in zip(lineage.ids.tolist(), lineage.first.tolist(), lineage.last.tolist(), strict=True):
        name, begin, parent = label, first, -lineage.parents.get(label, 0)
        holes = lineage.gaps.get(label, [])
        behind = lineage.resumed.get(label, [])
        for end, again in zip([*holes, last], [*behind, None], strict=True):
            rows.append((name, begin, end, parent))
            own.append(label)
            last_part[label] = name
            if again is not None:
                free += 1
                name, begin, parent = free, again, name
    # A parent is the last part of its track.
    table = np.array([(a, b, e, last_part[-p] if p < 0 else p) for a, b, e, p in rows], np.int64).reshape(-1, 4)
    if len(table) > _LARGEST:
        raise OutputError(
            f"{len(table)} tracks do not fit into a result of the Cell Tracking Challenge, which numbers up to "
            f"{_LARGEST}. Export them as .geff, or a part of the film."
        )
    order = np.argsort(table[:, 0], kind="stable")
    table, parts = table[order], np.array(own, np.int64)[order]
    if len(table) and table[-1, 0] > _LARGEST:
        old = table[:, 0].copy()
        table[:, 0] = np.arange(1, len(table) + 1)
        table[:, 3] = np.where(table[:, 3] > 0, np.searchsorted(old, table[:, 3]) + 1, 0)
    return table, parts


def write_ctc(folder: Path, frames: Iterable[NDArray[Any]], count: int, lineage: Lineage) -> str:
    """Write a folder of uint16 masks and the table of tracks. Equal tracks give equal bytes.

    Parameters
    ----------
    folder : Path
        The folder. It gets its name when it is complete.
    frames : iterable of ndarray of int
        Labels whose ids are tracks, ``ZYX`` or ``YX``.
    count : int
        Number of frames.
    lineage : Lineage
        The lineage of these labels.

    Returns
    -------
    str
        The differences from the labels, in words; empty if there are none.
    """
    import tifffile

    table, own = ctc_tracks(lineage)
    digits = max(3, len(str(count - 1)))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(folder) as partial:
        for t, frame in enumerate(frames):
            here = np.flatnonzero((table[:, 1] <= t) & (t <= table[:, 2]))
            here = here[np.argsort(own[here])]
            mask = np.zeros(frame.shape, np.uint16)
            inside = frame > 0
            mask[inside] = table[here, 0][np.searchsorted(own[here], frame[inside].astype(np.int64))]
            tifffile.imwrite(
                partial / f"mask{t:0{digits}}.tif", mask, photometric="minisblack", compression="zlib", metadata=None
            )
        lines = "".join(f"{' '.join(map(str, row))}\n" for row in table.tolist())
        (partial / CTC_TRACKS).write_text(lines, encoding="ascii", newline="\n")
        if not np.array_equal(table[:, 0], own):
            names = "".join(f"{a},{b}\n" for a, b in zip(table[:, 0].tolist(), own.tolist(), strict=True))
            (partial / CTC_TABLE).write_text(f"number,track\n{names}", encoding="ascii", newline="\n")
    return _in_words(table, own, lineage)


def _in_words(table: NDArray[np.int64], own: NDArray[np.int64], lineage: Lineage) -> str:
    words = []
    parted = sum(map(len, lineage.gaps.values()))
    if parted:
        words.append(
            f"{parted} gap{'s' if parted > 1 else ''} in tracks: the format has none, so each ends the track and the "
            "part behind is a track of its own, whose parent is the part before."
        )
    if len(table) and int(lineage.ids.max()) > _LARGEST:
        words.append("The ids do not fit into 16 bits, so the tracks were renumbered.")
    if words and not np.array_equal(table[:, 0], own):
        words.append(f"{CTC_TABLE} says which number is which track.")
    return " ".join(words)
