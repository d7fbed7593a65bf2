"""A small SAM that is on a server and can be downloaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from napari_foundseg.models.catalog import UNVERIFIED, save_row
from napari_foundseg.models.importing import import_model, remove_model
from tests.support.small_sam import small_sam
from tests.support.web_server import WebServer

__all__ = ["publish_small_model"]


def publish_small_model(tmp_path: Path, server: WebServer) -> bytes:
    """Add a row *small* of a small SAM that is on a server, and return its file."""
    path = tmp_path / "published.pth"
    torch.save(small_sam().state_dict(), path)
    found = import_model(path)
    remove_model(found.name)
    content = path.read_bytes()
    path.unlink()
    server.files["/small.pth"] = content
    facts = {"name": "small", "title": "Small SAM", "file": "small.pth", "source": f"{server.url}/small.pth"}
    facts |= {"weights_licence": "CC-BY-4.0", "stands_for": "", "sha256": UNVERIFIED, "size_mb": len(content) / 1e6}
    save_row(replace(found, **facts))
    return content
