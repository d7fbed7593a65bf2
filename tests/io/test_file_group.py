"""Labels, their table and their record are one unit: wherever a save ends, the next look sees the old or the new."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from napari_foundseg.core.errors import OutputError
from napari_foundseg.io import atomic
from napari_foundseg.io.formats.content import FileContent
from napari_foundseg.io.layer_files import read_layer, write_with_properties
from napari_foundseg.io.writers import replace_labels, replace_table
from tests.support import child_environment
from tests.support.forks import in_fork

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the process is forked, which costs no start of Python")


def content(label: int) -> FileContent:
    labels = np.full((6, 7), label, np.uint16)
    return FileContent(labels, "YX", properties=pd.DataFrame({"label": [label], "note": [f"of {label}"]}))


def what_is_there(path: Path) -> tuple[int, int]:
    """Return the id in the labels, and that in the table."""
    ((data, attributes, _),) = read_layer(str(path))
    return int(data.max()), int(attributes["features"]["index"].iloc[0])


SAVES = """
import os, sys
from pathlib import Path
from tests.io.test_file_group import content, in_fork, save_and_end_at, what_is_there, write_with_properties
import json, shutil
folder = Path(sys.argv[1])
for number in range(1, 200):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path = folder / "a_labels.tif"
    write_with_properties(path, content(1))
    ended = in_fork(lambda: save_and_end_at(path, number))
    found = what_is_there(path)
    left = sorted(p.name for p in folder.iterdir())
    print(json.dumps([ended, found, left]))
    if ended == 0:
        break
"""


def save_and_end_at(path: Path, number: int) -> None:
    """Save other labels, and end before the file operation of this number, as a kill does."""
    count = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir"):
            count += 1
            if count == number:
                os._exit(9)

    sys.addaudithook(hook)
    write_with_properties(path, content(2))


def test_wherever_a_save_ends_labels_and_table_belong_together(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SAVES, str(tmp_path / "saves")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=child_environment())
    assert done.returncode == 0, done.stderr
    points = [json.loads(line) for line in done.stdout.splitlines()]
    assert points[-1][0] == 0
    assert len(points) > 6
    assert {tuple(found) for _, found, _ in points} == {(1, 1), (2, 2)}
    assert points[0][1] == [1, 1]
    # What was complete is put in place by whoever looks next, and nothing of it is left.
    for _, found, left in points:
        if found == [2, 2]:
            assert left == ["a_labels.csv", "a_labels.tif"]


def test_what_others_saved_meanwhile_is_not_replaced_by_what_was_left(
    tmp_path: Path,
) -> None:
    points = {end: tmp_path / f"{end}" for end in range(6, 14)}
    for end, folder in points.items():
        folder.mkdir()
        labels = folder / "a_labels.tif"
        write_with_properties(labels, content(1))
        in_fork(lambda labels=labels, end=end: save_and_end_at(labels, end))
        replace_labels(labels, np.full((6, 7), 8, np.uint16))
        replace_table(labels.with_suffix(".csv"), pd.DataFrame({"label": [8]}))
        assert what_is_there(labels)[0] == 8
        assert read_layer(str(labels))[0][1]["features"]["index"].tolist() == [8]


def test_a_save_that_fails_leaves_everything_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a_labels.tif"
    write_with_properties(path, content(1))
    synced = os.fsync
    for number in range(1, 4):
        count = 0

        def full(file: int, number: int = number) -> None:
            nonlocal count
            count += 1
            if count == number:
                raise OSError(28, "No space left on device")
            synced(file)

        monkeypatch.setattr(atomic.os, "fsync", full)
        with pytest.raises(OutputError, match=r"a_labels.* the disk is full") as caught:
            write_with_properties(path, content(2))
        assert ".partial" not in str(caught.value)
        monkeypatch.setattr(atomic.os, "fsync", synced)
        assert what_is_there(path) == (1, 1)
        # What a process that was ended before has left goes with the next save.
        in_fork(lambda: save_and_end_at(path, 4))
        assert len(list(tmp_path.glob(".*.partial"))) == 1
        write_with_properties(path, content(1))
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a_labels.csv", "a_labels.tif"]
