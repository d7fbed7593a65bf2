"""The widget *Batch*, and the buttons that lead to it from a task's form."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication
from skimage.draw import disk
from typer.testing import CliRunner

import napari_foundseg as fs
from napari_foundseg.batch import runner as runner_module
from napari_foundseg.batch.recipe import ModelOf, Recipe, Sources, Step, read_recipe, write_recipe
from napari_foundseg.batch.report import read_report
from napari_foundseg.cli import app
from napari_foundseg.engine.sources.own_process import OwnProcessSource
from napari_foundseg.engine.stages import Ended, StageContext
from napari_foundseg.engine.worker_source import WorkerSource, register_worker_source
from napari_foundseg.io.readers import read_image, read_labels
from napari_foundseg.io.samples import sample
from napari_foundseg.widgets.automatic.automatic_dock import AutomaticWidget
from napari_foundseg.widgets.batch.batch_dock import BatchWidget
from napari_foundseg.widgets.worklist.worklist_dock import WorklistWidget
from tests.support import toy_batch

pytestmark = [pytest.mark.gui, pytest.mark.shared_window]

RECIPE = Recipe(inputs=Sources(paths=("images",)), steps=(Step(task="automatic", model=ModelOf(name="foundseg-tiny")),))


class NearPool:
    """A pool whose workers are threads here: for what the window does, not for what workers do."""

    threads = 1

    def __init__(self, workers: int, source: WorkerSource) -> None:
        self.workers = workers
        self.source = source
        self._threads = ThreadPoolExecutor(workers)
        self._flag = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown()

    def submit(self, stages: Any, order: Any, told: Any = None) -> Future[Any]:
        return self._threads.submit(self._do, stages, order, told)

    def cancel(self, grace: float) -> None:  # noqa: ARG002 - as a pool
        self._flag.set()

    def _do(self, stages: Any, value: Any, told: Any) -> Any:
        context = StageContext(None, told, self._flag.is_set)
        for stage in stages:
            value = stage(value, context)
            if isinstance(value, Ended):
                return value.value
        return value


@pytest.fixture
def form(viewer: Any) -> BatchWidget:
    _, widget = viewer.window.add_plugin_dock_widget("napari-foundseg", "Batch")
    return widget


@pytest.fixture
def toy(qtbot: Any, form: BatchWidget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Returns a form with images that say in words what is to happen."""
    monkeypatch.setattr(runner_module, "Pool", NearPool)
    monkeypatch.setattr(runner_module, "STAGES", toy_batch.STAGES)

    def made(*texts: str) -> BatchWidget:
        (tmp_path / "images").mkdir()
        for number, text in enumerate(texts):
            (tmp_path / "images" / f"{number}.tif").write_text(text)
        write_recipe(tmp_path / "recipe.yaml", RECIPE)
        open_recipe(qtbot, form, tmp_path / "recipe.yaml")
        return form

    yield made
    form.session.stop()
    wait(qtbot, lambda: not form.session.running)


def wait(qtbot: Any, condition: Any) -> None:
    qtbot.waitUntil(condition, timeout=250_000)


def click(qtbot: Any, button: Any) -> None:
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def listed(qtbot: Any, form: BatchWidget) -> None:
    wait(qtbot, lambda: form.session.runner is not None and not form.session.preparing)


def open_recipe(qtbot: Any, form: BatchWidget, path: Path) -> None:
    form.ask_path = lambda _kind: [str(path)]
    click(qtbot, form.recipe_button)
    listed(qtbot, form)


def column(form: BatchWidget, at: int) -> list[str]:
    rows = [form.table.topLevelItem(i) for i in range(form.table.topLevelItemCount())]
    for row in rows:
        # Only what is in view is written.
        form.table.scrollToItem(row)
    return [row.text(at) for row in rows]


def run(qtbot: Any, form: BatchWidget) -> None:
    before = form.session.report
    click(qtbot, form.start_button)
    wait(qtbot, lambda: form.session.report not in (None, before) and not form.session.running)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*_labels.*") if path.suffix != ".json"}


@pytest.mark.timeout(900)
def test_what_was_tuned_in_the_window_runs_over_everything(
    qtbot: Any, viewer: Any, canvas: Any, engine: Any, scene: Any, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    shutil.copy(sample("nuclei"), images / "a.png")
    shutil.copy(sample("tissue"), images / "b.png")
    (images / "c.tif").write_bytes(b"II*\0" + bytes(60))
    tifffile.imwrite(images / "d.tif", np.asarray(read_image(images / "a.png").data)[:200, :160])

    # A person tunes on one image …
    viewer.open(images / "a.png", plugin="napari")
    engine.answer = lambda _: scene.automatic
    automatic = AutomaticWidget(viewer)
    viewer.window.add_dock_widget(automatic)
    assert not automatic.last_run.recipe_button.isEnabled()
    automatic.forms["decoder"].set_values({"pred_iou_thresh": 0.6})
    click(qtbot, automatic.run_button)
    wait(qtbot, lambda: automatic.last_run.recipe_button.isEnabled())
    automatic.last_run.ask_file = lambda _name: str(tmp_path / "tuned")
    click(qtbot, automatic.last_run.recipe_button)
    wait(qtbot, lambda: (tmp_path / "tuned.yaml").exists())
    wait(qtbot, lambda: "Saved" in automatic.words.text())
    saved = read_recipe(tmp_path / "tuned.yaml")
    assert saved.inputs.paths == ("images/a.png",)
    assert saved.steps[0].settings["pred_iou_thresh"] == 0.6

    # … and runs it over a folder: the recipe that was saved last is open already.
    _, form = viewer.window.add_plugin_dock_widget("napari-foundseg", "Batch")
    listed(qtbot, form)
    assert column(form, 0) == ["a.png"]
    form.ask_path = lambda _kind: [str(images)]
    click(qtbot, form.folder_button)
    wait(qtbot, lambda: form.table.topLevelItemCount() == 4)
    listed(qtbot, form)
    run(qtbot, form)
    assert column(form, 0) == ["a.png", "b.png", "c.tif", "d.tif"]
    assert column(form, 1) == ["done", "done", "failed", "done"]
    assert all(int(column(form, 3)[row]) > 0 for row in (0, 1, 3))
    assert all(seconds.endswith(" s") for seconds in column(form, 2))
    wait(qtbot, lambda: has_picture(form, 0) and has_picture(form, 1) and has_picture(form, 3))
    assert not has_picture(form, 2)
    form.table.setCurrentItem(form.table.topLevelItem(2))
    assert "c.tif" in form.reason.text(), "why it failed is said"
    assert "3 done, 1 failed" in form.state.text()
    report = read_report(tmp_path / "results")
    assert report is not None
    assert [item.error for item in report.items] == ["", "", "BadImageError", ""]

    # The same recipe without the window gives the same.
    form.ask_path = lambda _kind: [str(tmp_path / "all.yaml")]
    click(qtbot, form.save_button)
    wait(qtbot, lambda: "Saved" in form.state.text())
    ran = CliRunner().invoke(app, ["batch", str(tmp_path / "all.yaml"), "--out", str(tmp_path / "headless")])
    assert ran.exit_code == 1, ran.output
    assert len(files(tmp_path / "headless")) == 6
    assert files(tmp_path / "headless") == files(tmp_path / "results")

    # A result is opened by a double-click, in the worklist that is there, corrected, and is a person's then.
    worklist = WorklistWidget(viewer)
    viewer.window.add_dock_widget(worklist, name="Worklist (FoundSeg)")
    double_click(qtbot, form, 0)
    assert [w for w in viewer.window.dock_widgets.values() if isinstance(w, WorklistWidget)] == [worklist]
    wait(qtbot, lambda: worklist.session.opened is not None and not worklist.session.busy)
    layer = worklist.session.opened.labels
    np.testing.assert_array_equal(layer.data, read_image(tmp_path / "results" / "a_labels.tif").data)
    viewer.layers.selection.active = layer
    layer.mode, layer.selected_label, layer.brush_size = "paint", 999, 10
    canvas.drag(layer, (40, 40), (40, 90))
    painted = layer.data.copy()
    assert (painted == 999).any()
    click(qtbot, worklist.next_button)
    wait(qtbot, lambda: worklist.session.row == 1 and not worklist.session.busy)
    run(qtbot, form)
    assert column(form, 1) == ["kept", "already done", "failed", "already done"]
    np.testing.assert_array_equal(read_image(tmp_path / "results" / "a_labels.tif").data, painted)


def has_picture(form: BatchWidget, row: int) -> bool:
    picture = form.table.topLevelItem(row).icon(0).pixmap(32, 32).toImage()
    return any(picture.pixelColor(x, 16).alpha() for x in range(picture.width()))


def double_click(qtbot: Any, form: BatchWidget, row: int) -> None:
    place = form.table.visualItemRect(form.table.topLevelItem(row)).center()
    view = form.table.viewport()
    qtbot.mouseClick(view, Qt.MouseButton.LeftButton, pos=place)
    qtbot.mouseDClick(view, Qt.MouseButton.LeftButton, pos=place)


def test_pause_stop_and_continue(qtbot: Any, toy: Any) -> None:
    form = toy("done", "poll", *["done"] * 4)
    click(qtbot, form.start_button)
    wait(qtbot, lambda: column(form, 1)[0] == "done" and column(form, 1)[1].startswith("running"))
    assert not form.recipe_button.isEnabled()
    click(qtbot, form.pause_button)
    wait(qtbot, lambda: "Paused" in form.state.text())
    click(qtbot, form.pause_button)
    wait(qtbot, lambda: "Paused" not in form.state.text())
    click(qtbot, form.stop_button)
    wait(qtbot, lambda: not form.session.running)
    assert column(form, 1)[:2] == ["done", "not done"]
    assert "stopped by the user" in form.state.text()
    form.session.lines[1].item.path.write_text("done")
    assert form.start_button.text() == "Continue"
    click(qtbot, form.start_button)
    wait(qtbot, lambda: not form.session.running)
    assert column(form, 1) == ["done"] * 6
    assert form.start_button.text() == "Start"
    log = (form.session.request.results / "log").read_text().split("\n")
    assert sum(line.split()[1] == "0" for line in log if line) == 1, "what was done is not done again"


def test_names_stay_readable_beside_all_columns(qtbot: Any, toy: Any) -> None:
    table = toy("found 1", "found 2").table
    table.setFixedWidth(290)
    line = table.topLevelItem(0)
    for at, text in enumerate(("already done, look", "1234.5 s", "12345", "1 of 3", "25 px"), 1):
        table.setColumnHidden(at, False)
        line.setText(at, text)
    needed = table.fontMetrics().horizontalAdvance("images_of_a_plate.tif")
    qtbot.waitUntil(lambda: table.horizontalScrollBar().maximum() > 0)
    assert table.columnWidth(0) >= min(needed, 130)
    table.setFixedWidth(900)
    qtbot.waitUntil(lambda: table.horizontalScrollBar().maximum() == 0)
    assert sum(table.columnWidth(at) for at in range(6)) == table.viewport().width()


def test_what_will_be_run_is_said_in_the_words_of_the_forms(qtbot: Any, toy: Any) -> None:
    form = toy("found 1")
    assert form.recipe_label.text().endswith("Automatic masks with foundseg-tiny")
    assert form.state.text() == "1 item: 1 waiting."


def test_the_end_says_how_many_results_are_to_be_looked_at(qtbot: Any, toy: Any) -> None:
    form = toy("done", "dark", "dark")
    run(qtbot, form)
    assert column(form, 1) == ["done", "done, look", "done, look"]
    assert "3 done (2 to look at)" in form.state.text()


def test_one_worker_runs_one_image(qtbot: Any, toy: Any) -> None:
    form = toy("poll", "poll", "poll", "done")
    form.workers.setValue(1)
    wait(qtbot, lambda: not form.session.preparing)
    click(qtbot, form.start_button)
    wait(qtbot, lambda: column(form, 1)[0].startswith("running"))
    assert "1 running" in form.state.text()
    assert column(form, 1)[1:] == ["waiting"] * 3


def test_reasons_of_failures_are_in_the_form(qtbot: Any, toy: Any) -> None:
    form = toy("done", *["fail"] * 6)
    run(qtbot, form)
    assert form.reason.isVisible()
    assert form.reason.text().startswith("1.tif failed: it is damaged\n2.tif failed: it is damaged")
    assert form.reason.text().endswith("2 more failed; select one to see why.")
    form.table.setCurrentItem(form.table.topLevelItem(6))
    assert form.reason.text() == "it is damaged"


def test_what_failed_is_tried_again(qtbot: Any, toy: Any) -> None:
    form = toy("fail once", "done", "fail")
    run(qtbot, form)
    assert column(form, 1) == ["failed", "done", "failed"]
    click(qtbot, form.retry_button)
    wait(qtbot, lambda: not form.session.running)
    assert column(form, 1) == ["done", "done", "failed"]


def test_an_earlier_run_is_seen_when_the_recipe_is_opened_again(qtbot: Any, toy: Any, tmp_path: Path) -> None:
    form = toy("done", "fail")
    run(qtbot, form)
    open_recipe(qtbot, form, tmp_path / "recipe.yaml")
    assert column(form, 1) == ["done", "failed"]
    assert column(form, 3) == ["3", ""]


@pytest.mark.parametrize("how", ["widget", "viewer"])
def test_closing_during_a_batch_stops_it_in_good_order(
    qtbot: Any, viewer: Any, toy: Any, tmp_path: Path, how: str
) -> None:
    form = toy("done", "poll", "done")
    click(qtbot, form.start_button)
    wait(qtbot, lambda: column(form, 1)[1].startswith("running"))
    if how == "widget":
        viewer.window.remove_dock_widget(form)
        form.deleteLater()
    else:
        viewer.close()
    wait(qtbot, lambda: read_report(tmp_path / "results") is not None)
    report = read_report(tmp_path / "results")
    assert report is not None
    assert report.stopped == "stopped by the user"
    assert [item.state for item in report.items][:2] == ["done", "not done"]
    form.session.running = False


def test_the_window_stays_free_while_a_folder_is_listed_and_run(qtbot: Any, toy: Any) -> None:
    form = toy(*["sleep 0.3"] * 5, *["done"] * 295)
    ticks: list[int] = []
    timer = form.startTimer(10)
    form.timerEvent = lambda _event: ticks.append(1)
    run(qtbot, form)
    form.killTimer(timer)
    assert len(ticks) > 5, "at most 150 were possible"
    assert column(form, 1) == ["done"] * 300
    assert form.bar.value() == 300


def test_open_layers_are_items_too(qtbot: Any, viewer: Any, form: BatchWidget, tmp_path: Path) -> None:
    write_recipe(tmp_path / "recipe.yaml", RECIPE)
    rng = np.random.default_rng(0)
    tifffile.imwrite(tmp_path / "on disk.tif", rng.integers(0, 99, (32, 40), np.uint16))
    viewer.open(tmp_path / "on disk.tif", plugin="napari")
    viewer.open(tmp_path / "on disk.tif", plugin="napari", name="changed")[0].data = np.zeros((32, 40), np.uint16)
    stack = rng.integers(0, 99, (3, 32, 40), np.uint8)
    viewer.add_image(stack, name="a/b", scale=(2, 0.5, 0.5), axis_labels=("t", "y", "x"))
    viewer.add_image(rng.integers(0, 255, (32, 40, 3), np.uint8), name="colours")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.tif").write_text("")
    open_recipe(qtbot, form, tmp_path / "recipe.yaml")
    click(qtbot, form.layers_button)
    wait(qtbot, lambda: form.table.topLevelItemCount() == 4)
    assert column(form, 0) == ["on disk.tif", "changed.tif", "a_b.tif", "colours.tif"]
    saved = read_image(tmp_path / "results" / "layers" / "a_b.tif")
    np.testing.assert_array_equal(saved.data, stack)
    assert (saved.axes, saved.spacing["Y"]) == ("TYX", 0.5)
    assert read_image(tmp_path / "results" / "layers" / "colours.tif").axes == "YXC"
    assert not (tmp_path / "results" / "layers" / "on disk.tif").exists(), "its file holds the same"
    form.stacks.setCurrentIndex(1)
    form.stacks.activated.emit(1)
    wait(qtbot, lambda: form.table.topLevelItemCount() == 6)
    assert column(form, 0)[2:5] == [f"a_b.tif (t = {t})" for t in range(3)]
    click(qtbot, form.recipes_button)
    wait(qtbot, lambda: column(form, 0) == ["1.tif"])


def discs() -> np.ndarray:
    """Return slices of which each shows one of three discs."""
    made = np.full((3, 96, 128), 30, np.uint8)
    for z, centre in enumerate(((30, 30), (60, 64), (30, 98))):
        made[z][disk(centre, 12)] = 200
    return made


def objects_by_slice(labels: Path) -> list[int]:
    return [len(np.unique(plane)) - 1 for plane in read_labels(labels).data]


@pytest.fixture
def stacks(qtbot: Any, viewer: Any, form: BatchWidget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Two stacks of three slices in the viewer, from files, and a recipe that links no slices."""
    monkeypatch.setattr(runner_module, "Pool", NearPool)
    step = Step(task="automatic", model=ModelOf(name="foundseg-tiny"), settings={"link": "none"})
    (tmp_path / "images").mkdir()
    for name in ("a", "b"):
        path = tmp_path / "images" / f"{name}.tif"
        tifffile.imwrite(path, discs(), photometric="minisblack", metadata={"axes": "ZYX"})
        viewer.open(path, plugin="napari")
    write_recipe(tmp_path / "recipe.yaml", RECIPE.model_copy(update={"steps": (step,)}))
    open_recipe(qtbot, form, tmp_path / "recipe.yaml")
    return viewer.layers["a"], viewer.layers["b"]


def test_layers_are_seen_as_the_viewer_projects_them_and_the_form_says_so(
    qtbot: Any, viewer: Any, form: BatchWidget, stacks: Any, tmp_path: Path
) -> None:
    for layer in stacks:
        layer.projection_mode = "max"
    viewer.dims.set_point(0, 1)
    viewer.dims.thickness = (2, 0, 0)
    assert form.projection.isHidden()
    click(qtbot, form.layers_button)
    listed(qtbot, form)
    assert form.projection.text() == "Maximum of 3 slices along Z, as shown"
    assert not form.projection.isHidden()
    run(qtbot, form)
    for name in ("a", "b"):
        assert objects_by_slice(tmp_path / "results" / f"{name}_labels.tif") == [2, 3, 2]
    assert not (tmp_path / "results" / "layers").exists(), "the files hold the slices"
    form.ask_path = lambda _kind: [str(tmp_path / "saved.yaml")]
    click(qtbot, form.save_button)
    wait(qtbot, lambda: "Saved" in form.state.text())
    assert read_recipe(tmp_path / "saved.yaml").inputs.slab == fs.Slab(mode="max", margins={"Z": (1, 1)})

    # Single slices again; and what was seen of layers is no matter of other images.
    viewer.dims.thickness = (0, 0, 0)
    click(qtbot, form.layers_button)
    listed(qtbot, form)
    assert form.projection.isHidden()
    run(qtbot, form)
    assert objects_by_slice(tmp_path / "results" / "a_labels.tif") == [1, 1, 1]
    viewer.dims.thickness = (2, 0, 0)
    click(qtbot, form.layers_button)
    listed(qtbot, form)
    click(qtbot, form.recipes_button)
    listed(qtbot, form)
    assert form.projection.isHidden()
    assert form.session.request.chosen_recipe().inputs.slab is None


def test_layers_of_which_some_are_projected_are_each_seen_as_shown(
    qtbot: Any, viewer: Any, form: BatchWidget, stacks: Any, tmp_path: Path
) -> None:
    stacks[0].projection_mode = "max"
    stacks[1].projection_mode = "none"
    viewer.add_image(discs()[0], name="flat")
    viewer.dims.set_point(0, 1)
    viewer.dims.thickness = (2, 0, 0)
    click(qtbot, form.layers_button)
    listed(qtbot, form)
    assert form.projection.text().splitlines() == [
        "a: Maximum of 3 slices along Z, as shown", "b: single slices", "flat: single slices",
    ]  # fmt: skip
    run(qtbot, form)
    assert column(form, 1) == ["done"] * 3
    assert objects_by_slice(tmp_path / "results" / "a_labels.tif") == [2, 3, 2]
    assert objects_by_slice(tmp_path / "results" / "b_labels.tif") == [1, 1, 1]
    seen = read_image(tmp_path / "results" / "layers" / "a.tif")
    assert seen.axes == "ZYX"
    np.testing.assert_array_equal(seen.raw((1,)), discs().max(0))


def test_a_slab_that_the_recipe_names_holds_for_layers_too(
    qtbot: Any, viewer: Any, form: BatchWidget, stacks: Any, tmp_path: Path
) -> None:
    recipe = read_recipe(tmp_path / "recipe.yaml")
    named = recipe.inputs.model_copy(update={"slab": fs.Slab(mode="min", margins={"Z": (2, 2)})})
    write_recipe(tmp_path / "named.yaml", recipe.model_copy(update={"inputs": named}))
    open_recipe(qtbot, form, tmp_path / "named.yaml")
    wait(qtbot, lambda: form.projection.text() == "Minimum of 5 slices along Z, as in the recipe")
    listed(qtbot, form)
    viewer.dims.thickness = (2, 0, 0)
    click(qtbot, form.layers_button)
    listed(qtbot, form)
    assert form.projection.text() == "Minimum of 5 slices along Z, as in the recipe"
    assert form.session.request.chosen_recipe().inputs.slab == named.slab


class NearSource(OwnProcessSource):
    """A place where a batch runs, by its address."""

    @classmethod
    def accepts(cls, address: str) -> bool:
        return address.startswith("near://")

    def describe(self) -> str:
        return f"nearby at {self.address}"


def test_with_an_engine_address_the_batch_says_where_it_runs_and_runs_there(
    qtbot: Any, toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove = register_worker_source(NearSource)
    try:
        monkeypatch.setenv("FOUNDSEG_ENGINE", "near://here")
        form = toy("done")
        assert form.engine_label.text() == "Runs nearby at near://here."
        assert form.engine_label.isVisibleTo(form)
        run(qtbot, form)
        assert form.session.report.engine == "near://here"
        monkeypatch.delenv("FOUNDSEG_ENGINE")
        run(qtbot, form)
        assert form.session.report.engine == "", "the address of this moment counts"
        assert not form.engine_label.isVisibleTo(form)
    finally:
        remove()
    monkeypatch.setenv("FOUNDSEG_ENGINE", "tcp://gpu:1")
    click(qtbot, form.start_button)
    wait(qtbot, lambda: "tls://host:port" in form.messages["run"].text())


def test_batch_opens_from_the_command_palette(qtbot: Any, viewer: Any) -> None:
    window = viewer.window._qt_window
    window._command_palette.update_context(window)
    window._command_palette.show()
    qtbot.keyClicks(window._command_palette._line, "FoundSeg Batch")
    qtbot.keyClick(window._command_palette._line, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: any(form.isVisible() for form in window.findChildren(BatchWidget)))


def test_what_is_wrong_is_said_beside_its_part(qtbot: Any, form: BatchWidget, tmp_path: Path) -> None:
    assert not form.start_button.isEnabled()
    (tmp_path / "bad.yaml").write_text("format: foundseg-recipe 1\nsteps: []\n")
    form.ask_path = lambda _kind: [str(tmp_path / "bad.yaml")]
    click(qtbot, form.recipe_button)
    wait(qtbot, lambda: "inputs" in form.messages["recipe"].text())
    write_recipe(tmp_path / "recipe.yaml", RECIPE)
    form.ask_path = lambda _kind: [str(tmp_path / "recipe.yaml")]
    click(qtbot, form.recipe_button)
    wait(qtbot, lambda: "'images' matches no image" in form.messages["image"].text())
    assert not form.start_button.isEnabled()
    click(qtbot, form.layers_button)
    assert "no image layer" in form.messages["image"].text()
    click(qtbot, form.last_button)
    assert "There is no run yet" in form.messages["recipe"].text()


def test_objects_are_measured_by_recipes_of_the_window_and_not_by_those_of_before(
    qtbot: Any, toy: Any, viewer: Any, engine: Any, scene: Any, tmp_path: Path
) -> None:
    form = toy("a")
    assert not form.measure.isChecked(), "the recipe does not say it"
    form.measure.click()
    listed(qtbot, form)
    assert form.session.request.chosen_recipe().outputs.measure
    form.ask_path = lambda _kind: [str(tmp_path / "measured.yaml")]
    click(qtbot, form.save_button)
    wait(qtbot, lambda: "Saved" in form.state.text())
    assert read_recipe(tmp_path / "measured.yaml").outputs.measure
    open_recipe(qtbot, form, tmp_path / "recipe.yaml")
    wait(qtbot, lambda: not form.measure.isChecked())  # that was a choice for another recipe
    tifffile.imwrite(tmp_path / "cells.tif", scene.image)
    viewer.open(tmp_path / "cells.tif", plugin="napari")
    engine.answer = lambda _: scene.automatic
    automatic = AutomaticWidget(viewer)
    viewer.window.add_dock_widget(automatic)
    click(qtbot, automatic.run_button)
    wait(qtbot, lambda: automatic.last_run.command_button.isEnabled())
    click(qtbot, form.last_button)
    wait(qtbot, lambda: form.measure.isChecked())
    listed(qtbot, form)
    form.measure.click()
    listed(qtbot, form)
    assert not form.session.request.chosen_recipe().outputs.measure


def test_the_last_run_is_a_recipe_without_a_file(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, form: BatchWidget, tmp_path: Path
) -> None:
    tifffile.imwrite(tmp_path / "cells.tif", scene.image)
    viewer.open(tmp_path / "cells.tif", plugin="napari")
    engine.answer = lambda _: scene.automatic
    automatic = AutomaticWidget(viewer)
    viewer.window.add_dock_widget(automatic)
    click(qtbot, automatic.run_button)
    wait(qtbot, lambda: automatic.last_run.command_button.isEnabled())
    click(qtbot, form.last_button)
    listed(qtbot, form)
    assert column(form, 0) == ["cells.tif"]
    assert form.session.request.results == tmp_path / "results"
    assert form.session.request.recipe.steps[0].settings["pred_iou_thresh"] == automatic.settings.pred_iou_thresh


def test_the_last_run_on_an_image_in_no_file_asks_where_its_results_go(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, form: BatchWidget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    viewer.add_image(scene.image, name="cells")
    engine.answer = lambda _: scene.automatic
    automatic = AutomaticWidget(viewer)
    viewer.window.add_dock_widget(automatic)
    click(qtbot, automatic.run_button)
    wait(qtbot, lambda: automatic.last_run.command_button.isEnabled())
    asked: list[str] = []
    answers: list[list[str]] = [[], [str(tmp_path / "mine")]]
    form.ask_path = lambda kind: (asked.append(kind), answers.pop(0))[1]
    click(qtbot, form.last_button)
    assert "choose a folder for the results" in form.messages["recipe"].text()
    assert form.session.request.recipe is None
    click(qtbot, form.last_button)
    listed(qtbot, form)
    assert asked == ["results", "results"]
    assert form.place_label.text() == str(tmp_path / "mine")
    assert column(form, 0) == ["cells.tif"]
    assert not (tmp_path / "results").exists()
    assert not form.messages["recipe"].text()


def test_a_copied_command_writes_what_the_run_would(
    qtbot: Any, viewer: Any, engine: Any, scene: Any, tmp_path: Path
) -> None:
    viewer.add_image(scene.image, name="cells")
    engine.answer = lambda _: scene.automatic
    form = AutomaticWidget(viewer)
    viewer.window.add_dock_widget(form)
    click(qtbot, form.run_button)
    wait(qtbot, lambda: form.last_run.command_button.isEnabled())
    click(qtbot, form.last_run.command_button)
    words = shlex.split(QApplication.clipboard().text())
    assert words[:4] == ["napari-foundseg", "run", "automatic", "cells.tif"]
    tifffile.imwrite(tmp_path / "cells.tif", scene.image)
    done = subprocess.run(
        [sys.executable, "-c", "from napari_foundseg.cli import main; main()", *words[1:]],
        cwd=tmp_path, env=os.environ, capture_output=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "labels.tif").exists()
