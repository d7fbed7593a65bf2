from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from napari_foundseg.core.errors import OutputError
from napari_foundseg.io import disk_cache
from napari_foundseg.io.disk_cache import DiskCache

BOTH = """
import sys
from pathlib import Path
from napari_foundseg.io.disk_cache import DiskCache
cache = DiskCache(Path(sys.argv[1]), 200_000)
print("ready", flush=True)
sys.stdin.readline()
for i in range(10**6):
    name = f"n{i % 40}"
    data = cache.get(name)
    assert data is None or data == name.encode() * 2000, "a torn file was read"
    cache.put(name, name.encode() * 2000)
    if i == 150 and len(sys.argv) < 3:
        break
"""


def test_what_is_kept_comes_back_and_the_least_recently_used_goes(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "new" / "folder", 1000)
    for i in range(9):
        assert cache.put(f"n{i}", bytes([i]) * 84)
        os.utime(cache.folder / f"n{i}.kept", (i, i))
    assert cache.get("n0") == bytes(84)
    cache.limit = 500
    cache.trim()
    assert cache.size() <= 450
    assert cache.get("n0") is not None
    assert cache.get("n1") is None
    assert cache.get("n8") == bytes([8]) * 84
    assert cache.clear() > 0
    assert cache.size() == 0
    assert cache.get("n8") is None


@pytest.mark.parametrize("damage", [b"", b"x", b"\0" * 116])
def test_a_damaged_file_counts_as_absent_and_is_replaced(tmp_path: Path, damage: bytes) -> None:
    cache = DiskCache(tmp_path, 10_000)
    cache.put("a", b"1" * 100)
    (tmp_path / "a.kept").write_bytes(damage)
    assert cache.get("a") is None
    assert cache.put("a", b"1" * 100)
    assert cache.get("a") == b"1" * 100


def test_a_disk_that_takes_nothing_disturbs_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_path: Path) -> None:
        raise OutputError("the disk is full")

    cache = DiskCache(tmp_path, 1000)
    cache.put("a", b"1")
    with monkeypatch.context() as patch:
        patch.setattr(disk_cache, "atomic_write", full)
        assert not cache.put("b", b"2")
        assert not cache.put("c", b"3")
    assert caplog.text.count("the disk is full") == 1
    assert cache.get("a") == b"1"
    assert cache.put("b", b"2")
    (tmp_path / "file").write_bytes(b"")
    assert not DiskCache(tmp_path / "file" / "folder", 1000).put("a", b"1")


def test_two_processes_and_a_kill_leave_nothing_torn(tmp_path: Path) -> None:
    start = [sys.executable, "-c", BOTH, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        subprocess.Popen(start, **pipes) as one,
        subprocess.Popen([*start, "forever"], **pipes) as two,
    ):
        for process in (one, two):
            assert process.stdout.readline() == "ready\n"
        for process in (one, two):
            process.stdin.write("go\n")
            process.stdin.flush()
        time.sleep(0.5)
        two.kill()
        assert one.wait(60) == 0
    cache = DiskCache(tmp_path, 200_000)
    assert not list(tmp_path.glob(".*partial")), "what a killed process left is swept"
    cache.trim()
    assert cache.size() <= 200_000
    for path in tmp_path.glob("*.kept"):
        assert cache.get(path.stem) == path.stem.encode() * 2000
