"""Edited clusters, saved as a separate model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari_foundseg.core.errors import SettingsError
from napari_foundseg.core.image import Image
from napari_foundseg.core.result import Segmentation
from napari_foundseg.models.catalog import CatalogRow, models_folder
from napari_foundseg.models.protocols.objects import Clustering, SavableClustering
from napari_foundseg.tasks import cluster
from napari_foundseg.tasks.regions import slices
from napari_foundseg.tasks.settings import Progress, Task
from napari_foundseg.tasks.side_tasks.fit_files import free_name, refuse_other_fit, register

__all__ = ["TASK", "SaveInputs", "save_clusters"]


class SaveInputs(cluster.ClusterInputs):
    """Slice and region to cluster afterwards, the changes to save, and the new model's name."""

    name: str
    """Name of the model; if it is the name of the model that is edited, that model is replaced."""


def save_clusters(model: Clustering, settings: cluster.StegoSettings, edits: Any, name: str) -> CatalogRow:
    """Save a fitted model with another number of clusters and with the user's changes to them.

    Parameters
    ----------
    model : Clustering
        A model that was fitted here.
    settings : StegoSettings
        Settings with the number of clusters.
    edits : sequence of Edit
        The changes.
    name : str
        Name of the new model.

    Returns
    -------
    CatalogRow
        Row of the new model.

    Raises
    ------
    SettingsError
        If the model was not fitted here, or the name is taken.
    """
    if not isinstance(model, SavableClustering):
        raise SettingsError(f"{model.name} was not fitted here, so its clusters cannot be saved. Press Fit first.")
    name = free_name(name)
    if name != model.name:
        refuse_other_fit(name)
    clusters = cluster.of_model(model, settings).edited(edits, model.sample)
    folder = models_folder() / name
    model.save_as(folder, clusters=clusters)
    return register(name, folder)


def run(
    image: Image,
    inputs: SaveInputs,
    settings: cluster.StegoSettings,
    model: Any,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Segmentation:
    """Save the clusters in the engine, and cluster the image with the saved model.

    The result is that of the saved model.
    """
    from napari_foundseg.models.loading import load_model

    saved = load_model(save_clusters(model, settings, inputs.edits, inputs.name).name, device=model.device)
    plain = cluster.ClusterInputs(index=inputs.index, region=inputs.region, only=inputs.only)
    return cluster.run(image, plain, settings.model_copy(update={"n_clusters": None}), saved, progress, cancelled)


TASK = Task(
    name="save_clusters",
    title="Save clusters",
    inputs=SaveInputs,
    methods={"stego": cluster.StegoSettings},
    protocols={"stego": "Clustering"},
    function=run,
    slices=slices,
    finds_objects=False,
)
