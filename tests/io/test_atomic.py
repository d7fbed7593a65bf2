from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from napari_foundseg.core.errors import FoundsegError, OutputError
from napari_foundseg.io import atomic
from napari_foundseg.io.atomic import atomic_folder, atomic_write

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX permissions and names")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_writes_the_whole_file(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a.bin") as file:
        file.write(b"whole")
        assert not (tmp_path / "a.bin").exists(), "the name is taken before all is written"
    assert (tmp_path / "a.bin").read_bytes() == b"whole"
    assert names(tmp_path) == ["a.bin"]


def test_replaces_an_old_file(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"old and longer")
    with atomic_write(tmp_path / "a.bin") as file:
        file.write(b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"new"


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", [None, b"old"])
def test_an_interruption_leaves_all_as_it_was(
    tmp_path: Path, interruption: type[BaseException], old: bytes | None
) -> None:
    target = tmp_path / "a.bin"
    if old is not None:
        target.write_bytes(old)
    with pytest.raises(interruption), atomic_write(target) as file:  # noqa: PT012
        file.write(b"half")
        raise interruption
    assert names(tmp_path) == ([] if old is None else ["a.bin"])
    assert old is None or target.read_bytes() == old


def test_a_full_disk_is_named_and_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"a\.bin.*disk is full.*free some space"), atomic_write(target) as file:
        file.write(b"new")
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_the_error_is_ours_and_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught, atomic_write(tmp_path / "absent" / "a.bin"):
        pass
    assert isinstance(caught.value, FoundsegError)
    assert isinstance(caught.value, OSError)
    assert str(tmp_path / "absent" / "a.bin") in str(caught.value).replace("\\\\", "\\")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("absent/a.bin", "folder does not exist"),
        ("file/a.bin", "folder is a file" if os.name == "posix" else "folder does not exist"),
        ("folder", "it is a folder"),
        ("a\0b", "null character"),
        pytest.param("x" * 300, "name is too long", marks=posix),
        pytest.param("lone\ud800", "no such letters", marks=posix),
    ],
)
def test_a_name_that_cannot_be_written_is_named(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match=reason), atomic_write(tmp_path / name) as file:
        file.write(b"x")
    assert sorted(names(tmp_path)) == ["file", "folder"]


@posix
@pytest.mark.parametrize("name", ["x" * 255, "new\nline", "näme ☃", "a:b"])
def test_odd_but_legal_names_are_written(tmp_path: Path, name: str) -> None:
    with atomic_write(tmp_path / name) as file:
        file.write(b"x")
    assert names(tmp_path) == [name]


@posix
@pytest.mark.parametrize("writer", [atomic_write, atomic_folder])
def test_a_read_only_folder_is_named(tmp_path: Path, writer: Any) -> None:
    tmp_path.chmod(0o555)
    # Root may write everywhere, so for a moment it is somebody else.
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        with pytest.raises(OutputError, match=r"a\.bin.*not permitted"), writer(tmp_path / "a.bin"):
            pass
    finally:
        if root:
            os.seteuid(0)
        tmp_path.chmod(0o755)
    assert names(tmp_path) == []


@posix
def test_the_new_file_has_ordinary_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with atomic_write(tmp_path / "a.bin"):
        pass
    assert (tmp_path / "a.bin").stat().st_mode == (tmp_path / "plain").stat().st_mode


KILLED = """
import os, sys
from pathlib import Path
from napari_foundseg.io.atomic import atomic_write
with atomic_write(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os._exit(9)
"""


def test_what_a_killed_process_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    ended = subprocess.run([sys.executable, "-c", KILLED, str(target)], check=False)
    assert ended.returncode == 9
    assert len(names(tmp_path)) == 2, "the killed process left no temporary file: the test shows nothing"
    (tmp_path / ".hidden.partial").touch()
    (tmp_path / "result.partial").touch()
    with atomic_write(tmp_path / "b.bin") as file:
        atomic.sweep(tmp_path)
        file.write(b"being written")
    assert names(tmp_path) == [".hidden.partial", "a.bin", "b.bin", "result.partial"]
    assert target.read_bytes() == b"old"


@posix
def test_what_a_process_left_is_swept_though_nobody_has_asked_for_its_end(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        # Not `wait`, which would take it off the system's list.
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        (tmp_path / f".{atomic._computer()}-{ended.pid}-{0:016x}.partial").touch()
        atomic.sweep(tmp_path)
        assert names(tmp_path) == []


def test_another_computers_temporary_file_is_swept_when_it_is_a_day_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.node", lambda: "another computer")
    with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "a.bin"):  # noqa: PT012
        (left,) = tmp_path.iterdir()
        monkeypatch.undo()
        raise KeyboardInterrupt
    left.write_bytes(b"half")
    os.utime(left, (time.time() - 3600,) * 2)
    atomic.sweep(tmp_path)
    assert left.exists(), "the other computer may still be writing"
    os.utime(left, (time.time() - 25 * 3600,) * 2)
    atomic.sweep(tmp_path)
    assert not left.exists()


@posix
def test_sweeping_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "a.tif").touch()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    computer = atomic._computer()
    (tmp_path / "out" / f".{computer}-{gone.pid}-{0:016x}.partial").symlink_to(kept)
    (tmp_path / "out" / f".{computer}-{gone.pid}-{1:016x}.partial").mkdir()
    atomic.sweep(tmp_path / "out")
    assert names(tmp_path / "out") == []
    assert names(kept) == ["a.tif"]


def test_sweeping_an_absent_folder_is_nothing(tmp_path: Path) -> None:
    atomic.sweep(tmp_path / "absent")


def fill(folder: Path, content: bytes) -> None:
    (folder / "0").mkdir()
    (folder / "0" / "chunk").write_bytes(content)


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_folder_is_made_and_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanges: bool) -> None:
    if not exchanges:
        monkeypatch.setattr(atomic, "_exchange", lambda *_: False)
    for content in (b"old", b"new"):
        before = names(tmp_path)
        with atomic_folder(tmp_path / "a") as folder:
            fill(folder, content)
            assert [name for name in names(tmp_path) if name[0] != "."] == before
        assert names(tmp_path) == ["a"]
        assert (tmp_path / "a" / "0" / "chunk").read_bytes() == content
    assert names(tmp_path / "a") == ["0"]


@posix
def test_folders_change_places_in_one_step(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "x").touch()
    (tmp_path / "other").mkdir()
    assert atomic._exchange(tmp_path / "one", tmp_path / "other")
    assert names(tmp_path / "other") == ["x"]


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt])
def test_an_interruption_leaves_a_folder_as_it_was(tmp_path: Path, interruption: type[BaseException]) -> None:
    with atomic_folder(tmp_path / "a") as folder:
        fill(folder, b"old")
    with pytest.raises(interruption), atomic_folder(tmp_path / "a") as folder:  # noqa: PT012
        fill(folder, b"half")
        raise interruption
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a" / "0" / "chunk").read_bytes() == b"old"


def test_a_rename_that_fails_leaves_a_folder_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with atomic_folder(tmp_path / "a") as folder:
        fill(folder, b"old")
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if path.suffix == ".partial":
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return rename(path, target)

    monkeypatch.setattr(atomic, "_exchange", lambda *_: False)
    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OutputError, match="not permitted"), atomic_folder(tmp_path / "a") as folder:
        fill(folder, b"new")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a" / "0" / "chunk").read_bytes() == b"old"


def test_a_folder_does_not_replace_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(OutputError, match="it is a file"), atomic_folder(tmp_path / "a"):
        pass
    with pytest.raises(OutputError, match="folder does not exist"), atomic_folder(tmp_path / "absent" / "a"):
        pass
    assert names(tmp_path) == ["a"]
