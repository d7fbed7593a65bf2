"""A killed window with unsaved work in many layers: all of it is listed, and what is put aside can be had back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_foundseg.io.journal import journal_folder, kept_journals, read_journal
from napari_foundseg.widgets.menu import open_dock
from napari_foundseg.widgets.objects.correct_dock import CorrectWidget
from tests.support import child_environment

pytestmark = pytest.mark.gui

NAMES = {
    "cells masks", "cells classes", "cells objects", "cells clusters", "foundseg objects", "one", "two",
    "listed labels", "stack propagated",
}  # fmt: skip


def click(qtbot: Any, button: Any) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def choose(form: Any, *names: str) -> None:
    rows = form.recovery.list
    for row in range(rows.count()):
        rows.item(row).setSelected(any(f"'{name}'" in rows.item(row).text() for name in names))


def test_every_unsaved_layer_of_a_killed_window_is_listed_and_can_be_had_back(
    qtbot: Any, viewer: Any, engine: Any, tmp_path: Path
) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.support.killed_window", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=child_environment())
    assert process.stdout is not None
    with process:
        lines = iter(process.stdout.readline, "")
        assert any(line == "kept\n" for line in lines), "the window could not do its work"
        assert not any(kept.lost for kept in kept_journals(journal_folder())), "it is still open"
        process.kill()
    lost = {kept.header.layer: kept for kept in kept_journals(journal_folder()) if kept.lost}
    assert set(lost) == NAMES
    with np.load(tmp_path / "kept.npz") as shown:
        for name, kept in lost.items():
            np.testing.assert_array_equal(read_journal(kept.path).labels, shown[name], err_msg=name)
        assert np.flatnonzero(shown["stack propagated"].any((1, 2))).tolist() == [2, 3, 4]

    form = CorrectWidget(viewer)
    viewer.window.add_dock_widget(form)
    qtbot.waitUntil(lambda: form.recovery.list.count() == len(NAMES))
    choose(form, "one")
    click(qtbot, form.recovery.discard_button)
    click(qtbot, form.recovery.later_button)
    assert not form.recovery.isVisible()
    # Put aside, but not gone.
    everything = open_dock(viewer, "recover")
    qtbot.waitUntil(lambda: everything.recovery.list.count() == len(NAMES))
    choose(everything, "one", "two")
    click(qtbot, everything.recovery.keep_button)
    assert viewer.layers["one"].data[60, 70] == 9
    assert viewer.layers["two"].data[60, 70] == 8
    qtbot.waitUntil(lambda: sum(kept.lost for kept in kept_journals(journal_folder())) == len(NAMES) - 2)


def test_a_result_that_the_user_removes_is_not_offered_but_can_be_had_back(
    qtbot: Any, viewer: Any, engine: Any, scene: Any
) -> None:
    from napari_foundseg.widgets.automatic.automatic_dock import AutomaticWidget

    engine.answer = lambda _: scene.automatic
    viewer.add_image(scene.image, name="cells")
    form = AutomaticWidget(viewer)
    viewer.window.add_dock_widget(form)
    qtbot.waitUntil(form.run_button.isEnabled)
    click(qtbot, form.run_button)
    qtbot.waitUntil(lambda: "cells masks" in viewer.layers)
    qtbot.waitUntil(lambda: len(kept_journals(journal_folder())) == 1)
    viewer.layers.remove("cells masks")
    qtbot.waitUntil(lambda: kept_journals(journal_folder())[0].discarded)
    qtbot.wait(100)
    assert not form.recovery.isVisible()
    everything = open_dock(viewer, "recover")
    qtbot.waitUntil(lambda: everything.recovery.list.count() == 1)
    choose(everything, "cells masks")
    click(qtbot, everything.recovery.keep_button)
    np.testing.assert_array_equal(viewer.layers["cells masks"].data, scene.automatic.labels)
