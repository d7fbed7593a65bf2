"""The colours of an RGB layer: the form says what they are and which one is used, and offers the others by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from scipy import ndimage

from napari_foundseg.models.loading import load_model
from napari_foundseg.tasks import TASKS
from napari_foundseg.widgets.automatic.automatic_dock import AutomaticWidget
from napari_foundseg.widgets.classes.semantic_dock import SemanticWidget
from napari_foundseg.widgets.prompt.prompt_dock import PromptWidget

pytestmark = pytest.mark.gui

CENTRES = [(40, 40), (45, 110), (100, 70), (110, 150), (60, 170)]


def discs(radius: int, value: int, centres: list[tuple[int, int]] = CENTRES) -> NDArray[np.float64]:
    rows, columns = np.indices((150, 210))
    near = [np.hypot(rows - y, columns - x) < radius for y, x in centres]
    return np.asarray(ndimage.gaussian_filter(value * np.any(near, axis=0).astype(float), 1))


def merged() -> NDArray[np.uint8]:
    """Blue nuclei in green cells, of which one has no nucleus."""
    green = ndimage.gaussian_filter(discs(22, 160, [*CENTRES, (20, 190)]), 6)
    return np.stack([np.zeros_like(green), green, discs(11, 220)], -1).astype(np.uint8)


@pytest.fixture
def form(viewer: Any, engine: Any) -> Any:
    def run(job: Any) -> Any:
        task = TASKS[job.request.task]
        return task.run(job.request.image, job.request.inputs, job.request.settings, load_model("foundseg-tiny"))

    engine.answer = run
    form = AutomaticWidget(viewer)
    viewer.window.add_dock_widget(form)
    return form


def choose(form: Any, text: str) -> None:
    combo = form.image.channel.combo
    at = combo.findText(text)
    assert at >= 0, [combo.itemText(i) for i in range(combo.count())]
    combo.setCurrentIndex(at)
    combo.activated.emit(at)


def test_blue_nuclei_are_found_by_one_press_and_the_form_says_which_colour(
    qtbot: Any, viewer: Any, form: Any, engine: Any
) -> None:
    blue = merged()
    blue[..., 1] = 0
    viewer.add_image(blue, rgb=True, name="dapi")
    combo = form.image.channel.combo
    qtbot.waitUntil(combo.isVisible)
    assert combo.currentText() == "Automatic: blue only"
    assert "One colour, blue" in form.image.channel.words.text()
    assert [combo.itemText(i) for i in range(1, combo.count())] == ["RGB", "Red", "Green", "Blue"]
    qtbot.mouseClick(form.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "dapi masks" in viewer.layers)
    labels = viewer.layers["dapi masks"].data
    assert len({int(labels[centre]) for centre in CENTRES} - {0}) == len(CENTRES) == labels.max()
    assert "used blue only, as grey" in form.result.text()
    assert "One colour, blue" in form.notes.text()
    assert form.last_run.record.as_recipe(Path()).inputs.channels is None


def test_the_choice_by_colour_name_changes_the_result(
    qtbot: Any, viewer: Any, form: Any, engine: Any, tmp_path: Path
) -> None:
    viewer.add_image(merged(), rgb=True, name="merge")
    combo = form.image.channel.combo
    qtbot.waitUntil(combo.isVisible)
    assert combo.currentText() == "Automatic: blue"
    assert "Choose another colour" in form.image.channel.words.text()
    qtbot.mouseClick(form.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "merge masks" in viewer.layers)
    assert engine.jobs[-1].request.image.channels == (2,)
    assert viewer.layers["merge masks"].data[20, 190] == 0
    choose(form, "Green")
    assert not form.image.channel.words.isVisible()
    qtbot.mouseClick(form.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "merge masks [1]" in viewer.layers)
    assert engine.jobs[-1].request.image.channels == (1,)
    assert viewer.layers["merge masks [1]"].data[20, 190] > 0
    assert "used channel 2 of 3 (green)" in form.result.text()
    choose(form, "RGB")
    assert form.image.image().chooses_channels
    qtbot.mouseClick(form.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: len(engine.jobs) == 3)
    assert engine.jobs[-1].request.image.channels == (0, 1, 2)


@pytest.mark.usefixtures("engine")
def test_clicks_see_all_dyes_and_models_of_photographs_all_colours(qtbot: Any, viewer: Any) -> None:
    viewer.add_image(merged(), rgb=True, name="merge")
    for kind in (PromptWidget, SemanticWidget):
        form = kind(viewer)
        viewer.window.add_dock_widget(form, name=kind.__name__)
        qtbot.waitUntil(form.image.channel.combo.isVisible)
        assert form.image.channel.combo.currentText() == "Automatic: RGB"


@pytest.mark.usefixtures("engine")
def test_a_chosen_colour_stays_chosen_and_other_pixels_are_measured_again(qtbot: Any, viewer: Any, form: Any) -> None:
    layer = viewer.add_image(merged(), rgb=True, name="merge")
    combo = form.image.channel.combo
    qtbot.waitUntil(combo.isVisible)
    choose(form, "Red")
    viewer.add_image(merged()[..., ::-1].copy(), rgb=True, name="other")
    qtbot.waitUntil(lambda: form.image.layer.name == "other" and combo.isVisible())
    assert combo.currentText() == "Red"
    assert form.image.image().channels == (0,)
    choose(form, combo.itemText(0))
    viewer.layers.selection.active = layer
    layer.data = merged()[..., ::-1].copy()
    qtbot.waitUntil(lambda: combo.currentText() == "Automatic: red")
    assert form.image.image().found_colour.channels == (0,)


@pytest.mark.usefixtures("engine")
def test_the_row_fits_a_narrow_dock(qtbot: Any, viewer: Any, form: Any) -> None:
    viewer.add_image(merged()[..., [1, 2, 1]], rgb=True, name="merge")
    qtbot.waitUntil(form.image.channel.combo.isVisible)
    assert form.image.channel.minimumSizeHint().width() <= 300
    assert form.image.channel.combo.findText("Magenta (red)") + form.image.channel.combo.findText("Magenta (blue)") > 0


def nuclei_at_63() -> tuple[NDArray[np.uint8], list[tuple[int, int]]]:
    """Blue nuclei of 150 to 240 pixels, textured."""
    rng = np.random.default_rng(4)
    places = [(150, 150, 150), (160, 480, 220), (480, 190, 240), (500, 520, 180)]
    y, x = np.indices((640, 680))
    texture = ndimage.gaussian_filter(rng.normal(size=y.shape), 8)
    shown = np.zeros(y.shape)
    for row, column, diameter in places:
        shown[np.hypot(y - row, (x - column) * 0.9) < diameter / 2] = 150
    shown = ndimage.gaussian_filter(shown * (1 + 0.12 * texture / texture.std()), 2) + 8 + rng.normal(0, 2, y.shape)
    blue = np.zeros((*y.shape, 3), np.uint8)
    blue[..., 2] = shown.clip(0, 255)
    return blue, [(row, column) for row, column, _ in places]


def test_blue_nuclei_at_high_magnification_are_found_by_one_press(
    qtbot: Any, viewer: Any, form: Any, engine: Any
) -> None:
    blue, centres = nuclei_at_63()
    viewer.add_image(blue, rgb=True, name="dapi")
    qtbot.waitUntil(form.image.channel.combo.isVisible)
    qtbot.mouseClick(form.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "dapi masks" in viewer.layers)
    labels = viewer.layers["dapi masks"].data
    assert len({int(labels[centre]) for centre in centres} - {0}) == len(centres) == labels.max()
    assert "used blue only, as grey" in form.result.text()
    assert "diameter" in form.result.text()
