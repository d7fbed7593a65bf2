"""Journals that are damaged, that cannot be written, and that other computers or clocks see."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_foundseg.core.editing.difference import Difference
from napari_foundseg.core.editing.history import EditStep
from napari_foundseg.core.errors import BadImageError
from napari_foundseg.io.journal import (
    Header,
    Journal,
    discard_journal,
    end_journal,
    kept_journals,
    read_journal,
    reoffer_journal,
)
from napari_foundseg.io.journals.records import MAGIC, packed
from tests.io.test_journal import SHAPE, Watch, paint, until
from tests.support import child_environment

STEPS = 6


def square(number: int) -> EditStep:
    """Draw an object where no other step draws."""
    part = Difference.between(
        (0, 3 * number, 0), np.zeros((1, 2, 4), np.uint16), np.full((1, 2, 4), number + 1, np.uint16)
    )
    assert part is not None
    return EditStep(f"object {number + 1}", (part,))


def first_format(path: Path, steps: list[EditStep]) -> None:
    """Write a journal as versions before did."""
    header = Header.now("a" * 32, "objects", SHAPE, None)
    old = {
        name: value for name, value in vars(header).items() if name in ("image", "layer", "shape", "source", "began")
    }
    records = [json.dumps({**old, "process": 1 << 30}).encode(), *(step.to_bytes() for step in steps)]
    data = b"".join(struct.pack("<II", len(record), zlib.crc32(record)) + record for record in records)
    path.write_bytes(b"foundseg-journal 1\n" + data)


@pytest.fixture(params=[1, 2])
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A journal of six objects, in either format."""
    if request.param == 1:
        first_format(tmp_path / f"{'a' * 16}-1.journal", [square(i) for i in range(STEPS)])
        return tmp_path / f"{'a' * 16}-1.journal"
    journal = Watch().journal(tmp_path)
    for i in range(STEPS):
        journal.add(square(i))
    journal.close(unsaved=True)
    return journal.path


def test_a_flipped_bit_costs_one_step_and_is_said(written: Path) -> None:
    whole = written.read_bytes()
    labels = read_journal(written).labels
    everything = set(range(1, STEPS + 1))
    first = whole.index(b'["object 1"')
    for at in range(len(b"foundseg-journal 1\n"), len(whole), 3):
        data = bytearray(whole)
        data[at] ^= 1 << at % 8
        written.write_bytes(data)
        if whole.startswith(b"foundseg-journal 1") and at < first:
            continue  # of this format the header is there once only
        (kept,) = kept_journals(written.parent)
        found = read_journal(written).labels
        there = set(np.unique(found).tolist()) - {0}
        np.testing.assert_array_equal(found, np.where(np.isin(labels, list(there)), labels, 0))
        assert len(everything - there) <= 1, at
        cut_off = whole.startswith(b"foundseg-journal 1") and there == everything - {STEPS}  # as if a crash had
        assert kept.lost_steps == len(everything - there) or cut_off, at
        assert kept.lost


def test_damage_at_many_places_is_counted(tmp_path: Path) -> None:
    journal = Watch().journal(tmp_path)
    for i in range(STEPS):
        journal.add(square(i))
    journal.close(unsaved=True)
    data = bytearray(journal.path.read_bytes())
    start = data.index(b'["object 2"') - 30  # the head too
    data[start : data.index(b'["object 5"') + 3] = b"\xff" * 40
    journal.path.write_bytes(data)
    (kept,) = kept_journals(tmp_path)
    assert set(np.unique(read_journal(journal.path).labels)) == {0, 1, 6}
    assert kept.lost_steps == 4
    end_journal(journal.path)
    (kept,) = kept_journals(tmp_path)
    assert not kept.lost
    assert set(np.unique(read_journal(journal.path).labels)) == {0, 1, 6}


def test_damage_anywhere_never_gives_other_labels(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    journal = Watch().journal(tmp_path)
    for i in range(STEPS):
        journal.add(square(i))
    journal.close(unsaved=True)
    whole = journal.path.read_bytes()
    labels = read_journal(journal.path).labels
    for _ in range(150):
        data = bytearray(whole)
        at, length = int(rng.integers(0, len(data))), int(rng.integers(1, 200))
        data[at : at + length] = rng.bytes(length if rng.random() < 0.5 else 0)
        journal.path.write_bytes(data)
        try:
            found = read_journal(journal.path).labels
        except BadImageError:
            continue
        assert ((found == labels) | (found == 0)).all()


def test_a_step_beyond_a_lost_one_is_undone_as_it_was(tmp_path: Path) -> None:
    journal = Watch().journal(tmp_path)
    for step in (square(0), square(1), square(1).reversed(), square(0).reversed(), square(2)):
        journal.add(step)
    journal.close(unsaved=True)
    data = bytearray(journal.path.read_bytes())
    data[data.index(b'["object 2"') + 4] ^= 1
    journal.path.write_bytes(data)
    assert set(np.unique(read_journal(journal.path).labels)) == {0, 3}


def test_a_journal_that_is_not_wanted_can_be_had_back(written: Path) -> None:
    folder = written.parent
    discard_journal(written)
    (kept,) = kept_journals(folder)
    assert (kept.lost, kept.discarded) == (False, True)
    for seed in range(5):
        journal = Watch().journal(folder)
        journal.add(paint(np.zeros(SHAPE, np.uint16), seed))
        journal.close()
    assert written.exists(), "it is not pruned for some days"
    reoffer_journal(written)
    (kept,) = [kept for kept in kept_journals(folder) if kept.path == written]
    assert (kept.lost, kept.discarded, kept.steps) == (True, False, STEPS)
    assert set(np.unique(read_journal(written).labels)) == set(range(STEPS + 1))


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.int32, np.uint8, ">u2"])
def test_labels_of_any_dtype_and_axes_come_back(tmp_path: Path, dtype: Any) -> None:
    labels = np.zeros((2, 3, 20, 24), dtype)
    labels[1, :, 4:9, 3:8] = 100
    before = labels.copy()
    header = Header.now("a" * 32, "objects", labels.shape, None)
    journal = Journal(tmp_path, header, lambda _: None, lambda _: None)
    journal.add_all(before, lambda: {100: {"note": "mine"}})
    values = labels.astype(np.uint64)
    values[0, 0, :2, :2] = 70_000
    part = Difference.between((0,) * 4, labels, values)
    assert part is not None
    journal.add(EditStep("split", (part,)))
    assert journal.close(unsaved=True)
    (kept,) = kept_journals(tmp_path)
    _, found, known = read_journal(kept.path)
    assert found.dtype.kind in "iu"
    np.testing.assert_array_equal(found, values.astype(np.int64))
    assert known == {100: {"note": "mine"}}


def test_labels_that_are_edited_while_they_are_written_come_back(tmp_path: Path) -> None:
    labels = np.zeros((3, 1100, 1300), np.uint16)
    labels[:, 100:200, 100:200] = 3
    journal = Journal(tmp_path, Header.now("a" * 32, "o", labels.shape, None), lambda _: None, lambda _: None)
    journal.add_all(labels, dict)
    for seed in range(60):
        journal.add(paint(labels, seed))
    assert journal.close(20, unsaved=True)
    np.testing.assert_array_equal(read_journal(journal.path).labels, labels)


def test_labels_at_the_beginning_that_a_crash_cut_off_are_not_offered(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 9, SHAPE).astype(np.uint16)
    journal = Watch().journal(tmp_path)
    journal.add_all(labels, dict)
    journal.close(unsaved=True)
    (kept,) = kept_journals(tmp_path)
    assert (kept.lost, kept.steps) == (True, 0)
    np.testing.assert_array_equal(read_journal(journal.path).labels, labels)
    data = journal.path.read_bytes()
    journal.path.write_bytes(data[: data.index(b"note{", data.index(b'["start"')) - 60])
    assert not kept_journals(tmp_path)[0].lost


# Writing.


def failing(monkeypatch: pytest.MonkeyPatch, watch: Watch, error: Exception, times: int) -> list[int]:
    """Let steps named ``big`` fail to be made."""
    real, left = EditStep.to_bytes, [times]

    def to_bytes(step: EditStep) -> bytes:
        if step.name == "big" and left[0] > 0:
            left[0] -= 1
            raise error
        return real(step)

    monkeypatch.setattr("napari_foundseg.io.journal._RETRY_SECONDS", 0.02)
    monkeypatch.setattr(EditStep, "to_bytes", to_bytes)
    return left


@pytest.mark.parametrize("error", [MemoryError(), ValueError("odd"), RuntimeError("odd")])
def test_an_error_that_is_no_oserror_is_told_and_made_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    watch = Watch()
    failing(monkeypatch, watch, error, 2)
    journal = watch.journal(tmp_path)
    journal.add(EditStep("big", square(0).parts))
    until(lambda: watch.failed)
    assert not watch.saved
    journal.add(square(1))
    until(lambda: watch.saved)
    assert journal.close(unsaved=True)
    assert set(np.unique(read_journal(journal.path).labels)) == {0, 1, 2}


def test_a_step_that_can_never_be_written_does_not_keep_later_ones_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch()
    failing(monkeypatch, watch, TypeError("not serialisable"), 1000)
    journal = watch.journal(tmp_path)
    journal.add(square(0))
    until(lambda: watch.saved)
    journal.add(EditStep("big", square(1).parts))
    journal.add(square(2))
    until(lambda: kept_journals(tmp_path)[0].steps == 2)
    saved = len(watch.saved)
    journal.add(square(3))
    assert not journal.close(unsaved=True), "a step is missing"
    assert len(watch.saved) == saved, "nobody says that all is kept"
    (kept,) = kept_journals(tmp_path)
    assert kept.lost_steps == 1
    assert set(np.unique(read_journal(journal.path).labels)) == {0, 1, 3, 4}


def test_a_journal_that_is_closed_on_a_full_disk_says_so_and_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_foundseg.io.journal._RETRY_SECONDS", 0.02)
    real, full = os.fsync, [False]

    def fsync(descriptor: int) -> None:
        if full[0]:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr("napari_foundseg.io.journal.os.fsync", fsync)
    journal = Watch().journal(tmp_path)
    journal.add(square(0))
    until(lambda: kept_journals(tmp_path))
    full[0] = True
    journal.add(square(1))
    started = time.monotonic()
    assert not journal.close(unsaved=True)
    assert time.monotonic() - started < 15, "the window does not wait for a disk that is full"
    full[0] = False
    until(lambda: kept_journals(tmp_path)[0].lost)
    assert set(np.unique(read_journal(journal.path).labels)) == {0, 1, 2}


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
@pytest.mark.parametrize("gone", ["folder", "file", "replaced"])
def test_a_journal_whose_file_was_removed_is_written_anew(tmp_path: Path, gone: str) -> None:
    folder, watch = tmp_path / "journal", Watch()
    journal = watch.journal(folder)
    journal.add_all(np.zeros(SHAPE, np.uint16), lambda: {7: {"note": "mine"}})
    journal.add(square(0))
    until(lambda: watch.saved)
    if gone == "folder":
        shutil.rmtree(folder)
    else:
        journal.path.unlink()
        if gone == "replaced":
            journal.path.write_bytes(b"something else")
    journal.add(square(1))
    assert journal.close(unsaved=True)
    (kept,) = kept_journals(folder)
    assert kept.lost
    _, labels, known = read_journal(kept.path)
    assert set(np.unique(labels)) == {0, 1, 2}
    assert known == {7: {"note": "mine"}}


def test_a_folder_that_was_removed_for_good_is_not_well_when_the_journal_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_foundseg.io.journal._PATIENCE", 0.1)
    folder, watch = tmp_path / "journal", Watch()
    journal = watch.journal(folder)
    journal.add(square(0))
    until(lambda: watch.saved)
    shutil.rmtree(folder)
    folder.write_text("a file where the folder was")
    assert not journal.close(unsaved=True)
    assert watch.failed


# Other processes.

CHILD = """
import sys, time
from pathlib import Path
{before}
from tests.io.test_journal_damage import square
from napari_foundseg.io.journals.records import MAGIC, packed
from tests.io.test_journal import Watch
watch = Watch()
journal = watch.journal(Path({folder!r}))
journal.add(square(0))
while not watch.saved:
    time.sleep(0.01)
print("saved", flush=True)
sys.stdin.read()
"""


#: The clock was put back after the start of the process.
PUT_BACK = f"""
import datetime as d
class Back(d.datetime):
    @classmethod
    def now(cls, tz=None):
        return d.datetime(2020, 1, 1)
import {Header.__module__} as h
h.datetime = Back
"""


@pytest.mark.parametrize(
    ("before", "environment"),
    [
        ("", {"TZ": "Pacific/Kiritimati"}),
        ("", {"TZ": "Pacific/Pago_Pago"}),
        (PUT_BACK, {}),
        ("import platform\nplatform.node = lambda: 'another'", {}),
    ],
)
def test_a_journal_of_a_living_window_is_not_lost(tmp_path: Path, before: str, environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD.format(before=before, folder=str(tmp_path))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=child_environment(**environment),
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        assert process.stdout.readline() == "saved\n"
        (kept,) = kept_journals(tmp_path)
        assert not kept.lost
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
    (kept,) = kept_journals(tmp_path)
    assert kept.lost or "platform" in before  # whether another computer's process still runs is seen a day later


def test_an_id_that_another_process_has_now_is_not_the_one_that_wrote(tmp_path: Path) -> None:
    header = Header.now("a" * 32, "objects", SHAPE, None)
    # Not the parent, which may have been started in the same tick of the clock.
    again = Header(**{**vars(header), "process": 1})
    journal = Journal(tmp_path, again, lambda _: None, lambda _: None)
    journal.add(square(0))
    until(lambda: kept_journals(tmp_path))
    assert kept_journals(tmp_path)[0].lost == bool(header.born)
    journal.close()


def test_a_living_window_of_another_computer_marks_its_journals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_foundseg.io.journal.ALIVE", 0.02)
    header = Header(**{**vars(Header.now("a" * 32, "objects", SHAPE, None)), "computer": "other"})
    watch = Watch()
    journal = Journal(tmp_path, header, watch.saved.append, watch.failed.append)
    journal.add(square(0))
    until(lambda: watch.saved)
    os.utime(journal.path, (1000, 1000))
    until(lambda: not kept_journals(tmp_path)[0].lost)
    journal.close()


def test_clocks_that_differ_do_not_make_a_living_window_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = Header(**{**vars(Header.now("a" * 32, "objects", SHAPE, None)), "computer": "other"})
    journal = Journal(tmp_path, header, lambda _: None, lambda _: None)
    journal.add(square(0))
    until(lambda: kept_journals(tmp_path))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3 * 24 * 3600)
    assert not kept_journals(tmp_path)[0].lost
    journal.close()


def foreign(*records: bytes) -> bytes:
    return MAGIC + b"".join(packed(record, number, time.time()) for number, record in enumerate(records))


def as_step(text: bytes) -> bytes:
    return struct.pack("<I", len(text)) + text


_DEEP = b'{"a":' + b"[" * 100_000


@pytest.mark.parametrize(
    "values",
    [
        {"shape": "abc"}, {"shape": [-1, 20]}, {"shape": [1.5, 2]}, {"image": 5}, {"layer": ["a"]}, {"began": 7},
        {"process": "x"}, {"place": [1]}, {"computer": 5}, {"closed": "no"},
    ],
)  # fmt: skip
def test_a_header_of_another_program_hides_no_journal(tmp_path: Path, values: dict[str, Any]) -> None:
    journal = Watch().journal(tmp_path)
    journal.add(square(0))
    journal.close(unsaved=True)
    header = {**json.loads(Header.now("a" * 32, "objects", SHAPE, None).to_json()), **values}
    odd = tmp_path / f"{'a' * 16}-9.journal"
    odd.write_bytes(foreign(json.dumps(header).encode(), square(1).to_bytes()))
    assert [kept.path for kept in kept_journals(tmp_path)] == [journal.path]
    with pytest.raises(BadImageError, match="not a foundseg journal"):
        read_journal(odd)


@pytest.mark.parametrize("record", [_DEEP, b"[1, 2]", b"null", b'"x"', b"5", b"\xff"])
def test_a_first_record_that_is_no_header_hides_no_journal(tmp_path: Path, record: bytes) -> None:
    journal = Watch().journal(tmp_path)
    journal.add(square(0))
    journal.close(unsaved=True)
    odd = tmp_path / f"{'a' * 16}-9.journal"
    odd.write_bytes(foreign(record, square(1).to_bytes()))
    assert [kept.path for kept in kept_journals(tmp_path)] == [journal.path]
    with pytest.raises(BadImageError, match="not a foundseg journal"):
        read_journal(odd)


@pytest.mark.parametrize(
    "record",
    [
        b"\1", as_step(_DEEP), as_step(b'{"a": 1}'), as_step(b'["a", [[[0, 0, 0], [1, 2, 4], "x9", [1], 0, 7]]]'),
        as_step(b'["a", [[[0, 0, 0], [1, 2, 4], "uint16", [1000000000], 0, 7]]]'), b"base", b"note" + _DEEP,
    ],
)  # fmt: skip
def test_a_record_of_another_program_is_named(tmp_path: Path, record: bytes) -> None:
    odd = tmp_path / f"{'a' * 16}-9.journal"
    odd.write_bytes(foreign(Header.now("a" * 32, "objects", SHAPE, None).to_json(), square(1).to_bytes(), record))
    kept_journals(tmp_path)
    with pytest.raises(BadImageError, match="not a foundseg journal"):
        read_journal(odd)


def test_a_journal_that_claims_more_than_the_memory_is_named_before_it_is_made(tmp_path: Path) -> None:
    odd = tmp_path / f"{'a' * 16}-9.journal"
    header = Header.now("a" * 32, "objects", (10**6, 10**6, 10**3), None)
    odd.write_bytes(foreign(header.to_json(), square(1).to_bytes()))
    with pytest.raises(BadImageError, match="of memory are free"):
        read_journal(odd)
