"""What a person runs: one module a task, and the table through which everything else knows them."""

from __future__ import annotations

from napari_foundseg.tasks import automatic, panoptic, prompt, semantic
from napari_foundseg.tasks.settings import Inputs, Progress, Settings, Task

__all__ = ["TASKS", "Inputs", "Progress", "Settings", "Task"]

TASKS: dict[str, Task] = {task.name: task for task in (automatic.TASK, prompt.TASK, panoptic.TASK, semantic.TASK)}
