"""What a person runs: one module a task, and the table through which everything else knows them."""

from __future__ import annotations

from napari_foundseg.tasks import (
    automatic,
    cluster,
    encode,
    feature_view,
    fit,
    name_masks,
    panoptic,
    prompt,
    save_clusters,
    semantic,
    text,
)
from napari_foundseg.tasks.settings import Inputs, Progress, Settings, Task

__all__ = ["FITS", "TASKS", "Inputs", "Progress", "Settings", "Task"]

_ALL = (automatic.TASK, prompt.TASK, text.TASK, panoptic.TASK, semantic.TASK, name_masks.TASK, cluster.TASK)
TASKS: dict[str, Task] = {task.name: task for task in _ALL}
#: What the engine runs as it runs tasks, but what is no step of a recipe: it makes models, shows what they see, or
#: prepares for clicks.
FITS: dict[str, Task] = {task.name: task for task in (fit.TASK, save_clusters.TASK, feature_view.TASK, encode.TASK)}
