"""A linear probe: classes learnt from a few labelled pixels, on the codes of a fitted model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_foundseg.core.clusters.clusters import Clusters
from napari_foundseg.core.errors import AxesError, SettingsError
from napari_foundseg.core.image import Image
from napari_foundseg.core.labels import plane_view
from napari_foundseg.models.catalog import CatalogRow, models_folder, row
from napari_foundseg.models.protocols.objects import Clustering, SavableClustering
from napari_foundseg.models.row_defaults import expected_normalisation
from napari_foundseg.tasks.windows import tiling
from napari_foundseg.tasks.windows.features import enlarged, feature_windows, features_of

__all__ = ["fitted_probe", "learn"]

#: Approximate number of pixels of one class that are used from one window.
_MOST = 2000


def learn(
    name: str, images: Sequence[Image], labels: Sequence[Any], poll: Callable[[], None] = lambda: None
) -> CatalogRow:
    """Learn classes from labels and save them with a fitted model.

    Parameters
    ----------
    name : str
        Name of the model.
    images : sequence of Image
        Images.
    labels : sequence of array-like
        Labels of each image, of its shape; 0 where nothing is painted.
    poll : callable
        Called before each window; may raise to stop.

    Returns
    -------
    CatalogRow
        The model's new row.

    Raises
    ------
    SettingsError
        If fewer than two classes are labelled, or the model was not fitted here.
    AxesError
        If labels do not have the shape of their image.
    """
    from napari_foundseg.models.loading import load_model
    from napari_foundseg.tasks.side_tasks.fit_files import register

    known = row(name)
    folder = models_folder() / known.file
    if known.family != "stego" or not folder.is_dir():
        raise SettingsError(f"{name} was not fitted here, so it cannot learn classes; fit a model first.")
    model: SavableClustering = load_model(name)
    expected = expected_normalisation(known)
    codes, classes = _labelled(model, [image.seen_as(expected) for image in images], labels, poll)
    probe = fitted_probe(codes, classes)
    model.save_as(folder, linear=probe)
    return register(name, folder)


def fitted_probe(codes: NDArray[Any], classes: NDArray[Any]) -> Clusters:
    """Fit a linear classifier to labelled codes (multinomial logistic regression, as STEGO's linear probe).

    Parameters
    ----------
    codes : (n, dim) ndarray of float
        Codes.
    classes : (n,) ndarray of int
        Class of each code.

    Returns
    -------
    Clusters
        Classes 1 to k in the order of the labels, named after them.

    Raises
    ------
    SettingsError
        If there are fewer than two classes.
    """
    from sklearn.linear_model import LogisticRegression

    found = np.unique(classes)
    if len(found) < 2:
        got = f"only class {found[0]}" if len(found) else "none"
        raise SettingsError(
            f"A linear probe learns to tell two or more classes apart; {got} is labelled. Paint another."
        )
    model = LogisticRegression(max_iter=500, class_weight="balanced").fit(codes, classes)
    weights = model.coef_
    offset = model.intercept_
    if len(found) == 2:
        weights = np.concatenate([-weights, weights]) / 2
        offset = np.concatenate([-offset, offset]) / 2
    return Clusters.linear(weights, offset, [f"class {number}" for number in found])


def _labelled(
    model: Clustering, images: Sequence[Image], labels: Sequence[Any], poll: Callable[[], None]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return codes of labelled pixels, (n, dim), and their classes, (n,), limited in number per class and window."""
    if len(images) != len(labels):
        raise SettingsError(f"There are {len(images)} images and {len(labels)} label images; give one for each.")
    codes = []
    classes = [np.empty(0, np.int64)]
    for image, given in zip(images, labels, strict=True):
        whole = np.asarray(given)
        if whole.shape != image.shape:
            raise AxesError(f"The labels have shape {whole.shape}, their image {image.shape}; they must be equal.")
        for part, maps in _labelled_windows(model, image, whole, poll):
            for number in np.unique(part[part > 0]):
                own = maps[:, part == number].T
                own = own[:: max(1, len(own) // _MOST)]
                codes.append(own)
                classes.append(np.full(len(own), number, np.int64))
    return np.concatenate(codes) if codes else np.empty((0, 1), np.float32), np.concatenate(classes)


def _labelled_windows(
    model: Clustering, image: Image, labels: NDArray[Any], poll: Callable[[], None]
) -> Iterator[tuple[NDArray[Any], NDArray[np.float32]]]:
    """Yield the labels, (M, N), and the codes, (dim, M, N), of each window that has labels."""
    for index in image.indices():
        plane = plane_view(labels, image.label_axes, index)
        for box, core in feature_windows(image.plane_shape, model):
            part = tiling.part(plane, core)
            if not part.any():
                continue
            poll()
            found = features_of(model, image.rgb(index, box))
            size = (box[2] - box[0] + 1, box[3] - box[1] + 1)
            yield part, tiling.part(enlarged(found, model, size), core, box[:2])
