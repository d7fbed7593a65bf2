"""The dock widget *Panoptic*."""

from __future__ import annotations

from typing import Any

from napari.viewer import Viewer

from napari_foundseg.core.result import Segmentation
from napari_foundseg.tasks import TASKS
from napari_foundseg.tasks.panoptic import derive
from napari_foundseg.widgets.classes.class_form import ClassedForm

__all__ = ["PanopticWidget"]


class PanopticWidget(ClassedForm):
    """Things and stuff.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer, TASKS["panoptic"])

    def derived(self, segmentation: Segmentation) -> Any:
        """Return a function that makes the nuclei again with the form's thresholds; None for methods without maps."""
        settings: Any = self.settings
        made_by = segmentation.provenance.get("settings", {}).get("method")
        if segmentation.maps is None or not made_by == settings.method == "nuclei":
            return None
        return lambda: derive(segmentation, settings)
