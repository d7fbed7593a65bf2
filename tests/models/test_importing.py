from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import napari_foundseg as fs
from napari_foundseg.core.errors import CheckpointError, ModelNotFoundError, SettingsError
from napari_foundseg.io.samples import sample
from napari_foundseg.models import catalog, importing, store
from napari_foundseg.models.importing import import_model, remove_model
from napari_foundseg.tasks.task_models import models_for
from tests.support import tiny_checkpoints


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "my model (2).safetensors"
    shutil.copy(store.weights(catalog.row("foundseg-tiny")), path)
    return path


def test_an_imported_model_works_like_one_of_the_package_until_it_is_removed(weights: Path) -> None:
    row = import_model(weights, "mine")
    assert (row.name, row.family) == ("mine", "tiny")
    # It is known by its hash, whatever the file is called.
    assert row.calibration == catalog.row("foundseg-tiny").calibration
    assert row.name in [r.name for r in models_for("automatic")]
    assert models_for("automatic")[0].name == "foundseg-tiny"
    found = fs.automatic(sample("nuclei"), model=row.name)
    assert len(found) == len(fs.automatic(sample("nuclei")))
    assert found.provenance["model"]["sha256"] == row.sha256
    remove_model(row.name)
    assert weights.exists()
    with pytest.raises(ModelNotFoundError):
        catalog.row(row.name)


def test_names_are_never_taken_from_another_model(weights: Path, tmp_path: Path) -> None:
    assert import_model(weights, "mine").name == "mine"
    assert import_model(weights, "mine").name == "mine"
    other = tmp_path / "other one (2).safetensors"
    save_file(load_file(weights), other, metadata={"format": "foundseg-tiny", "version": "3", "of": "another"})
    assert import_model(other).name == "other-one-2"
    remove_model("other-one-2")
    for name in ("mine", "foundseg-tiny", "a/b", "../up"):
        with pytest.raises(SettingsError, match=r"choose another|use letters"):
            import_model(other, name)
    other = other.rename(tmp_path / "mine.safetensors")
    assert import_model(other).name == "mine-2"


def test_what_comes_with_the_package_cannot_be_removed() -> None:
    with pytest.raises(ModelNotFoundError, match="comes with"):
        remove_model("foundseg-tiny")
    with pytest.raises(ModelNotFoundError, match="not in the catalogue"):
        remove_model("sam-9000")


def test_weights_of_no_family_are_named_for_what_they_are(tmp_path: Path, weights: Path) -> None:
    torch.save({"state_dict": {"conv1.weight": torch.ones(2)}}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"1 tensors \(state_dict.conv1.weight…\).*no model that is known"):
        import_model(tmp_path / "w.pth")
    with pytest.raises(ModelNotFoundError, match="tiny"):
        import_model(weights, family="sam-9000")
    with pytest.raises(CheckpointError, match="not there"):
        import_model(tmp_path / "gone.pth")
    assert not catalog.user_rows()


@pytest.mark.parametrize("step", ["hash_of", "save_row"])
@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_import_leaves_nothing_and_the_next_one_succeeds(
    weights: Path, monkeypatch: pytest.MonkeyPatch, step: str, interruption: Any
) -> None:
    def interrupted(*_: Any) -> None:
        raise interruption

    with monkeypatch.context() as patch:
        patch.setattr(importing, step, interrupted)
        with pytest.raises((KeyboardInterrupt, OSError)):
            import_model(weights, "mine")
    assert not catalog.user_rows()
    assert not _files_of_models()
    assert import_model(weights, "mine").name == "mine"
    assert _files_of_models() == {"mine.toml"}


def test_an_import_that_was_killed_while_it_wrote_leaves_no_model_and_the_next_one_succeeds(weights: Path) -> None:
    code = (
        "import os, sys\n"
        "from napari_foundseg.models.importing import import_model\n"
        "os.replace = os.rename = os.link = lambda *_a, **_k: os.kill(os.getpid(), 9)\n"
        "import_model(sys.argv[1], 'mine')\n"
    )
    child = subprocess.run([sys.executable, "-c", code, str(weights)], check=False, capture_output=True)
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert not catalog.user_rows()
    assert import_model(weights, "mine").name == "mine"
    assert list(catalog.user_rows()) == ["mine"]
    assert _files_of_models() == {"mine.toml"}, "what the killed one left is swept away"


def _files_of_models() -> set[str]:
    folder = catalog.models_folder()
    return {path.name for path in folder.rglob("*") if path.is_file()} if folder.is_dir() else set()


def test_weights_that_have_moved_or_changed_are_named(weights: Path) -> None:
    import_model(weights, "mine")
    gone = weights.rename(weights.with_suffix(".old"))
    with pytest.raises(CheckpointError, match="no longer at"):
        fs.load_model("mine")
    assert "not on this computer" in store.state(catalog.row("mine"))
    weights.write_bytes(gone.read_bytes()[:-1] + b"\x01")
    with pytest.raises(CheckpointError, match="not the ones"):
        fs.load_model("mine")
    gone.replace(weights)
    assert fs.load_model("mine").name == "mine"


def test_a_damaged_row_is_left_out_and_the_others_stay(weights: Path, caplog: pytest.LogCaptureFixture) -> None:
    import_model(weights, "mine")
    (catalog.models_folder() / "broken.toml").write_text("title = 3 and more")
    assert list(catalog.user_rows()) == ["mine"]
    assert "broken.toml" in caplog.text


def test_a_hash_that_nobody_has_read_is_recorded_at_the_first_use(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unread = replace(
        catalog.row("foundseg-tiny"),
        name="new",
        file="new.safetensors",
        source="https://x.org/new",
        sha256=catalog.UNVERIFIED,
    )
    monkeypatch.setattr(catalog, "packaged", lambda: {"new": unread})
    with pytest.raises(CheckpointError, match=r"https://x\.org/new"):
        fs.load_model("new")
    catalog.models_folder().mkdir(parents=True)
    shutil.copy(weights, catalog.models_folder() / "new.safetensors")
    assert fs.load_model("new").key.startswith(f"new@{store.hash_of(weights)[:8]}")
    assert catalog.row("new").sha256 == store.hash_of(weights)
    with (catalog.models_folder() / "new.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(CheckpointError, match="not the ones that were here before"):
        fs.load_model("new")


def test_a_folder_of_the_hubs_own_client_is_found_by_its_id(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(CheckpointError, match="hf download lab/cells"):
        import_model("hf:lab/cells")
    hub = tmp_path / "hub" / "models--lab--cells"
    (hub / "refs").mkdir(parents=True)
    (hub / "refs" / "main").write_text("abc123")
    (hub / "snapshots" / "abc123").mkdir(parents=True)
    shutil.copy(weights, hub / "snapshots" / "abc123" / "model.safetensors")
    # A folder of ours says what it is in its JSON; a file in its own header.
    (hub / "snapshots" / "abc123" / "foundseg.json").write_text('{"format": "another"}')
    with pytest.raises(CheckpointError, match="no model that is known"):
        import_model("hf:lab/cells")


def test_two_files_of_one_name_are_two_models_and_a_result_is_repeated_with_its_own_only(
    weights: Path, tmp_path: Path
) -> None:
    """Weights are known by their content: new code on old weights, or the reverse, is named and not run."""
    first = import_model(weights, "mine")
    picture = np.zeros((64, 64), np.uint8)
    picture[20:40, 20:40] = 200
    made = fs.automatic(picture, model="mine")
    assert made.provenance["model"]["sha256"] == first.sha256
    remove_model("mine")
    other = tmp_path / "other" / weights.name
    other.parent.mkdir()
    tensors = load_file(weights)
    with safe_open(weights, "np") as file:
        about = file.metadata()
    name = next(iter(tensors))
    save_file(tensors | {name: tensors[name] + 1}, other, about)
    second = import_model(other, "mine")
    assert first.key != second.key
    with pytest.raises(CheckpointError, match=first.sha256[:9]):
        fs.replay(made.provenance, picture)
    remove_model("mine")
    import_model(weights, "mine")
    assert np.array_equal(fs.replay(made.provenance, picture).labels, made.labels)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pipes with names")
def test_an_address_is_named_as_no_file() -> None:
    with pytest.raises(CheckpointError, match=r"is an address, not a file.*models download"):
        import_model("https://huggingface.co/facebook/sam-vit-base")
    assert not catalog.user_rows()


def test_a_folder_that_lacks_a_file_of_its_index_is_named(tmp_path: Path) -> None:
    folder = tiny_checkpoints.write("SegformerForSemanticSegmentation", tmp_path / "segformer")
    whole = folder / "model.safetensors"
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict(zip("ab", names, strict=True))}))
    whole.rename(folder / names[0])
    for _ in range(2):
        with pytest.raises(CheckpointError, match=rf"is not complete: {names[1]} of its index is missing"):
            import_model(folder)
        assert not catalog.user_rows()
    index.write_text("[]")
    with pytest.raises(CheckpointError, match="is not an index of weights"):
        import_model(folder)
    index.unlink()
    (folder / names[0]).rename(whole)
    assert import_model(folder).family == "transformers_segmenters"


@pytest.mark.parametrize("name", ["model.pth", "model.safetensors", "folder/model.safetensors", "folder/config.json"])
def test_a_pipe_is_named_and_not_waited_for(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architectures": ["Sam2Model"], "model_type": "sam2"}))
    path = tmp_path / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    with pytest.raises(CheckpointError):
        import_model(folder if path.parent == folder else path)
    assert not catalog.user_rows()


def test_a_folder_whose_weights_hold_no_tensor_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["Sam2Model"], "model_type": "sam2"}))
    save_file({}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="holds no tensor"):
        import_model(tmp_path)
    assert not catalog.user_rows()
