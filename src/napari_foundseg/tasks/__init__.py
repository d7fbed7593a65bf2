"""What a person runs: one module a task, and the table through which everything else knows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module

from napari_foundseg.tasks.settings import Inputs, Progress, Settings, Task

__all__ = ["FITS", "TASKS", "Inputs", "Progress", "Settings", "Task"]


class _Tasks(MutableMapping[str, Task]):
    """Tasks by name; a task's module is imported when it is first asked for, since a form needs no other."""

    def __init__(self, known: Mapping[str, Task | str]) -> None:
        self._known = dict(known)

    def __getitem__(self, name: str) -> Task:
        known = self._known[name]
        task: Task = import_module(f"{__name__}.{known}").TASK if isinstance(known, str) else known
        return task

    def __setitem__(self, name: str, task: Task) -> None:
        self._known[name] = task

    def __delitem__(self, name: str) -> None:
        del self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def __or__(self, others: _Tasks) -> _Tasks:
        return _Tasks({**self._known, **others._known})


TASKS = _Tasks(
    {name: name for name in ("automatic", "prompt", "text", "panoptic", "semantic", "name_masks", "cluster")}
)
_SAME = ("fit_stego", "save_clusters", "learn_classes", "encode")
#: What the engine runs as it runs tasks, but what is no step of a recipe: it makes models, shows what they see, or
#: prepares for clicks.
FITS = _Tasks({"features": "side_tasks.feature_view", **{name: f"side_tasks.{name}" for name in _SAME}})
