"""The page of preferences in a real window: applied before any form, and without holding the window up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import napari.settings
import numpy as np
import pytest
import yaml
from qtpy.QtCore import QTimer

from napari_foundseg.core.editing.difference import Difference
from napari_foundseg.core.editing.history import EditStep
from napari_foundseg.core.image import Image
from napari_foundseg.io import folders
from napari_foundseg.io.journal import Header, Journal
from napari_foundseg.io.preferences import Preferences, engine_environment, preferences, set_preferences
from napari_foundseg.models.catalog import row
from napari_foundseg.widgets.automatic.automatic_dock import AutomaticWidget
from napari_foundseg.widgets.saved import preferences as page
from tests.support import child_environment

pytestmark = pytest.mark.gui


@pytest.fixture
def no_choice(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A process in which nobody has read the page yet, and without variables."""
    for name in ("FOUNDSEG_CACHE", "FOUNDSEG_CACHE_GB", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(page, "_loaded", threading.Event())
    yield
    set_preferences(Preferences())


def shows(monkeypatch: pytest.MonkeyPatch, seconds: float = 0.0, **values: Any) -> None:
    """Have napari give this page, after a while."""

    def slow(_plugin: str) -> Any:
        time.sleep(seconds)
        return SimpleNamespace(engine=SimpleNamespace(**values))

    # napari before 0.9 has no such function.
    monkeypatch.setattr(napari.settings, "get_plugin_settings", slow, raising=False)


def used_before(folder: Path, image: np.ndarray[Any, Any], min_area: int) -> None:
    """Leave in a folder the values of a form, unsaved work on an image, and a model."""
    (folder / "models").mkdir(parents=True)
    (folder / "forms.json").write_text(json.dumps({"automatic.decoder": {"min_area": min_area}}))
    (folder / "models" / f"mine-{min_area}.toml").write_text(
        'title = "Mine"\nfamily = "tiny"\nprotocols = ["InstanceDecoding"]\n'
        'sha256 = "unverified"\nsize_mb = 1.0\nrevision = "1"\ncode_licence = "MIT"\nweights_licence = "MIT"\n'
        'input = "any"\ncitation = "none"\n'
    )
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    labels = np.zeros(image.shape, np.uint16)
    labels[5:20, 5:20] = 1
    header = Header(
        Image(image).fingerprint(), "foundseg objects", labels.shape, None, "2020-01-01T10:00:00", process.pid
    )
    journal = Journal(folder / "journal", header, lambda _: None, lambda _: None)
    part = Difference.between((0, 0), np.zeros_like(labels), labels)
    assert part is not None
    journal.add(EditStep("accept", (part,)))
    journal.close()
    journal.path.write_bytes(journal.path.read_bytes()[:-8])  # without the mark of an orderly end


@pytest.mark.skipif(not hasattr(napari.settings, "get_plugin_settings"), reason="napari before 0.9 has no such page")
@pytest.mark.parametrize("variable", [False, True])
def test_a_window_takes_all_from_the_folder_of_the_preferences_unless_a_variable_names_another(
    tmp_path: Path, scene: Any, variable: bool
) -> None:
    used_before(tmp_path / "page", scene.image, 77)
    used_before(tmp_path / "variable", scene.image, 55)
    np.save(tmp_path / "image.npy", scene.image)
    (tmp_path / "napari-foundseg.yaml").write_text(yaml.safe_dump({"engine": {"cache": str(tmp_path / "page")}}))
    environment = {k: v for k, v in child_environment().items() if k != "FOUNDSEG_CACHE"}
    environment |= {f"XDG_{kind}_HOME": str(tmp_path / "system") for kind in ("CONFIG", "DATA", "CACHE")}
    environment |= {"NAPARI_CONFIG": str(tmp_path / "napari.yaml")}
    if variable:
        environment |= {"FOUNDSEG_CACHE": str(tmp_path / "variable")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.chosen_folder", str(tmp_path / "image.npy")],
        capture_output=True, text=True, env=environment, timeout=200, check=False,
    )  # fmt: skip
    shown = json.loads(done.stdout or done.stderr)
    assert shown["min_area"] == (55 if variable else 77)
    assert shown["recovery"]
    assert f"mine-{shown['min_area']}" in shown["models"]
    assert not (tmp_path / "system" / "napari-foundseg").exists(), "nothing is written to the system's folders"


def test_the_window_draws_while_napari_reads_the_page(
    qtbot: Any, viewer: Any, engine: Any, no_choice: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shows(monkeypatch, seconds=1.0, cache=str(tmp_path / "chosen"), device="auto", address="")
    looks: list[Path] = []
    timer = QTimer()
    timer.timeout.connect(lambda: looks.append(folders.config()))
    timer.start(20)
    form = AutomaticWidget(viewer)
    timer.stop()
    qtbot.addWidget(form)
    assert len(looks) > 10, "the window stood still"
    assert folders.config() == folders.data() == folders.cache() == tmp_path / "chosen"


def test_another_folder_waits_for_the_next_start_and_says_so_once(
    no_choice: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said: list[str] = []
    monkeypatch.setattr("napari.utils.notifications.show_info", said.append)
    shows(monkeypatch, cache=str(tmp_path / "old"), device="auto")
    page.load_preferences()
    shows(monkeypatch, cache=str(tmp_path / "new"), device="cpu", cache_gb=2.5)
    for _ in range(2):
        page.reload_preferences()
    assert folders.data() == tmp_path / "old"
    assert (preferences().device, preferences().cache_gb) == ("cpu", 2.5)
    assert said == ["FoundSeg uses the new cache folder when napari is started again."]


def test_the_engines_process_gets_the_preferences_and_this_process_keeps_its_environment(
    no_choice: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = dict(os.environ)
    shows(monkeypatch, cache=str(tmp_path), cache_gb=1, offline=True, device="auto", address="", default_model="")
    page.load_preferences()
    child = engine_environment()
    assert {name: child[name] for name in ("FOUNDSEG_CACHE", "FOUNDSEG_CACHE_GB", "HF_HUB_OFFLINE")} == {
        "FOUNDSEG_CACHE": str(tmp_path),
        "FOUNDSEG_CACHE_GB": "1",
        "HF_HUB_OFFLINE": "1",
    }
    assert dict(os.environ) == before


def test_a_form_chooses_the_preferred_model_where_it_can_do_the_task(
    qtbot: Any, viewer: Any, engine: Any, no_choice: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    used_before(tmp_path, np.zeros((32, 32), np.uint8), 9)
    weights = tmp_path / "models" / "weights.safetensors"
    weights.write_bytes(b"")
    mine = tmp_path / "models" / "mine-9.toml"
    mine.write_text(mine.read_text() + f"file = '{weights.name}'\n")
    shows(monkeypatch, cache=str(tmp_path), default_model="mine-9")
    form = AutomaticWidget(viewer)
    qtbot.addWidget(form)
    assert row("mine-9").file == weights.name
    assert form.model.currentText() == "mine-9"
