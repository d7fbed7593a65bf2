from __future__ import annotations

import pickle
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

import napari_foundseg as fs
from napari_foundseg.core.errors import CheckpointError, EngineError, ModelNotFoundError
from napari_foundseg.models import loading, store
from napari_foundseg.models.catalog import catalog, row
from napari_foundseg.models.device import choose_device
from napari_foundseg.models.families.promptable import tiny
from napari_foundseg.models.importing import import_model
from napari_foundseg.tasks import TASKS
from napari_foundseg.tasks.task_models import models_for

ROW = row("foundseg-tiny")


def test_the_wheel_stays_small() -> None:
    assert store.weights(ROW).stat().st_size < 20e6
    assert ROW.size_mb == pytest.approx(store.weights(ROW).stat().st_size / 1e6, abs=0.1)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_model_that_implements_its_methods(task: str) -> None:
    first = models_for(task)[0]
    assert set(TASKS[task].protocols.values()) & set(first.protocols)


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(ModelNotFoundError, match=next(iter(catalog()))):
        row("sam-9000")


@pytest.mark.parametrize(
    ("name", "near"), [("SAM2", "sam2.1-hiera-tiny, sam2.1-hiera-small, .*"), ("clipsegrd64", "clipseg-rd64-refined")]
)
def test_an_unknown_name_is_answered_with_those_near_it(name: str, near: str) -> None:
    with pytest.raises(
        ModelNotFoundError, match=rf"no model '{name}'; do you mean {near}\? Choose one of foundseg-tiny"
    ):
        row(name)


def test_a_model_is_loaded_once_and_the_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_loaded", type(loading._loaded)())
    first = fs.load_model("foundseg-tiny")
    assert fs.load_model("foundseg-tiny") is first
    assert fs.load_model(first) is first
    with pytest.raises(ModelNotFoundError, match="Grounded"):
        fs.load_model(first, protocol="Grounded")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[: len(data) // 2], "damaged"),
        (lambda _: b"<html>404</html>", "damaged"),
        (None, "missing"),
    ],
)
def test_damaged_weights_are_refused_before_they_are_read(
    tmp_path: Path, damage: object, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w.safetensors"
    if callable(damage):
        path.write_bytes(damage(store.weights(ROW).read_bytes()))
    with pytest.raises(CheckpointError, match=words):
        store.weights(replace(ROW, file=str(path)))


@pytest.mark.parametrize("data", [b"", b"<html>404</html>", b"\xff" * 64])
def test_a_file_of_another_layout_is_a_checkpoint_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="foundseg-tiny"):
        tiny.load(ROW, path, "cpu")


def test_a_device_that_is_not_here_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device("cpu") == "cpu"
    monkeypatch.setenv("FOUNDSEG_DEVICE", "cpu")
    assert choose_device() == "cpu"
    monkeypatch.setenv("FOUNDSEG_DEVICE", "abacus")
    with pytest.raises(EngineError, match="abacus"):
        choose_device()


def test_the_catalogue_needs_no_torch() -> None:
    code = (
        "import sys; from napari_foundseg.models import catalog as c, store; c.catalog(); print('torch' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


@pytest.mark.parametrize("ending", [".zip", ".pth"])
def test_a_zip_that_points_out_of_its_folder_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path / "in" / "cache"))
    (tmp_path / "in").mkdir()
    evil = tmp_path / "in" / f"model{ending}"
    with zipfile.ZipFile(evil, "w") as archive:
        archive.writestr("../escaped.txt", "out")
        archive.writestr("archive/data.pkl", pickle.dumps({"a": 1}))
        archive.writestr("archive/../../../escaped.txt", "out")
    with pytest.raises(CheckpointError):
        import_model(evil)
    assert not list(tmp_path.rglob("escaped.txt"))
