"""An hour of work, shortened: objects prompted, refined, split, merged, undone, redone, killed, recovered."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_foundseg.widgets.prompt.prompt_dock import PromptWidget
from tests.support import child_environment
from tests.support import working_day as day
from tests.support.frozen_arrays import read_arrays

pytestmark = pytest.mark.gui


@pytest.mark.timeout(900)
def test_a_day_of_work_is_exact_and_survives_a_kill(qtbot: Any, viewer: Any, tmp_path: Path) -> None:
    environment = child_environment(NAPARI_CONFIG=str(tmp_path / "napari.yaml"), PYTHONUNBUFFERED="1")
    command = [sys.executable, "-m", "tests.support.working_day", str(tmp_path)]
    child = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=880)
    assert child.returncode == -signal.SIGKILL, child.stderr[-3000:]
    new, refined, parted = day.SHORT_DAY
    steps = read_arrays(tmp_path / "steps.npz")["steps"]
    assert len(steps) == new + refined + 2 * parted

    image, centres = day.picture()
    rows, columns = np.indices(image.shape)
    for number, (y, x) in enumerate(centres[:new], 1):
        truth = (rows - y) ** 2 + (columns - x) ** 2 <= day.RADIUS**2
        own, before = steps[number - 1] == number, steps[number - 2] if number > 1 else np.zeros_like(steps[0])
        assert (own & truth).sum() / (own | truth).sum() > 0.8
        np.testing.assert_array_equal(np.where(own, 0, steps[number - 1]), before)
    for number in range(1, refined + 1):
        now, before = steps[new + number - 1], steps[new + number - 2]
        assert number in now
        np.testing.assert_array_equal(
            now[(now != number) & (before != number)], before[(now != number) & (before != number)]
        )
        assert set(np.unique(now)) == set(np.unique(before))
    split = steps[new + refined + parted - 1]
    assert len(np.unique(split)) - 1 == new + parted
    np.testing.assert_array_equal(split > 0, steps[new + refined - 1] > 0)
    final = steps[-1]
    assert len(np.unique(final)) - 1 == new
    np.testing.assert_array_equal(final > 0, split > 0)

    viewer.add_image(image, name="discs", scale=(0.5, 0.5), units="um")
    form = PromptWidget(viewer)
    viewer.window.add_dock_widget(form)
    qtbot.waitUntil(form.recovery.isVisible)
    qtbot.mouseClick(form.recovery.keep_button, Qt.MouseButton.LeftButton)
    np.testing.assert_array_equal(viewer.layers["foundseg objects"].data, final)
