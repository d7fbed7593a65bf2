from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from qtpy.QtCore import Qt

from napari_foundseg.batch.object_measures import measure
from napari_foundseg.io.journal import Header, Journal, journal_folder, kept_journals
from napari_foundseg.io.readers import read_image
from napari_foundseg.io.worklist import STATE_FILE
from napari_foundseg.io.writers import write_labels
from napari_foundseg.widgets.layers.object_features import read_facts
from napari_foundseg.widgets.layers.result_layers import add_labels
from napari_foundseg.widgets.objects.correct_dock import CorrectWidget
from napari_foundseg.widgets.prompt.prompt_dock import PromptWidget
from napari_foundseg.widgets.worklist.worklist_dock import WorklistWidget

pytestmark = pytest.mark.gui

NAMES = ["cells2.tif", "cells10.tif", "cells11.tif"]


@pytest.fixture
def folder(tmp_path: Path, scene: Any) -> Path:
    images = tmp_path / "images"
    images.mkdir()
    for i, name in enumerate(NAMES):
        tifffile.imwrite(
            images / name, scene.image + i, imagej=True, resolution=(2, 2), metadata={"unit": "um", "axes": "YX"}
        )
    return images


@pytest.fixture
def form(qtbot: Any, viewer: Any, engine: Any, folder: Path) -> WorklistWidget:
    widget = WorklistWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Worklist")
    ask(widget, folder)
    click(qtbot, widget.folder_button)
    settle(qtbot, widget)
    return widget


def ask(form: WorklistWidget, folder: Path | str) -> None:
    form.ask_folder = lambda _title: str(folder)


def click(qtbot: Any, button: Any) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def settle(qtbot: Any, form: WorklistWidget) -> None:
    qtbot.waitUntil(lambda: not form.session.busy)


def go(qtbot: Any, form: WorklistWidget, button: Any) -> None:
    click(qtbot, button)
    settle(qtbot, form)


def save_in(form: WorklistWidget, folder: Path) -> None:
    ask(form, folder)
    form.place.setCurrentIndex(1)
    form.place.activated.emit(1)


def states(form: WorklistWidget) -> list[str]:
    return [form.table.topLevelItem(i).text(1) for i in range(form.table.topLevelItemCount())]


def paint(canvas: Any, viewer: Any, label: int = 3) -> np.ndarray[Any, Any]:
    """Draw a stroke into the selected labels."""
    layer = viewer.layers.selection.active
    layer.mode, layer.selected_label, layer.brush_size = "paint", label, 10
    canvas.drag(layer, (40, 40), (40, 90))
    assert layer.data[40, 60] == label
    return layer.data.copy()


def test_what_was_painted_is_seen_again(
    qtbot: Any, viewer: Any, canvas: Any, form: WorklistWidget, folder: Path
) -> None:
    assert states(form) == ["new"] * 3
    foreign = viewer.add_points([(5, 5)], name="mine")
    go(qtbot, form, form.next_button)
    assert [layer.name for layer in viewer.layers] == ["mine", "cells2", "cells2 labels"]
    np.testing.assert_allclose(viewer.layers["cells2 labels"].scale, (0.5, 0.5))
    painted = paint(canvas, viewer)
    assert states(form)[0] == "in work"
    go(qtbot, form, form.next_button)
    np.testing.assert_array_equal(read_image(folder / "cells2_labels.tif").data, painted)
    assert [layer.name for layer in viewer.layers] == ["mine", "cells10", "cells10 labels"]
    assert not viewer.layers["cells10 labels"].data.any()
    assert viewer.layers["cells10 labels"].mode == "paint", "the brush was put down"
    go(qtbot, form, form.previous_button)
    np.testing.assert_array_equal(viewer.layers["cells2 labels"].data, painted)
    assert states(form) == ["in work", "new", "new"]
    assert form.table.topLevelItem(0).text(2) == "1"
    assert foreign in viewer.layers
    assert not (folder / "cells10_labels.tif").exists(), "an image that nobody worked on has got labels"


@pytest.mark.parametrize("ending", [".tif", ".ome.zarr"])
def test_what_was_said_of_objects_is_saved_with_the_labels(
    qtbot: Any, form: WorklistWidget, scene: Any, folder: Path, ending: str
) -> None:
    write_labels(folder / f"cells10_labels{ending}", scene.automatic.labels)
    click(qtbot, form.folder_button)
    settle(qtbot, form)
    form.open(1)
    settle(qtbot, form)
    history = form.session.opened.history
    history.note("mark as right", [1], review="accepted", note="a, b")
    history.write("reject", [((slice(0, 128), slice(0, 160)), np.where(scene.automatic.labels == 2, 0, 1))],
                  {2: {"review": "rejected", "predicted_iou": 0.5}})  # fmt: skip
    known = read_facts(history.layer)
    go(qtbot, form, form.next_button)
    assert states(form)[1] == "in work"
    go(qtbot, form, form.previous_button)
    assert read_facts(form.session.opened.labels) == known
    assert known[1] == {"review": "accepted", "note": "a, b"}
    assert (folder / "cells10_labels.csv").exists() == (ending == ".tif")
    # Nothing is known any more: the file says so too.
    history = form.session.opened.history
    history.write("clear", [((slice(0, 128), slice(0, 160)), np.zeros((128, 160), np.uint16))], {1: {}, 2: {}})
    go(qtbot, form, form.next_button)
    go(qtbot, form, form.previous_button)
    assert read_facts(form.session.opened.labels) == {}


def test_keys_go_on_and_back_whatever_layer_is_selected(
    qtbot: Any, viewer: Any, canvas: Any, form: WorklistWidget
) -> None:
    foreign = viewer.add_points([(5, 5)])
    canvas.key(Qt.Key.Key_PageDown)
    settle(qtbot, form)
    assert form.session.row == 0
    canvas.key(Qt.Key.Key_PageDown)
    settle(qtbot, form)
    assert form.session.row == 1
    canvas.key(Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    settle(qtbot, form)
    assert states(form) == ["new", "done", "new"]
    viewer.layers.selection.active = foreign
    canvas.key(Qt.Key.Key_PageUp)
    settle(qtbot, form)
    assert form.session.row == 0
    canvas.key(Qt.Key.Key_PageUp)
    assert "first image" in form.state.text()
    labels = form.session.opened.labels
    form.release()
    assert not labels.keymap
    assert not foreign.keymap


def test_undo_and_the_state_follow_the_person(qtbot: Any, viewer: Any, canvas: Any, form: WorklistWidget) -> None:
    form.table.setCurrentItem(form.table.topLevelItem(1))
    qtbot.keyClick(form.table, Qt.Key.Key_Return)
    settle(qtbot, form)
    layer = viewer.layers["cells10 labels"]
    go(qtbot, form, form.done_button)
    assert states(form)[1] == "done"
    paint(canvas, viewer)
    assert states(form)[1] == "in work"
    canvas.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not layer.data.any()
    go(qtbot, form, form.done_button)
    assert form.done_button.text().startswith("Not done")
    go(qtbot, form, form.next_button)
    assert json.loads((form.session.images / STATE_FILE).read_text())["images"]["cells10.tif"]["state"] == "done"


def test_labels_that_cannot_be_saved_stay(
    qtbot: Any, viewer: Any, canvas: Any, form: WorklistWidget, folder: Path, tmp_path: Path
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file")
    save_in(form, blocked)
    go(qtbot, form, form.next_button)
    painted = paint(canvas, viewer)
    for button in (form.next_button, form.done_button, form.folder_button):
        go(qtbot, form, button)
        assert form.messages["run"].isVisible()
        assert "cannot be written" in form.messages["run"].text()
        assert form.session.row == 0
        np.testing.assert_array_equal(viewer.layers["cells2 labels"].data, painted)
    saved = tmp_path / "saved"
    saved.mkdir()
    save_in(form, saved)
    go(qtbot, form, form.next_button)
    assert form.session.row == 1
    assert not form.messages["run"].isVisible()
    np.testing.assert_array_equal(read_image(saved / "cells2_labels.tif").data, painted)


def test_a_read_only_folder_is_said(
    qtbot: Any, viewer: Any, canvas: Any, form: WorklistWidget, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go(qtbot, form, form.next_button)
    painted = paint(canvas, viewer)

    # As the system does; chmod would not keep root out.
    def refuse(self: Path, *arguments: Any, **options: Any) -> Any:
        if self.suffix == ".partial":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return original(self, *arguments, **options)

    original = Path.open
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        go(qtbot, form, form.next_button)
    assert "not permitted" in form.messages["run"].text()
    assert form.session.row == 0
    np.testing.assert_array_equal(viewer.layers["cells2 labels"].data, painted)
    go(qtbot, form, form.next_button)
    np.testing.assert_array_equal(read_image(folder / "cells2_labels.tif").data, painted)


def test_interrupted_work_is_taken_up_where_the_image_is_opened(
    qtbot: Any, viewer: Any, form: WorklistWidget, folder: Path, scene: Any
) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    go(qtbot, form, form.next_button)
    who = form.session.opened.target.image.fingerprint()
    go(qtbot, form, form.next_button)
    header = Header(who, "cells2 labels", scene.image.shape, None, "2020-01-01T10:00:00", process.pid)
    journal = Journal(journal_folder(), header, lambda _: None, lambda _: None)
    journal.add_all(scene.automatic.labels, dict)
    journal.close()
    journal.path.write_bytes(journal.path.read_bytes()[:-8])  # without the mark of an orderly end
    go(qtbot, form, form.previous_button)
    qtbot.waitUntil(form.recovery.isVisible)
    click(qtbot, form.recovery.keep_button)
    np.testing.assert_array_equal(viewer.layers["cells2 labels"].data, scene.automatic.labels)
    go(qtbot, form, form.next_button)
    np.testing.assert_array_equal(read_image(folder / "cells2_labels.tif").data, scene.automatic.labels)
    assert not form.recovery.isVisible()
    qtbot.waitUntil(lambda: not any(kept.lost for kept in kept_journals(journal_folder())))


def test_closing_saves_and_leaves_the_layers(
    qtbot: Any, viewer: Any, canvas: Any, form: WorklistWidget, folder: Path
) -> None:
    go(qtbot, form, form.next_button)
    painted = paint(canvas, viewer)
    dock = form.parent()
    dock.deleteLater()
    form.deleteLater()
    qtbot.waitUntil(lambda: (folder / STATE_FILE).exists())
    np.testing.assert_array_equal(read_image(folder / "cells2_labels.tif").data, painted)
    assert "cells2 labels" in viewer.layers


def test_a_removed_layer_is_saved_before_its_image_goes(
    qtbot: Any, viewer: Any, canvas: Any, form: WorklistWidget, folder: Path
) -> None:
    go(qtbot, form, form.next_button)
    painted = paint(canvas, viewer)
    viewer.layers.remove("cells2 labels")
    settle(qtbot, form)
    np.testing.assert_array_equal(read_image(folder / "cells2_labels.tif").data, painted)
    assert not viewer.layers
    assert form.session.opened is None


def test_prompt_and_correct_work_on_the_open_labels(
    qtbot: Any, viewer: Any, canvas: Any, form: WorklistWidget, folder: Path, engine: Any, scene: Any
) -> None:
    write_labels(folder / "cells2_labels.tif", np.where(scene.automatic.labels == 2, 7, 0).astype(np.uint16))
    ask(form, folder)
    go(qtbot, form, form.folder_button)
    assert states(form)[0] == "automatic"
    prompt, correct = PromptWidget(viewer), CorrectWidget(viewer)
    for widget in (prompt, correct):
        viewer.window.add_dock_widget(widget)
    engine.answer = lambda _job: scene.prompted
    go(qtbot, form, form.next_button)
    layer = viewer.layers["cells2 labels"]
    assert correct.layer is layer
    click(qtbot, prompt.run_button)
    prompt.session.points.add([(40, 50)])
    qtbot.waitUntil(prompt.accept_button.isEnabled)
    click(qtbot, prompt.accept_button)
    assert "'cells2 labels'" in prompt.result.text()
    assert set(np.unique(layer.data)) == {0, 7, 8}
    assert states(form)[0] == "in work"
    go(qtbot, form, form.next_button)
    assert set(np.unique(read_image(folder / "cells2_labels.tif").data)) == {0, 7, 8}
    assert correct.layer is viewer.layers["cells10 labels"]
    qtbot.waitUntil(lambda: prompt.session is not None and prompt.session.layer is viewer.layers["cells10"])
    assert not prompt.messages["image"].isVisible()
    canvas.click(viewer.layers["cells10"], (40, 50))
    qtbot.waitUntil(prompt.accept_button.isEnabled)
    canvas.key(Qt.Key.Key_C)
    assert set(np.unique(viewer.layers["cells10 labels"].data)) == {0, 1}


def test_masks_of_a_run_become_the_labels_and_are_not_forgotten(
    qtbot: Any, viewer: Any, canvas: Any, form: WorklistWidget, folder: Path, scene: Any
) -> None:
    go(qtbot, form, form.next_button)
    opened = form.session.opened
    masks = add_labels(viewer, opened.target, scene.automatic, "cells2 masks")
    go(qtbot, form, form.next_button)
    assert "'cells2 masks' would not be saved" in form.messages["run"].text()
    assert form.session.row == 0
    viewer.layers.selection.active = masks
    click(qtbot, form.use_button)
    assert "cells2 labels" not in viewer.layers
    assert states(form)[0] == "automatic"
    go(qtbot, form, form.next_button)
    assert form.session.row == 1
    assert masks not in viewer.layers
    np.testing.assert_array_equal(read_image(folder / "cells2_labels.tif").data, scene.automatic.labels)
    assert states(form)[0] == "automatic"
    assert form.table.topLevelItem(0).text(2) == "2"


def test_open_layers_are_worked_through_and_stay(
    qtbot: Any, viewer: Any, canvas: Any, engine: Any, scene: Any, tmp_path: Path
) -> None:
    own = [viewer.add_image(scene.image + i, name=f"slide {i}", visible=i != 1) for i in range(3)]
    form = WorklistWidget(viewer)
    viewer.window.add_dock_widget(form)
    go(qtbot, form, form.layers_button)
    assert "First choose" in form.messages["image"].text()
    save_in(form, tmp_path)
    go(qtbot, form, form.layers_button)
    go(qtbot, form, form.next_button)
    go(qtbot, form, form.next_button)
    assert [layer.visible for layer in own] == [False, True, False]
    painted = paint(canvas, viewer)
    go(qtbot, form, form.next_button)
    assert [layer.name for layer in viewer.layers] == ["slide 0", "slide 1", "slide 2", "slide 2 labels"]
    np.testing.assert_array_equal(read_image(tmp_path / "slide 1_labels.tif").data, painted)
    form.release()
    assert [layer.visible for layer in own] == [True, False, True]


def test_the_next_image_is_encoded_while_a_person_works(
    qtbot: Any, viewer: Any, form: WorklistWidget, engine: Any, scene: Any
) -> None:
    engine.answer = lambda _job: scene.prompted
    go(qtbot, form, form.next_button)
    pause, passed = form.session._encode._pause, []
    pause.timeout.connect(lambda: passed.append(True))
    qtbot.waitUntil(lambda: bool(passed))
    assert not engine.jobs, "an engine was started that nobody had asked for"
    prompt = PromptWidget(viewer)
    viewer.window.add_dock_widget(prompt)
    qtbot.waitUntil(lambda: bool(engine.jobs))
    np.testing.assert_array_equal(engine.jobs[0].request.image.raw(), scene.image + 1)
    assert engine.jobs[0].replace == "ahead"
    passed.clear()
    qtbot.waitUntil(lambda: bool(passed))
    assert len(engine.jobs) == 1, "the image has no more windows"
    form.release()


def test_what_is_wrong_with_files_is_said_and_the_open_image_stays(
    qtbot: Any, viewer: Any, form: WorklistWidget, folder: Path, scene: Any
) -> None:
    (folder / "cells2_labels.tif").write_bytes(b"II*\0")
    write_labels(folder / "cells11_labels.tif", np.ones((5, 5), np.uint16))
    (folder / "cells12.tif").write_bytes(b"no image")
    go(qtbot, form, form.folder_button)
    go(qtbot, form, form.next_button)
    assert "cells2_labels.tif" in form.messages["run"].text()
    assert not viewer.layers
    go(qtbot, form, form.next_button)
    assert form.session.row == 1
    for words in ("do not belong together", "not a TIFF"):
        go(qtbot, form, form.next_button)
        assert words in form.messages["run"].text()
        assert form.session.row == 1
    assert states(form)[3] == "unreadable"
    assert "not a TIFF" in form.table.topLevelItem(3).toolTip(1)
    tifffile.imwrite(folder / "cells12.tif", scene.image)
    form.table.wanted.emit(3)
    settle(qtbot, form)
    assert states(form)[3] == "new"
    assert (folder / "cells2_labels.tif").read_bytes() == b"II*\0"
    (folder / STATE_FILE).write_text("{}")
    go(qtbot, form, form.folder_button)
    assert "is not a worklist" in form.messages["image"].text()
    assert (folder / STATE_FILE).read_text() == "{}"


def test_measurements_of_edited_objects_are_made_again_when_they_are_saved(
    qtbot: Any, viewer: Any, canvas: Any, form: WorklistWidget, folder: Path, scene: Any
) -> None:
    path = folder / "cells2_labels.tif"
    image = read_image(folder / "cells2.tif")
    write_labels(path, scene.automatic.labels, spacing=image.spacing, units=image.units)
    measure(path, image).assign(predicted_iou=0.9).to_csv(path.with_suffix(".csv"), index=False)
    go(qtbot, form, form.folder_button)
    go(qtbot, form, form.next_button)
    assert len(form.session.opened.labels.features)
    paint(canvas, viewer, 1)
    go(qtbot, form, form.next_button)
    saved = pd.read_csv(path.with_suffix(".csv")).set_index("label")
    expected = measure(path, image).set_index("label")
    assert saved.loc[1, "pixels"] > (scene.automatic.labels == 1).sum()
    pd.testing.assert_frame_equal(saved[list(expected)], expected, check_dtype=False, rtol=1e-4)
    assert np.isnan(saved.loc[1, "predicted_iou"])
    assert saved.loc[2, "predicted_iou"] == 0.9


def test_the_next_image_counts_as_unreadable_before_it_is_opened(
    qtbot: Any, viewer: Any, form: WorklistWidget, folder: Path
) -> None:
    (folder / NAMES[1]).write_bytes(b"no image")
    go(qtbot, form, form.folder_button)
    assert set(states(form)) == {"new"}
    go(qtbot, form, form.next_button)
    qtbot.waitUntil(lambda: "unreadable" in states(form))
    assert states(form).count("unreadable") == 1
    assert not form.messages["run"].text()


def test_an_image_swapped_under_its_labels_is_noticed(
    qtbot: Any, viewer: Any, canvas: Any, form: WorklistWidget, folder: Path, scene: Any
) -> None:
    go(qtbot, form, form.next_button)
    paint(canvas, viewer)
    go(qtbot, form, form.next_button)
    tifffile.imwrite(folder / "cells2.tif", scene.image[::-1])
    go(qtbot, form, form.previous_button)
    assert "other pixels" in form.messages["run"].text()
    assert form.session.row == 1
    form.table.itemActivated.emit(form.table.topLevelItem(0), 0)
    settle(qtbot, form)
    assert form.session.row == 0


def test_an_image_and_labels_that_are_folders(
    qtbot: Any, viewer: Any, canvas: Any, form: WorklistWidget, folder: Path, scene: Any
) -> None:
    sizes = {"Y": 0.5, "X": 0.5}, {"Y": "µm", "X": "µm"}
    write_labels(folder / "cells1.ome.zarr", scene.image, "YX", *sizes)
    write_labels(folder / "cells1_labels.ome.zarr", scene.automatic.labels, "YX", *sizes)
    go(qtbot, form, form.folder_button)
    assert states(form) == ["automatic", "new", "new", "new"]
    go(qtbot, form, form.next_button)
    np.testing.assert_array_equal(viewer.layers["cells1.ome labels"].data, scene.automatic.labels)
    painted = paint(canvas, viewer)
    go(qtbot, form, form.next_button)
    np.testing.assert_array_equal(read_image(folder / "cells1_labels.ome.zarr").levels[0][...], painted)
    assert not (folder / "cells1_labels.tif").exists()
