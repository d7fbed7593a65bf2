"""A server of files, a models' folder of its own, and a model whose file the server has."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from napari_foundseg.models.catalog import UNVERIFIED, CatalogRow, row, save_row
from napari_foundseg.models.downloads import transfer
from tests.support.web_server import WebServer

CONTENT = random.Random(0).randbytes(3_000_000)


@pytest.fixture
def web() -> Iterator[WebServer]:
    server = WebServer()
    server.files["/files/big.pth"] = CONTENT
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, web: WebServer) -> None:
    for name in ("FOUNDSEG_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN", "FOUNDSEG_MODELS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub" / "hub"))
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "hub" / "token"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "hub" / "token"))
    monkeypatch.setattr("huggingface_hub.constants.HF_STORED_TOKENS_PATH", str(tmp_path / "hub" / "stored"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub" / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", web.url)
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", web.url)
    monkeypatch.setenv("HF_ENDPOINT", web.url)
    monkeypatch.setattr(transfer, "WAITS", (0.01, 0.01))


@pytest.fixture
def big(web: WebServer) -> CatalogRow:
    """The row of a file of 3 MB, whose hash nobody knows."""
    return make_row("big", f"{web.url}/files/big.pth")


def make_row(name: str, source: str, **fields: object) -> CatalogRow:
    values = {"file": "", "source": source, "sha256": UNVERIFIED, "size_mb": 3.0, "revision": "published"} | fields
    new = replace(row("sam-vit-b"), name=name, title=name.title(), **values)
    save_row(new)
    return new
