from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_foundseg.core.errors import InputReplacedError, KeptError, OutputError
from napari_foundseg.core.image import Image
from napari_foundseg.io.output_paths import refuse_inputs
from napari_foundseg.io.readers import read_labels
from napari_foundseg.io.writers import write_image, write_labels, write_overlay, write_table


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    path = tmp_path / "raw.tif"
    tifffile.imwrite(path, np.zeros((8, 8), np.uint8))
    return path


def symlink(raw: Path) -> Path:
    link = raw.with_name("link.tif")
    link.symlink_to(raw)
    return link


def hard_link(raw: Path) -> Path:
    link = raw.with_name("hard.tif")
    os.link(raw, link)
    return link


def through_a_linked_folder(raw: Path) -> Path:
    link = raw.parent / "folder"
    link.symlink_to(raw.parent, target_is_directory=True)
    return link / raw.name


SPELLINGS = {
    "the name": lambda raw: raw,
    "dots": lambda raw: raw.parent / "." / ".." / raw.parent.name / raw.name,
    "a trailing slash": lambda raw: f"{raw}{os.sep}",
    "relative": lambda raw: os.path.relpath(raw),
    "symlink": symlink,
    "hard link": hard_link,
    "linked folder": through_a_linked_folder,
    "below the file": lambda raw: raw / "labels.tif",
    "the folder around it": lambda raw: raw.parent,
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_input_is_refused_however_it_is_spelled(raw: Path, spelling: str) -> None:
    output = SPELLINGS[spelling](raw)
    with pytest.raises(InputReplacedError, match=r"raw\.tif"):
        refuse_inputs([output], [raw])


def test_the_file_of_an_image_inside_it_is_an_input(raw: Path) -> None:
    with pytest.raises(InputReplacedError, match=r"raw\.tif"):
        refuse_inputs([raw], [raw / "1"])


def test_another_file_is_no_input(raw: Path) -> None:
    refuse_inputs([raw.with_name("labels.tif"), raw.parent / "new" / "labels.tif"], [raw, raw.with_name("gone.tif")])


@pytest.mark.parametrize("inside", ["labels.tif", "labels/nuclei.ome.zarr", "0/x.csv"])
def test_nothing_is_added_to_an_ome_zarr(tmp_path: Path, inside: str) -> None:
    store = tmp_path / "a.ome.zarr"
    write_labels(store, np.ones((8, 8), np.uint16))
    with pytest.raises(InputReplacedError, match=r"inside the input .*a\.ome\.zarr"):
        refuse_inputs([store / inside], [store])
    with pytest.raises(InputReplacedError, match=r"inside the OME-Zarr .*a\.ome\.zarr"):
        refuse_inputs([store / inside], [])


def write_any(path: Path, value: int) -> None:
    if path.suffix == ".csv":
        write_table(path, pd.DataFrame({"label": [value]}))
    elif path.name == "overlay.png":
        write_overlay(path, np.full((8, 8, 3), value, np.uint8), np.ones((8, 8), np.uint16))
    elif path.name == "image.tif":
        write_image(path, Image(np.full((8, 8), value, np.uint8)))
    else:
        write_labels(path, np.full((8, 8), value, np.uint16))


WRITTEN = ["a.tif", "a.ome.tif", "a.png", "a.ome.zarr", "a.csv", "overlay.png", "image.tif"]


def edit(path: Path) -> None:
    if path.is_dir():
        (path / "labels").mkdir()
        (path / "labels" / "zarr.json").write_text("{}")
    else:
        path.write_bytes(path.read_bytes() + b"\n")


@pytest.mark.parametrize("name", WRITTEN)
def test_python_replaces_what_it_wrote_and_keeps_what_was_edited(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for value in (1, 2):
        write_any(path, value)
    edit(path)
    before = {str(p): p.read_bytes() for p in [path, *path.rglob("*")] if p.is_file()}
    with pytest.raises(KeptError, match="was edited after napari-foundseg wrote it"):
        write_any(path, 3)
    assert {str(p): p.read_bytes() for p in [path, *path.rglob("*")] if p.is_file()} == before
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", WRITTEN)
def test_python_keeps_what_is_not_ours(tmp_path: Path, name: str) -> None:
    (tmp_path / "of another").mkdir()
    path = tmp_path / name
    write_any(tmp_path / "of another" / name, 1)
    # A copy that the user made is theirs.
    (tmp_path / "of another" / name).rename(path)
    with pytest.raises(KeptError, match="not made by napari-foundseg"):
        write_any(path, 1)


def test_python_writes_to_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match=r"labels\.tif' is an address"):
        write_labels("file:///data/labels.tif", np.ones((8, 8), np.uint16))
    assert not list(tmp_path.iterdir())


def test_a_link_is_kept(tmp_path: Path, raw: Path) -> None:
    with pytest.raises(KeptError, match="is a link"):
        write_labels(symlink(raw), np.ones((4, 4), np.uint16))
    assert (tmp_path / "link.tif").is_symlink()


def test_where_nothing_can_be_remembered_the_process_knows_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FOUNDSEG_CACHE", str(tmp_path / "file"))
    for value in (1, 2):
        write_labels(tmp_path / "a.tif", np.full((4, 4), value, np.uint16))
    assert (read_labels(tmp_path / "a.tif").data == 2).all()


def test_labels_are_whole_numbers(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"whole numbers, got float32"):
        write_labels(tmp_path / "a.png", np.ones((4, 4), np.float32))
    assert not list(tmp_path.iterdir())
