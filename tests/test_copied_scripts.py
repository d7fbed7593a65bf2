"""Scripts that *Copy as Python* writes, now and in the version before: they run, and what they import is public."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
from skimage.io import imread

import napari_foundseg as fs
from napari_foundseg.io.samples import sample
from napari_foundseg.tasks import TASKS
from napari_foundseg.tasks.run_request import RunRequest
from napari_foundseg.widgets.runs.python_text import as_python

OLD_SCRIPTS = sorted((Path(__file__).parent / "data" / "version_0_1" / "scripts").glob("*.py"))
#: Imports of the version before, and what to write now.
NEW_NAMES = {
    "from napari_foundseg.api import run": "fs.run",
    "from napari_foundseg.io import read_image": "fs.read_image",
    "from napari_foundseg.core.levels import Level": "fs.Level",
    "from napari_foundseg.core.normalisation import CTWindow": "fs.CTWindow",
    "from napari_foundseg.core.normalisation import Limits": "fs.Limits",
    "from napari_foundseg.core.normalisation import Percentile": "fs.Percentile",
}


@pytest.fixture
def cells() -> np.ndarray[Any, Any]:
    return imread(sample("nuclei"))[:90, :100]


def run_script(text: str, cells: np.ndarray[Any, Any]) -> fs.Segmentation:
    """Run a script beside a viewer with one layer, a pyramid where the script looks at a level."""
    data = [cells, cells[::2, ::2]] if "Level" in text else cells
    names: dict[str, Any] = {"viewer": SimpleNamespace(layers={"cells": SimpleNamespace(data=data)})}
    exec(text, names)
    return names["seg"]


@pytest.mark.parametrize("path", OLD_SCRIPTS, ids=lambda path: path.stem)
def test_a_script_of_the_version_before_runs_and_names_what_to_write_now(
    path: Path, cells: np.ndarray[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("cells.tif", cells)
    text = path.read_text()
    imports = [line for line in text.splitlines() if line.startswith("from ")]
    with pytest.warns(DeprecationWarning, match="napari_foundseg") as warned:
        old = run_script(text, cells)
    assert {NEW_NAMES[line] for line in imports} == {
        re.search(r"and `(fs\.\w+)`", str(w.message))[1]  # type: ignore[index]
        for w in warned
        if w.category is DeprecationWarning
    }
    # The same script as it is written now, with warnings as errors.
    now = re.sub(r"^from .*\n", "", text, flags=re.MULTILINE)
    now = re.sub(r"\b(run|read_image|Level|CTWindow|Limits|Percentile)\(", r"fs.\1(", now)
    new = run_script(now, cells)
    assert old.labels.any()
    np.testing.assert_array_equal(old.labels, new.labels)


def written() -> dict[str, str]:
    """Copied scripts with everything that can be in one."""
    cells = imread(sample("nuclei"))[:90, :100]
    pyramid = fs.Image([cells, cells[::2, ::2]])
    images = {
        "percentiles": fs.Image(cells, normalisation=fs.Percentile(low=1)),
        "limits": fs.Image(cells, normalisation=fs.Limits(low=10, high=200)),
        "ct": fs.Image(cells, normalisation=fs.CTWindow(level=100, width=180)),
        "file": fs.Image(cells, source="cells.tif"),
        "colour": fs.Image(np.stack([cells] * 3, -1)),
    }
    row = TASKS["automatic"]
    plain = row.settings("decoder", {})
    texts = {
        name: as_python(RunRequest("automatic", image, row.inputs(), plain, "foundseg-tiny"), "cells")
        for name, image in images.items()
    }
    texts["level"] = as_python(
        RunRequest("automatic", pyramid, row.inputs(), plain, "foundseg-tiny", fs.Level(pyramid, 1)), "cells"
    )
    prompt = TASKS["prompt"]
    inputs = prompt.inputs.parse({"prompts": [fs.Prompt([(40, 60)]), fs.Prompt(mask=cells > 100)]})
    request = RunRequest("prompt", fs.Image(cells), inputs, prompt.settings("sam", {}), "foundseg-tiny")
    texts["prompt"] = as_python(request, "cells")
    return texts


@pytest.mark.parametrize(("name", "text"), written().items())
def test_a_copied_script_imports_only_the_package_and_uses_only_public_names(name: str, text: str) -> None:
    assert [line for line in text.splitlines() if "import " in line] == ["import napari_foundseg as fs"]
    used = set(re.findall(r"\bfs\.(\w+)", text))
    assert {"Image", "run"} <= used <= set(fs.__all__)
    own = {"napari_foundseg", "fs", "image", "seg", "level", "viewer", "layers", "data", "result", "from_json"}
    assert set(compile(text, name, "exec").co_names) <= own | set(fs.__all__)


def test_every_public_name_is_there_and_has_a_docstring() -> None:
    for name in fs.__all__:
        assert (getattr(fs, name).__doc__ or "").strip(), name


@pytest.mark.parametrize("name", ["level", "limits", "file", "prompt"])
def test_a_copied_script_runs(
    name: str, cells: np.ndarray[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("cells.tif", cells)
    seg = run_script(written()[name], cells)
    assert seg.labels.shape == cells.shape
    assert seg.labels.any()
