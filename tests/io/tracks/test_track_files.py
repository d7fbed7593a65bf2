"""Tracks in files: results of the Cell Tracking Challenge and GEFF, read back; and what is never replaced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray

import napari_foundseg as fs
from napari_foundseg.core.errors import InputReplacedError, KeptError, OutputError
from tests.support.drawn_films import Film, draw_film

SPACING = {"T": 60.0, "Y": 0.5, "X": 0.5}
UNITS = {"T": "s", "Y": "µm", "X": "µm"}


@pytest.fixture(scope="module")
def film() -> Film:
    return draw_film(10, 12, 3, 5.0, seed=2, side=200)


def read_ctc(folder: Path) -> tuple[NDArray[Any], dict[int, tuple[int, int, int]]]:
    masks = np.stack([tifffile.imread(path) for path in sorted(folder.glob("mask*.tif"))])
    rows = np.loadtxt(folder / "res_track.txt", int, ndmin=2)
    assert len(set(rows[:, 0].tolist())) == len(rows)
    return masks, {int(label): (int(b), int(e), int(p)) for label, b, e, p in rows}


def check_ctc(masks: NDArray[Any], table: dict[int, tuple[int, int, int]]) -> None:
    """Each id is in exactly the frames from its first to its last, and begins after its parent's end."""
    assert masks.dtype == np.uint16
    present = [set(np.unique(mask[mask > 0]).tolist()) for mask in masks]
    for label, (begin, end, parent) in table.items():
        assert [t for t, ids in enumerate(present) if label in ids] == list(range(begin, end + 1))
        assert parent == 0 or table[parent][1] < begin
    assert set().union(*present) == set(table)


def test_a_result_of_the_challenge_holds_the_tracks(film: Film, tmp_path: Path) -> None:
    found = fs.track(film.truth)
    assert fs.write_tracks(tmp_path / "01_RES", found) == []
    masks, table = read_ctc(tmp_path / "01_RES")
    assert np.array_equal(masks, found.labels)
    check_ctc(masks, table)
    rows = found.table.set_index("label")
    assert table == {
        label: (int(row.first_frame), int(row.last_frame), int(row.parent)) for label, row in rows.iterrows()
    }
    assert sorted(path.name for path in (tmp_path / "01_RES").iterdir())[:2] == ["mask000.tif", "mask001.tif"]


def test_a_gap_ends_a_track_and_the_rest_is_its_child(film: Film, tmp_path: Path) -> None:
    labels = film.truth.copy()
    mother = next(iter(film.parents.values()))
    first = int(np.flatnonzero((labels == 1).any((1, 2)))[0])
    labels[first + 2][labels[first + 2] == 1] = 0
    labels[first + 4][labels[first + 4] == 1] = 0
    last = int(np.flatnonzero((labels == mother).any((1, 2)))[-1])
    labels[last - 1][labels[last - 1] == mother] = 0
    notes = fs.write_tracks(tmp_path / "RES", labels, film.parents)
    assert "3 gaps" in notes[0]
    masks, table = read_ctc(tmp_path / "RES")
    check_ctc(masks, table)
    assert np.array_equal(masks > 0, labels > 0)
    numbers = dict(np.loadtxt(tmp_path / "RES" / "track_numbers.csv", int, delimiter=",", skiprows=1).tolist())
    parts = sorted(label for label, track in numbers.items() if track == 1)
    assert [table[part][2] for part in parts] == [0, parts[0], parts[1]]
    daughters = [child for child, parent in film.parents.items() if parent == mother]
    end = max(label for label, track in numbers.items() if track == mother)
    assert {table[child][2] for child in daughters} == {end}, "daughters come from the mother's last part"


def test_large_ids_are_numbered_anew_with_a_table_beside(film: Film, tmp_path: Path) -> None:
    labels = film.truth.astype(np.uint32)
    labels[labels == 2] = 70_000
    labels[labels == 3] = 65_536
    parents = {child: {2: 70_000, 3: 65_536}.get(parent, parent) for child, parent in film.parents.items()}
    notes = fs.write_tracks(tmp_path / "RES", labels, parents)
    assert "renumbered" in notes[0]
    masks, table = read_ctc(tmp_path / "RES")
    check_ctc(masks, table)
    assert np.array_equal(masks > 0, labels > 0)
    assert len(table) == len(np.unique(labels)) - 1
    numbers = dict(np.loadtxt(tmp_path / "RES" / "track_numbers.csv", int, delimiter=",", skiprows=1).tolist())
    assert {parent for _, _, parent in table.values()} - {0} == {
        number for number, track in numbers.items() if track in parents.values()
    }


def test_volumes_are_stacks_and_a_long_film_has_four_digits(tmp_path: Path) -> None:
    film = np.zeros((3, 4, 20, 20), np.uint16)
    film[:, 1:3, 4:12, 4:12] = 1
    fs.write_tracks(tmp_path / "RES", film)
    assert tifffile.imread(tmp_path / "RES" / "mask000.tif").shape == (4, 20, 20)
    long = np.zeros((1001, 4, 4), np.uint8)
    long[:, 1, 1] = 1
    fs.write_tracks(tmp_path / "long", long)
    assert (tmp_path / "long" / "mask1000.tif").exists()
    assert (tmp_path / "long" / "mask0000.tif").exists()


def test_a_geff_holds_places_links_and_axes(film: Film, tmp_path: Path) -> None:
    found = fs.track(film.truth, spacing=SPACING, units=UNITS)
    assert fs.write_tracks(tmp_path / "a.geff", found) == []
    group = zarr.open_group(tmp_path / "a.geff", mode="r")
    about: Any = group.attrs["geff"]
    axes = {axis["name"]: axis for axis in about["axes"]}
    assert list(axes) == ["t", "y", "x"]
    assert [axes[name]["scale"] for name in "tyx"] == [60.0, 0.5, 0.5]
    assert [axes[name]["scaled_unit"] for name in "tyx"] == ["second", "micrometer", "micrometer"]
    nodes: Any = {name: group[f"nodes/props/{name}/values"][...] for name in about["node_props_metadata"]}
    edges: Any = group["edges/ids"][...]
    ids: Any = group["nodes/ids"][...]
    assert ids.dtype == edges.dtype == np.uint64
    for name, described in about["node_props_metadata"].items():
        assert nodes[name].dtype == described["dtype"]
    for k in range(0, len(ids), 7):
        here = found.labels[nodes["t"][k]] == nodes["track_id"][k]
        rows, columns = np.nonzero(here)
        assert nodes["y"][k] == pytest.approx(rows.mean(), abs=1e-9)
        assert nodes["x"][k] == pytest.approx(columns.mean(), abs=1e-9)
        assert nodes["area"][k] == here.sum()
    track = nodes["track_id"].astype(int)
    born = [(track[a], track[b]) for a, b in edges.astype(int) if track[a] != track[b]]
    parents = {int(child): int(mother) for child, mother in found.table[["label", "parent"]].to_numpy() if mother}
    assert {int(child): int(mother) for mother, child in born} == parents
    assert len(born) == len(parents), "one edge a daughter"
    assert len(edges) == len(ids) - len(found) + len(born)


def test_a_geff_is_laid_out_as_its_own_library_writes_it(film: Film, tmp_path: Path) -> None:
    # The package geff cannot be installed beside this one; tests/oracles/geff_layout.py also reads files with it.
    layout = json.loads((Path(__file__).parents[2] / "data" / "geff" / "layout.json").read_text())
    fs.write_tracks(tmp_path / "a.geff", fs.track(film.truth, spacing=SPACING, units=UNITS))
    group = zarr.open_group(tmp_path / "a.geff", mode="r")
    assert group.metadata.zarr_format == layout["zarr_format"]
    about: Any = group.attrs["geff"]
    for name, kind in layout["parts"].items():
        part: Any = group[name]
        if kind == "group":
            assert isinstance(part, zarr.Group), name
        elif name != "nodes/props/track_id/values":
            assert {"dtype": part.dtype.name, "ndim": part.ndim} == kind, name
    wanted = layout["metadata"]
    assert about.keys() <= wanted.keys()
    assert (about["geff_version"], about["directed"]) == (wanted["geff_version"], wanted["directed"])
    for own, other in zip(about["axes"], wanted["axes"], strict=True):
        kept = ("name", "type", "unit", "scale", "scaled_unit")
        assert {key: own[key] for key in kept} == {key: other[key] for key in kept}
    for kind in ("node_props_metadata", "edge_props_metadata"):
        for name, described in about[kind].items():
            assert described.keys() <= wanted[kind].get(name, wanted["node_props_metadata"]["x"]).keys()
    assert set(about["node_props_metadata"]) == set(group["nodes/props"].group_keys())


def test_an_empty_film_is_written_too(tmp_path: Path) -> None:
    nothing = np.zeros((3, 10, 10), np.uint8)
    fs.write_tracks(tmp_path / "RES", nothing)
    assert (tmp_path / "RES" / "res_track.txt").read_text() == ""
    assert len(list((tmp_path / "RES").glob("mask*.tif"))) == 3
    fs.write_tracks(tmp_path / "a.geff", nothing)
    assert zarr.open_group(tmp_path / "a.geff", mode="r")["edges/ids"].shape == (0, 2)


def test_a_parent_that_does_not_fit_any_more_is_left_out_and_said(film: Film, tmp_path: Path) -> None:
    child, mother = next(iter(film.parents.items()))
    labels = film.truth.copy()
    labels[labels == mother] = 0
    notes = fs.write_tracks(tmp_path / "RES", labels, film.parents)
    assert any(f"Track {child}" in note and "not there any more" in note for note in notes)
    check_ctc(*read_ctc(tmp_path / "RES"))


@pytest.mark.parametrize("name", ["RES", "a.geff"])
def test_what_is_not_ours_is_kept(film: Film, tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "notes.txt").write_text("mine")
    with pytest.raises(KeptError, match="was not made by"):
        fs.write_tracks(tmp_path / name, film.truth)
    assert [path.name for path in (tmp_path / name).iterdir()] == ["notes.txt"]
    (tmp_path / name / "notes.txt").unlink()
    fs.write_tracks(tmp_path / name, film.truth)
    fs.write_tracks(tmp_path / name, film.truth[:5])
    (tmp_path / name / "notes.txt").write_text("mine")
    with pytest.raises(KeptError, match="changed after"):
        fs.write_tracks(tmp_path / name, film.truth)


def test_other_names_are_refused(film: Film, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.geff"):
        fs.write_tracks(tmp_path / "tracks.csv", film.truth)
    with pytest.raises(fs.AxesError, match="no axis T"):
        fs.write_tracks(tmp_path / "RES", film.truth, axes="ZYX")
    assert list(tmp_path.iterdir()) == []


def test_an_input_is_never_replaced(film: Film, tmp_path: Path) -> None:
    from napari_foundseg.io.tracks.track_files import check_tracks_place

    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / "labels.tif", film.truth)
    with pytest.raises(InputReplacedError):
        check_tracks_place(tmp_path / "in", [tmp_path / "in" / "labels.tif"], overwrite=True)
