"""Comparison of clusters with the user's labels, and learning of classes from such labels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import Signal  # type: ignore[attr-defined] # qtpy adds it
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_foundseg.core.arrays import in_memory
from napari_foundseg.core.clusters.cluster_matching import ClusterMatching, match_clusters
from napari_foundseg.core.labels import label_dtype
from napari_foundseg.widgets.controls.layer_choice import LayerChoice
from napari_foundseg.widgets.controls.rows import labelled_row, side_by_side, wrapping_label
from napari_foundseg.widgets.layers.marks import labels_on_slice
from napari_foundseg.widgets.qt.numpy_thread import NumpyThread

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from numpy.typing import NDArray

    from napari_foundseg.widgets.layers.image_on_layer import ImageOnLayer

__all__ = ["ReferencePanel", "painted_over"]


class ReferencePanel(QWidget):
    """A choice of labels, and the buttons *Match* and *Learn*."""

    #: The user wants to compare the clusters with the chosen labels.
    match_asked = Signal()
    #: The user wants to learn the classes of the chosen labels.
    learn_asked = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._latest = NumpyThread()
        self._latest.done.connect(self._show_match)
        self._name_of: Callable[[int], str] = str
        self.choice = LayerChoice(
            viewer, Labels, "A Labels layer of classes, to compare the clusters with or to learn from.", follow=False
        )
        self.choice.combo.setAccessibleName("Labels of classes")
        self.match_button = QPushButton("Match")
        self.match_button.setToolTip(
            "Compare the clusters with these labels: best one-to-one match (Hungarian method). Label 0 is a class too."
        )
        self.match_button.clicked.connect(self.match_asked)
        self.learn_button = QPushButton("Learn")
        self.learn_button.setToolTip(
            "Learn the classes of these labels from the model's features (linear probe). One stroke a class is enough."
        )
        self.learn_button.clicked.connect(self.learn_asked)
        self.words = wrapping_label("")
        self.words.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(labelled_row("Labels", self.choice))
        layout.addWidget(side_by_side(self.match_button, self.learn_button))
        layout.addWidget(self.words)

    def compare(self, clusters: NDArray[Any], name_of: Callable[[int], str]) -> None:
        """Match the clusters to the chosen labels in a background thread, and show the scores.

        Parameters
        ----------
        clusters : ndarray of int
            The pixels of the cluster layer; slices without clusters are ignored.
        name_of : callable
            Returns the name of a cluster, given its number.
        """
        reference = self.choice.layer
        if reference is None:
            self.say("There is no other Labels layer. Open or paint one.")
            return
        given = reference.data[0] if reference.multiscale else reference.data
        if clusters.shape != tuple(given.shape):
            self.say(f"The labels have shape {tuple(given.shape)}, the clusters {clusters.shape}; they must be equal.")
            return
        self._name_of = name_of
        self._latest.ask(partial(_match_slices, clusters, given))

    def say(self, words: str) -> None:
        """Show a text below the buttons; hide it if empty."""
        self.words.setText(words)
        self.words.setVisible(bool(words))

    def release(self) -> None:
        """Disconnect from the viewer."""
        self.choice.disconnect_viewer()

    def _show_match(self, number: int, found: ClusterMatching | Exception) -> None:
        if number != self._latest.number:
            return
        if isinstance(found, Exception):
            self.say(str(found))
            return
        pairs = ", ".join(f"{self._name_of(cluster)} = {label}" for cluster, label in sorted(found.pairs.items()))
        self.say(f"Accuracy {found.accuracy:.3f}, mIoU {found.mean_iou:.3f} ({pairs})")


def painted_over(labels: Labels, target: ImageOnLayer, indices: list[tuple[int, ...]]) -> NDArray[Any]:
    """Return the labels under the pixels of some slices of an image.

    Returns
    -------
    ndarray of int
        In the image's shape without channels; 0 on all other slices.
    """
    image = target.image
    found = {index: labels_on_slice(labels, target, index) for index in indices}
    most = max((int(part[1].max()) for part in found.values() if part is not None), default=0)
    out = np.zeros(image.shape, label_dtype(most))
    for index, part in found.items():
        if part is not None:
            (y, x), ids = part
            image.plane_view(out, index)[y : y + ids.shape[0], x : x + ids.shape[1]] = ids
    return out


def _match_slices(clusters: NDArray[Any], given: Any) -> ClusterMatching:
    """Match only on slices that have clusters."""
    planes = clusters.reshape(-1, *clusters.shape[-2:])
    seen = planes.any((1, 2))
    return match_clusters(planes[seen], in_memory(given).reshape(planes.shape)[seen])
