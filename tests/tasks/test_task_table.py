"""The table of tasks: what is known of them without importing them is what they say themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from napari_foundseg.models.catalog import packaged
from napari_foundseg.tasks import TASKS, Task
from napari_foundseg.tasks.task_models import tasks_for


@pytest.mark.parametrize("name", list(TASKS))
def test_protocols_are_those_of_the_task(name: str) -> None:
    assert isinstance(TASKS[name], Task)
    assert TASKS.protocols(name) == set(TASKS[name].protocols.values())


def test_tasks_of_a_model_are_those_whose_protocols_it_has() -> None:
    for row in packaged().values():
        able = [name for name, task in TASKS.items() if not set(row.protocols).isdisjoint(task.protocols.values())]
        assert list(tasks_for(row)) == able


def test_a_list_of_models_needs_neither_arrays_nor_what_draws_progress(tmp_path: Path) -> None:
    # An imported model is asked for its state by the module of its family.
    environment = {**os.environ, "FOUNDSEG_CACHE": str(tmp_path), "HF_HUB_CACHE": str(tmp_path / "hub")}
    code = (
        "import sys; sys.argv = ['napari-foundseg', 'models', 'list']\n"
        "from napari_foundseg.cli import app\n"
        "app(standalone_mode=False)\n"
        "print({'numpy', 'scipy', 'pandas', 'torch', 'rich', 'psutil'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert "foundseg-tiny" in done.stdout
    assert done.stderr.splitlines()[-1] == "set()"
