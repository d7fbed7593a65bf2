"""The dock *Models*, used by clicks: search, advice, import by drop, timing, and the way back into the forms."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDesktopServices, QDragEnterEvent, QDropEvent, QImage
from qtpy.QtWidgets import QApplication, QMessageBox

from napari_foundseg.core.result import Segmentation
from napari_foundseg.models import store
from napari_foundseg.models.catalog import CatalogRow, catalog, row, save_row
from napari_foundseg.models.choosing.times import DeviceTimes, ModelTimes, recall_times
from napari_foundseg.models.downloads.places import bytes_here
from napari_foundseg.models.loading import load_model
from napari_foundseg.models.store import locate
from napari_foundseg.tasks import TASKS
from napari_foundseg.tasks.side_tasks import model_timing
from napari_foundseg.widgets.automatic.automatic_dock import AutomaticWidget
from napari_foundseg.widgets.classes.text_dock import TextWidget
from napari_foundseg.widgets.controls.catalogue_watch import CatalogueWatch, catalogue_watch
from napari_foundseg.widgets.controls.model_choice import GET_MODELS
from napari_foundseg.widgets.models.models_dock import ModelsWidget
from napari_foundseg.widgets.prompt.prompt_dock import PromptWidget
from napari_foundseg.widgets.runs.model_work import model_work
from tests.support.published_model import publish_small_model
from tests.support.small_sam import small_sam
from tests.support.web_server import WebServer, drop_at, refuse, stall_at

pytestmark = pytest.mark.gui

#: A process that starts on a busy computer.
_LONG = 60_000


@pytest.fixture(autouse=True)
def _no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    yield
    model_work.cache_clear()


@pytest.fixture
def dock(qtbot: Any, viewer: Any, engine: Any) -> ModelsWidget:
    """The dock as the menu opens it."""
    viewer.add_image(np.zeros((64, 64), np.uint8), name="cells")
    _, opened = viewer.window.add_plugin_dock_widget("napari-foundseg", "Models")
    qtbot.waitUntil(lambda: "sam-vit-b" in opened.table.shown())
    assert opened.table.line("sam-vit-b").state == "to download"
    assert isinstance(opened, ModelsWidget)
    return opened


def _click(qtbot: Any, button: Any) -> None:
    assert button.isEnabled(), button.toolTip()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def _drop(dock: ModelsWidget, *paths: Path) -> None:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    copy, left, none = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    # As a drag over the table reaches the dock.
    enter = QDragEnterEvent(QPoint(20, 20), copy, data, left, none)
    page = dock.viewport()
    QApplication.sendEvent(page, enter)
    assert enter.isAccepted()
    drop = QDropEvent(QPointF(20, 20), copy, data, left, none)
    QApplication.sendEvent(page, drop)
    assert drop.isAccepted()


def test_the_table_says_what_there_is_and_what_it_is_good_for(qtbot: Any, dock: ModelsWidget) -> None:
    assert dock.table.shown() == list(catalog())
    assert dock.table.line("foundseg-tiny").state == "built in"
    dock.table.choose("panoptic-deeplab-coco")
    text = dock.details.text()
    assert "everyday objects" in text.casefold()
    assert "122 MB" in text
    assert "Licence of the code: Apache-2.0" in text
    assert "of the weights: unknown: read it at the source before use" in text
    assert "https://dl.fbaipublicfiles.com" in text
    assert dock.buttons.download.text() == "Download 122 MB"
    assert "unknown" in dock.buttons.download.toolTip()
    assert not dock.buttons.verify.isEnabled()
    assert "not on this computer" in dock.buttons.verify.toolTip()


def test_search_and_filters_narrow_the_table(qtbot: Any, dock: ModelsWidget) -> None:
    qtbot.keyClicks(dock.search, "microscopy mitochondria")
    assert "micro-sam-vit-b-em" in dock.table.shown()
    assert all("mitochondria" in f"{row(name).good_for}{row(name).input}".casefold() for name in dock.table.shown())
    assert dock.table.name == dock.table.shown()[0]
    dock.search.clear()
    dock.task_filter.setCurrentIndex(dock.task_filter.findData("text"))
    assert set(dock.table.shown()) >= {"clipseg-rd64-refined"}
    assert "sam-vit-b" not in dock.table.shown()
    dock.task_filter.setCurrentIndex(0)
    dock.image_filter.setCurrentIndex(dock.image_filter.findData("electron"))
    assert "micro-sam-vit-b-em" in dock.table.shown()
    assert "foundseg-tiny" not in dock.table.shown()
    qtbot.keyClicks(dock.search, "no such thing")
    assert not dock.table.shown()
    assert dock.count.text() == f"0 of {len(catalog())} models"
    assert not dock.buttons.download.isEnabled()


def test_models_of_the_name_that_is_searched_come_first(qtbot: Any, dock: ModelsWidget) -> None:
    before = dock.table.shown()
    for text in ("SAM 2", "sam2"):
        dock.search.clear()
        qtbot.keyClicks(dock.search, text)
        first = [row(name).title for name in dock.table.shown()[:9]]
        assert all(title.startswith(("SAM 2.1", "SAM 2.0", "MedSAM2")) for title in first), first
        assert dock.table.visualItemRect(dock.table.topLevelItem(0)).top() >= 0, "the first one is in view"
    dock.search.clear()
    qtbot.keyClicks(dock.search, "vit-b histopathology")
    assert dock.table.shown()[0] == "micro-sam-vit-b-histopathology"
    dock.table.choose("micro-sam-vit-b-histopathology")
    dock.search.clear()
    assert dock.table.shown() == before
    assert dock.table.name == "micro-sam-vit-b-histopathology", "what was chosen stays chosen"
    dock.table.sortByColumn(2, Qt.SortOrder.AscendingOrder)
    qtbot.keyClicks(dock.search, "sam 2")
    sizes = [row(name).size_mb for name in dock.table.shown()]
    assert sizes == sorted(sizes), "the user's order goes before"


@pytest.mark.parametrize("width", [320, 480])
def test_names_of_one_family_are_told_apart(dock: ModelsWidget, width: int) -> None:
    dock.setFixedWidth(width)
    QApplication.processEvents()
    metrics, room = dock.table.fontMetrics(), dock.table.columnWidth(0) - 12
    swins = [row(name).title for name in dock.table.shown() if "mask2former-swin" in name]
    shown = {metrics.elidedText(title, Qt.TextElideMode.ElideRight, room) for title in swins}
    assert len(shown) == len(swins) > 2
    assert dock.table.columnWidth(0) + dock.table.columnWidth(1) <= dock.table.viewport().width()
    assert dock.buttons.download.text() == "Built in"


def test_sizes_are_sorted_as_numbers(dock: ModelsWidget) -> None:
    dock.table.sortByColumn(2, Qt.SortOrder.AscendingOrder)
    sizes = [row(name).size_mb for name in dock.table.shown()]
    assert sizes == sorted(sizes)


def test_the_questions_rank_models_and_use_this_opens_the_form(qtbot: Any, viewer: Any, dock: ModelsWidget) -> None:
    questions = dock.questions
    _click(qtbot, questions.button)
    assert questions.ranked[0].row.name == "foundseg-tiny"
    assert "finds nuclei by itself" in questions.list.item(0).text()
    questions.what.setCurrentIndex(questions.what.findData("organs"))
    questions.modality.setCurrentIndex(questions.modality.findData("medical"))
    assert "medsam" in [one.row.name for one in questions.ranked]
    at = next(at for at, one in enumerate(questions.ranked) if one.row.name == "medsam")
    for chosen in (at + 1, at):
        questions.list.setCurrentRow(chosen)
    assert dock.table.name == "medsam"
    _click(qtbot, questions.use_button)
    form = next(dock for dock in viewer.window.dock_widgets.values() if hasattr(dock, "model_row"))
    assert form.task.name == "prompt"
    assert form.model.currentData() == "medsam"


def test_advice_is_shown_to_its_last_word(qtbot: Any, dock: ModelsWidget) -> None:
    _click(qtbot, dock.questions.button)
    advice = dock.questions.list
    for width in range(330, 490, 20):
        dock.setFixedWidth(width)
        # The dock is laid out, then the list in it, then its items.
        for _ in range(5):
            QApplication.processEvents()
        picture = advice.viewport().grab().toImage().convertToFormat(QImage.Format.Format_Grayscale8)
        data = picture.constBits().asarray(picture.sizeInBytes())
        grey = np.frombuffer(data, np.uint8).reshape(picture.height(), -1)[:, : picture.width()]
        for at in range(1, advice.count()):
            area = advice.visualItemRect(advice.item(at))
            if area.bottom() < picture.height():
                item = grey[area.top() : area.bottom(), area.left() + 2 : area.right() - 2]
                written = np.flatnonzero((item != item[-1, 0]).any(axis=1))
                # Where an end is cut off, the line that was meant for it is empty.
                gap = len(item) - written[-1]
                assert gap < advice.fontMetrics().lineSpacing() - 2, f"advice {at} at a width of {width}"


def test_a_dropped_model_is_recognised_imported_and_removed(
    qtbot: Any, dock: ModelsWidget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "vit_small.pth"
    torch.save(small_sam().state_dict(), path)
    _drop(dock, path)
    assert dock.outcome.text().startswith("Looking at")
    qtbot.waitUntil(lambda: "imported as" in dock.outcome.text(), timeout=_LONG)
    name = dock.table.name
    assert "Recognised as" in dock.outcome.text()
    assert "Prompt" in dock.outcome.text()
    qtbot.waitUntil(lambda: dock.table.line(name).state == "ready")
    _shots(dock, "imported")
    asked: list[str] = []
    monkeypatch.setattr(QMessageBox, "question", lambda *args: asked.append(args[2]) or QMessageBox.StandardButton.Yes)
    _click(qtbot, dock.buttons.remove)
    qtbot.waitUntil(lambda: dock.table.line(name) is None)
    assert f"its weights stay at {path}" in asked[0]
    # The table may notice the removal before the message arrives.
    qtbot.waitUntil(lambda: "its weights stay" in dock.outcome.text())
    assert path.exists()


def test_a_wrong_file_is_named_and_the_next_one_is_imported(qtbot: Any, dock: ModelsWidget, tmp_path: Path) -> None:
    page = tmp_path / "sam.pth"
    page.write_text("<!DOCTYPE html><html></html>")
    good = tmp_path / "vit_small.pth"
    torch.save(small_sam().state_dict(), good)
    before = dock.table.shown()
    _drop(dock, page, good)
    qtbot.waitUntil(dock.messages["import"].isVisible, timeout=_LONG)
    assert f"{page} is a web page (HTML)" in dock.messages["import"].text()
    assert dock.table.shown() == before
    _shots(dock, "wrong")
    qtbot.waitUntil(lambda: "imported as" in dock.outcome.text(), timeout=_LONG)
    assert "vit" in dock.table.name
    assert str(page) in dock.messages["import"].text(), "the wrong one of several stays named"
    assert dock.import_button.isEnabled()


def test_timing_is_shown_and_used_by_estimates(
    qtbot: Any, viewer: Any, dock: ModelsWidget, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = ModelTimes(
        key=row("foundseg-tiny").key,
        auto="cpu",
        devices={
            "cpu": DeviceTimes(
                encode=0.04, click=0.009, runs={"automatic.decoder": 90.0}, speeds={"decoder": 60 / 64**2 * 1e6}
            )
        },
    )
    form = AutomaticWidget(viewer)
    viewer.window.add_dock_widget(form)
    monkeypatch.setattr(model_timing, "measure_model", lambda *_: measured)
    dock.table.choose("foundseg-tiny")
    _click(qtbot, dock.buttons.time)
    qtbot.waitUntil(lambda: "Here on cpu" in dock.outcome.text())
    assert "encoding 40 ms, a click 9 ms, Automatic masks (decoder) 90 s" in dock.outcome.text()
    qtbot.waitUntil(lambda: dock.table.line("foundseg-tiny").times == "40 ms + 9 ms")
    assert recall_times(row("foundseg-tiny")) == measured
    form.update_estimate()
    assert form.words.text() == "about 60 s"


def test_get_models_at_the_foot_of_a_choice_opens_the_dock_at_its_task(qtbot: Any, viewer: Any, engine: Any) -> None:
    viewer.add_image(np.zeros((64, 64), np.uint8), name="cells")
    form = TextWidget(viewer)
    viewer.window.add_dock_widget(form)
    last = form.model.count() - 1
    assert form.model.itemText(last) == GET_MODELS
    before = form.model.currentData()
    # With the arrow keys nobody opens it by going too far.
    for _ in range(form.model.count()):
        qtbot.keyClick(form.model, Qt.Key.Key_Down)
    assert form.model.currentData()
    assert not [one for one in viewer.window.dock_widgets.values() if isinstance(one, ModelsWidget)]
    form.model.setCurrentIndex(form.model.findData(before))
    form.model.setCurrentIndex(last)
    assert form.model.currentData() == before
    qtbot.waitUntil(lambda: any(isinstance(one, ModelsWidget) for one in viewer.window.dock_widgets.values()))
    (dock,) = [one for one in viewer.window.dock_widgets.values() if isinstance(one, ModelsWidget)]
    assert dock.task_filter.currentData() == "text"
    qtbot.waitUntil(lambda: "clipseg-rd64-refined" in dock.table.shown())
    assert "foundseg-tiny" not in dock.table.shown()


def test_a_model_that_is_not_here_is_listed_with_its_size_and_run_offers_it(
    qtbot: Any, viewer: Any, engine: Any
) -> None:
    viewer.add_image(np.zeros((64, 64), np.uint8), name="cells")
    form = AutomaticWidget(viewer)
    viewer.window.add_dock_widget(form)
    qtbot.waitUntil(form.isVisible)
    form.model.setCurrentIndex(form.model.findData("sam-vit-b"))
    assert form.model.currentText() == "sam-vit-b (375 MB)"
    assert not form.offer.isVisible()
    _click(qtbot, form.run_button)
    assert form.offer.isVisible()
    assert "Download SAM ViT-B? 375 MB." in form.offer.words.text()
    assert "Licence of the code: Apache-2.0; of the weights: Apache-2.0." in form.offer.words.text()
    _click(qtbot, form.offer.more_button)
    (dock,) = [one for one in viewer.window.dock_widgets.values() if isinstance(one, ModelsWidget)]
    qtbot.waitUntil(lambda: dock.table.name == "sam-vit-b")
    form.model.setCurrentIndex(form.model.findData("foundseg-tiny"))
    assert not form.offer.isVisible()
    assert not engine.jobs


@pytest.mark.parametrize("width", [320, 480])
def test_nothing_is_cut_at_the_widths_of_docks(qtbot: Any, dock: ModelsWidget, width: int) -> None:
    dock.setFixedWidth(width)
    dock.table.choose("sam-vit-b")
    page = dock.widget()
    qtbot.waitUntil(lambda: page.width() <= width)
    of = dock.buttons

    def check() -> None:
        for button in (of.download, of.use, of.time, of.verify, of.folder):
            assert button.width() >= button.fontMetrics().horizontalAdvance(button.text())
            assert button.mapTo(page, QPoint(button.width(), 0)).x() <= page.width()

    # Buttons take their places after the first look at the models, whose states are their texts.
    qtbot.waitUntil(check)


def _small_model(tmp_path: Path, server: WebServer) -> bytes:
    """Add a row of a small SAM that is on a server, and return its file."""
    content = publish_small_model(tmp_path, server)
    catalogue_watch().check()
    return content


def test_models_are_looked_for_beside_the_window(qtbot: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FOUNDSEG_MODELS", str(tmp_path / "models"))
    threads: list[threading.Thread] = []

    def recorded(found: CatalogRow) -> str:
        threads.append(threading.current_thread())
        return store.state(found)

    monkeypatch.setattr("napari_foundseg.widgets.controls.catalogue_watch.state", recorded)
    watch = CatalogueWatch()
    # It has looked once, and looks again.
    qtbot.waitUntil(lambda: len(threads) > len(catalog()), timeout=_LONG)
    with qtbot.waitSignal(watch.changed, timeout=_LONG):
        save_row(replace(row("sam-vit-b"), name="mine"))
    assert threading.main_thread() not in threads
    watch.deleteLater()


def test_what_changes_back_while_forms_read_it_is_read_again(qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    watch_module = "napari_foundseg.widgets.controls.catalogue_watch"
    there = [("tiny", "hash", "ready")]
    disk = [there]
    monkeypatch.setattr(f"{watch_module}._EVERY_MS", 10)
    monkeypatch.setattr(f"{watch_module}._read_states", lambda: disk[0])
    watch = CatalogueWatch()
    shown: list[object] = []

    def read() -> None:
        # After the first change a form reads a row that is damaged by then, and is mended before the next look.
        shown.append("damaged" if len(shown) == 1 else disk[0])

    watch.changed.connect(read)
    qtbot.waitUntil(lambda: shown == [there], timeout=_LONG)
    disk[0] = [*there, ("mine", "hash", "ready")]
    qtbot.waitUntil(lambda: shown[1:] == ["damaged", disk[0]], timeout=_LONG)
    qtbot.wait(100)
    assert len(shown) == 3
    watch.deleteLater()


def test_what_a_deleted_watch_was_reading_is_dropped(qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    reads, goes_on, ended = threading.Event(), threading.Event(), threading.Event()

    def slow() -> list[tuple[str, str, str]]:
        reads.set()
        goes_on.wait(_LONG / 1000)
        return []

    monkeypatch.setattr("napari_foundseg.widgets.controls.catalogue_watch._read_states", slow)
    watch = CatalogueWatch()
    assert reads.wait(_LONG / 1000)
    watch._files.ask(ended.set, lambda _: pytest.fail("it was handed over"))
    with qtbot.waitSignal(watch.destroyed, timeout=_LONG):
        watch.deleteLater()
    goes_on.set()
    assert ended.wait(_LONG / 1000)
    # pytest-qt fails the test if the event loop meets an exception.
    qtbot.wait(50)


@pytest.fixture
def server() -> Iterator[WebServer]:
    web = WebServer()
    yield web
    web.close()


def _really(job: Any) -> Segmentation:
    """Run a job of the fake engine in this process."""
    request = job.request
    task = TASKS[request.task]
    model = load_model(request.model, device="cpu")
    return task.run(request.image, request.inputs, request.settings, model)


def test_a_download_is_paused_resumed_used_and_removed(
    qtbot: Any, viewer: Any, engine: Any, dock: ModelsWidget, server: WebServer, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    content = _small_model(tmp_path, server)
    server.faults["/small.pth"] = [stall_at(0.5)]
    qtbot.waitUntil(lambda: "small" in dock.table.shown())
    dock.table.choose("small")
    assert "of the weights: CC-BY-4.0" in dock.details.text()
    qtbot.waitUntil(dock.buttons.download.isEnabled)
    _click(qtbot, dock.buttons.download)
    # Progress, in the row and below the table.
    qtbot.waitUntil(lambda: dock.progress.isVisible() and dock.progress.bar.value() > 30)
    assert dock.table.line("small").state.startswith("download ")
    assert not dock.buttons.download.isEnabled()
    _click(qtbot, dock.progress.pause_button)
    qtbot.waitUntil(lambda: dock.table.line("small").state.startswith("part"))
    assert not dock.progress.isVisible()
    assert dock.buttons.download.text().startswith("Resume (")
    assert dock.buttons.remove_part.isVisible()
    _click(qtbot, dock.buttons.download)
    qtbot.waitUntil(lambda: dock.table.line("small").state == "ready")
    assert server.asked("/small.pth")[-1]["range"].startswith("bytes="), "it went on where it was"
    assert "Small SAM is here" in dock.outcome.text()
    path = locate(row("small"))
    assert path is not None
    assert path.read_bytes() == content
    # Prompt with it.
    engine.answer = _really
    dock.use("prompt", "small")
    form = next(one for one in viewer.window.dock_widgets.values() if isinstance(one, PromptWidget))
    assert form.model.currentData() == "small"
    _click(qtbot, form.run_button)
    form.session.points.add([32, 32])
    qtbot.waitUntil(lambda: bool(engine.jobs))
    assert engine.jobs[-1].request.model == "small"
    qtbot.waitUntil(lambda: bool(form.candidates.masks))
    # And away with it.
    asked: list[str] = []
    monkeypatch.setattr(QMessageBox, "question", lambda *args: asked.append(args[2]) or QMessageBox.StandardButton.Yes)
    qtbot.waitUntil(dock.buttons.remove.isEnabled)
    _click(qtbot, dock.buttons.remove)
    qtbot.waitUntil(lambda: not path.exists())
    assert str(path.parent) in asked[0]
    qtbot.waitUntil(lambda: form.model.currentData() == "foundseg-tiny")
    assert form.model_row.words.text() == "small is no longer in the list; foundseg-tiny is chosen."


def test_a_cancelled_download_leaves_nothing(qtbot: Any, dock: ModelsWidget, server: WebServer, tmp_path: Path) -> None:
    _small_model(tmp_path, server)
    server.faults["/small.pth"] = [stall_at(0.5)]
    qtbot.waitUntil(lambda: "small" in dock.table.shown())
    dock.table.choose("small")
    qtbot.waitUntil(dock.buttons.download.isEnabled)
    _click(qtbot, dock.buttons.download)
    qtbot.waitUntil(lambda: dock.progress.bar.value() > 30)
    assert dock.unfinished().startswith("Models: 1 download under way")
    _click(qtbot, dock.progress.cancel_button)
    qtbot.waitUntil(lambda: dock.outcome.text().startswith("The unfinished download is deleted"))
    qtbot.waitUntil(lambda: dock.table.line("small").state == "to download")
    assert not bytes_here(row("small"))
    assert dock.unfinished() == ""


def test_a_part_is_shown_and_removed_and_an_error_is_named(
    qtbot: Any, dock: ModelsWidget, server: WebServer, tmp_path: Path
) -> None:
    _small_model(tmp_path, server)
    server.faults["/small.pth"] = [refuse(404), drop_at(0.5), *[refuse(503)] * 20]
    qtbot.waitUntil(lambda: "small" in dock.table.shown())
    dock.table.choose("small")
    qtbot.waitUntil(dock.buttons.download.isEnabled)
    _click(qtbot, dock.buttons.download)
    qtbot.waitUntil(dock.messages["model"].isVisible)
    assert "404" in dock.messages["model"].text()
    assert "Unexpected" not in dock.messages["model"].text()
    assert server.url in dock.messages["model"].text()
    assert dock.buttons.download.isEnabled()


def _shots(dock: ModelsWidget, name: str) -> None:
    """Save how the dock looks at the widths of narrow and usual docks, where somebody wants to look."""
    if folder := os.environ.get("FOUNDSEG_SHOTS"):
        for width in (320, 480):
            dock.setFixedWidth(width)
            QApplication.processEvents()
            dock.grab().save(f"{folder}/models-{name}-{width}.png")


def test_weights_are_verified_shown_in_their_folder_and_a_part_is_removed(
    qtbot: Any, dock: ModelsWidget, server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _small_model(tmp_path, server)
    server.faults["/small.pth"] = [stall_at(0.5)]
    qtbot.waitUntil(lambda: "small" in dock.table.shown())
    dock.table.choose("small")
    qtbot.waitUntil(dock.buttons.download.isEnabled)
    _click(qtbot, dock.buttons.download)
    qtbot.waitUntil(lambda: dock.progress.bar.value() > 30)
    _shots(dock, "download")
    _click(qtbot, dock.progress.pause_button)
    qtbot.waitUntil(dock.buttons.remove_part.isVisible)
    _shots(dock, "part")
    _click(qtbot, dock.buttons.remove_part)
    qtbot.waitUntil(lambda: dock.table.line("small").state == "to download")
    assert not bytes_here(row("small"))
    qtbot.waitUntil(lambda: not dock.buttons.remove_part.isVisible())

    _click(qtbot, dock.buttons.download)
    qtbot.waitUntil(lambda: dock.table.line("small").state == "ready")
    qtbot.waitUntil(dock.buttons.verify.isEnabled)
    _click(qtbot, dock.buttons.verify)
    qtbot.waitUntil(lambda: "is unchanged" in dock.outcome.text())
    assert max(map(len, dock.outcome.text().split())) < 20, "nothing that is too long for a narrow dock"
    assert row("small").sha256 in dock.outcome.toolTip()
    _shots(dock, "verified")
    opened: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    _click(qtbot, dock.buttons.folder)
    path = locate(row("small"))
    assert path is not None
    assert opened == [str(path.parent)]
    # A byte that has changed since is named.
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    _click(qtbot, dock.buttons.verify)
    qtbot.waitUntil(dock.messages["model"].isVisible)
    assert str(path) in dock.messages["model"].text()
    _shots(dock, "changed")


def test_a_token_is_asked_for_where_consent_is_and_kept_by_the_hubs_client(
    qtbot: Any, dock: ModelsWidget, server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr("huggingface_hub.constants.HF_STORED_TOKENS_PATH", str(tmp_path / "stored"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", server.url)
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    server.accounts = {"hf_known": "ada"}
    dock.table.choose("foundseg-tiny")
    assert not dock.token.isVisible()
    dock.table.choose("sam3")
    qtbot.waitUntil(dock.token.isVisible)
    assert "accept their terms (SAM License)" in dock.token.words.text()
    assert not dock.token.keep_button.isEnabled()
    _shots(dock, "gated")
    qtbot.keyClicks(dock.token.field, "hf_wrong")
    _click(qtbot, dock.token.keep_button)
    qtbot.waitUntil(dock.messages["model"].isVisible)
    assert "does not know this token" in dock.messages["model"].text()
    assert not (tmp_path / "token").exists()
    dock.token.field.clear()
    qtbot.keyClicks(dock.token.field, "hf_known")
    _click(qtbot, dock.token.keep_button)
    qtbot.waitUntil(lambda: not dock.token.field.text())
    assert (tmp_path / "token").read_text() == "hf_known"
    qtbot.waitUntil(lambda: "ada" in dock.outcome.text())


def test_run_downloads_the_model_and_runs_then(
    qtbot: Any, viewer: Any, engine: Any, server: WebServer, tmp_path: Path
) -> None:
    viewer.add_image(np.zeros((64, 64), np.uint8), name="cells")
    _small_model(tmp_path, server)
    form = AutomaticWidget(viewer)
    viewer.window.add_dock_widget(form)
    qtbot.waitUntil(form.isVisible)
    form.model.setCurrentIndex(form.model.findData("small"))
    _click(qtbot, form.run_button)
    assert not engine.jobs
    assert "of the weights: CC-BY-4.0" in form.offer.words.text()
    _click(qtbot, form.offer.download_button)
    qtbot.waitUntil(lambda: bool(engine.jobs))
    assert engine.jobs[-1].request.model == "small"
    assert not form.offer.isVisible()
    assert form.model.currentText() == "small"
