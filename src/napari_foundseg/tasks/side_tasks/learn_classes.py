"""Classes learnt from painted labels, on the codes of a fitted model: its linear probe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import ConfigDict

from napari_foundseg.core.errors import Cancelled
from napari_foundseg.core.image import Image
from napari_foundseg.core.result import Segmentation
from napari_foundseg.tasks import cluster
from napari_foundseg.tasks.label_image import LabelImage
from napari_foundseg.tasks.regions import Region, slices
from napari_foundseg.tasks.settings import Progress, Task
from napari_foundseg.tasks.side_tasks.linear_probe import learn

__all__ = ["TASK", "LearnInputs"]


class LearnInputs(Region):
    """Painted labels, and the slice and region to classify afterwards."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    labels: LabelImage
    """A label image of the image's shape; 0 where nothing is painted. As JSON the name of a labels file."""


def run(
    image: Image,
    inputs: LearnInputs,
    settings: cluster.StegoSettings,
    model: Any,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> Segmentation:
    """Learn the classes, save them with the model, and classify the image's pixels.

    The result has the learnt classes.

    Raises
    ------
    SettingsError
        If fewer than two classes are labelled, or the model was not fitted here.
    AxesError
        If the labels do not have the image's shape.
    """
    from napari_foundseg.models.loading import load_model

    def poll() -> None:
        if cancelled():
            raise Cancelled("Nothing was learnt; the run was cancelled.")

    progress(0.0, "learning")
    saved = load_model(learn(model.name, [image], [inputs.labels], poll).name, device=model.device)
    plain = cluster.ClusterInputs(index=inputs.index, region=inputs.region)
    shown = settings.model_copy(update={"probe": "linear", "n_clusters": None})
    return cluster.run(image, plain, shown, saved, progress, cancelled)


TASK = Task(
    name="learn_classes",
    title="Learn classes",
    inputs=LearnInputs,
    methods={"stego": cluster.StegoSettings},
    protocols={"stego": "Clustering"},
    function=run,
    slices=slices,
    finds_objects=False,
)
