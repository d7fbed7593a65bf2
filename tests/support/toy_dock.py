"""The form of the toy task."""

from __future__ import annotations

from typing import Any

from napari.viewer import Viewer

from napari_foundseg.tasks import TASKS
from napari_foundseg.widgets.forms.task_form import TaskForm
from napari_foundseg.widgets.layers.result_layers import add_labels


class ToyWidget(TaskForm):
    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer, TASKS["toy"])
        self.build()

    def inputs(self, target: Any) -> Any:  # noqa: ARG002
        return self.task.inputs()

    def show_result(self, target: Any, run: Any, segmentation: Any, seconds: float) -> str:  # noqa: ARG002
        add_labels(self.viewer, target, segmentation, "toy")
        return f"{len(segmentation)} objects"
