"""A task with its dock that the tests alone define (`tests.support.toy_task`): no file of the package knows of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from npe2 import DynamicPlugin, PluginManifest
from npe2.manifest.contributions import MenuCommand
from qtpy.QtCore import Qt

from napari_foundseg.batch.recipe import read_recipe
from napari_foundseg.batch.runner import Runner
from napari_foundseg.core.errors import SettingsError
from napari_foundseg.io.readers import read_image
from napari_foundseg.io.writers import write_labels
from napari_foundseg.tasks import TASKS, find_task, register_task
from tests import support
from tests.support import toy_task
from tests.support.mouse import choose
from tests.support.toy_dock import ToyWidget

pytestmark = pytest.mark.gui

SITE = Path(support.__file__).parent / "toy_site"
RECIPE = """\
format: foundseg-recipe 1
inputs:
  paths: [image.tif]
steps:
  - task: toy
    model: {name: foundseg-tiny}
    settings: {level: 0.25}
"""


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The task, registered in this process, and in those that it starts."""
    monkeypatch.setenv("PYTHONPATH", support.python_path(SITE))
    remove = register_task(toy_task.TASK)
    yield toy_task.TASK
    remove()
    assert "toy" not in TASKS


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A file with two bright parts."""
    pixels = np.zeros((40, 50), np.uint16)
    pixels[5:15, 5:15] = 1000
    pixels[20:30, 25:45] = 600
    path = tmp_path / "image.tif"
    write_labels(path, pixels, "YX")
    return path


@pytest.fixture
def plugin() -> Iterator[DynamicPlugin]:
    """The dock in napari's menus, as the manifest of another package puts it there."""
    plugin = DynamicPlugin("toy-plugin", manifest=PluginManifest(name="toy-plugin", display_name="Toys"))
    plugin.contribute.widget(display_name="Toy")(ToyWidget)
    [command] = plugin.manifest.contributions.commands
    plugin.manifest.contributions.menus = {"napari/layers/segment": [MenuCommand(command=command.id)]}
    # The window reads it as it starts; it would otherwise be told as often as there were windows in this process.
    with plugin.plugin_manager.events.plugins_registered.blocked():
        plugin.register()
    yield plugin
    plugin.cleanup()


@pytest.mark.usefixtures("plugin")
def test_its_dock_opens_from_the_menu_and_its_run_in_the_engine_makes_a_labels_layer(
    qtbot: Any, picture: Path, make_napari_viewer: Any
) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.add_image(np.asarray(read_image(picture).raw()), name="parts")
    choose(qtbot, viewer, "Layers", "Segment", "Toy (Toys)")
    qtbot.waitUntil(lambda: "Toy (Toys)" in viewer.window.dock_widgets)
    form = viewer.window.dock_widgets["Toy (Toys)"]
    qtbot.mouseClick(form.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: form.current is None, timeout=120_000)
    assert "toy" in viewer.layers, [message.text() for message in form.messages.values()]
    assert viewer.layers["toy"].data[10, 10] == 1
    assert viewer.layers["toy"].data[25, 30] == 2
    assert "2 objects" in form.result.text()


def test_it_is_a_step_of_a_recipe(tmp_path: Path, picture: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    report = Runner(read_recipe(tmp_path / "recipe.yaml"), tmp_path).run()
    assert report.complete
    [labels] = (tmp_path / "results").glob("*_labels.tif")
    assert np.asarray(read_image(labels).raw()).max() == 2


def test_it_is_a_command(tmp_path: Path, picture: Path) -> None:
    out = tmp_path / "labels.tif"
    program = "from napari_foundseg.cli import main; main()"
    arguments = ["run", "toy", str(picture), "--out", str(out), "--level", "0.8"]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=120)
    assert "1 object" in done.stderr, done.stderr
    assert np.asarray(read_image(out).raw()).max() == 1


def test_a_name_that_is_taken_is_refused(toy: Any) -> None:
    with pytest.raises(SettingsError, match="'toy' already"):
        register_task(toy)
    assert find_task("toy") is toy
