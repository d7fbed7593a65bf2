"""Check and removal of weights, a models' folder that is moved, and the commands for all that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from napari_foundseg.cli import app
from napari_foundseg.core.errors import CheckpointError, DownloadError, ModelInUseError, ModelNotFoundError
from napari_foundseg.models.catalog import CatalogRow, models_folder, row, save_row, user_rows
from napari_foundseg.models.downloads.download import download
from napari_foundseg.models.downloads.model_state import model_state
from napari_foundseg.models.downloads.upkeep import remove, verify
from napari_foundseg.models.store import locate, weights
from tests.models.downloads.conftest import CONTENT, make_row
from tests.support import web_server
from tests.support.web_server import WebServer


def test_a_changed_byte_is_found_and_the_model_can_be_had_again(big: CatalogRow) -> None:
    download(big)
    assert "is unchanged" in verify(row("big"))
    path = locate(row("big"))
    assert path is not None
    path.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(CheckpointError, match=r"damaged.*remove them, then download"):
        verify(row("big"))
    assert "Its weights are deleted" in remove(row("big"))
    assert not path.exists()
    assert "big" not in user_rows()


def test_the_models_folder_can_be_moved_to_another_disk(
    big: CatalogRow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    download(big)
    models_folder().rename(tmp_path / "disk")
    assert "big" not in user_rows()
    monkeypatch.setenv("FOUNDSEG_MODELS", str(tmp_path / "disk"))
    assert weights(row("big")) == tmp_path / "disk/downloads/big/big.pth"
    assert model_state(row("big")).kind == "ready"


def test_removal_spares_what_is_elsewhere_shared_or_needed(big: CatalogRow, tmp_path: Path) -> None:
    download(big)
    path = locate(row("big"))
    assert path is not None
    save_row(replace(row("big"), name="adapter", file="", options={"base": "big"}))
    with pytest.raises(ModelInUseError, match="adapter needs it"):
        remove(row("big"))
    remove(row("adapter"))
    save_row(replace(row("big"), name="twin"))
    assert "since twin uses them" in remove(row("big"))
    assert path.is_file()
    mine = tmp_path / "mine.pth"
    mine.write_bytes(CONTENT)
    imported = make_row("mine", str(mine), file=str(mine))
    assert f"its weights stay at {mine}" in remove(imported)
    assert mine.is_file()
    with pytest.raises(ModelNotFoundError, match="comes with napari-foundseg"):
        remove(row("foundseg-tiny"))


def test_a_file_that_was_moved_away_is_named(tmp_path: Path) -> None:
    gone = make_row("gone", str(tmp_path / "gone.pth"), file=str(tmp_path / "gone.pth"))
    assert model_state(gone).kind == "gone"
    with pytest.raises(DownloadError, match="has no address"):
        download(gone)
    with pytest.raises(CheckpointError, match="no longer at"):
        verify(gone)
    assert model_state(gone).words == "moved or deleted"
    assert not model_state(gone).why_no_removal
    # It is there again where it was put back, and the entry goes where it is not wanted.
    (tmp_path / "gone.pth").write_bytes(CONTENT)
    assert model_state(row("gone")).kind == "ready"
    assert "gone: its hash was not recorded before" in verify(row("gone"))
    (tmp_path / "gone.pth").rename(tmp_path / "elsewhere.pth")
    assert "removed gone" in remove(row("gone"))
    assert "gone" not in user_rows()
    assert (tmp_path / "elsewhere.pth").is_file()


def test_the_commands_ask_with_size_and_licences_and_go_on_after_a_break(web: WebServer, big: CatalogRow) -> None:
    run = CliRunner(env={"COLUMNS": "200"}).invoke
    refused = run(app, ["models", "download", "big"], input="n\n")
    assert isinstance(refused.exception, DownloadError)
    assert "Big: 3 MB from" in refused.output
    assert "Licence of the code: Apache-2.0. Licence of the weights: Apache-2.0." in refused.output
    assert not web.requests
    web.faults["/files/big.pth"] = [web_server.drop_at(0.5), *[web_server.drop_at(0)] * 2]
    assert run(app, ["models", "download", "big", "--yes"]).exit_code == 1
    assert "part: 2 of 3 MB here" in run(app, ["models", "list"]).output
    assert "deleted 2 MB" in run(app, ["models", "remove", "big", "--part"]).output
    done = run(app, ["models", "download", "big"], input="y\n")
    assert done.exit_code == 0
    assert "Its hash was not known; from now on it is sha256" in done.output
    assert "On this computer" in run(app, ["models", "download", "big"]).output
    assert run(app, ["models", "verify", "big"]).exit_code == 0
    assert run(app, ["models", "remove", "big"]).exit_code == 0
    assert not list((models_folder() / "downloads").iterdir())
