"""Tracks on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from typer.testing import CliRunner

import napari_foundseg as fs
from napari_foundseg.cli import app
from tests.support.drawn_films import Film, draw_film


@pytest.fixture(scope="module")
def film() -> Film:
    return draw_film(8, 8, 2, 5.0, seed=4, side=128)


def call(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["track", *map(str, arguments)])


def test_labels_are_tracked_and_written_in_all_formats(film: Film, tmp_path: Path) -> None:
    labels = tmp_path / "cells_labels.tif"
    tifffile.imwrite(labels, film.truth)
    outs = ["--out", tmp_path / "tracks.tif", "--out", tmp_path / "01_RES", "--out", tmp_path / "a.geff"]
    done = call(labels, "--axes", "TYX", *outs)
    assert done.exit_code == 0, done.output
    assert "2 divisions" in done.output
    assert "found from the film" in done.output
    expected = fs.track(film.truth)
    assert np.array_equal(tifffile.imread(tmp_path / "tracks.tif"), expected.labels)
    table = pd.read_csv(tmp_path / "tracks.csv")
    for name in ("label", "parent", "first_frame", "last_frame", "area"):
        assert table[name].tolist() == expected.table[name].tolist()
    masks = [tifffile.imread(path) for path in sorted((tmp_path / "01_RES").glob("mask*.tif"))]
    assert np.array_equal(np.stack(masks), expected.labels)
    assert (tmp_path / "a.geff" / "nodes" / "ids").is_dir()
    # The tracks that were written, with their table, are written again as they are.
    again = call(tmp_path / "tracks.tif", "--axes", "TYX", "--keep-ids", "--out", tmp_path / "02_RES")
    assert again.exit_code == 0, again.output
    for name in ("res_track.txt", "mask003.tif"):
        assert (tmp_path / "02_RES" / name).read_bytes() == (tmp_path / "01_RES" / name).read_bytes()


def test_a_folder_of_the_challenge_is_read_back(film: Film, tmp_path: Path) -> None:
    fs.write_tracks(tmp_path / "01_RES", film.truth, film.parents)
    done = call(tmp_path / "01_RES", "--keep-ids", "--out", tmp_path / "b.tif", "--out", tmp_path / "02_RES")
    assert done.exit_code == 0, done.output
    assert np.array_equal(tifffile.imread(tmp_path / "b.tif"), film.truth)
    table = pd.read_csv(tmp_path / "b.csv").set_index("label")
    assert {int(a): int(b) for a, b in table["parent"].items() if b} == film.parents
    for path in (tmp_path / "01_RES").iterdir():
        assert (tmp_path / "02_RES" / path.name).read_bytes() == path.read_bytes()
    inside = call(tmp_path / "01_RES", "--keep-ids", "--out", tmp_path / "01_RES", "--overwrite")
    assert isinstance(inside.exception, fs.FoundsegError)
    assert np.array_equal(fs.track(tmp_path / "01_RES").labels > 0, film.truth > 0)
    (tmp_path / "01_RES" / "res_track.txt").write_text("1 2 x\n")
    broken = call(tmp_path / "01_RES", "--keep-ids", "--out", tmp_path / "c.geff")
    assert "L B E P" in str(broken.exception)
    assert not (tmp_path / "c.geff").exists()


def test_nothing_of_others_is_replaced(film: Film, tmp_path: Path) -> None:
    labels = tmp_path / "cells_labels.tif"
    tifffile.imwrite(labels, film.truth)
    out = tmp_path / "RES"
    assert call(labels, "--axes", "TYX", "--out", out).exit_code == 0
    assert call(labels, "--axes", "TYX", "--out", out).exit_code == 1
    assert call(labels, "--axes", "TYX", "--out", out, "--overwrite").exit_code == 0
    (out / "notes.txt").write_text("mine")
    assert call(labels, "--axes", "TYX", "--out", out, "--overwrite").exit_code == 1
    assert (out / "notes.txt").exists()
    before = labels.read_bytes()
    refused = call(labels, "--axes", "TYX", "--out", labels, "--overwrite")
    assert isinstance(refused.exception, fs.FoundsegError)
    assert labels.read_bytes() == before
    assert call(labels, "--axes", "TYX", "--out", tmp_path, "--overwrite").exit_code == 1


def test_a_stack_that_names_no_time_is_asked_about(film: Film, tmp_path: Path) -> None:
    labels = tmp_path / "stack.tif"
    tifffile.imwrite(labels, film.truth, imagej=True, metadata={"axes": "ZYX"})
    refused = call(labels, "--out", tmp_path / "RES")
    assert isinstance(refused.exception, fs.AxesError)
    assert "Name the axes" in str(refused.exception)
    assert not (tmp_path / "RES").exists()
    assert call(labels, "--axes", "TYX", "--keep-ids", "--out", tmp_path / "RES").exit_code == 1
