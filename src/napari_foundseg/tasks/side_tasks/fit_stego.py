"""Fits of STEGO to images without labels: features, computed once, a head, clusters, and a model of the catalogue.

A fit reads the images in windows. Each window gives five crops, from which pairs are drawn, so that even a single image
has pairs. If a fit is cancelled, the best head so far is kept. A fit of the same name, images and settings continues
where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.clusters.balance import separation
from napari_foundseg.core.clusters.cluster_matching import match_clusters
from napari_foundseg.core.clusters.clusters import Clusters, clusters_of_codes
from napari_foundseg.core.errors import BadImageError, Cancelled
from napari_foundseg.core.image import Image
from napari_foundseg.core.result import Segmentation
from napari_foundseg.models.catalog import CatalogRow, models_folder, row
from napari_foundseg.models.protocols.objects import FeatureExtractor
from napari_foundseg.models.row_defaults import expected_normalisation
from napari_foundseg.tasks import cluster
from napari_foundseg.tasks.regions import slices
from napari_foundseg.tasks.settings import Task
from napari_foundseg.tasks.side_tasks.fit_features import ScaledFeatures, codes_of, scale_features
from napari_foundseg.tasks.side_tasks.fit_files import FitState, free_name, refuse_other_fit, register
from napari_foundseg.tasks.side_tasks.fit_progress import FitProgress, News
from napari_foundseg.tasks.side_tasks.fit_settings import FitInputs, FitSettings
from napari_foundseg.tasks.side_tasks.fit_windows import features_of_windows
from napari_foundseg.tasks.windows.features import feature_windows

if TYPE_CHECKING:
    import torch

    from napari_foundseg.models.nets.stego.stego import SegmentationHead
    from napari_foundseg.models.nets.stego.stego_fit import Fit

__all__ = ["TASK", "Fitted", "fit_stego", "pictures_in"]

#: Share of places in the same cluster from which two clusterings count as the same.
_SAME = 0.97
#: How much lower the separation of clusters may be after a fit than without one; benchmarks/clusters.py shows both.
_LESS_DISTINCT = 0.05
#: How much higher it must be after a fit than at its beginning, for the fitted head to be kept.
_MORE_DISTINCT = 0.01
#: Steps between evaluations of the head, and seconds between models that are saved in the meantime.
_JUDGED_EVERY = 20
_KEPT_SECONDS = 15.0


@dataclass(frozen=True)
class Fitted:
    """Result of a fit.

    Parameters
    ----------
    model : CatalogRow
        The new row of the catalogue.
    losses : tuple of float
        Loss of each step.
    notes : tuple of str
        Notes on deviations from what the user may expect.
    plain_method : str or None
        The method of *Cluster* without a fit that does as well on these features, or better; None if the fit is
        worthwhile.
    """

    model: CatalogRow
    losses: tuple[float, ...]
    notes: tuple[str, ...]
    plain_method: str | None = None


def pictures_in(images: Sequence[Image]) -> list[tuple[Image, tuple[int, ...]]]:
    """Return every slice of some images.

    Parameters
    ----------
    images : sequence of Image
        The images.

    Returns
    -------
    list of tuple
        Pairs of an image and a slice.
    """
    return [(image, index) for image in images for index in image.indices()]


def fit_stego(
    pictures: Sequence[tuple[Image, tuple[int, ...]]],
    settings: FitSettings,
    model: FeatureExtractor,
    name: str | None = None,
    progress: News = lambda *_: None,
    cancelled: Callable[[], bool] = bool,
    *,
    overwrite: bool = False,
) -> Fitted:
    """Fit a head to slices of images, and save it as a model of the catalogue.

    Parameters
    ----------
    pictures : sequence of tuple
        Pairs of an image and one of its slices.
    settings : FitSettings
        Settings of the fit.
    model : FeatureExtractor
        The backbone, which is not changed.
    name : str, optional
        Name of the new model; by default the next free one.
    progress : callable
        Called with the share done, a text and sometimes a dict: ``loss`` (of each step so far), ``preview`` (clusters
        of the first window as bytes, one for each cell), its ``shape``, ``stride``, ``index`` (the slice) and ``box``.
    cancelled : callable
        Called before each window and step; returns whether to stop.
    overwrite : bool
        Whether to replace a fitted model of that name.

    Returns
    -------
    Fitted
        The new model.

    Raises
    ------
    BadImageError
        If there are no images.
    SettingsError
        If another model, or another fit, has the name.
    Cancelled
        If `cancelled` returned True; the message says what was kept.
    """
    if not pictures:
        raise BadImageError(None, "There is no image to fit to; choose a layer, a stack or a folder with images.")
    name = free_name(name)
    refuse_other_fit(name, settings, model, overwrite=overwrite)
    # The new model gets the same pictures, because its row has the same expectation.
    expected = expected_normalisation(row(model.name))
    pictures = [(image.seen_as(expected), index) for image, index in pictures]

    def poll() -> None:
        if cancelled():
            raise Cancelled("The fit was cancelled before its first step; nothing was kept.")

    session = _begun(name, pictures, settings, model, progress, poll)
    if not session.fit.done:
        # Nothing was restored, so a fit of this name is of other images.
        refuse_other_fit(name, overwrite=overwrite)
    image, index = pictures[0]
    box = next(core for _, core in feature_windows(image.plane_shape, model))
    place = {"stride": model.feature_stride, "index": list(index), "box": list(box)}
    told = FitProgress(progress, session.fit, settings, place)
    stopped = _steps(session, told, cancelled)
    kept = session.keep()
    if stopped:
        raise Cancelled(f"Cancelled; the best of {session.fit.done} steps was kept as the model {name}.")
    plain = session.plain_method()
    return Fitted(kept, tuple(session.fit.losses), tuple(session.notes), plain)


@dataclass(frozen=True)
class _Session:
    """A fit in progress, with everything that is saved with it."""

    name: str
    settings: FitSettings
    model: FeatureExtractor
    fit: Fit
    state: FitState
    scaled: ScaledFeatures
    notes: list[str]
    pictures: int

    def keep(self) -> CatalogRow:
        """Find the clusters of the best head; write the state of the fit, the model's folder and its row."""
        from napari_foundseg.models.files.stego_weights import StegoWeights, save

        self.state.write(self.fit)
        head = self.fit.best_head()
        wanted = self.settings.n_clusters
        sample, clusters = self._clusters(head)
        few = f"there are only {len(clusters.ids)} different codes for {wanted} clusters"
        if len(clusters.ids) < wanted and few not in self.notes:
            self.notes.append(few)
        folder = models_folder() / self.name
        folder.parent.mkdir(parents=True, exist_ok=True)
        scaling = self.scaled.scaling
        weights = StegoWeights(head, scaling.mean, scaling.scale, self.settings.context, sample, clusters)
        save(folder, weights, self._config())
        return register(self.name, folder)

    def _clusters(self, head: SegmentationHead) -> tuple[NDArray[np.float32], Clusters]:
        """Return the codes of the sample, and their clusters."""
        codes = codes_of(head, self.scaled.sample)
        return codes, clusters_of_codes(codes, self.settings.n_clusters, self.settings.metric, start=self.scaled.labels)

    def plain_method(self) -> str | None:
        """Return the method that finds the same or more distinct clusters without a fit, and add a note; else None."""
        metric = self.settings.metric
        codes, clusters = self._clusters(self.fit.best_head())
        fitted = clusters.nearest(codes)
        shared = match_clusters(fitted[None], self.scaled.labels[None]).accuracy
        own = separation(self.scaled.sample, fitted, metric)
        plain = separation(self.scaled.sample, self.scaled.labels, metric)
        if shared < _SAME and plain - own < _LESS_DISTINCT:
            return None
        method = "spherical" if metric == "cosine" else "kmeans"
        title = cluster.TASK.methods[method].label_of("method")
        if shared >= _SAME:
            found = f"{shared:.0%} of the places have the cluster that {title} finds without a fit"
        else:
            found = f"{title} without a fit finds more distinct clusters (separation {plain:.2f}, here {own:.2f})"
        self.notes.append(f"{found}: the fit brings nothing on these images")
        return method

    def _config(self) -> dict[str, Any]:
        return {
            "backbone": self.model.name,
            "backbone_key": self.model.key,
            "expects": expected_normalisation(row(self.model.name)).kind,
            "images": self.pictures,
            "windows": len(self.fit.crops.maps),
            "steps": self.fit.done,
            "best_rating": min((value for _, value in self.fit.judged), default=None),
            "settings": self.settings.model_dump(mode="json"),
            "correspondence": asdict(self.fit.settings),
            "notes": list(self.notes),
        }


def _begun(
    name: str,
    pictures: Sequence[tuple[Image, tuple[int, ...]]],
    settings: FitSettings,
    model: FeatureExtractor,
    progress: News,
    poll: Callable[[], None],
) -> _Session:
    """Read the images and return a fit to them: a new one, or the one that was stopped."""
    maps, notes = features_of_windows(pictures, settings, model, progress, poll)
    scaled = scale_features(maps, settings)
    fit = _fit_to(maps, scaled, settings)
    state = FitState(name, settings, model, fit)
    if state.restore(fit):
        notes.append(f"went on after {fit.done} steps")
    return _Session(name, settings, model, fit, state, scaled, notes, len(pictures))


def _fit_to(maps: list[torch.Tensor], scaled: ScaledFeatures, settings: FitSettings) -> Fit:
    from napari_foundseg.models.nets.stego.stego import PRESETS
    from napari_foundseg.models.nets.stego.stego_fit import Crops, Fit, FitOptions, balanced

    chosen = replace(
        PRESETS["directory" if settings.preset == "balanced" else settings.preset],
        pointwise=settings.is_pointwise,
        zero_clamp=settings.zero_clamp,
        stabilised=settings.stabilised,
        feature_samples=settings.feature_samples,
        neg_samples=settings.neg_samples,
    )
    crops = Crops(maps)
    if settings.preset == "balanced":
        chosen = balanced(crops, chosen, settings.seed, scaled.alike if settings.metric == "cosine" else None)
    options = FitOptions(
        settings.code_dim, settings.batch_size, settings.learning_rate, settings.neighbours, settings.seed
    )
    if settings.metric != "cosine":
        return Fit(crops, chosen, options)
    # The fit begins with the clusters that exist without it, and only clusters that are clearly more distinct replace
    # them: separation differs by less than that between heads of which the one that is ahead may be worse.
    first = scaled.main_directions(options.dim)
    return Fit(crops, chosen, options, first_codes=first, rate=scaled.rate, least_gain=_MORE_DISTINCT)


def _steps(session: _Session, told: FitProgress, cancelled: Callable[[], bool]) -> bool:
    """Take the steps, saving the best head from time to time; return whether the user stopped them."""
    fit = session.fit
    steps = session.settings.steps
    saved = time.monotonic()
    if not fit.done:
        fit.judge()
    while fit.done < steps:
        if cancelled():
            fit.judge()
            return True
        fit.step()
        if fit.done % _JUDGED_EVERY == 0 or fit.done == steps:
            fit.judge()
        told.tell()
        if fit.judged and time.monotonic() - saved > _KEPT_SECONDS:
            session.keep()
            saved = time.monotonic()
    return False


def run(
    image: Image,
    inputs: FitInputs,
    settings: FitSettings,
    model: FeatureExtractor,
    progress: News,
    cancelled: Callable[[], bool],
) -> Segmentation:
    """Fit a head in the engine, and cluster the image's first slice with it.

    The provenance of the result names the new model and has the notes of the fit.
    """
    from napari_foundseg.io.image_sources import as_images
    from napari_foundseg.models.loading import load_model

    pictures = [(image, index) for index in slices(image, inputs)]
    first = pictures[0][1]
    if inputs.folder is not None:
        pictures = pictures_in(as_images(Path(inputs.folder)))
    fitted = fit_stego(pictures, settings, model, inputs.name, progress, cancelled)
    progress(0.98, "clustering")
    loaded = load_model(fitted.model.name, device=model.device)
    shown = cluster.ClusterInputs(index=first)
    result = cluster.run(image, shown, cluster.StegoSettings(crf=False), loaded, lambda *_: None, cancelled)
    told = {
        "model": fitted.model.name,
        "notes": list(fitted.notes),
        "losses": list(fitted.losses),
        "plain_method": fitted.plain_method,
    }
    return replace(result, provenance={**result.provenance, "fitted": told})


def _slices(image: Image, inputs: FitInputs) -> list[tuple[int, ...]]:
    return slices(image, inputs)[:1] if inputs.folder is not None else slices(image, inputs)


TASK = Task(
    name="fit_stego",
    title="Fit",
    inputs=FitInputs,
    methods={"stego": FitSettings},
    protocols={"stego": "FeatureExtractor"},
    function=run,
    slices=_slices,
    finds_objects=False,
)
