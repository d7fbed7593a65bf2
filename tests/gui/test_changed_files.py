"""Two windows, or another program, on one folder: a save onto a file that changed since it was opened asks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication, QFileDialog, QMessageBox

from napari_foundseg.core.errors import ChangedError
from napari_foundseg.io.readers import read_labels
from napari_foundseg.io.worklist import read_records
from napari_foundseg.io.writers import replace_labels
from napari_foundseg.widgets.batch.batch_dock import BatchWidget
from napari_foundseg.widgets.objects.correct_dock import CorrectWidget
from napari_foundseg.widgets.objects.objects_dock import ObjectsWidget
from napari_foundseg.widgets.worklist.worklist_dock import WorklistWidget
from tests.support import toy_steps

pytestmark = pytest.mark.gui


class Question:
    """Presses a button of the next questions; keeps what they said."""

    def __init__(self, button: str) -> None:
        self.texts: list[str] = []
        self._button = button
        self._timer = QTimer()
        self._timer.timeout.connect(self._press)
        self._timer.start(10)

    def _press(self) -> None:
        box = QApplication.activeModalWidget()
        if isinstance(box, QMessageBox):
            self.texts.append(box.text())
            next(each for each in box.buttons() if each.text().replace("&", "") == self._button).click()

    def stop(self) -> None:
        self._timer.stop()


@pytest.fixture
def question(request: pytest.FixtureRequest) -> Iterator[Question]:
    asked = Question(getattr(request, "param", "Cancel"))
    yield asked
    asked.stop()


@pytest.fixture
def folder(tmp_path: Path, scene: Any) -> Path:
    images = tmp_path / "images"
    images.mkdir()
    for i, name in enumerate("ab"):
        tifffile.imwrite(images / f"{name}.tif", scene.image + i)
    return images


def worklist(qtbot: Any, viewer: Any, folder: Path) -> WorklistWidget:
    """A window with the first image of the folder open."""
    form = WorklistWidget(viewer)
    viewer.window.add_dock_widget(form, name="Worklist")
    form.ask_folder = lambda _title: str(folder)
    click(qtbot, form, form.folder_button)
    click(qtbot, form, form.next_button)
    assert form.session.opened is not None
    return form


def click(qtbot: Any, form: WorklistWidget, button: Any) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not form.session.busy)


def draw(form: WorklistWidget, label: int) -> None:
    form.session.opened.history.write("paint", [((slice(4, 9), slice(4, 12)), np.full((5, 8), label, np.uint16))])


def ids(path: Path) -> list[int]:
    return [int(n) for n in np.unique(read_labels(path).data) if n]


def by_another_program(path: Path, label: int = 9) -> None:
    replace_labels(path, np.full((128, 160), label, np.uint16))


@pytest.fixture
def windows(qtbot: Any, viewer: Any, engine: Any, make_napari_viewer: Any, folder: Path) -> list[WorklistWidget]:
    """Two windows on one image; the first has saved."""
    other = make_napari_viewer(show=True)
    forms = [worklist(qtbot, each, folder) for each in (viewer, other)]
    for form, label in zip(forms, (1, 2), strict=True):
        draw(form, label)
    click(qtbot, forms[0], forms[0].next_button)
    assert ids(folder / "a_labels.tif") == [1]
    return forms


@pytest.mark.parametrize("question", ["Cancel", "Replace", "Save elsewhere…"], indirect=True)
def test_the_second_of_two_windows_asks(
    qtbot: Any, windows: Any, question: Question, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = windows[1]
    mine = folder.parent / "mine.tif"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_a, **_k: (str(mine), ""))
    click(qtbot, second, second.next_button)
    assert len(question.texts) == 1
    assert "'a_labels.tif' was made" in question.texts[0]
    assert "another window or program" in question.texts[0]
    name = second.session.opened.item.name
    match question._button:
        case "Cancel":
            assert name == "a.tif"
            assert second.session.opened.unsaved
            assert ids(folder / "a_labels.tif") == [1]
            assert "was made" in second.messages["run"].text()
            assert second.session.opened.labels.data.max() == 2
        case "Replace":
            assert name == "b.tif"
            assert ids(folder / "a_labels.tif") == [2]
            click(qtbot, second, second.previous_button)
            draw(second, 3)
            click(qtbot, second, second.next_button)
            assert len(question.texts) == 1, "its own saves are none of others"
        case _:
            assert name == "b.tif"
            assert ids(folder / "a_labels.tif") == [1]
            assert ids(mine) == [2]


def test_what_another_program_saved_is_asked_about_and_times_alone_are_not(
    qtbot: Any, viewer: Any, engine: Any, folder: Path, question: Question
) -> None:
    labels = folder / "a_labels.tif"
    by_another_program(labels, 4)
    form = worklist(qtbot, viewer, folder)
    draw(form, 5)
    os.utime(labels, (1, 1))
    click(qtbot, form, form.next_button)
    assert not question.texts
    assert ids(labels) == [4, 5]
    click(qtbot, form, form.previous_button)
    draw(form, 6)
    by_another_program(labels, 7)
    assert "'a_labels.tif' was changed" in form.session.save_now(), "closing the window"
    click(qtbot, form, form.next_button)
    assert len(question.texts) == 2
    assert ids(labels) == [7]
    # A file that is gone holds nothing that would be lost.
    labels.unlink()
    click(qtbot, form, form.next_button)
    assert len(question.texts) == 2
    assert 6 in ids(labels)


def test_the_table_of_the_labels_is_asked_about(
    qtbot: Any, viewer: Any, engine: Any, folder: Path, question: Question
) -> None:
    by_another_program(folder / "a_labels.tif", 4)
    (folder / "a_labels.csv").write_text("label,note\n4,old\n")
    form = worklist(qtbot, viewer, folder)
    draw(form, 5)
    (folder / "a_labels.csv").write_text("label,note\n4,new\n")
    click(qtbot, form, form.next_button)
    assert "'a_labels.csv' was changed" in question.texts[0]
    assert ids(folder / "a_labels.tif") == [4]
    assert "new" in (folder / "a_labels.csv").read_text()


def test_labels_that_were_only_marked_keep_what_others_saved(
    qtbot: Any, viewer: Any, engine: Any, folder: Path, question: Question
) -> None:
    labels = folder / "a_labels.tif"
    by_another_program(labels, 4)
    form = worklist(qtbot, viewer, folder)
    by_another_program(labels, 7)
    click(qtbot, form, form.done_button)
    assert not question.texts
    assert ids(labels) == [7]
    assert "Open the image again" in form.messages["run"].text()
    assert read_records(folder)["a.tif"].state == "done"


@pytest.mark.parametrize("question", ["Cancel", "Replace"], indirect=True)
@pytest.mark.parametrize("way", ["Save labels…", "File > Save"])
def test_a_layer_that_was_opened_from_a_file_asks(
    qtbot: Any, viewer: Any, engine: Any, folder: Path, question: Question, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = folder / "a_labels.tif"
    by_another_program(labels, 1)
    viewer.open(labels, plugin="napari-foundseg")
    # Before any form looks at the layer.
    by_another_program(labels, 7)
    form = CorrectWidget(viewer)
    viewer.window.add_dock_widget(form)
    form.choose([1])
    form.delete()
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_a, **_k: (str(labels), ""))
    saving = form.edits.saving
    if way == "Save labels…":
        qtbot.mouseClick(saving.button, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: bool(question.texts))
        qtbot.waitUntil(lambda: "was not saved" in saving.message.text() or saving.state.text().startswith("saved"))
    else:
        # napari shows the error.
        with suppress(ChangedError):
            viewer.layers.save(str(labels), selected=True)
    assert len(question.texts) == 1
    assert ids(labels) == ([7] if question._button == "Cancel" else [])


def test_recipes_and_tables_ask(
    qtbot: Any, viewer: Any, engine: Any, folder: Path, question: Question, scene: Any
) -> None:
    from napari_foundseg.batch.recipe import write_recipe

    recipe = folder / "recipe.yaml"
    write_recipe(recipe, toy_steps.recipe("a.tif"))
    form = BatchWidget(viewer)
    viewer.window.add_dock_widget(form)
    form.ask_path = lambda _kind: [str(recipe)]
    form.open_recipe()
    qtbot.waitUntil(lambda: bool(form.session.lines))
    write_recipe(recipe, toy_steps.recipe("b.tif"))
    form.save_recipe()
    qtbot.waitUntil(lambda: bool(form.messages["recipe"].text()))
    assert "'recipe.yaml' was changed" in question.texts[0]
    assert "b.tif" in recipe.read_text()
    viewer.add_labels(scene.automatic.labels.copy())
    objects = ObjectsWidget(viewer)
    viewer.window.add_dock_widget(objects)
    qtbot.waitUntil(lambda: "objects" in objects.state.text())
    table = folder / "table.csv"
    objects.save_table(str(table))
    table.write_text("mine")
    objects.save_table(str(table))
    assert "'table.csv' was changed" in question.texts[-1]
    assert table.read_text() == "mine"
