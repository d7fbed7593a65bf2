from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_foundseg.core.editing.difference import Difference
from napari_foundseg.core.editing.history import EditStep, History
from napari_foundseg.core.errors import BadImageError
from napari_foundseg.io.journal import KEPT, Header, Journal, end_journal, kept_journals, read_journal
from tests.support import child_environment

SHAPE = (3, 20, 24)


class Watch:
    """Hears what a journal says."""

    def __init__(self) -> None:
        self.saved: list[float] = []
        self.failed: list[OSError] = []

    def journal(self, folder: Path, image: str = "a" * 32, process: int | None = None) -> Journal:
        header = Header.now(image, "objects", SHAPE, "/data/image.tif")
        if process is not None:
            header = Header(**{**vars(header), "process": process})
        return Journal(folder, header, self.saved.append, self.failed.append)


def paint(labels: NDArray[Any], seed: int) -> EditStep:
    rng = np.random.default_rng(seed)
    start = [int(rng.integers(0, n - 1)) for n in labels.shape]
    box = tuple(slice(s, s + 1 + int(rng.integers(0, 6))) for s in start)
    before = labels[box].copy()
    labels[box] += np.uint16(1 + seed % 5)
    part = Difference.between(start, before, labels[box])
    assert part is not None
    return EditStep(f"stroke {seed}", (part,))


def until(condition: Any, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_journal_gives_the_labels_back(tmp_path: Path) -> None:
    watch, labels, history = Watch(), np.zeros(SHAPE, np.uint16), History()
    journal = watch.journal(tmp_path / "new")
    for seed in range(12):
        step = paint(labels, seed)
        history.add(step)
        journal.add(step)
    for _ in range(3):
        back = history.undo()
        assert back is not None
        back.apply(labels)
        journal.add(back)
    assert journal.close()
    assert watch.saved
    assert not watch.failed
    header, found, _ = read_journal(journal.path)
    np.testing.assert_array_equal(found, labels)
    assert (header.layer, header.source, header.shape) == ("objects", "/data/image.tif", SHAPE)
    (kept,) = kept_journals(tmp_path / "new")
    assert kept.ended
    assert kept.steps == 15
    assert not kept.lost


@given(st.integers(0, 10_000))
def test_whatever_a_crash_cuts_off_the_whole_steps_come_back(cut: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        labels = np.zeros(SHAPE, np.uint16)
        states = [labels.copy()]
        journal = Watch().journal(Path(folder))
        for seed in range(5):
            journal.add(paint(labels, seed))
            states.append(labels.copy())
        journal.close()
        whole = journal.path.read_bytes()
        journal.path.write_bytes(whole[: cut % len(whole)])
        try:
            found = read_journal(journal.path).labels
        except BadImageError:
            return  # not even the header is left
        assert any(np.array_equal(found, state) for state in states)


def test_a_layer_that_was_not_empty_comes_back_whole(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 90_000, SHAPE).astype(np.uint32)
    journal = Watch().journal(tmp_path)
    journal.add_all(labels.copy(), lambda: {1: {"note": "mine"}, 2: {"predicted_iou": 0.5}})
    journal.add(paint(labels, 4))
    journal.add(EditStep("reject", (), {2: {"predicted_iou": 0.5}}, {2: {}, 3: {"review": "accepted"}}))
    journal.close()
    _, found, known = read_journal(journal.path)
    assert known == {1: {"note": "mine"}, 3: {"review": "accepted"}}
    np.testing.assert_array_equal(found, labels)
    assert found.dtype == np.uint32


def test_a_journal_can_be_put_aside(tmp_path: Path) -> None:
    labels = np.zeros(SHAPE, np.uint16)
    journal = Watch().journal(tmp_path, process=_gone_process())
    journal.add(paint(labels, 4))
    until(lambda: kept_journals(tmp_path))
    (kept,) = kept_journals(tmp_path)
    with kept.path.open("ab") as file:
        file.write(b"half a rec")
    assert kept.lost
    end_journal(kept.path)
    (kept,) = kept_journals(tmp_path)
    assert not kept.lost
    np.testing.assert_array_equal(read_journal(kept.path).labels, labels)
    journal.close()


def test_a_file_that_is_no_journal_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.journal"
    path.write_bytes(b"something else")
    with pytest.raises(BadImageError, match="not a foundseg journal"):
        read_journal(path)
    assert kept_journals(tmp_path) == []


def test_nothing_done_leaves_no_file(tmp_path: Path) -> None:
    journal = Watch().journal(tmp_path)
    assert journal.close()
    assert list(tmp_path.iterdir()) == []


def test_the_last_three_of_an_image_are_kept(tmp_path: Path) -> None:
    gone = _gone_process()
    for i in range(KEPT + 3):
        journal = Watch().journal(tmp_path, process=gone)
        journal.add(paint(np.zeros(SHAPE, np.uint16), i))
        journal.close()
        os.utime(journal.path, (1000 + i, 1000 + i))
    other = Watch().journal(tmp_path, image="b" * 32)
    other.add(paint(np.zeros(SHAPE, np.uint16), 0))
    other.close()
    assert [kept.changed for kept in kept_journals(tmp_path, "a" * 32)] == [1005, 1004, 1003]
    assert len(kept_journals(tmp_path)) == KEPT + 1


def test_unsaved_work_is_offered_and_never_pruned(tmp_path: Path) -> None:
    for i in range(KEPT + 3):
        journal = Watch().journal(tmp_path)
        journal.add(paint(np.zeros(SHAPE, np.uint16), i))
        journal.close(unsaved=True)
    assert sum(kept.lost for kept in kept_journals(tmp_path)) == KEPT + 3
    end_journal(journal.path)
    assert sum(kept.lost for kept in kept_journals(tmp_path)) == KEPT + 2


def test_steps_after_a_save_are_unsaved_again(tmp_path: Path) -> None:
    labels = np.zeros(SHAPE, np.uint16)
    journal = Watch().journal(tmp_path)
    journal.mark_saved()  # nothing was done yet
    for seed in range(2):
        journal.add(paint(labels, seed))
        journal.mark_saved()
        journal.rename("nuclei")
        until(lambda: any(kept.ended for kept in kept_journals(tmp_path)))
    journal.add(paint(labels, 2))
    journal.close(unsaved=True)
    (kept,) = kept_journals(tmp_path)
    assert kept.lost
    assert (kept.steps, kept.header.layer) == (3, "nuclei")
    header, found, _ = read_journal(kept.path)
    assert header.layer == "nuclei"
    np.testing.assert_array_equal(found, labels)


def test_layers_without_an_image_have_journals_of_their_own(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for seed in range(KEPT + 1):
            header = Header.now("", name, SHAPE, None)
            journal = Journal(tmp_path, header, lambda _: None, lambda _: None)
            journal.add(paint(np.zeros(SHAPE, np.uint16), seed))
            journal.close()
    assert [sorted(k.header.layer for k in kept_journals(tmp_path)).count(name) for name in "ab"] == [KEPT, KEPT]


def test_a_journal_of_another_computer_is_in_use_for_a_day(tmp_path: Path) -> None:
    header = Header(**{**vars(Header.now("a" * 32, "objects", SHAPE, None)), "computer": "other", "process": 1 << 30})
    journal = Journal(tmp_path, header, lambda _: None, lambda _: None)
    journal.add(paint(np.zeros(SHAPE, np.uint16), 1))
    until(lambda: kept_journals(tmp_path))
    assert not kept_journals(tmp_path)[0].lost
    os.utime(journal.path, (1000, 1000))
    assert kept_journals(tmp_path)[0].lost
    journal.close()


def test_a_failed_write_is_told_and_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_foundseg.io.journal._RETRY_SECONDS", 0.05)
    labels, watch = np.zeros(SHAPE, np.uint16), Watch()
    blocked = tmp_path / "folder"
    blocked.write_text("a file where the folder should be")
    journal = watch.journal(blocked)
    journal.add(paint(labels, 1))
    until(lambda: watch.failed)
    assert not watch.saved
    blocked.unlink()
    journal.add(paint(labels, 2))
    until(lambda: watch.saved)
    journal.close()
    np.testing.assert_array_equal(read_journal(journal.path).labels, labels)


def test_a_full_disk_costs_no_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_foundseg.io.journal._RETRY_SECONDS", 0.05)
    real, full = os.fsync, True

    def fsync(descriptor: int) -> None:
        if full:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr("napari_foundseg.io.journal.os.fsync", fsync)
    labels, watch = np.zeros(SHAPE, np.uint16), Watch()
    journal = watch.journal(tmp_path)
    journal.add(paint(labels, 1))
    until(lambda: watch.failed)
    full = False
    until(lambda: watch.saved)
    full = True
    journal.add(paint(labels, 2))
    until(lambda: len(watch.failed) > 1)
    full = False
    journal.close()
    np.testing.assert_array_equal(read_journal(journal.path).labels, labels)


def test_a_killed_process_leaves_its_work(tmp_path: Path) -> None:
    """Killed after the steps were said to be saved: every one of them comes back, and the journal counts as lost."""
    script = f"""
import time
from pathlib import Path
import numpy as np
from tests.io.test_journal import SHAPE, Watch, paint
watch, labels = Watch(), np.zeros(SHAPE, np.uint16)
journal = watch.journal(Path({str(tmp_path)!r}))
for seed in range(7):
    journal.add(paint(labels, seed))
while not watch.saved:
    time.sleep(0.01)
print("saved", flush=True)
time.sleep(60)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=child_environment()
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "saved\n"
    assert not kept_journals(tmp_path)[0].lost  # still running
    process.kill()
    process.wait()
    process.stdout.close()
    (kept,) = kept_journals(tmp_path)
    assert kept.lost
    labels = np.zeros(SHAPE, np.uint16)
    states = []
    for seed in range(7):
        paint(labels, seed)
        states.append(labels.copy())
    found = read_journal(kept.path).labels
    assert any(np.array_equal(found, state) for state in states)


def _gone_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid
