from __future__ import annotations

import os
import signal
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
from napari_foundseg.widgets.editing.labels_history import LabelsHistory, shared_history
from napari_foundseg.widgets.layers.object_features import REJECTED, read_facts
from tests.support import child_environment

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


def paint_until_killed() -> None:
    layer = Labels(np.zeros((64, 64), np.uint16))
    _history = LabelsHistory(layer, Image(np.arange(4096, dtype=np.uint16).reshape(64, 64)))
    for n in range(1000):
        stroke(layer, n)
        sys.stdout.write(f"{n}\n")
        sys.stdout.flush()
        time.sleep(0.01)


#: For each cache folder that comes in a line, a fork of this process paints: a round costs no import of napari.
SCRIPT = """
import os, sys
from tests.widgets.editing.test_labels_history import paint_until_killed
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        os.environ["FOUNDSEG_CACHE"] = line.strip()
        print("pid", os.getpid(), flush=True)
        paint_until_killed()
        os._exit(1)
    os.waitpid(pid, 0)
    print("gone", flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="each round is painted in a fork")
def test_kill_9_after_any_stroke_loses_at_most_two_seconds(tmp_path: Path) -> None:
    expected = states(120)
    # Forks do not inherit OpenMP's threads.
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=child_environment(OMP_NUM_THREADS="1"),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        for round_, last in enumerate(np.random.default_rng(5).integers(1, 100, 10)):
            cache = tmp_path / str(round_)
            process.stdin.write(f"{cache}\n")
            process.stdin.flush()
            pid = int(process.stdout.readline().removeprefix("pid "))
            done: list[float] = []
            for line in process.stdout:
                done.append(time.monotonic())
                if int(line) == last:
                    break
            os.kill(pid, signal.SIGKILL)
            killed = time.monotonic()
            for line in process.stdout:
                if line.endswith("gone\n"):
                    break
            (kept,) = kept_journals(cache / "journal")
            assert kept.lost
            found = read_journal(kept.path).labels
            whole = [k for k, state in enumerate(expected) if np.array_equal(state, found)]
            assert whole, "the recovered labels are those of no moment"
            safe = sum(at <= killed - 2 for at in done)
            assert max(whole) >= safe
        process.stdin.close()


def test_the_widgets_of_a_layer_share_its_history() -> None:
    layer = Labels(np.zeros((8, 8), np.uint16))
    image = Image(np.zeros((8, 8), np.uint8))
    first, second = shared_history(layer, image, "first"), shared_history(layer, image, "second")
    assert first is second
    first.leave("first")
    first.leave("first")
    assert layer.keymap
    second.leave("second")
    assert not layer.keymap
    assert shared_history(layer, image, "third") is not first


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


def one(layer: Labels, label: int, at: int) -> Any:
    return (slice(at, at + 2), slice(0, 2)), np.full((2, 2), label, layer.data.dtype)


def test_an_id_that_is_used_again_knows_nothing_of_the_object_before() -> None:
    layer = Labels(np.zeros((8, 8), np.uint16))
    history = LabelsHistory(layer, None)
    history.write("accept", [one(layer, 1, 0)], {1: {"predicted_iou": 0.25, "note": "odd"}})
    assert read_facts(layer) == {1: {"predicted_iou": 0.25, "note": "odd"}}
    history.write("delete", [one(layer, 0, 0)])
    assert read_facts(layer) == {}
    assert history.free_id() == 1
    layer.paint((5, 5), 1)
    assert read_facts(layer) == {}, "a stroke has no score"
    for _ in range(2):
        history.undo()
    assert read_facts(layer) == {1: {"predicted_iou": 0.25, "note": "odd"}}
    history.undo()
    assert read_facts(layer) == {}
    for _ in range(3):
        history.redo()
    assert read_facts(layer) == {}
    assert (layer.data == 1).any()
    history.release()


def test_the_id_of_a_rejected_object_is_not_used_again() -> None:
    layer = Labels(np.zeros((8, 8), np.uint16))
    history = LabelsHistory(layer, None)
    history.write("accept", [one(layer, 1, 0)])
    history.write("reject", [one(layer, 0, 0)], {1: {"review": REJECTED, "note": "debris"}})
    assert history.free_id() == 2
    assert read_facts(layer) == {1: {"review": REJECTED, "note": "debris"}}
    history.release()


def test_a_note_is_one_step_and_in_the_journal() -> None:
    image = Image(np.arange(64, dtype=np.uint8).reshape(8, 8))
    layer = Labels(np.ones((8, 8), np.uint16), features={"index": [1], "predicted_iou": [0.5]})
    history = LabelsHistory(layer, image)
    assert history.note("mark as right", [1], review="accepted", note="")
    assert not history.note("mark as right", [1], review="accepted", note="")
    assert history.note("note", [1], note="round")
    history.undo()
    assert read_facts(layer) == {1: {"predicted_iou": 0.5, "review": "accepted"}}
    history.redo()
    history.release()
    (kept,) = kept_journals(journal_folder())
    assert read_journal(kept.path).known == {1: {"predicted_iou": 0.5, "review": "accepted", "note": "round"}}
    assert kept.header.image == image.fingerprint()


def test_what_takes_a_while_is_made_of_the_labels_as_they_are_then(qtbot: Any) -> None:
    layer = Labels(np.zeros((8, 8), np.uint16))
    history = LabelsHistory(layer, None)
    answers: list[Any] = []

    def double(labels: NDArray[Any]) -> Any:
        return [((slice(0, 8), slice(0, 8)), labels.astype(np.uint64) * 40_000)]

    history.write_soon("double", lambda: (double, {}), answers.append)
    history.write("accept", [one(layer, 2, 0)])  # before it can be written
    qtbot.waitUntil(lambda: bool(answers))
    assert answers == [True]
    assert history.undo_name == "double"
    assert set(np.unique(layer.data)) == {0, 80_000}
    history.undo()
    assert set(np.unique(layer.data)) == {0, 2}

    def fails(_labels: NDArray[Any]) -> Any:
        raise ValueError("no")

    history.write_soon("fail", lambda: (fails, {}), answers.append)
    qtbot.waitUntil(lambda: len(answers) == 2)
    assert isinstance(answers[1], ValueError)
    assert (history.undo_name, history.redo_name) == ("accept", "double")
    history.release()


def test_a_large_layer_is_counted_beside_the_window_and_again_when_something_else_wrote(qtbot: Any) -> None:
    layer = Labels(np.zeros((1100, 2000), np.uint16))
    layer.data[:9, :9] = 5
    history = LabelsHistory(layer, None)
    assert history.free_id() == 6, "asked before it is counted"
    layer.data[20:29, :9] = 70
    layer.refresh()
    qtbot.waitUntil(lambda: history.free_id() == 71)
    history.release()
