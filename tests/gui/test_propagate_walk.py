"""From a click to 3-D objects, corrected, filled and undone by clicks, and had back after the window was killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_foundseg.io.journal import journal_folder, kept_journals
from napari_foundseg.widgets.menu import open_dock
from tests.support import child_environment

pytestmark = pytest.mark.gui


def slices_of(labels: np.ndarray) -> list[int]:
    return np.flatnonzero((labels == 1).any((1, 2))).tolist()


def test_the_walk_from_a_click_to_what_is_had_back_after_a_kill(
    qtbot: Any, viewer: Any, engine: Any, tmp_path: Path
) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.support.walked_window", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=child_environment())
    assert process.stdout is not None
    with process:
        lines = iter(process.stdout.readline, "")
        assert any(line == "kept\n" for line in lines), "the window could not do its work"
        process.kill()
    with np.load(tmp_path / "states.npz") as states:
        at = {name: states[name] for name in states.files}
    truth, first = at["truth"], at["propagated"] == 1
    assert (first & truth).sum() / (first | truth).sum() > 0.8
    # The corrected slice stays as it was corrected, and slices before the click are as they were.
    assert 0 < (at["corrected"][9] == 1).sum() < first[9].sum()
    np.testing.assert_array_equal(at["recomputed"][9], at["corrected"][9])
    np.testing.assert_array_equal(at["recomputed"][:6], at["propagated"][:6])
    gap = at["gap"]
    assert set(slices_of(at["recomputed"])) - set(slices_of(gap)) == {4, 5}
    assert slices_of(at["filled"]) == slices_of(at["recomputed"])
    np.testing.assert_array_equal(np.delete(at["filled"], [4, 5], 0), np.delete(gap, [4, 5], 0))
    assert not at["undone"].any()
    np.testing.assert_array_equal(at["redone"], at["filled"])

    lost = [kept for kept in kept_journals(journal_folder()) if kept.lost]
    assert [kept.header.layer for kept in lost] == ["stack propagated"]
    recover = open_dock(viewer, "recover")
    qtbot.waitUntil(lambda: recover.recovery.list.count() == 1)
    recover.recovery.list.item(0).setSelected(True)
    qtbot.mouseClick(recover.recovery.keep_button, Qt.MouseButton.LeftButton)
    np.testing.assert_array_equal(viewer.layers["stack propagated"].data, at["filled"])
