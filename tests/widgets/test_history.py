from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.layers import Labels
from numpy.typing import NDArray

from napari_foundseg.core.image import Image
from napari_foundseg.io.journal import journal_folder, kept_journals, read_journal
from napari_foundseg.widgets.history import LabelsHistory, shared_history

pytestmark = pytest.mark.gui


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path))


def stroke(layer: Labels, n: int) -> None:
    rng = np.random.default_rng(n)
    y, x = rng.integers(4, 60, 2)
    layer.brush_size = 5
    with layer.block_history():
        for step in range(4):
            layer.paint((y, min(63, x + step)), n % 50 + 1)


def states(count: int) -> list[NDArray[Any]]:
    """What the labels are after each stroke."""
    layer = Labels(np.zeros((64, 64), np.uint16))
    out = [layer.data.copy()]
    for n in range(count):
        stroke(layer, n)
        out.append(layer.data.copy())
    return out


SCRIPT = """
import sys, time
import numpy as np
from napari.layers import Labels
from napari_foundseg.core.image import Image
from napari_foundseg.widgets.history import LabelsHistory
sys.path.insert(0, sys.argv[1])
from test_history import stroke
layer = Labels(np.zeros((64, 64), np.uint16))
history = LabelsHistory(layer, Image(np.arange(4096, dtype=np.uint16).reshape(64, 64)))
for n in range(1000):
    stroke(layer, n)
    print(n, flush=True)
    time.sleep(0.01)
"""


def test_kill_9_after_any_stroke_loses_at_most_two_seconds(tmp_path: Path) -> None:
    expected = states(120)
    for round_, last in enumerate(np.random.default_rng(5).integers(1, 100, 10)):
        cache = tmp_path / str(round_)
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(Path(__file__).parent)],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"FOUNDSEG_CACHE": str(cache)},
        )
        assert process.stdout is not None
        done: list[float] = []
        for line in process.stdout:
            done.append(time.monotonic())
            if int(line) == last:
                break
        process.kill()
        killed = time.monotonic()
        process.wait()
        process.stdout.close()
        (kept,) = kept_journals(cache / "journal")
        assert kept.lost
        found = read_journal(kept.path)[1]
        whole = [k for k, state in enumerate(expected) if np.array_equal(state, found)]
        assert whole, "the recovered labels are those of no moment"
        safe = sum(at <= killed - 2 for at in done)
        assert max(whole) >= safe


def test_the_widgets_of_a_layer_share_its_history() -> None:
    layer = Labels(np.zeros((8, 8), np.uint16))
    image = Image(np.zeros((8, 8), np.uint8))
    first, second = shared_history(layer, image), shared_history(layer, image)
    assert first is second
    first.leave()
    assert layer.keymap
    second.leave()
    assert not layer.keymap
    assert shared_history(layer, image) is not first


def test_a_large_write_is_one_step_and_a_wider_id_fits() -> None:
    layer = Labels(np.zeros((4, 300, 400), np.uint16))
    history = LabelsHistory(layer, Image(np.zeros((4, 300, 400), np.uint8)))
    box = (slice(0, 4), slice(0, 300), slice(0, 400))
    assert history.write("all", [(box, np.full((4, 300, 400), 70_000, np.uint64))])
    assert layer.data.dtype == np.uint32
    assert (layer.data == 70_000).all()
    assert not history.write("all", [(box, np.full((4, 300, 400), 70_000, np.uint64))])
    history.undo()
    assert not layer.data.any()
    assert (history.undo_name, history.redo_name) == (None, "all")
    history.undo()
    history.redo()
    assert (layer.data == 70_000).all()
    history.release()
    assert len(kept_journals(journal_folder())) == 1


def test_a_write_that_fails_half_way_leaves_nothing() -> None:
    layer = Labels(np.zeros((8, 8), np.uint16))
    history = LabelsHistory(layer, Image(np.zeros((8, 8), np.uint8)))
    box = (slice(0, 4), slice(0, 4))

    def pieces() -> Any:
        yield box, np.full((4, 4), 3, np.uint16)
        raise ValueError("the second cannot be made")

    with pytest.raises(ValueError, match="second"):
        history.write("two", pieces())
    assert not layer.data.any()
    assert history.undo_name is None
    history.release()


def test_an_array_of_another_shape_begins_anew() -> None:
    layer = Labels(np.zeros((8, 8), np.uint16))
    history = LabelsHistory(layer, Image(np.zeros((8, 8), np.uint8)))
    history.write("one", [((slice(0, 4), slice(0, 4)), np.full((4, 4), 3, np.uint16))])
    layer.data = np.ones((5, 6), np.uint16)
    history.undo()
    assert (layer.data == 1).all()
    assert history.undo_name is None
    assert history.write("two", [((slice(0, 1), slice(0, 1)), np.full((1, 1), 9, np.uint16))])
    history.undo()
    assert (layer.data == 1).all()
    history.release()
