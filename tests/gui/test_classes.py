"""Text, panoptic and names in a real window: layers, legend, class names in the status bar, thresholds live."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.utils.colormaps import label_colormap
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QLabel, QWidget

from napari_foundseg.core.classes.class_table import ClassTable
from napari_foundseg.core.classes.panoptic import Panoptic
from napari_foundseg.core.errors import PromptError
from napari_foundseg.core.image import Image
from napari_foundseg.core.result import Segmentation
from napari_foundseg.io.layer_files import read_layer
from napari_foundseg.tasks.classes.class_results import assembled
from napari_foundseg.tasks.classes.concepts import TextInputs
from napari_foundseg.tasks.regions import Region
from napari_foundseg.tasks.text import TextSettings, derive
from napari_foundseg.widgets.classes.name_masks_dock import NameMasksWidget
from napari_foundseg.widgets.classes.panoptic_dock import PanopticWidget
from napari_foundseg.widgets.classes.semantic_dock import SemanticWidget
from napari_foundseg.widgets.classes.text_dock import TextWidget
from napari_foundseg.widgets.controls.fold import Fold
from napari_foundseg.widgets.editing.layer_file import unsaved_layers
from napari_foundseg.widgets.layers.layer_tags import TOOL

pytestmark = [pytest.mark.gui, pytest.mark.shared_window, pytest.mark.usefixtures("weights_here")]


def click(qtbot: Any, button: Any) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def docked(viewer: Any, kind: type) -> Any:
    form = kind(viewer)
    viewer.window.add_dock_widget(form, name=kind.__name__)
    return form


def panoptic_result(scene: Any) -> Segmentation:
    labels = scene.automatic.labels
    semantic = np.where(labels == 0, 3, labels).astype(np.uint8)
    found = Panoptic(labels, semantic, np.array([1, 2]), np.array([0.9, 0.8]))
    classes = ClassTable.of(["cell", "debris", "background"], stuff=["background"])
    told = {"task": "panoptic", "settings": {"method": "segments"}, "inputs": {"region": None, "index": None}}
    return assembled(Image(scene.image), Region(), {(): found}, classes, told)


def on_canvas(viewer: Any) -> str:
    panels = viewer.window._qt_window.centralWidget().findChildren(QLabel, "foundseg legend")
    return " ".join(panel.text() for panel in panels if panel.isVisible())


def test_the_legend_goes_with_its_form(qtbot: Any, viewer: Any, engine: Any, scene: Any) -> None:
    engine.answer = lambda _: panoptic_result(scene)
    viewer.add_image(scene.image, name="cells")
    form = PanopticWidget(viewer)
    dock = viewer.window.add_dock_widget(form, name="Panoptic")
    click(qtbot, form.run_button)
    qtbot.waitUntil(lambda: "cell" in on_canvas(viewer))
    dock.hide()
    dock.show()
    assert "cell" in on_canvas(viewer)
    dock.destroyOnClose()
    qtbot.waitUntil(lambda: not on_canvas(viewer))
    assert "cells classes" in viewer.layers
    form.deleteLater()


def test_a_click_on_run_adds_objects_classes_and_a_legend(qtbot: Any, viewer: Any, engine: Any, scene: Any) -> None:
    engine.answer = lambda _: panoptic_result(scene)
    layer = viewer.add_image(scene.image, name="cells", scale=(2, 0.5), translate=(3, 4))
    form = docked(viewer, PanopticWidget)
    click(qtbot, form.run_button)
    qtbot.waitUntil(lambda: "cells objects" in viewer.layers)
    objects, classes = viewer.layers["cells objects"], viewer.layers["cells classes"]
    np.testing.assert_array_equal(objects.data, scene.automatic.labels)
    for own in (objects, classes):
        np.testing.assert_allclose(own.scale, layer.scale)
        np.testing.assert_allclose(own.translate, layer.translate)
        assert own.metadata["foundseg"]["classes"][1]["name"] == "debris"
    place = layer.data_to_world((40, 50))
    assert "cell" in str(objects.get_status(place, world=True))
    assert "background" in str(classes.get_status(layer.data_to_world((2, 2)), world=True))
    assert form.result.text().startswith("3 classes, 2 objects, ")
    assert form.legend.isVisible()
    assert [form.legend.table.item(i, 0).text() for i in range(3)] == ["cell", "debris", "background"]
    assert form.legend.table.item(0, 2).text() == "1"
    qtbot.waitUntil(lambda: "debris" in on_canvas(viewer))

    form.legend.table.item(1, 0).setCheckState(Qt.CheckState.Unchecked)
    assert classes.get_color(2)[3] == 0
    assert objects.get_color(2)[3] == 0
    assert objects.get_color(1)[3] == 1
    # What somebody paints that is no class is seen, and is not taken for one.
    np.testing.assert_allclose(classes.get_color(9), (0.5, 0.5, 0.5, 1), atol=0.01)
    np.testing.assert_allclose(classes.get_color(400), (0.5, 0.5, 0.5, 1), atol=0.01)
    assert "debris" not in on_canvas(viewer)
    form.legend.table.item(1, 0).setCheckState(Qt.CheckState.Checked)
    assert objects.get_color(2)[3] == classes.get_color(2)[3] == 1
    chosen = objects.colormap = label_colormap(7)
    form.layers.recolour(2, "#123456")
    assert objects.colormap is chosen

    form.legend.table.item(0, 0).setText("living cell")
    assert "living cell" in str(objects.get_status(place, world=True))
    assert "living cell" in on_canvas(viewer)
    assert classes.metadata["foundseg"]["classes"][0]["name"] == "living cell"
    form.legend.table.item(0, 0).setText("  ")
    assert form.legend.table.item(0, 0).text() == "living cell"

    assert not form.legend.merge_button.isEnabled()
    form.legend.table.selectRow(0)
    model = form.legend.table.selectionModel()
    model.select(form.legend.table.model().index(1, 0), model.SelectionFlag.Select | model.SelectionFlag.Rows)
    click(qtbot, form.legend.merge_button)
    assert np.array_equal(classes.data == 1, scene.automatic.labels > 0)
    assert set(objects.features["class_name"]) == {"", "living cell"}
    assert form.legend.table.rowCount() == 2
    assert form.legend.table.item(0, 2).text() == "2"


def test_classes_and_objects_are_saved_and_asked_about(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.answer = lambda _: panoptic_result(scene)
    viewer.add_image(scene.image, name="cells")
    form = docked(viewer, PanopticWidget)
    assert not form.saving_classes.button.isEnabled()
    assert not form.saving_objects.isVisible()
    click(qtbot, form.run_button)
    qtbot.waitUntil(lambda: "cells objects" in viewer.layers)
    objects, classes = viewer.layers["cells objects"], viewer.layers["cells classes"]
    assert unsaved_layers(viewer.layers) == [classes, objects]
    assert form.saving_classes.state.text() == "not saved yet"
    for row, layer in ((form.saving_classes, classes), (form.saving_objects, objects)):
        path = tmp_path / f"{layer.name}_labels.tif"
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, path=path: (str(path), ""))
        click(qtbot, row.button)
        qtbot.waitUntil(lambda row=row: "saved in" in row.state.text())
        ((pixels, attributes, _),) = read_layer(str(path))
        np.testing.assert_array_equal(pixels, layer.data)
        assert "debris" in list(attributes["features"]["class_name"])
    assert not unsaved_layers(viewer.layers)
    form.legend.table.item(0, 0).setText("living cell")
    assert "changed since" in form.saving_classes.state.text()
    viewer.layers.remove(objects)
    assert not form.saving_objects.button.isEnabled()
    assert form.saving_classes.button.isEnabled()


def test_panoptic_ids_are_a_layer_on_demand(qtbot: Any, viewer: Any, engine: Any, scene: Any) -> None:
    engine.answer = lambda _: panoptic_result(scene)
    layer = viewer.add_image(scene.image, name="cells", scale=(2, 0.5))
    form = docked(viewer, PanopticWidget)
    assert not form.ids_button.isVisible()
    click(qtbot, form.run_button)
    qtbot.waitUntil(lambda: form.ids_button.isVisible())
    click(qtbot, form.ids_button)
    ids = viewer.layers["cells panoptic ids"]
    assert np.unique(ids.data).tolist() == [1001, 2001, 3000]
    assert np.array_equal(ids.data == 2001, scene.automatic.labels == 2)
    np.testing.assert_allclose(ids.scale, layer.scale)
    assert "debris" in str(ids.get_status(layer.data_to_world((90, 110)), world=True))


def test_the_legend_on_the_canvas_goes_with_its_layers(qtbot: Any, viewer: Any, engine: Any, scene: Any) -> None:
    def answer(job: Any) -> Segmentation:
        return (
            text_result(scene, job.request.inputs, job.request.settings)
            if job.task == "text"
            else panoptic_result(scene)
        )

    engine.answer = answer
    viewer.add_image(scene.image, name="cells")
    text, panoptic = docked(viewer, TextWidget), docked(viewer, PanopticWidget)
    qtbot.keyClicks(text.concepts.rows[0].text, "nucleus")
    click(qtbot, text.run_button)
    qtbot.waitUntil(lambda: "nucleus" in on_canvas(viewer))
    viewer.layers.selection.active = viewer.layers["cells"]
    click(qtbot, panoptic.run_button)
    qtbot.waitUntil(lambda: "debris" in on_canvas(viewer))
    assert "nucleus" not in on_canvas(viewer), "two panels would lie on one another"
    viewer.layers.remove(panoptic.layers.semantic)
    assert on_canvas(viewer).endswith("nucleus")
    assert not panoptic.legend.isVisible()
    viewer.layers.clear()
    assert on_canvas(viewer) == ""


def text_result(scene: Any, inputs: TextInputs, settings: TextSettings) -> Segmentation:
    bright = np.where(scene.automatic.labels == 1, 0.9, np.where(scene.automatic.labels == 2, 0.6, 0.1))
    maps = np.stack([bright, np.full(bright.shape, 0.12)])[: len(inputs.concepts)].astype(np.float16)
    told = {"task": "text", "inputs": inputs.model_dump(mode="json"), "image": {"axes": "YX"}}
    first = Segmentation(
        np.zeros(bright.shape, np.uint16), scene.automatic.table.iloc[:0], inputs.class_table(), told, maps={(): maps}
    )
    return derive(first, settings, inputs)


def test_concepts_are_typed_and_thresholds_act_at_once(qtbot: Any, viewer: Any, engine: Any, scene: Any) -> None:
    engine.answer = lambda job: text_result(scene, job.request.inputs, job.request.settings)
    viewer.add_image(scene.image, name="cells")
    form = docked(viewer, TextWidget)
    click(qtbot, form.run_button)
    assert "needs a name" in form.messages["inputs"].text()
    assert not engine.jobs
    qtbot.keyClicks(form.concepts.rows[0].text, "nucleus, nuclei; debris")
    form.heat_maps.setChecked(True)
    click(qtbot, form.run_button)
    qtbot.waitUntil(lambda: "cells objects" in viewer.layers)
    given = engine.jobs[0].request.inputs
    assert [concept.words for concept in given.concepts] == [("nucleus", "nuclei"), ("debris",)]
    assert len(form.concepts.rows) == 2
    objects = viewer.layers["cells objects"]
    assert np.array_equal(objects.data > 0, scene.automatic.labels > 0)
    assert "Nothing found for debris (best score 0.12)." in form.result.text()
    heat = viewer.layers["cells nucleus heat map"]
    assert heat.data.max() == pytest.approx(0.9, abs=1e-3)
    assert TOOL in heat.metadata
    viewer.layers.selection.active = heat
    assert form.image.combo.currentText() == "cells", "a heat map is no image to work on"
    assert form.image.combo.count() == 1

    form.concepts.rows[0].threshold.value = 0.7
    qtbot.waitUntil(lambda: np.array_equal(objects.data > 0, scene.automatic.labels == 1))
    assert form.result.text().startswith("1 class, 1 object")
    assert objects.metadata["foundseg"]["inputs"]["concepts"][0]["threshold"] == 0.7
    assert form.last_run.record.request.inputs.concepts[0].threshold == 0.7, "a recipe gives what is shown"
    form.concepts.rows[0].threshold.value = 0.5
    qtbot.waitUntil(lambda: np.array_equal(objects.data > 0, scene.automatic.labels > 0))
    assert len(engine.jobs) == 1

    objects.data_setitem((np.array([2]), np.array([2])), 1)
    form.concepts.rows[0].threshold.value = 0.7
    assert "edited by hand" in form.result.text()
    assert objects.data[90, 110] == 2, "what a person has painted in stays"


def test_examples_come_from_a_drawn_box_and_a_label(qtbot: Any, viewer: Any, engine: Any, scene: Any) -> None:
    viewer.add_image(scene.image, name="cells")
    form = docked(viewer, TextWidget)
    row = form.concepts.rows[0]
    box, label, none = (action for action in row.example_menu.actions())
    box.trigger()
    assert "draw a rectangle" in form.messages["inputs"].text()
    viewer.add_shapes([[[20, 30], [20, 69], [59, 69], [59, 30]]])
    box.trigger()
    labels = viewer.add_labels(scene.automatic.labels)
    labels.selected_label = 2
    label.trigger()
    assert row.example_count.text() == "2 examples"
    row.text.setText("cell")
    pictures = TextInputs.parse({"concepts": form.concepts.values()}).concepts[0].pictures
    assert [picture.shape for picture in pictures] == [(40, 40, 3), (41, 41, 3)]
    none.trigger()
    assert row.example_count.text() == "no example"


def test_rows_are_added_and_removed_but_for_the_last(qtbot: Any, viewer: Any, engine: Any) -> None:
    form = docked(viewer, TextWidget)
    assert not form.concepts.rows[0].remove.isEnabled()
    click(qtbot, form.concepts.add_button)
    click(qtbot, form.concepts.rows[0].remove)
    assert len(form.concepts.rows) == 1
    assert not form.concepts.rows[0].remove.isEnabled()


def test_names_need_labels_and_words(qtbot: Any, viewer: Any, engine: Any, scene: Any) -> None:
    viewer.add_image(scene.image, name="cells")
    form = docked(viewer, NameMasksWidget)
    with pytest.raises(PromptError, match="no Labels layer"):
        form.inputs(form.chosen_target())
    viewer.add_labels(scene.automatic.labels, name="objects")
    with pytest.raises(PromptError, match="No name"):
        form.inputs(form.chosen_target())
    form.names.setPlainText("cell, a cell\n\ndebris")
    assert form.input_layers() == {"labels": "objects"}, "what is copied as Python names the layer"
    given = form.inputs(form.chosen_target())
    assert given.vocabulary == ("cell, a cell", "debris")
    np.testing.assert_array_equal(given.labels, scene.automatic.labels)
    viewer.add_labels(np.ones((5, 6), int), name="small")
    with pytest.raises(PromptError, match=r"shape \(5, 6\)"):
        form.inputs(form.chosen_target())


@pytest.mark.parametrize("kind", [PanopticWidget, SemanticWidget, TextWidget, NameMasksWidget])
def test_the_form_fits_a_320_pixel_dock(viewer: Any, engine: Any, scene: Any, kind: type) -> None:
    viewer.add_image(scene.image)
    form = docked(viewer, kind)
    for fold in form.findChildren(Fold):
        fold.button.setChecked(True)
    if isinstance(form, TextWidget):
        form.concepts.rows[0].more.setChecked(True)
    form.legend.show_classes(ClassTable.of(["a class with a very long name indeed", "b"]))
    form.resize(320, 300)
    assert form.minimumWidth() <= 320
    assert form.widget().minimumSizeHint().width() <= form.minimumWidth() - form.verticalScrollBar().sizeHint().width()
    if hasattr(form, "seen"):
        assert form.seen.picture.pixmap().width() > 0


def test_another_model_offers_other_methods(
    viewer: Any, engine: Any, scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path))
    form = docked(viewer, PanopticWidget)
    assert form.model.currentText() == "foundseg-tiny"
    assert form.method_name == "nuclei"
    form.model.setCurrentIndex(form.model.findData("maskrcnn-resnet50-fpn"))
    assert [form.method.itemData(i) for i in range(form.method.count())] == ["instances", "fusion"]
    shown: list[QWidget] = [own for own in form.forms.values() if not own.isHidden()]
    assert shown == [form.forms["instances"]]
