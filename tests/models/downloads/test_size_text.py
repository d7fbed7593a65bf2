"""Sizes as the user reads them, also of weights that have less than 1 MB."""

from __future__ import annotations

import pytest

from napari_foundseg.core.errors import DownloadError
from napari_foundseg.models.downloads.download import download
from napari_foundseg.models.downloads.model_state import model_state
from napari_foundseg.models.downloads.size_text import bytes_text, megabytes, size_text
from tests.models.downloads.conftest import CONTENT, make_row
from tests.support import web_server
from tests.support.web_server import WebServer


@pytest.mark.parametrize(
    ("done", "total", "words"),
    [
        (0, 34_567, "0 of 35 kB"),
        (1, 34_567, "1 of 35 kB"),
        (17_300, 34_567, "18 of 35 kB"),
        (34_567, None, "35 kB"),
        (600_000, 1_500_000, "1 of 2 MB"),
        (120e6, 375e6, "120 of 375 MB"),
        (120e6, None, "120 MB"),
    ],
)
def test_of_small_files_kilobytes_are_shown(done: int, total: int | None, words: str) -> None:
    assert bytes_text(done, total) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "size unknown"),
        (300, "1 kB"),
        (34_567, "35 kB"),
        (9_540_000, "9.5 MB"),
        (375e6, "375 MB"),
        (2.6e9, "2.6 GB"),
    ],
)
def test_a_size_is_never_0_mb(count: int, words: str) -> None:
    assert size_text(megabytes(count)) == words


def test_a_small_download_is_told_in_kilobytes_from_offer_to_ready(web: WebServer) -> None:
    web.files["/files/small.pth"] = CONTENT[:34_567]
    small = make_row("small", f"{web.url}/files/small.pth", size_mb=0.034567)
    assert model_state(small).words == "to download, 35 kB"
    web.faults["/files/small.pth"] = [web_server.drop_at(0.5), *[web_server.drop_at(0)] * 2]
    told: list[str] = []
    with pytest.raises(DownloadError, match="The downloaded part is kept"):
        download(small, lambda _share, words: told.append(words))
    assert model_state(small).words == "part: 18 of 35 kB here"
    done = download(small, lambda _share, words: told.append(words))
    assert done.size_mb == pytest.approx(0.034567)
    assert not [words for words in told if " MB" in words]
