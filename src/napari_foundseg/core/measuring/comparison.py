"""Agreement of labelled objects with a reference."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.editing.object_boxes import object_boxes
from napari_foundseg.core.errors import AxesError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["THRESHOLDS", "Comparison", "Matching", "compare", "match_objects"]

#: Two objects match if their intersection over union is above the threshold: 0.50, 0.55 … 0.95.
THRESHOLDS = np.arange(50, 100, 5) / 100
#: Least intersection over union of objects that are considered related.
_TOUCHING = 0.1


@dataclass(frozen=True, eq=False)
class Matching:
    """Every pair of a reference object and a found object that share a pixel.

    Parameters
    ----------
    truth, found : (N,), (M,) ndarray of int
        Ids of the objects, ascending.
    truth_areas, found_areas : (N,), (M,) ndarray of int
        Their numbers of pixels.
    pairs : (K, 2) ndarray of int
        Positions of the two objects in `truth` and in `found`.
    shared : (K,) ndarray of int
        Number of pixels that a pair shares.
    """

    truth: NDArray[np.int64]
    found: NDArray[np.int64]
    truth_areas: NDArray[np.int64]
    found_areas: NDArray[np.int64]
    pairs: NDArray[np.int64]
    shared: NDArray[np.int64]

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each pair."""
        t, f = self.pairs.T
        return np.asarray(self.shared / (self.truth_areas[t] + self.found_areas[f] - self.shared))

    @property
    def best(self) -> NDArray[np.float64]:
        """The highest intersection over union of each reference object, (N,); 0 if it shares no pixel."""
        return _highest(self.pairs[:, 0], self.iou, len(self.truth))

    @property
    def precision(self) -> NDArray[np.float64]:
        """AP = tp / (tp + fp + fn) at each of `THRESHOLDS`; 1 if neither image has an object.

        Above an intersection over union of 0.5 no object has two partners, so no assignment is needed. A pair equal to
        the threshold is a miss, as in the scoring of the Data Science Bowl 2018. StarDist and Cellpose count it (>=).
        """
        hits = (self.iou[:, None] > THRESHOLDS).sum(0)
        total = len(self.truth) + len(self.found) - hits
        return np.asarray(hits / total) if len(self.truth) + len(self.found) else np.ones(len(THRESHOLDS))

    @property
    def dice(self) -> float:
        """2 |A ∩ B| / (|A| + |B|) of the pixels of objects; 1 if neither image has any."""
        total = int(self.truth_areas.sum() + self.found_areas.sum())
        return 2 * int(self.shared.sum()) / total if total else 1.0


@dataclass(frozen=True, eq=False)
class Comparison:
    """A matching with a list of errors, for the window.

    Parameters
    ----------
    matching : Matching
        The source of the figures.
    errors : pandas.DataFrame
        One row per error. ``error`` is its kind; ``reference`` and ``label`` are the two objects (0 if there is none);
        ``iou`` is theirs; ``position`` is the middle of the box of the found object, or else of the reference object.
    """

    matching: Matching
    errors: pd.DataFrame


def match_objects(truth: NDArray[Any], found: NDArray[Any]) -> Matching:
    """Find the pairs of objects that share pixels.

    Parameters
    ----------
    truth, found : ndarray of int
        Label images of equal shape. An object is all pixels of one id.

    Raises
    ------
    AxesError
        If the shapes differ.
    """
    if truth.shape != found.shape:
        raise AxesError(
            f"The reference has the shape {truth.shape}, the objects have {found.shape}. "
            "Choose a reference with a label for each pixel of the same image."
        )
    import pandas as pd

    truth_ids, truth_areas, t = _numbered(truth)
    found_ids, found_areas, f = _numbered(found)
    both = (t >= 0) & (f >= 0)
    # Hashing the pairs of ids is several times faster than sorting them.
    which, codes = pd.factorize(t[both] * max(1, len(found_ids)) + f[both])
    pairs = np.stack(np.divmod(codes, max(1, len(found_ids))), axis=1)
    return Matching(truth_ids, found_ids, truth_areas, found_areas, pairs, np.bincount(which, minlength=len(codes)))


def _numbered(labels: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the ids in use, their areas, and for each pixel the position of its id among them; -1 for background."""
    flat = labels.reshape(-1)
    if flat.size and int(flat.min()) >= 0 and int(flat.max()) < flat.size:
        counts = np.bincount(flat.astype(np.int64, copy=False))
        ids = np.flatnonzero(counts)
        areas = counts[ids]
        numbers = np.zeros(len(counts), np.int64)
        numbers[ids] = np.arange(len(ids))
        where = numbers[flat]
    else:
        ids, where, areas = np.unique(flat, return_inverse=True, return_counts=True)
    background = int((ids <= 0).sum())  # ids ascend
    where = np.where(where < background, -1, where - background)
    return ids[background:].astype(np.int64), areas[background:].astype(np.int64), where


def compare(truth: NDArray[Any], found: NDArray[Any]) -> Comparison:
    """Compare label images.

    Parameters
    ----------
    truth, found : ndarray of int
        Label images of equal shape. An object is all pixels of one id.

    Returns
    -------
    Comparison
        An object without a partner of intersection over union above 0.5 is an error. It is ``split`` if two or more
        found objects are mostly in it, and ``merged`` if it is mostly in a found object that contains another as well.
        It is ``missed`` or ``invented`` if no partner reaches 0.1, else ``inaccurate``.

    Raises
    ------
    AxesError
        If the shapes differ.
    """
    import pandas as pd

    matching = match_objects(truth, found)
    rows = _errors(matching)
    boxes = (object_boxes(truth), object_boxes(found))
    # The window moves to the found object, or to the reference object if none was found.
    where = [boxes[1][j] if j else boxes[0][i] for _, i, j, _ in rows]
    positions = [tuple((part.start + part.stop - 1) // 2 for part in box) for box in where]
    errors = pd.DataFrame(rows, columns=["error", "reference", "label", "iou"])
    errors["position"] = pd.Series(positions, dtype=object)
    return Comparison(matching, errors)


class _Pair(NamedTuple):
    truth: int
    found: int
    iou: float
    #: The found object is mostly inside the reference object.
    inside: bool
    #: The reference object is mostly inside the found object.
    around: bool


def _errors(matching: Matching) -> list[tuple[str, int, int, float]]:
    """Return kind, reference object, found object and IoU of each error."""
    of_truth, of_found = _pairs(matching)
    right = [pair for pairs in of_truth.values() for pair in pairs if pair.iou > THRESHOLDS[0]]
    split = {i for i, pairs in of_truth.items() if sum(pair.inside for pair in pairs) > 1}
    merging = {i for i, pairs in of_found.items() if sum(pair.around for pair in pairs) > 1}
    rows: list[tuple[str, int, int, float]] = []
    listed = {pair.found for pair in right}
    for i in np.setdiff1d(matching.truth, [pair.truth for pair in right]).tolist():
        pairs = of_truth[i]
        best = max(pairs, key=lambda pair: pair.iou, default=None)
        holder = next((pair for pair in pairs if pair.around and pair.found in merging), None)
        if i in split:
            listed |= {pair.found for pair in pairs if pair.inside}
            rows.append(_row("split", best))
        elif holder is not None:
            rows.append(_row("merged", holder))
        elif best is not None and best.iou >= _TOUCHING:
            rows.append(_row("inaccurate", best))
        else:
            rows.append(("missed", i, 0, 0.0))
        listed.add(rows[-1][2])
    for i in np.setdiff1d(matching.found, list(listed)).tolist():
        best = max(of_found[i], key=lambda pair: pair.iou, default=None)
        whole = next((pair for pair in of_found[i] if pair.inside and pair.truth in split), None)
        if whole is not None:
            rows.append(_row("split", whole))
        elif best is not None and best.iou >= _TOUCHING:
            rows.append(_row("inaccurate", best))
        else:
            rows.append(("invented", 0, i, 0.0))
    return rows


def _pairs(matching: Matching) -> tuple[dict[int, list[_Pair]], dict[int, list[_Pair]]]:
    """Return the pairs of each reference object and of each found object."""
    of_truth: dict[int, list[_Pair]] = defaultdict(list)
    of_found: dict[int, list[_Pair]] = defaultdict(list)
    t, f = matching.pairs.T
    columns = (
        matching.truth[t], matching.found[f], matching.iou, 2 * matching.shared > matching.found_areas[f],
        2 * matching.shared > matching.truth_areas[t],
    )  # fmt: skip
    for values in zip(*(column.tolist() for column in columns), strict=True):
        pair = _Pair(*values)
        of_truth[pair.truth].append(pair)
        of_found[pair.found].append(pair)
    return of_truth, of_found


def _row(kind: str, pair: _Pair | None) -> tuple[str, int, int, float]:
    assert pair is not None
    return kind, pair.truth, pair.found, pair.iou


def _highest(where: NDArray[np.int64], values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    out = np.zeros(count)
    np.maximum.at(out, where, values)
    return out
