"""The dock widget *Semantic*."""

from __future__ import annotations

from napari.viewer import Viewer

from napari_foundseg.tasks import TASKS
from napari_foundseg.widgets.classes.class_form import ClassedForm

__all__ = ["SemanticWidget"]


class SemanticWidget(ClassedForm):
    """The class of each pixel.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer, TASKS["semantic"])
