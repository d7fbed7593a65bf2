"""What is seen is what is segmented: the channel in view is the channel that is used, and the form says which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_foundseg.batch.recipe import Recipe
from napari_foundseg.batch.request import BatchRequest
from napari_foundseg.io.image_layers import CHANNEL_NAMES
from napari_foundseg.models.loading import load_model
from napari_foundseg.tasks import TASKS
from napari_foundseg.widgets.automatic.automatic_dock import AutomaticWidget
from napari_foundseg.widgets.batch.batch_dock import BatchWidget
from napari_foundseg.widgets.classes.semantic_dock import SemanticWidget
from napari_foundseg.widgets.classes.text_dock import TextWidget
from napari_foundseg.widgets.cluster.cluster_dock import ClusterWidget
from napari_foundseg.widgets.prompt.prompt_dock import PromptWidget
from napari_foundseg.widgets.worklist.worklist_dock import WorklistWidget

pytestmark = pytest.mark.gui

NAMES = ["GFP", "DAPI", "RFP"]


def pixels(count: int = 3) -> np.ndarray[Any, Any]:
    """Channels of which each has one bright disc, further right from channel to channel."""
    planes = np.full((count, 64, 96), 100, np.uint16)
    for channel in range(count):
        planes[channel, 20:40, 8 + 28 * channel : 28 + 28 * channel] = 2000
    return planes


@pytest.fixture
def cells(viewer: Any) -> Any:
    layer = viewer.add_image(pixels(), name="cells", axis_labels=["c", "y", "x"])
    layer.metadata[CHANNEL_NAMES] = NAMES
    return layer


def docked(viewer: Any, kind: type) -> Any:
    form = kind(viewer)
    viewer.window.add_dock_widget(form, name=kind.__name__)
    return form


def click(qtbot: Any, button: Any) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def choose(form: Any, text: str) -> None:
    combo = form.image.channel.combo
    at = combo.findText(text)
    assert at >= 0, [combo.itemText(i) for i in range(combo.count())]
    combo.setCurrentIndex(at)
    combo.activated.emit(at)


@pytest.mark.usefixtures("cells")
def test_a_run_uses_the_channel_in_view(qtbot: Any, viewer: Any, engine: Any) -> None:
    form = docked(viewer, AutomaticWidget)
    combo = form.image.channel.combo
    qtbot.waitUntil(combo.isVisible)
    assert combo.currentText() == "Channel shown: DAPI (2 of 3)", "napari opens on the middle channel"
    click(qtbot, form.run_button)
    seen = engine.jobs[0].request.image
    assert seen.channels == (1,)
    assert np.array_equal(seen.raw(), pixels()[1])
    assert seen.channel_choice == "channel 2 of 3 (DAPI)"
    viewer.dims.set_current_step(0, 2)
    assert combo.currentText() == "Channel shown: RFP (3 of 3)"
    assert engine.jobs[0].request.image.channels == (1,), "the run goes on with the channel that it began with"
    click(qtbot, form.cancel_button)
    click(qtbot, form.run_button)
    assert engine.jobs[-1].request.image.channels == (2,)


@pytest.mark.usefixtures("cells")
def test_another_channel_can_be_pinned_and_several_typed(qtbot: Any, viewer: Any, engine: Any) -> None:
    form = docked(viewer, AutomaticWidget)
    choose(form, "Channel: GFP (1 of 3)")
    viewer.dims.set_current_step(0, 2)
    assert form.image.image().channels == (0,)
    choose(form, "Several channels…")
    text = form.image.channel.text
    qtbot.waitUntil(text.isVisible)
    text.setFocus()
    qtbot.keyClicks(text, "rfp, 0")
    assert form.image.image().channels == (2, 0)
    text.clear()
    qtbot.keyClicks(text, "YFP")
    click(qtbot, form.run_button)
    assert not engine.jobs
    assert "'GFP', 'DAPI', 'RFP'" in form.messages["image"].text()


@pytest.mark.parametrize("kind", [AutomaticWidget, PromptWidget, TextWidget, SemanticWidget, ClusterWidget])
@pytest.mark.usefixtures("engine", "cells")
def test_every_form_follows_the_slider(viewer: Any, kind: type) -> None:
    form = docked(viewer, kind)
    for step in (0, 2, 1):
        viewer.dims.set_current_step(0, step)
        assert form.image.image().channels == (step,)
        assert form.image.channel.combo.currentText() == f"Channel shown: {NAMES[step]} ({step + 1} of 3)"


def test_stacks_scaled_layers_and_turned_views(viewer: Any, engine: Any) -> None:
    stack = np.stack([pixels(2)] * 4, 1)
    layer = viewer.add_image(stack, axis_labels=["c", "z", "y", "x"], scale=(5, 3, 0.5, 0.5), translate=(7, 1, 0, 0))
    form = docked(viewer, AutomaticWidget)
    for channel in (0, 1):
        viewer.dims.set_point(0, 7 + 5 * channel)
        assert form.image.image().channels == (channel,)
        assert form.image.channel.combo.currentText() == f"Channel shown: {channel + 1} of 2"
    viewer.dims.ndisplay = 3
    assert form.image.image().channels == (1,), "the slider of the channels is there in 3-D, too"
    viewer.dims.ndisplay = 2
    viewer.dims.order = (1, 0, 2, 3)
    assert form.image.image().channels == (1,)
    layer.axis_labels = ["t", "z", "y", "x"]
    assert not form.image.channel.isVisible()
    assert form.image.image().axes == "TZYX"


@pytest.mark.usefixtures("engine")
def test_rgb_and_grey_layers_have_no_channels_to_choose(viewer: Any) -> None:
    form = docked(viewer, AutomaticWidget)
    viewer.add_image(np.zeros((32, 40, 3), np.uint8), rgb=True)
    assert not form.image.channel.isVisible()
    assert form.image.image().channels == (0, 1, 2)
    viewer.add_image(pixels()[0])
    assert not form.image.channel.isVisible()
    viewer.add_image(pixels(), channel_axis=0, name=NAMES)
    assert form.image.image().axes == "YX"
    assert not form.image.channel.isVisible(), "napari has made a layer of each channel"


@pytest.mark.usefixtures("cells")
def test_what_is_copied_names_the_channel(qtbot: Any, viewer: Any, engine: Any, tmp_path: Path, scene: Any) -> None:
    path = tmp_path / "cells.ome.tif"
    tifffile.imwrite(path, pixels(), metadata={"axes": "CYX", "Channel": {"Name": NAMES}})
    viewer.layers.clear()
    (layer,) = viewer.open(path, plugin="napari")
    layer.axis_labels = ["c", "y", "x"]
    form = docked(viewer, AutomaticWidget)
    viewer.dims.set_current_step(0, 0)
    click(qtbot, form.run_button)
    clipboard = QApplication.clipboard()
    click(qtbot, form.last_run.python_button)
    assert "channels=(0,)" in clipboard.text()
    click(qtbot, form.last_run.command_button)
    assert "--channels 0" in clipboard.text()
    assert form.last_run.record.as_recipe(tmp_path).inputs.channels == (0,)


def test_live_clicks_move_with_the_channel(qtbot: Any, viewer: Any, engine: Any, canvas: Any, cells: Any) -> None:
    form = docked(viewer, PromptWidget)
    click(qtbot, form.run_button)
    form.session.points.add([[30, 46]])
    qtbot.waitUntil(lambda: bool(engine.jobs))
    assert engine.jobs[-1].request.image.channels == (1,)
    viewer.dims.set_current_step(0, 2)
    qtbot.waitUntil(lambda: engine.jobs[-1].request.image.channels == (2,))
    assert len(engine.jobs[-1].request.inputs.prompts) == 1
    choose(form, "Channel: GFP (1 of 3)")
    qtbot.waitUntil(lambda: engine.jobs[-1].request.image.channels == (0,))


def test_a_worklist_opens_on_one_channel_and_stays_on_the_chosen(
    qtbot: Any, viewer: Any, engine: Any, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        path = tmp_path / f"{name}.ome.tif"
        tifffile.imwrite(path, pixels(), metadata={"axes": "CYX", "Channel": {"Name": NAMES}})
    worklist = docked(viewer, WorklistWidget)
    worklist.ask_folder = lambda _title: str(tmp_path)
    click(qtbot, worklist.folder_button)
    qtbot.waitUntil(lambda: not worklist.session.busy)
    form = docked(viewer, AutomaticWidget)
    worklist.session.open(0)
    qtbot.waitUntil(lambda: not worklist.session.busy)
    assert form.image.channel.combo.currentText() == "Channel shown: GFP (1 of 3)"
    assert form.image.image().channels == (0,)
    viewer.dims.set_current_step(0, 1)
    worklist.session.open(1)
    qtbot.waitUntil(lambda: not worklist.session.busy)
    assert viewer.dims.current_step[0] == 1
    assert form.image.channel.combo.currentText() == "Channel shown: DAPI (2 of 3)"
    assert form.image.image().channels == (1,)


@pytest.mark.usefixtures("cells")
def test_a_batch_over_layers_uses_the_channels_in_view(viewer: Any, engine: Any, tmp_path: Path) -> None:
    recipe = Recipe.model_validate(
        {"inputs": {"paths": ["x.tif"]}, "steps": [{"task": "automatic", "model": {"name": "foundseg-tiny"}}]}
    )
    viewer.dims.set_current_step(0, 2)
    form = docked(viewer, BatchWidget)
    form.choose_layers()
    layers = form.session.request.layers
    assert [image.channels for _, image in layers] == [(2,)]
    request = BatchRequest(recipe, tmp_path, layers=layers, out=tmp_path / "out").with_layers_saved()
    assert request.chosen_recipe().inputs.channels == (2,)
    grey = viewer.add_image(pixels()[0], name="grey")
    form.choose_layers()
    assert grey in viewer.layers
    mixed = BatchRequest(recipe, tmp_path, layers=form.session.request.layers, out=tmp_path / "two").with_layers_saved()
    assert mixed.chosen_recipe().inputs.channels is None
    saved = [tifffile.imread(path) for path in mixed.paths]
    assert np.array_equal(saved[0], pixels()[2])
    assert np.array_equal(saved[1], pixels()[0])


def stack_of_balls() -> np.ndarray[Any, Any]:
    """Two balls in six slices."""
    z, y, x = np.indices((6, 96, 128))
    stack = np.full(z.shape, 20, np.uint8)
    for row, column in ((40, 35), (55, 90)):
        stack[((z - 2.5) * 5) ** 2 + (y - row) ** 2 + (x - column) ** 2 < 15**2] = 180
    return stack


def test_objects_of_a_stack_are_linked_and_the_form_says_so(qtbot: Any, viewer: Any, engine: Any) -> None:
    def run(job: Any) -> Any:
        task = TASKS[job.request.task]
        return task.run(job.request.image, job.request.inputs, job.request.settings, load_model("foundseg-tiny"))

    engine.answer = run
    viewer.add_image(stack_of_balls(), name="balls")
    form = docked(viewer, AutomaticWidget)
    link = form.forms["decoder"]._controls["link"]
    qtbot.waitUntil(link.native.isVisible)
    click(qtbot, form.run_button)
    qtbot.waitUntil(lambda: "balls masks" in viewer.layers)
    assert form.result.text().startswith("2 objects in 6 slices, linked")
    labels = viewer.layers["balls masks"]
    assert labels.data[2, 40, 35] == labels.data[3, 40, 35] != labels.data[2, 55, 90]
    choose_text(link.native, "none")
    qtbot.waitUntil(lambda: "not linked" in form.result.text())
    assert labels.data[2, 40, 35] != labels.data[3, 40, 35]
    choose_text(link.native, "overlap")
    qtbot.waitUntil(lambda: form.result.text().startswith("2 objects in 6 slices, linked"))


def choose_text(combo: Any, text: str) -> None:
    combo.setCurrentIndex(combo.findText(text))
