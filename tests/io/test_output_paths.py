from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_foundseg.core.errors import InputReplacedError
from napari_foundseg.io.output_paths import refuse_inputs
from napari_foundseg.io.writers import write_labels


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
