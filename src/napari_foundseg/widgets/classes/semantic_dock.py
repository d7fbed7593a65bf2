"""The dock widget *Semantic*."""

from __future__ import annotations

from napari.viewer import Viewer

from napari_foundseg.tasks import TASKS
from napari_foundseg.widgets.classes.class_form import ClassForm

__all__ = ["SemanticWidget"]


class SemanticWidget(ClassForm):
    """Segment the class of each pixel."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer, TASKS["semantic"])
        self.build()
