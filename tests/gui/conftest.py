from __future__ import annotations

import gc
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from npe2 import PluginManifest
from pytestqt.qtbot import QtBot

from napari_foundseg.core.masks import Mask
from napari_foundseg.core.object_table import object_table
from napari_foundseg.core.result import Segmentation
from napari_foundseg.models.catalog import models_folder, packaged
from napari_foundseg.widgets.runs import shared_engine
from tests.support.fake_engine import FakeEngine
from tests.support.mouse import Canvas
from tests.support.shared_viewer import SharedViewer

#: How long a condition is waited for: 5 s, pytest-qt's own, may pass on a loaded machine.
QtBot.waitUntil.__kwdefaults__["timeout"] = 30_000


@pytest.fixture(scope="session", autouse=True)
def _plugins_read_once() -> Iterator[None]:
    """Read the manifests of the installed plugins once: napari's fixture asks for them again with each window."""
    read = PluginManifest.discover

    @cache
    def found(paths: tuple[str, ...]) -> list[Any]:
        return list(read(paths=paths))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PluginManifest, "discover", staticmethod(lambda paths=(): iter(found(tuple(paths)))))
        yield


@pytest.fixture(autouse=True)
def _short_collections() -> None:
    """Keep what came before out of the garbage collections that napari does with every layer it removes."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FOUNDSEG_ENGINE", raising=False)
    yield
    shared_engine.close_engine()


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    fake = FakeEngine()
    monkeypatch.setattr(shared_engine, "make_engine", lambda *_: fake)
    shared_engine.close_engine()
    return fake


@pytest.fixture
def weights_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put empty weights of every model where they are looked for, for a fake engine that loads none."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for row in packaged().values():
        if row.source.startswith("hf:"):
            cached = tmp_path / "hub" / f"models--{row.source[3:].replace('/', '--')}"
            (cached / "snapshots" / "abc").mkdir(parents=True)
            (cached / "snapshots" / "abc" / "model.safetensors").touch()
            (cached / "refs").mkdir()
            (cached / "refs" / "main").write_text("abc")
        elif row.source:
            models_folder().mkdir(parents=True, exist_ok=True)
            (models_folder() / row.file).touch()


@pytest.fixture(scope="module")
def shared_viewer(qapp: Any) -> Iterator[SharedViewer]:
    """The window of a module with the mark `shared_window`."""
    shared = SharedViewer()
    yield shared
    shared.close()


@pytest.fixture
def viewer(qtbot: Any, isolated: None, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A window without layers and docks: the module's, or the test's own."""
    if request.node.get_closest_marker("shared_window") is None:
        yield request.getfixturevalue("make_napari_viewer")(show=True)
        return
    shared = request.getfixturevalue("shared_viewer")
    yield shared.open()
    left = shared.empty()
    assert not left, "left behind in the window: " + ", ".join(left)


@pytest.fixture
def canvas(viewer: Any) -> Canvas:
    return Canvas(viewer)


def disc(shape: tuple[int, int], y: int, x: int, radius: int) -> np.ndarray[Any, Any]:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


@pytest.fixture
def scene() -> SimpleNamespace:
    labels = np.zeros((128, 160), np.uint16)
    labels[disc(labels.shape, 40, 50, 15)] = 1
    labels[disc(labels.shape, 90, 110, 20)] = 2
    image = np.where(labels > 0, 2000, 100).astype(np.uint16)
    table = object_table(labels, "YX", predicted_iou=[0.9, 0.8], stability_score=[0.9, 0.8])
    masks = (
        Mask.from_array(labels == 1, predicted_iou=0.9, label=1),
        Mask.from_array(disc(labels.shape, 40, 50, 8), predicted_iou=0.7, label=1),
        Mask.from_array(disc(labels.shape, 40, 50, 25), predicted_iou=0.5, label=1),
    )
    automatic = Segmentation(labels, table, provenance={"task": "automatic", "inputs": {}})
    one = np.where(labels == 1, labels, 0)
    prompted = Segmentation(one, table.iloc[:1], provenance={"task": "prompt"}, masks=masks)
    return SimpleNamespace(image=image, automatic=automatic, prompted=prompted, masks=masks)
