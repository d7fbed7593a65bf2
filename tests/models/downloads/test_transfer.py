"""What may happen between a server and the disk; after each the next try succeeds, and only a part is left."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from napari_foundseg.core.errors import Cancelled, DownloadError, OutputError
from napari_foundseg.models.catalog import CatalogRow, models_folder, row
from napari_foundseg.models.downloads import places, transfer
from napari_foundseg.models.downloads.download import download
from napari_foundseg.models.downloads.model_state import model_state
from napari_foundseg.models.downloads.upkeep import remove_part
from napari_foundseg.models.store import locate, weights
from tests.models.downloads.conftest import CONTENT, make_row
from tests.support import web_server
from tests.support.web_server import Fault, WebServer

FILE = "/files/big.pth"


def files_here() -> set[str]:
    """Return the names of all files of downloads."""
    folder = models_folder() / places.DOWNLOADS
    return {path.name for path in folder.rglob("*") if path.is_file()}


def finishes(big: CatalogRow) -> CatalogRow:
    """Download, and check that all is as it should be."""
    new = download(row(big.name))
    assert locate(new).read_bytes() == CONTENT  # type: ignore[union-attr]
    assert files_here() == {"big.pth"}
    assert model_state(row(big.name)).kind == "ready"
    assert weights(row(big.name)) == locate(new)
    assert row(big.name).sha256 == hashlib.sha256(CONTENT).hexdigest()
    return new


def shows_a_part(big: CatalogRow) -> None:
    """Check that a part is here and nothing else, and that the table shows it with what removes it."""
    assert files_here() == {"big.pth.part", "download.json"}
    state = model_state(row(big.name))
    assert state.kind == "part"
    assert state.words.startswith("part: ")
    assert not state.why_no_download
    assert state.deletes


def removes_the_part(big: CatalogRow) -> None:
    """Remove a part as the table does; nothing is left, and the model can be had again."""
    assert remove_part(row(big.name)) > 0
    assert not places.download_folder(row(big.name)).exists()
    assert model_state(row(big.name)).kind == "to download"


def leaves_half(web: WebServer, big: CatalogRow) -> None:
    """Leave the first half of the file here."""
    web.faults[FILE] = [web_server.stall_at(0.5)]
    half = threading.Event()

    def progress(share: float, _words: str) -> None:
        if share > 0.49:
            half.set()

    with pytest.raises(Cancelled):
        download(row(big.name), progress, half.is_set)
    shows_a_part(big)
    web.requests.clear()


def test_a_file_is_downloaded_once_with_progress_and_its_hash_is_recorded(web: WebServer, big: CatalogRow) -> None:
    told: list[tuple[float, str]] = []
    assert model_state(big).words == "to download, 3 MB"
    new = download(big, lambda share, words: told.append((share, words)))
    assert new.file == "downloads/big/big.pth"
    assert told[0][0] == 0
    assert all(0 <= share <= 1 for share, _ in told)
    assert any("of 3 MB" in words for _, words in told)
    finishes(big)
    assert len(web.asked(FILE)) == 1
    assert web.asked(FILE)[0]["accept-encoding"] == "identity"


def test_a_dropped_connection_is_taken_up_again(web: WebServer, big: CatalogRow) -> None:
    web.faults[FILE] = [web_server.drop_at(0.5), web_server.drop_at(0.5), web_server.refuse(503)]
    finishes(big)
    assert [headers.get("range") for headers in web.asked(FILE)] == [
        None,
        "bytes=1500000-",
        "bytes=2250000-",
        "bytes=2250000-",
    ]


def test_a_server_that_drops_every_connection_leaves_a_part_that_the_next_try_continues(
    web: WebServer, big: CatalogRow
) -> None:
    web.faults[FILE] = [web_server.drop_at(0.5), *[web_server.drop_at(0)] * 2]
    with pytest.raises(DownloadError, match="The downloaded part is kept"):
        download(big)
    state = model_state(row("big"))
    assert (state.kind, state.part_bytes, state.total_bytes) == ("part", 1_500_000, 3_000_000)
    assert state.words == "part: 2 of 3 MB here"
    shows_a_part(big)
    web.requests.clear()
    finishes(big)
    assert [headers["range"] for headers in web.asked(FILE)] == ["bytes=1500000-"]


def test_a_server_that_sends_nothing_is_not_said_to_have_left_a_part(web: WebServer, big: CatalogRow) -> None:
    web.faults[FILE] = [web_server.refuse(500)] * 3
    with pytest.raises(DownloadError, match=r"HTTP 500\); try again later\.$"):
        download(big)
    assert not files_here()
    finishes(big)


def test_what_is_in_the_way_of_a_folder_is_named(
    web: WebServer, big: CatalogRow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    disk = tmp_path / "disk" / "models"
    (tmp_path / "link").symlink_to(disk)
    monkeypatch.setenv("FOUNDSEG_MODELS", str(tmp_path / "link"))
    for _ in range(2):
        with pytest.raises(OutputError, match=r"link to a place that is not there.*remove that or choose another"):
            download(big)
    assert not web.asked(FILE)
    disk.mkdir(parents=True)
    download(big)
    assert locate(row("big")) == tmp_path / "link/downloads/big/big.pth"


def test_a_stop_leaves_a_part_at_once_though_the_server_is_silent(web: WebServer, big: CatalogRow) -> None:
    started = time.monotonic()
    leaves_half(web, big)
    assert time.monotonic() - started < 10, "far below the server's silence of 60 s and our timeout of 30 s"
    finishes(big)
    assert web.asked(FILE)[0]["range"] == "bytes=1500000-"
    assert web.asked(FILE)[0]["if-range"] == web.etag(FILE, CONTENT)


@pytest.mark.parametrize(
    "fault",
    [
        web_server.whole,
        web_server.range_as_200,
        web_server.other_offset(-70_000),
        web_server.other_offset(70_000),
        web_server.refuse(416),
        web_server.packed,
    ],
)
def test_a_resumed_file_has_the_right_bytes_whatever_the_server_makes_of_the_range(
    web: WebServer, big: CatalogRow, fault: Fault
) -> None:
    leaves_half(web, big)
    web.faults[FILE] = [fault]
    finishes(big)


def test_a_file_that_was_replaced_on_the_server_is_fetched_from_its_beginning(web: WebServer, big: CatalogRow) -> None:
    leaves_half(web, big)
    web.files[FILE] = CONTENT[::-1] + b"longer"
    new = download(row("big"))
    assert locate(new).read_bytes() == CONTENT[::-1] + b"longer"  # type: ignore[union-attr]


def test_without_a_version_of_the_file_nothing_is_appended(web: WebServer, big: CatalogRow) -> None:
    web.etags = False
    web.faults[FILE] = [web_server.drop_at(0.5)]
    finishes(big)
    assert all("range" not in headers for headers in web.asked(FILE))


def test_a_complete_part_is_taken_without_a_request(web: WebServer, big: CatalogRow) -> None:
    leaves_half(web, big)
    part = places.target(big).with_name("big.pth.part")
    part.write_bytes(CONTENT)
    finishes(big)
    assert not web.asked(FILE)
    for damaged in (CONTENT + b"more", b""):
        shutil.rmtree(places.download_folder(big))
        leaves_half(web, big)
        part.write_bytes(damaged)
        finishes(big)


def test_a_damaged_record_costs_the_part_and_nothing_else(web: WebServer, big: CatalogRow) -> None:
    for text in ("", "{", "[]", '{"files": [{"name": "../x", "url": ""}], "revision": ""}', json.dumps({"files": 3})):
        leaves_half(web, big)
        places.record_path(big).write_text(text)
        finishes(big)
        shutil.rmtree(places.download_folder(big))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (web_server.refuse(404), r"no such file.*404"),
        (web_server.refuse(403), "403"),
        (web_server.page, "web page in place"),
        (lambda handler, _: handler.send(200, b"<html>moved</html>") or True, "web page in place"),
        (lambda h, _: h.send(200, b"version https://git-lfs.github.com/spec/v1\nsize 375000000\n") or True, "375 MB"),
        (lambda handler, _: handler.send(200, b"") or True, "empty"),
        (web_server.answer(b"\xef\xbb\xbf<!DOCTYPE html><html>"), "web page in place"),
        (web_server.answer(b"<!-- portal --><head><title>Login</title>"), "web page in place"),
        (web_server.answer(gzip.compress(b"<html>moved</html>"), Content_Encoding="gzip"), "web page in place"),
        (web_server.answer(b'{"error": "quota exceeded"}'), "sends text in place of big.pth: .*quota exceeded"),
        (web_server.answer(b"<Error><Code>NoSuchKey</Code></Error>"), "sends text in place of big.pth: .*NoSuchKey"),
        (web_server.answer(CONTENT, Content_Encoding="br"), "in the coding 'br'.*import it"),
        (web_server.refuse(302), r"redirects to no address.*Open http.*can be imported"),
        (web_server.redirect("http://nobody.invalid/big.pth"), r"nobody.invalid \(where 127.0.0.1:\d+ redirects\)"),
        (web_server.redirect(FILE), "in a circle"),
        (web_server.redirect("file:///etc/passwd"), "not secure"),
        (web_server.redirect("ftp://127.0.0.1/big.pth"), "not secure"),
    ],
)
@pytest.mark.parametrize("half", [False, True])
def test_what_is_no_file_is_named_and_costs_nothing(
    web: WebServer, big: CatalogRow, fault: Fault, words: str, half: bool
) -> None:
    if half:
        leaves_half(web, big)
    web.faults[FILE] = [fault] * (12 if "circle" in words else 1)
    with pytest.raises(DownloadError, match=words):
        download(row("big"))
    web.faults.clear()
    state = model_state(row("big"))
    assert state.part_bytes == (1_500_000 if half and "empty" not in words else 0)
    assert locate(row("big")) is None
    if state.part_bytes:
        shows_a_part(big)
    else:
        assert not files_here()
        assert state.kind == "to download"
    finishes(big)


def test_wrong_bytes_of_the_right_number_are_never_ready(web: WebServer) -> None:
    known = make_row("big", f"{web.url}{FILE}", sha256=hashlib.sha256(CONTENT).hexdigest())
    web.faults[FILE] = [web_server.flipped]
    with pytest.raises(DownloadError, match="not what it should be: sha256"):
        download(known)
    assert model_state(known).kind == "to download"
    assert not files_here()
    finishes(known)


def test_weights_that_were_recorded_here_hold_for_later_downloads(web: WebServer, big: CatalogRow) -> None:
    finishes(big)
    shutil.rmtree(places.download_folder(big))
    assert model_state(row("big")).kind == "to download"
    web.files[FILE] = CONTENT[::-1]
    with pytest.raises(DownloadError, match="not what it should be"):
        download(row("big"))
    web.files[FILE] = CONTENT
    finishes(big)


def test_a_silent_server_is_named_with_the_seconds(
    web: WebServer, big: CatalogRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOUNDSEG_TIMEOUT", "0.3")
    web.faults[FILE] = [web_server.stall_at(0.5)]
    with pytest.raises(DownloadError, match=r"127.0.0.1:\d+ sent nothing for 0.3 seconds"):
        download(big)
    assert model_state(row("big")).part_bytes == 1_500_000
    shows_a_part(big)
    monkeypatch.delenv("FOUNDSEG_TIMEOUT")
    finishes(big)


def test_no_room_is_said_before_the_first_byte(
    web: WebServer, big: CatalogRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 10**6, 10**6))
        with pytest.raises(OutputError, match=r"53 MB more.*1 MB are free"):
            download(big)
    assert not web.asked(FILE)
    assert not places.download_folder(big).exists()
    finishes(big)


def test_a_disk_that_is_full_at_90_percent_keeps_what_is_there(
    web: WebServer, big: CatalogRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = transfer._Part.write

    def full(part: transfer._Part, chunk: bytes) -> None:
        if part.position + len(chunk) > 2_700_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(part, chunk)

    with monkeypatch.context() as patch:
        patch.setattr(transfer._Part, "write", full)
        with pytest.raises(OutputError, match="disk is full"):
            download(big)
    assert model_state(row("big")).part_bytes > 2_000_000
    shows_a_part(big)
    finishes(big)
    assert "range" in web.asked(FILE)[-1]


def test_a_folder_that_is_removed_meanwhile_is_named(web: WebServer, big: CatalogRow) -> None:
    half = threading.Event()

    def progress(share: float, _words: str) -> None:
        if share > 0.45 and not half.is_set():
            half.set()
            shutil.rmtree(places.download_folder(big))
            web.released.set()

    web.faults[FILE] = [web_server.stall_at(0.5)]
    with pytest.raises(OutputError, match=r"was removed|does not exist"):
        download(big, progress)
    assert not files_here()
    assert model_state(row("big")).kind == "to download"
    finishes(big)


def test_a_killed_download_is_a_part_that_resumes(web: WebServer, big: CatalogRow) -> None:
    web.faults[FILE] = [web_server.stall_at(0.5)]
    code = """
from napari_foundseg.models.catalog import row
from napari_foundseg.models.downloads.download import download
download(row("big"), lambda share, words: print(share, flush=True))
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if float(line) > 0.4:
            break
    child.kill()
    child.wait()
    child.stdout.close()
    state = model_state(row("big"))
    assert state.kind == "part"
    assert state.part_bytes > 1_000_000
    assert locate(row("big")) is None, "loading is refused"
    shows_a_part(big)
    finishes(big)
    assert "range" in web.asked(FILE)[-1]


@pytest.mark.parametrize("fault", ["dropped", "silent", "full disk", "cancelled"])
def test_what_is_left_of_a_failed_download_can_be_removed(
    web: WebServer, big: CatalogRow, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    if fault == "cancelled":
        leaves_half(web, big)
    else:
        with monkeypatch.context() as patch:
            patch.setenv("FOUNDSEG_TIMEOUT", "0.3")
            if fault == "silent":
                web.faults[FILE] = [web_server.stall_at(0.5)]
            elif fault == "dropped":
                web.faults[FILE] = [web_server.drop_at(0.5), *[web_server.drop_at(0)] * 2]
            else:
                patch.setattr(transfer._Part, "write", _full_disk)
            with pytest.raises((DownloadError, OutputError)):
                download(big)
    shows_a_part(big)
    removes_the_part(big)
    web.faults.clear()
    web.requests.clear()
    finishes(big)
    assert "range" not in web.asked(FILE)[0], "it begins anew"


def test_two_windows_download_one_file_once(web: WebServer, big: CatalogRow) -> None:
    web.faults[FILE] = [web_server.stall_at(0.5)]
    told: list[str] = []
    found: list[CatalogRow] = []
    stop = threading.Event()

    def first() -> None:
        with pytest.raises(Cancelled):
            download(row("big"), cancelled=stop.is_set)

    def second() -> None:
        found.append(download(row("big"), lambda _share, words: told.append(words)))

    threads = [threading.Thread(target=first)]
    threads[0].start()
    _wait(lambda: len(web.asked(FILE)) == 1)
    threads.append(threading.Thread(target=second))
    threads[1].start()
    _wait(lambda: any("Another window downloads it" in words for words in told))
    assert len(web.asked(FILE)) == 1
    shows_a_part(big)
    stop.set()
    for thread in threads:
        thread.join()
    assert found[0].file == "downloads/big/big.pth"
    assert web.asked(FILE)[1]["range"].startswith("bytes=1")
    finishes(big)
    assert len(web.asked(FILE)) == 2


_WRITE = transfer._Part.write


def _full_disk(part: transfer._Part, chunk: bytes) -> None:
    if part.position + len(chunk) > 0.4 * len(CONTENT):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    _WRITE(part, chunk)


def _wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
