"""Work that is in no file: what is said of it, how it is saved, and that it is offered the next time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari._qt.qt_viewer import QtViewer
from napari.settings import get_settings
from qtpy.compat import isalive
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication, QFileDialog, QMessageBox, QWidget

from napari_foundseg.core.image import Image
from napari_foundseg.io.journal import journal_folder, kept_journals
from napari_foundseg.io.layer_files import read_layer
from napari_foundseg.io.naming import table_path
from napari_foundseg.io.writers import write_image
from napari_foundseg.widgets.automatic.automatic_dock import AutomaticWidget
from napari_foundseg.widgets.batch.batch_dock import BatchWidget
from napari_foundseg.widgets.editing import save_row
from napari_foundseg.widgets.editing.layer_file import layer_file
from napari_foundseg.widgets.layers.layer_tags import TOOL
from napari_foundseg.widgets.objects.correct_dock import CorrectWidget
from napari_foundseg.widgets.objects.objects_dock import ObjectsWidget
from napari_foundseg.widgets.prompt.prompt_dock import PromptWidget
from tests.support.mouse import choose
from tests.support.shared_viewer import delete_later
from tests.support.window_manager import press_x

pytestmark = pytest.mark.gui


@pytest.fixture
def folder(tmp_path: Path, scene: Any) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    write_image(folder / "cells.tif", Image(scene.image, spacing={"Y": 0.5, "X": 0.5}, units={"Y": "µm", "X": "µm"}))
    return folder


def click(qtbot: Any, button: QWidget) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def docked(viewer: Any, form: Any) -> Any:
    viewer.window.add_dock_widget(form)
    return form


def opened(viewer: Any, folder: Path, scene: Any) -> Any:
    """Open the image, and add labels that are in no file."""
    viewer.open(folder / "cells.tif", plugin="napari")
    viewer.layers[0].scale = (0.5, 0.5)
    return viewer.add_labels(scene.automatic.labels.copy(), name="nuclei", scale=(0.5, 0.5))


def answer(monkeypatch: pytest.MonkeyPatch, path: Path | str, pick: int = 0) -> list[tuple[str, list[str]]]:
    """Have the Save dialog return a path and one of its filters; what it proposes is recorded."""
    asked: list[tuple[str, list[str]]] = []

    def dialog(*args: Any, **more: Any) -> tuple[str, str]:
        filters = str(args[3] if len(args) > 3 else more.get("filter", "")).split(";;")
        asked.append((str(args[2]), filters))
        return str(path), filters[pick]

    monkeypatch.setattr(QFileDialog, "getSaveFileName", dialog)
    return asked


def test_an_edit_is_kept_for_recovery_and_in_no_file_until_it_is_saved(
    qtbot: Any, viewer: Any, engine: Any, folder: Path, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = opened(viewer, folder, scene)
    form = docked(viewer, CorrectWidget(viewer))
    state = form.edits.state
    assert state.text() == ""
    form.choose([1, 2])
    form.merge()
    qtbot.waitUntil(lambda: "kept for recovery" in state.text())
    assert state.text().endswith(", not saved yet")
    asked = answer(monkeypatch, folder / "cells_labels.ome.tif")
    click(qtbot, form.edits.saving.button)
    qtbot.waitUntil(lambda: "saved in cells_labels.ome.tif" in state.text())
    (proposed, filters), *_ = asked
    assert proposed == str(folder / "cells_labels.tif")  # beside the image
    assert [text.partition(" ")[0] for text in filters] == ["TIFF", "OME-TIFF", "OME-Zarr", "PNG"]
    ((data, attributes, _),) = read_layer(str(folder / "cells_labels.ome.tif"))
    np.testing.assert_array_equal(data, layer.data)
    assert attributes["scale"] == [0.5, 0.5]
    form.choose([1])
    form.delete()
    qtbot.waitUntil(lambda: "kept for recovery" in state.text())
    assert "changed since saved in cells_labels.ome.tif" in state.text()


def test_a_stack_is_not_offered_as_png_and_a_missing_ending_is_that_of_the_filter(
    qtbot: Any, viewer: Any, engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer.add_labels(np.ones((3, 20, 30), np.uint16), name="stack")
    form = docked(viewer, CorrectWidget(viewer))
    asked = answer(monkeypatch, tmp_path / "mine v1.2", 1)
    click(qtbot, form.edits.saving.button)
    qtbot.waitUntil(lambda: "saved in mine v1.2.ome.tif" in form.edits.state.text())
    assert not any("PNG" in text for text in asked[0][1])
    assert asked[0][0].endswith("stack_labels.tif")  # without an image in a file


def test_the_image_is_never_saved_over(
    qtbot: Any, viewer: Any, engine: Any, folder: Path, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(viewer, folder, scene)
    before = (folder / "cells.tif").read_bytes()
    form = docked(viewer, ObjectsWidget(viewer))
    answer(monkeypatch, folder / "cells.tif")
    click(qtbot, form.edits.saving.button)
    qtbot.waitUntil(form.edits.message.isVisible)
    assert "never replaced" in form.edits.message.text()
    assert (folder / "cells.tif").read_bytes() == before


def test_a_result_is_saved_with_its_table_and_says_so(
    qtbot: Any, viewer: Any, engine: Any, folder: Path, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.answer = lambda _: scene.automatic
    viewer.open(folder / "cells.tif", plugin="napari")
    form = docked(viewer, AutomaticWidget(viewer))
    assert not form.saving.button.isEnabled()
    click(qtbot, form.run_button)
    qtbot.waitUntil(form.saving.button.isEnabled)
    assert form.saving.state.text() == "not saved yet"
    answer(monkeypatch, folder / "cells_labels.tif")
    click(qtbot, form.saving.button)
    qtbot.waitUntil(lambda: "saved in cells_labels.tif" in form.saving.state.text())
    assert "in cells_labels.csv" in form.saving.state.text()
    assert table_path(folder / "cells_labels.tif").exists()


@pytest.mark.parametrize("kind", [AutomaticWidget, BatchWidget, CorrectWidget, ObjectsWidget])
def test_work_of_a_window_that_was_closed_is_offered_in_the_form_that_is_opened_first(
    qtbot: Any, make_napari_viewer: Any, engine: Any, folder: Path, scene: Any, kind: type
) -> None:
    viewer = make_napari_viewer(show=True)
    opened(viewer, folder, scene)
    form = docked(viewer, CorrectWidget(viewer))
    form.choose([1, 2])
    form.merge()
    qtbot.waitUntil(lambda: "kept for recovery" in form.edits.state.text())
    viewer.close()  # by a script: nothing is asked
    viewer = make_napari_viewer(show=True)
    viewer.open(folder / "cells.tif", plugin="napari")
    viewer.layers[0].scale = (0.5, 0.5)
    form = docked(viewer, kind(viewer))
    qtbot.waitUntil(form.recovery.isVisible)
    assert "'nuclei' of cells.tif" in form.recovery.words.text()
    second = docked(viewer, PromptWidget(viewer))
    click(qtbot, form.recovery.keep_button)
    layer = viewer.layers["nuclei"]
    np.testing.assert_array_equal(layer.data, (scene.automatic.labels > 0).astype(np.uint16))
    assert layer.scale.tolist() == [0.5, 0.5]
    qtbot.waitUntil(lambda: sum(kept.ended for kept in kept_journals(journal_folder())) == 1)  # the other goes on
    assert not form.recovery.isVisible()
    assert not second.recovery.isVisible()


def test_all_unsaved_work_is_in_one_list_of_which_each_can_be_recovered_or_discarded(
    qtbot: Any, viewer: Any, engine: Any, folder: Path, scene: Any
) -> None:
    names = [f"layer {number}" for number in range(5)]
    form = docked(viewer, CorrectWidget(viewer))
    for name in names:
        layer = viewer.add_labels(scene.automatic.labels.copy(), name=name)
        viewer.layers.selection.active = layer
        form.choose([1])
        form.delete()
    for name in names:
        viewer.layers.remove(name)  # from the layer list
    qtbot.waitUntil(lambda: form.recovery.list.count() == 5)
    assert form.recovery.isVisible()
    shown = [form.recovery.list.item(row).text() for row in range(5)]
    assert sorted(text.split("'")[1] for text in shown) == names
    form.recovery.list.clearSelection()
    for row, text in enumerate(shown):
        form.recovery.list.item(row).setSelected("layer 1" in text or "layer 3" in text)
    assert form.recovery.keep_button.text() == "Recover 2"
    click(qtbot, form.recovery.keep_button)
    assert {layer.name for layer in viewer.layers if TOOL not in layer.metadata} == {"layer 1", "layer 3"}
    assert form.recovery.list.count() == 3
    form.recovery.list.clearSelection()
    form.recovery.list.item(0).setSelected(True)
    click(qtbot, form.recovery.discard_button)
    assert form.recovery.list.count() == 2
    click(qtbot, form.recovery.later_button)
    assert not form.recovery.isVisible()
    assert sum(kept.lost for kept in kept_journals(journal_folder())) >= 2


def test_saved_work_is_not_offered(
    qtbot: Any, viewer: Any, engine: Any, folder: Path, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = opened(viewer, folder, scene)
    form = docked(viewer, CorrectWidget(viewer))
    form.choose([1])
    form.delete()
    answer(monkeypatch, folder / "cells_labels.tif")
    click(qtbot, form.edits.saving.button)
    qtbot.waitUntil(lambda: "saved in" in form.edits.state.text())
    viewer.layers.remove(layer)
    (kept,) = kept_journals(journal_folder())
    assert not kept.lost


def answering(button: str | None) -> list[str]:
    """Press a button of the next message box; the list gets its text."""
    asked: list[str] = []

    def press() -> None:
        box = QApplication.activeModalWidget()
        if not isinstance(box, QMessageBox):
            QTimer.singleShot(20, press)
            return
        asked.append(box.text())
        next(each for each in box.buttons() if each.text().replace("&", "") == button).click()

    QTimer.singleShot(0, press)
    return asked


def edited(qtbot: Any, viewer: Any, folder: Path, scene: Any) -> Any:
    layer = opened(viewer, folder, scene)
    form = docked(viewer, CorrectWidget(viewer))
    form.choose([1])
    form.delete()
    qtbot.waitUntil(lambda: "kept for recovery" in form.edits.state.text())
    return layer


def close_by(viewer: Any, way: str) -> None:
    """Close a window as a user does."""
    window = viewer.window._qt_window
    if way == "X":
        press_x(window)
    else:
        window.close(quit_app=False, confirm_need=True)  # what File > Close Window calls


@pytest.fixture
def window_viewer(make_napari_viewer: Any) -> Iterator[Any]:
    """A viewer whose window the user closes."""
    viewer = make_napari_viewer(show=True)
    get_settings().application.confirm_close_window = True
    yield viewer
    if hasattr(viewer.window, "_qt_window"):
        viewer.window._teardown()
        del viewer.window._qt_window  # it is closed, and Qt has destroyed it
    delete_later()
    # napari's fixture counts windows; this one was closed out of a question's event loop, and lives a little longer.
    QtViewer._instances.clear()
    type(viewer)._instances.discard(viewer)


@pytest.mark.parametrize("way", ["X", "menu"])
def test_closing_by_the_user_asks_and_names_the_layers(
    qtbot: Any, window_viewer: Any, engine: Any, folder: Path, scene: Any, monkeypatch: Any, way: str
) -> None:
    edited(qtbot, window_viewer, folder, scene)
    window = window_viewer.window._qt_window
    for button, path in (("Cancel", ""), ("Save…", "")):  # then the Save dialog is cancelled
        answer(monkeypatch, path)
        asked = answering(button)
        close_by(window_viewer, way)
        qtbot.waitUntil(lambda asked=asked: bool(asked))
        assert "'nuclei'" in asked[0]
        qtbot.wait(50)
        assert window.isVisible()
    answer(monkeypatch, folder / "cells_labels.tif")
    answering("Save…")
    close_by(window_viewer, way)
    qtbot.waitUntil(lambda: not window.isVisible())
    assert (folder / "cells_labels.tif").exists()
    assert not any(kept.lost for kept in kept_journals(journal_folder()))


def test_what_the_user_does_not_want_is_not_offered(
    qtbot: Any, window_viewer: Any, engine: Any, folder: Path, scene: Any
) -> None:
    edited(qtbot, window_viewer, folder, scene)
    window = window_viewer.window._qt_window
    answering("Don't save")
    close_by(window_viewer, "X")
    qtbot.waitUntil(lambda: not window.isVisible())
    qtbot.waitUntil(lambda: kept_journals(journal_folder())[0].ended)


def test_closing_by_a_script_does_not_ask(
    qtbot: Any, make_napari_viewer: Any, engine: Any, folder: Path, scene: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(QMessageBox, "exec", lambda _: pytest.fail("it was asked"))
    viewer = make_napari_viewer(show=True)
    edited(qtbot, viewer, folder, scene)
    viewer.close()
    assert any(kept.lost for kept in kept_journals(journal_folder()))


def test_a_dock_is_not_closed_over_a_run_without_a_question(
    qtbot: Any, viewer: Any, engine: Any, folder: Path, scene: Any
) -> None:
    engine.answer = None
    viewer.open(folder / "cells.tif", plugin="napari")
    form = docked(viewer, AutomaticWidget(viewer))
    qtbot.waitUntil(form.isVisible)
    click(qtbot, form.run_button)
    assert form.current is not None
    dock = form.parent()
    asked = answering("Cancel")
    dock.titleBarWidget().close_button.click()
    assert "Automatic masks" in asked[0]
    assert form.current is not None
    assert dock.isVisible()
    run = form.current
    answering("Stop and close")
    dock.titleBarWidget().close_button.click()
    assert form.current is None
    assert run is not None


@pytest.mark.parametrize("plugin", ["default", "napari"])
def test_save_selected_layers_keeps_what_a_layer_has_or_says_what_is_lost(
    qtbot: Any, viewer: Any, engine: Any, folder: Path, scene: Any, monkeypatch: Any, plugin: str
) -> None:
    layer = edited(qtbot, viewer, folder, scene)
    form = next(iter(viewer.window._wrapped_dock_widgets.values())).inner_widget()
    viewer.layers.selection = {layer}
    path = folder / "out.tif"

    def dialog(*args: Any, **more: Any) -> tuple[str, str]:
        filters = more["filter"].split(";;")
        own = next(text for text in filters if text.startswith("napari builtins labels"))
        return (str(path), filters[0] if plugin == "default" else own)

    monkeypatch.setattr(QFileDialog, "getSaveFileName", dialog)
    choose(qtbot, viewer, "File", "Save Selected Layers...")
    qtbot.waitUntil(lambda: "saved in out.tif" in form.edits.state.text())
    if plugin == "default":
        ((data, attributes, _),) = read_layer(str(path))
        np.testing.assert_array_equal(data, layer.data)
        assert attributes["scale"] == [0.5, 0.5]
    else:
        assert "without scale" in form.edits.state.text()


def test_a_form_that_is_gone_when_its_labels_are_saved_says_nothing_and_the_layer_counts_as_saved(
    qtbot: Any, viewer: Any, engine: Any, folder: Path, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = opened(viewer, folder, scene)
    goes_on = threading.Event()
    outcomes: list[Any] = [["written"], OSError("no room")]

    def slow(_layer: Any, path: Path) -> Any:
        def work() -> Any:
            goes_on.wait(10)
            if isinstance(outcome := outcomes.pop(0), Exception):
                raise outcome
            path.touch()
            return outcome

        return work

    monkeypatch.setattr(save_row, "saving", slow)
    warned: list[str] = []
    monkeypatch.setattr(save_row, "show_warning", warned.append)
    answer(monkeypatch, folder / "cells_labels.tif")
    for path in ("saved", "not saved"):
        goes_on.clear()
        form = docked(viewer, CorrectWidget(viewer))
        form.choose([1, 2] if path == "saved" else [1])
        form.merge() if path == "saved" else form.delete()
        click(qtbot, form.edits.saving.button)
        row = form.edits.saving
        viewer.window.remove_dock_widget(form.parent())
        form.deleteLater()
        qtbot.waitUntil(lambda row=row: not isalive(row))
        goes_on.set()
        if path == "saved":
            qtbot.waitUntil(lambda: not layer_file(layer).is_unsaved())
            assert not warned
        else:
            qtbot.waitUntil(lambda: bool(warned))
            assert "was not saved. no room" in warned[0]
            assert layer_file(layer).is_unsaved()
