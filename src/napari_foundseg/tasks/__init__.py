"""What a person runs: one module a task, and the table through which everything else knows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module

from napari_foundseg.tasks.settings import Inputs, Progress, Settings, Task

__all__ = ["FITS", "TASKS", "Inputs", "Progress", "Settings", "Task"]


class _Tasks(Mapping[str, Task]):
    """Tasks by name; a task's module is imported when it is first asked for, since a form needs no other."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        self._modules = modules

    def __getitem__(self, name: str) -> Task:
        task: Task = import_module(f"{__name__}.{self._modules[name]}").TASK
        return task

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)

    def __or__(self, others: _Tasks) -> _Tasks:
        return _Tasks({**self._modules, **others._modules})


TASKS = _Tasks(
    {name: name for name in ("automatic", "prompt", "text", "panoptic", "semantic", "name_masks", "cluster")}
)
_SAME = ("save_clusters", "learn_classes", "encode")
#: What the engine runs as it runs tasks, but what is no step of a recipe: it makes models, shows what they see, or
#: prepares for clicks.
FITS = _Tasks({"fit_stego": "fit", "features": "feature_view", **{name: name for name in _SAME}})
