"""Clusters: every pixel gets one of k unnamed classes, by the features that a network computes there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, JsonValue

from napari_foundseg.core.classes.components import components
from napari_foundseg.core.classes.panoptic import Panoptic
from napari_foundseg.core.clusters.balance import find_scaled_clusters
from napari_foundseg.core.clusters.clusters import Clusters, Edit, Metric, clusters_of_codes
from napari_foundseg.core.clusters.crf import refine_with_crf
from napari_foundseg.core.errors import Cancelled, SettingsError
from napari_foundseg.core.image import Image
from napari_foundseg.core.labels import label_dtype
from napari_foundseg.core.masks import Box
from napari_foundseg.core.result import Segmentation
from napari_foundseg.models.protocols.objects import Clustering, FeatureExtractor
from napari_foundseg.tasks.classes.class_results import assembled, each_slice, of_classes
from napari_foundseg.tasks.classes.refining import Refiner
from napari_foundseg.tasks.provenance import record
from napari_foundseg.tasks.regions import Region, region_of, slices
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.tasks.settings import Progress, Settings, Task
from napari_foundseg.tasks.windows import tiling
from napari_foundseg.tasks.windows.features import enlarged, feature_windows, features_of

__all__ = ["TASK", "ClusterInputs", "KMeansSettings", "SphericalSettings", "StegoSettings", "of_model", "run"]

_MORE: dict[str, JsonValue] = {"more": True}
_MOST = 64
#: Cells of an image that k-means samples, and the most windows that they are taken from.
_SAMPLED = 20_000
_SAMPLED_WINDOWS = 400
#: Side of the blocks in which the CRF runs, and the overlap of neighbouring blocks, in pixels.
_BLOCK = 1024
_SHARED = 128


class ClusterInputs(Region):
    """Slice and region to cluster, and the user's changes to the clusters."""

    edits: tuple[Edit, ...] = ()
    """Merges, splits, new names and colours, hidden clusters, in the order in which they are applied."""
    only: tuple[int, ...] = ()
    """Clusters that become labels; none: all that are not hidden."""


class _Output(Settings):
    """Settings that all methods share."""

    crf: bool = Field(True, title="Refine edges (CRF)")
    """On: move the borders of clusters to edges of the image with a conditional random field, which takes longer."""
    flip: bool = Field(False, title="Average with mirror image", json_schema_extra=_MORE)
    """On: also process the mirrored image and average both. Borders become smoother; it takes twice as long."""
    output: Literal["clusters", "objects"] = Field("clusters", title="Result", json_schema_extra=_MORE)
    """Content of the label image: clusters, or each connected part of a cluster as an object."""
    min_area: int = Field(0, ge=0, json_schema_extra={"unit": "pixels", "area": True, **_MORE})
    """Connected parts smaller than this become background: higher values remove more."""
    refine_model: str = Field("", title="Refine outlines with", json_schema_extra={"elsewhere": True})
    """A promptable model, such as foundseg-tiny, that outlines each object again from its bounding box. None keeps the
    outlines."""


class StegoSettings(_Output):
    """STEGO: clusters of features that were fitted to your images."""

    method: Literal["stego"] = Field("stego", title="STEGO")
    n_clusters: int | None = Field(None, ge=1, le=_MOST, title="Number of clusters", json_schema_extra={"beside": True})
    """More clusters tell finer differences apart. Automatic: the number that the model was saved with."""
    probe: Literal["clusters", "linear"] = Field("clusters", title="Classes", json_schema_extra=_MORE)
    """The clusters that were found, or the classes that were learnt from painted labels (linear probe), if the model
    has them."""


class KMeansSettings(_Output):
    """k-means on the features of this image, without a fit."""

    method: Literal["kmeans"] = Field("kmeans", title="k-means")
    n_clusters: int = Field(4, ge=1, le=_MOST, title="Number of clusters", json_schema_extra={"beside": True})
    """More clusters tell finer differences apart."""
    context: int = Field(0, ge=0, le=512, title="Averaging window", json_schema_extra={"unit": "pixels", "step": 8})
    """Higher values average the features over a larger square, about as large as the pattern of a texture. 0 for single
    objects."""
    seed: int = Field(0, ge=0, title="Random seed", json_schema_extra=_MORE)
    """Start of the random numbers. The same seed gives the same clusters; another may give slightly different ones."""


class SphericalSettings(KMeansSettings):
    """Spherical k-means on the features of this image: by their direction only."""

    method: Literal["spherical"] = Field("spherical", title="Spherical k-means")  # type: ignore[assignment]
    equal_weight: bool = Field(True, title="Equal weight of clusters", json_schema_extra={"absent": False, **_MORE})
    """On: when the features are centred, each cluster has equal weight, so that one that covers little of the image is
    found. Off: each pixel has equal weight."""


@dataclass(frozen=True)
class _Reader:
    """Reader of the features of windows. It averages and normalises them in the same way for all slices."""

    model: FeatureExtractor
    context: int = 0
    mean: Any = 0.0
    scale: Any = 1.0

    def cells(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        found = features_of(self.model, rgb, self.context)
        out: NDArray[np.float32] = (found.reshape(len(found), -1).T - self.mean) / self.scale
        return out.reshape(*found.shape[1:], len(found))

    def windows(self, shape: tuple[int, int]) -> Iterator[tuple[Box, Box]]:
        return feature_windows(shape, self.model, self.context)


def run(
    image: Image,
    inputs: ClusterInputs,
    settings: StegoSettings | KMeansSettings | SphericalSettings,
    model: Any,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Segmentation:
    """Assign every pixel to a cluster.

    The labels of the result are clusters or objects; `semantic` holds the clusters. Hidden clusters are 0.
    """
    started = time.perf_counter()

    def poll() -> None:
        if cancelled():
            raise Cancelled("The run was cancelled.")

    reader, clusters = _found(image, inputs, settings, model, poll)
    kept = _kept(clusters, inputs.only)
    region = region_of(image, inputs)
    refine = _refiner(image, settings, model.device, region, cancelled)
    results = {}
    for index, share in each_slice(image, inputs, progress, "clustering"):
        plane = _clustered(image, index, region, reader, clusters, settings, poll, share)
        plane = np.where(np.isin(plane, kept), plane, 0).astype(label_dtype(max(clusters.ids)))
        results[index] = refine(index, _panoptic(plane, settings))
    request = RunRequest("cluster", image, inputs, settings, model.name)
    told = record(request, model, started)
    told["hidden"] = sorted(clusters.hidden)
    if settings.n_clusters is not None and len(clusters.ids) < settings.n_clusters and not inputs.edits:
        words = f"{settings.n_clusters} clusters were asked for; there are only {len(clusters.ids)} different features"
        told["fallbacks"] = [*told["fallbacks"], words]
    output: Any = "objects" if settings.output == "objects" else "classes"
    classes = clusters.classes
    if output == "objects":
        classes = type(classes)(tuple(row.model_copy(update={"kind": "thing"}) for row in classes))
    return assembled(image, inputs, results, classes, told, output=output)


def _found(
    image: Image,
    inputs: ClusterInputs,
    settings: StegoSettings | KMeansSettings | SphericalSettings,
    model: Any,
    poll: Callable[[], None],
) -> tuple[_Reader, Clusters]:
    """Return the reader of the features, and the clusters after the user's changes."""
    if isinstance(settings, StegoSettings):
        return _Reader(model), of_model(model, settings).edited(inputs.edits, model.sample)
    sample = _sampled(image, inputs, _Reader(model, settings.context), poll)
    metric: Metric = "cosine" if isinstance(settings, SphericalSettings) else "euclidean"
    equal_weight = isinstance(settings, SphericalSettings) and settings.equal_weight
    scaling, clusters = find_scaled_clusters(
        sample, settings.n_clusters, metric, settings.seed, equal_weight=equal_weight
    )
    reader = _Reader(model, settings.context, scaling.mean, scaling.scale)
    return reader, clusters.edited(inputs.edits, scaling.apply(sample))


def of_model(model: Clustering, settings: StegoSettings) -> Clusters:
    """Return a fitted model's clusters, or find another number of clusters in the codes that the model keeps.

    Parameters
    ----------
    model : Clustering
        The model.
    settings : StegoSettings
        Number of clusters, or the linear probe.

    Returns
    -------
    Clusters
        Clusters without the user's changes.

    Raises
    ------
    SettingsError
        If the model has no linear probe, or keeps no codes in which another number of clusters could be found.
    """
    if settings.probe == "linear":
        if model.linear is None:
            raise SettingsError(f"{model.name} has no linear probe; learn one from labels, or choose clusters.")
        return model.linear
    count = settings.n_clusters
    if count is None or count == len(model.clusters.ids):
        return model.clusters
    if not len(model.sample):
        raise SettingsError(
            f"{model.name} has {len(model.clusters.ids)} clusters and keeps no codes to find {count} in; leave the "
            "number of clusters empty."
        )
    return clusters_of_codes(model.sample, count, model.clusters.metric)


def _sampled(image: Image, inputs: ClusterInputs, reader: _Reader, poll: Callable[[], None]) -> NDArray[np.float32]:
    """Return features sampled evenly over the slices and the region, (n, F). Of many windows, only some are read."""
    region = region_of(image, inputs)
    windows = list(reader.windows((region[2] - region[0] + 1, region[3] - region[1] + 1)))
    places = [(index, window) for index in slices(image, inputs) for window, _ in windows]
    places = places[:: -(-len(places) // _SAMPLED_WINDOWS)]
    each = max(1, _SAMPLED // len(places))
    parts = []
    for index, window in places:
        poll()
        cells = reader.cells(image.rgb(index, tiling.shifted(window, region[:2])))
        flat = cells.reshape(-1, cells.shape[-1])
        parts.append(flat[np.linspace(0, len(flat) - 1, min(each, len(flat))).astype(int)])
    return np.concatenate(parts)


def _clustered(
    image: Image,
    index: tuple[int, ...],
    region: Box,
    reader: _Reader,
    clusters: Clusters,
    settings: _Output,
    poll: Callable[[], None],
    share: Callable[[float], None],
) -> NDArray[np.int64]:
    """Return the cluster of each pixel of a region, (M, N). Blocks keep memory independent of the size of the image."""
    shape = (region[2] - region[0] + 1, region[3] - region[1] + 1)
    side = _BLOCK if settings.crf else reader.model.features_window
    shared = _SHARED if settings.crf else min(2 * reader.model.feature_margin + reader.context, side // 2)
    blocks = list(tiling.cover(shape, (min(side, shape[0]), min(side, shape[1])), shared))
    out = np.zeros(shape, np.int64)
    for i, (block, core) in enumerate(blocks):
        rgb = image.rgb(index, tiling.shifted(block, region[:2]))
        scores = _scores(rgb, reader, clusters, poll, flip=settings.flip)
        if settings.crf and len(clusters.leaves) > 1:
            # Refine the centres, not the clusters: then a merge only joins pixels and moves no border.
            scores = refine_with_crf(np.exp(clusters.log_probabilities(scores)), rgb, poll=poll)
        tiling.part(out, core)[:] = clusters.leaves[tiling.part(scores, core, block[:2]).argmax(0)]
        share((i + 1) / len(blocks))
    return out


def _scores(
    rgb: NDArray[np.uint8], reader: _Reader, clusters: Clusters, poll: Callable[[], None], *, flip: bool
) -> NDArray[np.float32]:
    """Return the scores of a block's pixels for each centre, (P, M, N)."""
    shape = (rgb.shape[0], rgb.shape[1])
    out = np.empty((len(clusters.leaves), *shape), np.float32)
    for window, core in reader.windows(shape):
        poll()
        picture = np.ascontiguousarray(tiling.part(np.moveaxis(rgb, -1, 0), window).transpose(1, 2, 0))
        found = _window_scores(picture, reader, clusters)
        if flip:
            mirrored = _window_scores(np.ascontiguousarray(picture[:, ::-1]), reader, clusters)
            found = (found + mirrored[..., ::-1]) * np.float32(0.5)
        tiling.part(out, core)[:] = tiling.part(found, core, window[:2])
    return out


def _window_scores(picture: NDArray[np.uint8], reader: _Reader, clusters: Clusters) -> NDArray[np.float32]:
    cells = reader.cells(picture)
    scores = clusters.scores(cells.reshape(-1, cells.shape[-1]))
    maps = np.moveaxis(scores.reshape(*cells.shape[:2], -1), -1, 0)
    return enlarged(maps, reader.model, (picture.shape[0], picture.shape[1]))


def _kept(clusters: Clusters, only: Sequence[int]) -> list[int]:
    if unknown := [number for number in only if number not in clusters.classes]:
        raise SettingsError(f"There is no cluster {unknown[0]}; there are {list(clusters.ids)}.")
    return [n for n in clusters.ids if n not in clusters.hidden and (not only or n in only)]


def _panoptic(plane: NDArray[Any], settings: _Output) -> Panoptic:
    if settings.output == "clusters" and not settings.min_area:
        return of_classes(plane)
    parts = components(plane, min_area=settings.min_area)
    return Panoptic(parts.labels, parts.semantic, parts.classes, np.ones(len(parts.classes)), parts.boxes, parts.areas)


def _refiner(
    image: Image, settings: _Output, device: str, region: Box, cancelled: Callable[[], bool]
) -> Callable[[tuple[int, ...], Panoptic], Panoptic]:
    """Return a function that outlines objects again. It changes nothing for clusters or without a refinement model."""
    if settings.output == "clusters" or not settings.refine_model:
        return lambda _index, found: found
    refiner = Refiner(image, settings.refine_model, device, region)
    return lambda index, found: refiner.refined(index, found, cancelled)


TASK = Task(
    name="cluster",
    title="Cluster",
    inputs=ClusterInputs,
    methods={"stego": StegoSettings, "kmeans": KMeansSettings, "spherical": SphericalSettings},
    protocols={"stego": "Clustering", "kmeans": "FeatureExtractor", "spherical": "FeatureExtractor"},
    function=run,
    slices=slices,
    menus=("segment",),
)
