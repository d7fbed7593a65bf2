"""The dock widgets *Panoptic* and *Semantic*."""

from __future__ import annotations

from typing import Any

from napari.viewer import Viewer

from napari_foundseg.core.result import Segmentation
from napari_foundseg.tasks import TASKS
from napari_foundseg.tasks.panoptic import derive
from napari_foundseg.widgets.classes.class_form import ClassedForm

__all__ = ["PanopticWidget", "SemanticWidget"]


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
        """Return what makes nuclei anew with the thresholds of the form.

        Parameters
        ----------
        segmentation : Segmentation
            The last result.

        Returns
        -------
        callable or None
            None for methods that keep nothing to make results of.
        """
        settings: Any = self.settings
        made_by = segmentation.provenance.get("settings", {}).get("method")
        if segmentation.maps is None or not made_by == settings.method == "nuclei":
            return None
        return lambda: derive(segmentation, settings)


class SemanticWidget(ClassedForm):
    """The class of each pixel.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer, TASKS["semantic"])
