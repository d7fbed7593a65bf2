"""Clusters of features: finding them, assigning features to them, and editing them.

A cluster has one or more centres. A merge gives one cluster the centres of others. A split divides each of a cluster's
centres among two new ones. So each edit changes the clusters and not the pixels: it holds in every slice and every
file, and alters no other cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from napari_foundseg.core.classes.class_table import ClassRow, ClassTable, class_colour
from napari_foundseg.core.declared_fields import Declared
from napari_foundseg.core.errors import SettingsError
from napari_foundseg.core.validation_messages import validation_message

__all__ = ["Clusters", "Edit", "Metric", "clusters_of_codes", "find_clusters", "normalised"]

_Floats = NDArray[np.float32]
#: The nearness of a feature to a centre: by their angle, by their distance, or by a linear classifier.
Metric = Literal["cosine", "euclidean", "linear"]
_EPS = 1e-10
#: Most rounds of spherical k-means, after k-means has found its start.
_ROUNDS = 50


class Edit(Declared):
    """One edit of clusters: a merge, split, rename, recolour, hide or show."""

    kind: Literal["merge", "split", "rename", "recolour", "hide", "show"]
    """The kind of edit."""
    clusters: tuple[int, ...] = Field(min_length=1)
    """Numbers of the clusters; a merge moves all of them into the first."""
    name: str | None = None
    """New name, for a rename."""
    colour: str | None = None
    """New colour, ``#rrggbb``, for a recolour."""


@dataclass(frozen=True, eq=False)
class Clusters:
    """Clusters as centres in the space of features. They are immutable: each change returns new ones.

    Parameters
    ----------
    centres : (P, D) ndarray of float32
        The centres.
    owner : (P,) ndarray of int64
        The cluster of each centre; 0 if its members were split among other centres.
    classes : ClassTable
        Names and colours, one row per cluster.
    metric : {'cosine', 'euclidean', 'linear'}
        The measure of nearness. The centres of a linear classifier are its weights.
    spread : float
        For the Euclidean metric: mean squared distance of features to their centre.
    offset : (P,) ndarray of float32 or None
        For a linear classifier: its bias.
    hidden : frozenset of int
        Clusters whose pixels become background.
    within : (P,) ndarray of int64 or None
        For each centre that divides the features of an earlier centre, the number of that centre; -1 for others. None
        if no centre is divided.
    """

    centres: _Floats
    owner: NDArray[np.int64]
    classes: ClassTable
    metric: Metric = "cosine"
    spread: float = 1.0
    offset: _Floats | None = None
    hidden: frozenset[int] = field(default_factory=frozenset)
    within: NDArray[np.int64] | None = None

    @classmethod
    def of(
        cls, centres: NDArray[Any], metric: Metric = "cosine", spread: float = 1.0, names: Sequence[str] = ()
    ) -> Self:
        """Return clusters 1 to n with one centre each.

        Parameters
        ----------
        names : sequence of str
            Names of the clusters; by default ``cluster 1`` and so on.
        """
        n = len(centres)
        named = list(names) if names else [f"cluster {i}" for i in range(1, n + 1)]
        return cls(
            np.asarray(centres, np.float32), np.arange(1, n + 1, dtype=np.int64), ClassTable.of(named, stuff=named),
            metric, spread,
        )  # fmt: skip

    @classmethod
    def linear(cls, weights: NDArray[Any], offset: NDArray[Any], names: Sequence[str] = ()) -> Self:
        """Return classes of a linear classifier (STEGO's linear probe).

        Parameters
        ----------
        weights : (n, D) ndarray of float
            One row per class.
        names : sequence of str
            Names of the classes; by default ``class 1`` and so on.

        Returns
        -------
        Clusters
            Classes in the order of the rows.
        """
        named = list(names) if names else [f"class {i}" for i in range(1, len(weights) + 1)]
        return replace(cls.of(weights, "linear", names=named), offset=np.asarray(offset, np.float32))

    @property
    def ids(self) -> tuple[int, ...]:
        """The clusters' numbers, in the table's order."""
        return self.classes.ids

    @property
    def leaves(self) -> NDArray[np.int64]:
        """The cluster of each undivided centre, in the order of their scores."""
        return self.owner[self.owner > 0]

    def scores(self, features: NDArray[Any], alpha: float = 2.0) -> _Floats:
        """Return the nearness of features to each undivided centre.

        By angle: cosines times `alpha` (STEGO's cluster probe). By distance: logarithms of Gaussians around the
        centres. For a linear classifier: its logits. The best of the centres that divide another gets the score of the
        divided one, so a division does not change the rest.

        Returns
        -------
        (n, L) ndarray of float32
            A column for each of `leaves`.
        """
        out = self._side_by_side(features, alpha)
        if self.within is None:
            return out
        for divided in np.unique(self.within[self.within >= 0]):
            parts = self.within == divided
            out[:, parts] += (out[:, divided] - out[:, parts].max(1))[:, None]
        return out[:, self.owner > 0]

    def _side_by_side(self, features: NDArray[Any], alpha: float) -> _Floats:
        if self.metric == "cosine":
            return normalised(features) @ normalised(self.centres).T * np.float32(alpha)
        own = np.asarray(features, np.float32)
        if self.metric == "linear":
            return np.asarray(own @ self.centres.T + (0 if self.offset is None else self.offset), np.float32)
        away = (own**2).sum(1)[:, None] + (self.centres**2).sum(1) - 2 * own @ self.centres.T
        # Use the variance of all channels together: channels are far from independent, and one alone would seem sure.
        return np.asarray(away / (-2 * max(self.spread, _EPS)), np.float32)

    def log_probabilities(self, scores: NDArray[Any]) -> _Floats:
        """Return the log-probability of each centre: the log-softmax of the scores (STEGO's cluster probe).

        Parameters
        ----------
        scores : (L, ...) ndarray of float
            A row for each of `leaves`.

        Returns
        -------
        (L, ...) ndarray of float32
            Logarithms of probabilities.
        """
        out = np.array(scores, np.float32)
        out -= out.max(0)
        return np.asarray(out - np.log(np.exp(out).sum(0)), np.float32)

    def nearest(self, features: NDArray[Any]) -> NDArray[np.int64]:
        """Return the cluster of each feature, (n,)."""
        return np.asarray(self.leaves[self.scores(features).argmax(1)])

    def edited(self, edits: Iterable[Edit], sample: NDArray[Any]) -> Self:
        """Return the clusters with edits applied.

        Parameters
        ----------
        sample : (n, D) ndarray of float
            A sample of the features. A cluster is split by those of them that belong to it.

        Returns
        -------
        Clusters
            New clusters. Merged ones keep the number of the first; the second half of a split gets a new number.

        Raises
        ------
        SettingsError
            If an edit names a cluster that does not exist, or is not possible.
        """
        out = self
        for edit in edits:
            if unknown := [number for number in edit.clusters if number not in out.classes]:
                raise SettingsError(f"There is no cluster {unknown[0]} to {edit.kind}; there are {list(out.ids)}.")
            out = out._split(edit.clusters[0], sample) if edit.kind == "split" else out._changed(edit)
        return out

    def _changed(self, edit: Edit) -> Self:
        first = edit.clusters[0]
        chosen = set(edit.clusters)
        if edit.kind == "merge":
            if len(chosen) < 2:
                raise SettingsError("A merge needs two or more clusters; select another one as well.")
            owner = np.where(np.isin(self.owner, list(chosen)), first, self.owner)
            classes = self.classes.merged(chosen, first)
            return replace(self, owner=owner, classes=classes, hidden=self.hidden - (chosen - {first}))
        if edit.kind in ("hide", "show"):
            return replace(self, hidden=self.hidden | chosen if edit.kind == "hide" else self.hidden - chosen)
        given = {"name": edit.name} if edit.kind == "rename" else {"colour": edit.colour}
        try:
            return replace(self, classes=self.classes.with_row(first, **given))
        except ValidationError as error:
            raise SettingsError(validation_message(error, "field", ClassRow.model_fields)) from error

    def _split(self, number: int, sample: NDArray[Any]) -> Self:
        if self.metric == "linear" or not len(sample):
            raise SettingsError(
                "These classes were learnt, not found, or their codes are not kept: they cannot be split."
            )
        members = sample[self.nearest(sample) == number]
        found = find_clusters(members, 2, self.metric) if len(members) > 1 else None
        if found is None or len(found.ids) < 2:
            raise SettingsError(f"{self.classes.name_of(number)} cannot be split: its features are all alike.")
        new = max(self.ids) + 1
        row = ClassRow(
            id=new, name=f"{self.classes.name_of(number)} b", colour=class_colour(new), kind=self.classes[number].kind
        )
        divided = np.flatnonzero(self.owner == number)
        within = np.full(len(self.owner), -1, np.int64) if self.within is None else self.within
        return replace(
            self,
            centres=np.concatenate([self.centres, *[found.centres] * len(divided)]),
            owner=np.concatenate([np.where(self.owner == number, 0, self.owner), *[(number, new)] * len(divided)]),
            within=np.concatenate([within, np.repeat(divided, 2)]),
            classes=ClassTable((*self.classes, row)),
        )


def normalised(features: NDArray[Any]) -> _Floats:
    """Return features scaled to length 1. Features of length 0 do not change."""
    own = np.asarray(features, np.float32)
    length = np.sqrt((own**2).sum(-1, keepdims=True))
    return np.asarray(own / np.maximum(length, _EPS), np.float32)


def clusters_of_codes(
    sample: NDArray[Any], count: int, metric: Metric, seed: int = 0, start: NDArray[Any] | None = None
) -> Clusters:
    """Find clusters of STEGO's codes: by angle all at once, or by distance by repeatedly halving the largest one.

    Halving (bisecting k-means; Steinbach, Karypis and Kumar 2000) divides a large background and not the few objects.
    With a higher count, each cluster is a part of one that a lower count gives, so no border is lost.

    Parameters
    ----------
    count : int
        Number of clusters; fewer if there are fewer distinct codes.
    start : (n,) ndarray of int, optional
        A cluster of each code, from which clusters by angle start.

    Returns
    -------
    Clusters
        By angle numbered by size; by distance each new half has the next number.
    """
    if metric != "euclidean":
        return find_clusters(sample, count, metric, seed, start)
    found = find_clusters(sample, min(count, 2), metric, seed)
    while len(found.ids) < count:
        sizes = np.bincount(found.nearest(sample))
        halves = None
        for number in sorted(found.ids, key=lambda i: -sizes[i]):
            with suppress(SettingsError):
                halves = found.edited([Edit(kind="split", clusters=(number,))], sample)
                break
        if halves is None:
            break
        found = halves
    named = [f"cluster {number}" for number in found.ids]
    return replace(found, classes=ClassTable.of(named, stuff=named))


def find_clusters(
    sample: NDArray[Any], count: int, metric: Metric = "cosine", seed: int = 0, start: NDArray[Any] | None = None
) -> Clusters:
    """Find clusters by k-means (`euclidean`) or spherical k-means (`cosine`, Dhillon and Modha 2001).

    Parameters
    ----------
    count : int
        Number of clusters; fewer if there are fewer distinct features.
    seed : int
        Random seed. Equal seeds give equal clusters.
    start : (n,) ndarray of int, optional
        A cluster of each feature, from which spherical k-means starts; by default those of k-means.
    """
    from sklearn.cluster import KMeans

    own = normalised(sample) if metric == "cosine" else np.asarray(sample, np.float32)
    finite = np.isfinite(own).all(1)
    own = own[finite]
    if len(own) == 0:
        raise SettingsError("There are no features to find clusters in.")
    if start is not None and metric == "cosine":
        begun = np.asarray(start)[finite]
        centres = _spherical(own, np.stack([own[begun == number].mean(0) for number in np.unique(begun)]))
        return _by_size(centres, (own @ centres.T).argmax(1), metric)
    # k-means warns if there are fewer distinct features than clusters. Count the distinct ones of a sample first: all
    # are counted only if it has too few.
    distinct = len(np.unique(own[: 50 * count].round(6), axis=0))
    if distinct < count:
        distinct = min(count, len(np.unique(own.round(6), axis=0)))
    k = min(count, distinct)
    model = KMeans(k, n_init=4, random_state=seed).fit(own)
    centres = model.cluster_centers_.astype(np.float32)
    if metric == "cosine":
        centres = _spherical(own, centres)
        nearest = (own @ centres.T).argmax(1)
    else:
        nearest = model.labels_
    return _by_size(centres, nearest, metric, float(model.inertia_) / len(own))


def _by_size(centres: _Floats, nearest: NDArray[Any], metric: Metric, spread: float = 1.0) -> Clusters:
    """Return clusters numbered by size, the largest first."""
    order = np.argsort(-np.bincount(nearest, minlength=len(centres)), kind="stable")
    return Clusters.of(centres[order], metric, spread)


def _spherical(own: _Floats, centres: _Floats) -> _Floats:
    centres = normalised(centres)
    nearest = None
    for _ in range(_ROUNDS):
        found = (own @ centres.T).argmax(1)
        if nearest is not None and (found == nearest).all():
            break
        nearest = found
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, own)
        filled = np.abs(sums).sum(1) > 0
        centres = np.where(filled[:, None], normalised(sums), centres)
    return centres
