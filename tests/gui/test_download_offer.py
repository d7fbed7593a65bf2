"""A run with a model that is not on this computer: the form offers the download, and shows no error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton

from napari_foundseg.models.catalog import row
from napari_foundseg.models.importing import import_model
from napari_foundseg.widgets.automatic.automatic_dock import AutomaticWidget
from napari_foundseg.widgets.classes.text_dock import TextWidget
from napari_foundseg.widgets.cluster.cluster_dock import ClusterWidget
from napari_foundseg.widgets.controls.catalogue_watch import catalogue_watch
from napari_foundseg.widgets.prompt.prompt_dock import PromptWidget
from napari_foundseg.widgets.propagate.propagate_dock import PropagateWidget
from napari_foundseg.widgets.runs.model_work import model_work
from tests.support.published_model import publish_small_model
from tests.support.small_sam import small_sam
from tests.support.web_server import WebServer, stall_at

pytestmark = pytest.mark.gui


@pytest.fixture(autouse=True)
def _no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    yield
    model_work.cache_clear()


def _click(qtbot: Any, button: QPushButton) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def _docked(viewer: Any, kind: Any, model: str) -> Any:
    viewer.add_image(np.random.default_rng(0).integers(0, 99, (4, 48, 64), np.uint8), name="stack")
    form = kind(viewer)
    viewer.window.add_dock_widget(form)
    form.model.setCurrentIndex(form.model.findData(model))
    assert form.model.currentData() == model
    return form


def _errors(form: Any) -> list[str]:
    return [message.text() for message in form.messages.values() if message.text()]


_BUTTONS = {
    "Run of Automatic": (AutomaticWidget, lambda form: form.run_button),
    "Run of Segment by text": (TextWidget, lambda form: form.run_button),
    "Run of Propagate": (PropagateWidget, lambda form: form.run_button),
    "Run of Cluster": (ClusterWidget, lambda form: form.run_button),
    "Show features of Cluster": (ClusterWidget, lambda form: form.view_button),
    "Encode all slices of Prompt": (PromptWidget, lambda form: form.encoding.button),
}


@pytest.mark.parametrize("where", _BUTTONS)
def test_the_offer_stands_alone_and_says_what_is_needed(qtbot: Any, viewer: Any, engine: Any, where: str) -> None:
    kind, button = _BUTTONS[where]
    model = "clipseg-rd64-refined" if kind is TextWidget else "sam2.1-hiera-tiny"
    form = _docked(viewer, kind, model)
    before = list(viewer.layers)
    _click(qtbot, button(form))
    qtbot.waitUntil(form.offer.isVisible)
    wanted = row(model)
    words = form.offer.words.text()
    assert words.startswith(f"This run needs a model that is not on this computer. Download {wanted.title}? ")
    assert f"{wanted.size_mb:.0f} MB" in words
    assert f"of the code: {wanted.code_licence}; of the weights: {wanted.weights_licence}." in words
    assert _errors(form) == []
    assert not engine.jobs
    assert list(viewer.layers) == before


def test_a_fit_offers_its_backbone(qtbot: Any, viewer: Any, engine: Any) -> None:
    form = _docked(viewer, ClusterWidget, "foundseg-tiny")
    form.fit_fold.button.setChecked(True)
    form.fit.backbone.setCurrentText("sam-vit-b")
    _click(qtbot, form.fit.fit_button)
    qtbot.waitUntil(form.offer.isVisible)
    assert "Download SAM ViT-B? 375 MB." in form.offer.words.text()
    assert _errors(form) == []
    assert not engine.jobs


def test_a_model_whose_file_was_moved_is_an_error_without_an_offer(
    qtbot: Any, viewer: Any, engine: Any, tmp_path: Path
) -> None:
    torch.save(small_sam().state_dict(), tmp_path / "mine.pth")
    name = import_model(tmp_path / "mine.pth").name
    (tmp_path / "mine.pth").unlink()
    form = _docked(viewer, AutomaticWidget, name)
    _click(qtbot, form.run_button)
    (said,) = _errors(form)
    assert str(tmp_path / "mine.pth") in said
    assert not form.offer.isVisible()


@pytest.fixture
def server() -> Iterator[WebServer]:
    web = WebServer()
    yield web
    web.close()


def test_run_pressed_again_during_the_download_still_runs_after_it(
    qtbot: Any, viewer: Any, engine: Any, server: WebServer, tmp_path: Path
) -> None:
    publish_small_model(tmp_path, server)
    catalogue_watch().check()
    server.faults["/small.pth"] = [stall_at(0.5)]
    form = _docked(viewer, AutomaticWidget, "small")
    _click(qtbot, form.run_button)
    _click(qtbot, form.offer.download_button)
    qtbot.waitUntil(lambda: form.offer.progress.bar.value() > 30)
    _click(qtbot, form.run_button)
    assert form.offer.progress.isVisible()
    assert not form.offer.buttons.isVisible()
    assert _errors(form) == []
    server.released.set()
    qtbot.waitUntil(lambda: bool(engine.jobs))
    assert engine.jobs[-1].request.model == "small"
    assert not form.offer.isVisible()


def test_the_features_asked_for_are_shown_once_the_model_is_here(
    qtbot: Any, viewer: Any, engine: Any, server: WebServer, tmp_path: Path
) -> None:
    publish_small_model(tmp_path, server)
    catalogue_watch().check()
    form = _docked(viewer, ClusterWidget, "small")
    _click(qtbot, form.view_button)
    _click(qtbot, form.offer.download_button)
    qtbot.waitUntil(lambda: bool(engine.jobs))
    assert [job.task for job in engine.jobs] == ["features"]
