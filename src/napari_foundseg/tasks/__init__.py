"""What a person runs: one module a task, and the table through which everything else knows them."""

from __future__ import annotations

from napari_foundseg.tasks import automatic, name_masks, panoptic, prompt, semantic, text
from napari_foundseg.tasks.settings import Inputs, Progress, Settings, Task

__all__ = ["TASKS", "Inputs", "Progress", "Settings", "Task"]

_ALL = (automatic.TASK, prompt.TASK, text.TASK, panoptic.TASK, semantic.TASK, name_masks.TASK)
TASKS: dict[str, Task] = {task.name: task for task in _ALL}
