"""The tasks, one module each, and the tables in which the engine, forms, recipes and the command line find them.

To add a task, write a module here that defines ``TASK`` and add its name to ``TASKS``. Other parts of the package learn
about a task only from its `Task` and from methods of its inputs and settings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari_foundseg.core.errors import SettingsError

if TYPE_CHECKING:
    from napari_foundseg.tasks.settings import Inputs, Progress, Settings, Task

__all__ = ["SIDE_TASKS", "TASKS", "Inputs", "Progress", "Settings", "Task", "find_task", "register_task"]


def __getattr__(name: str) -> Any:
    """Import the types of tasks, and NumPy with them, on first use: a list of models needs none of them."""
    if name in ("Inputs", "Progress", "Settings", "Task"):
        return getattr(import_module(f"{__name__}.settings"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Tasks(MutableMapping[str, "Task"]):
    """Tasks by name. The module of a task is imported on first access, so that opening one form loads no other task."""

    def __init__(self, tasks: Mapping[str, Task | str]) -> None:
        self._tasks = dict(tasks)

    def __getitem__(self, name: str) -> Task:
        entry = self._tasks[name]
        task: Task = import_module(f"{__name__}.{entry}").TASK if isinstance(entry, str) else entry
        return task

    def protocols(self, name: str) -> frozenset[str]:
        """Return the protocols of a task, one of which its model must have; most tasks are not imported for this."""
        if isinstance(self._tasks[name], str) and name in _PROTOCOLS:
            return _PROTOCOLS[name]
        return frozenset(self[name].protocols.values())

    def __setitem__(self, name: str, task: Task) -> None:
        self._tasks[name] = task

    def __delitem__(self, name: str) -> None:
        del self._tasks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)


#: Protocols of the tasks, so that a list of models need not import the tasks; a test compares them with the tasks.
_PROTOCOLS = {
    "automatic": frozenset({"FlowDecoding", "InstanceDecoding", "PointGrid"}),
    "prompt": frozenset({"Promptable"}),
    "find_similar": frozenset({"ConceptMasks", "ExampleBoxes", "FeatureExtractor"}),
    "propagate": frozenset({"Promptable", "PromptableVolume", "Propagating"}),
    "text": frozenset({"ConceptMasks", "Grounded", "TextMaps"}),
    "panoptic": frozenset({"CentreOffsets", "InstanceMasks", "NucleusDecoding", "PanopticSegments"}),
    "semantic": frozenset({"SemanticClasses"}),
    "name_masks": frozenset({"RegionText", "TextImage"}),
    "cluster": frozenset({"Clustering", "FeatureExtractor"}),
}
#: Tasks that a user runs, by name, in the order of the menus. Each is a form, a recipe step and a command.
TASKS = _Tasks(
    {
        name: name
        for name in (
            "automatic",
            "prompt",
            "find_similar",
            "propagate",
            "text",
            "panoptic",
            "semantic",
            "name_masks",
            "cluster",
        )
    }
)
#: Work that the engine runs like a task but that is not a recipe step: it makes models, shows their features, or
#: encodes images in advance.
SIDE_TASKS = _Tasks(
    {
        "features": "side_tasks.feature_view",
        "fit_stego": "side_tasks.fit_stego",
        "save_clusters": "side_tasks.save_clusters",
        "learn_classes": "side_tasks.learn_classes",
        "encode": "side_tasks.encode",
        "split": "side_tasks.split_object",
    }
)


def find_task(name: str) -> Task:
    """Return a task or side task.

    Parameters
    ----------
    name : str
        A key of `TASKS` or `SIDE_TASKS`.

    Returns
    -------
    Task
        The task or side task.

    Raises
    ------
    SettingsError
        If there is no such task.
    """
    for table in (TASKS, SIDE_TASKS):
        if name in table:
            return table[name]
    raise SettingsError(f"There is no task {name!r}; choose one of {', '.join(TASKS)}.")


def register_task(task: Task, table: MutableMapping[str, Task] = TASKS) -> Callable[[], None]:
    """Add a task that another package or a test defines.

    Forms, recipes and the command line of this process can use it from then on. The engine and the workers of a batch
    are other processes, which must register it too.

    Parameters
    ----------
    task : Task
        The task.
    table : mapping
        `TASKS`, or `SIDE_TASKS` for work that is not a step of a recipe.

    Returns
    -------
    callable
        Removes the task again; takes no arguments.

    Raises
    ------
    SettingsError
        If there is a task of this name already.
    """
    if task.name in TASKS or task.name in SIDE_TASKS:
        raise SettingsError(f"There is a task {task.name!r} already; give the new one another name.")
    table[task.name] = task

    def remove() -> None:
        table.pop(task.name, None)

    return remove
