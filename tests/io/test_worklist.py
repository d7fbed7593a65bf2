from __future__ import annotations

import json
import string
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_foundseg.core.errors import OutputError, WorklistError
from napari_foundseg.io import worklist
from napari_foundseg.io.worklist import (
    STATE_FILE,
    Record,
    items_of_folder,
    named_items,
    paired_items,
    read_records,
    write_record,
)
from napari_foundseg.io.writers import write_labels

STATES = st.sampled_from(["new", "automatic", "in work", "done"])
FILES = st.text(string.ascii_letters + "0123456789 ._-µé", min_size=1, max_size=20).filter(
    lambda n: n not in (".", "..")
)
RECORDS = st.builds(Record, FILES, STATES, st.none() | st.integers(0, 10**9), st.text("0123456789abcdef", max_size=32))

KEYS = st.sampled_from(["format", "images", "a.tif", "labels", "state", "objects"])
JSON = st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.dictionaries(KEYS, inner))


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


@settings(max_examples=30)
@given(st.dictionaries(st.text(min_size=1), RECORDS, max_size=6))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, records: dict[str, Record]) -> None:
    folder = tmp_path_factory.mktemp("labels")
    for name, record in records.items():
        write_record(folder, name, record)
    assert read_records(folder) == records
    assert {path.name for path in folder.iterdir()} <= {STATE_FILE}


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=30)
def test_whatever_is_no_worklist_is_named_and_left_alone(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("labels")
    (folder / STATE_FILE).write_bytes(content)
    for act in (
        lambda: read_records(folder),
        lambda: write_record(folder, "a.tif", Record("a_labels.tif", "done", 1)),
        lambda: items_of_folder(folder, folder),
    ):
        with pytest.raises(WorklistError, match="left unchanged"):
            act()
    assert (folder / STATE_FILE).read_bytes() == content


@pytest.mark.parametrize(
    "wrong",
    [{"labels": "../up.tif"}, {"labels": ""}, {"labels": "a\0.tif"}, {"state": "finished"}, {"state": ["done"]},
     {"objects": -1}, {"objects": 1.5}, {"objects": True}, {"image": None}],
)  # fmt: skip
def test_a_record_that_makes_no_sense_is_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    write_record(tmp_path, "a.tif", Record("a_labels.tif", "done", 1))
    content = json.loads((tmp_path / STATE_FILE).read_text())
    content["images"]["a.tif"] |= wrong
    (tmp_path / STATE_FILE).write_text(json.dumps(content))
    with pytest.raises(WorklistError):
        read_records(tmp_path)


@settings(max_examples=30)
@given(st.lists(st.text(string.ascii_letters + "0123456789._- µ/:", min_size=1, max_size=12), unique=True, max_size=12))
def test_no_two_images_share_a_labels_file(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    folder = tmp_path_factory.mktemp("labels")
    items = named_items(names, folder)
    assert [item.name for item in items] == names
    files = [item.labels.name.casefold() for item in items]
    assert len(set(files)) == len(files)
    assert all(item.labels.parent == folder for item in items)
    # An image keeps its labels file, whatever else comes or goes.
    for item in items[::2]:
        write_record(folder, item.name, item.record)
    again = {item.name: item.labels for item in named_items(names[::-1], folder)}
    assert all(again[item.name] == item.labels for item in items[::2])
    assert len({path.name.casefold() for path in again.values()}) == len(names)


@given(st.lists(st.integers(0, 10**6), unique=True, max_size=12))
def test_numbers_in_names_count(tmp_path_factory: pytest.TempPathFactory, numbers: list[int]) -> None:
    folder = tmp_path_factory.mktemp("images")
    touch(folder, *(f"Cell{n} ch1.tif" for n in numbers))
    assert [item.name for item in items_of_folder(folder, folder)] == [f"Cell{n} ch1.tif" for n in sorted(numbers)]


def test_only_images_are_listed(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "a.tif",
        "a_labels.tif",
        "B_LABELS.TIF",
        "c_labels.ome.tif",
        ".hidden.tif",
        "notes.txt",
        "d.PNG",
        "tif",
    )
    touch(tmp_path / "folder.tif")
    assert [item.name for item in items_of_folder(tmp_path, tmp_path)] == ["a.tif", "d.PNG"]


def test_labels_lie_beside_the_images_or_in_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif", "a.png", "b.ome.tif")
    items = items_of_folder(tmp_path, tmp_path)
    assert [item.labels.name for item in items] == ["a_labels.tif", "a.tif_labels.tif", "b_labels.tif"]
    touch(tmp_path / "labels", "b_labels.tif")
    elsewhere = items_of_folder(tmp_path, tmp_path / "labels")
    assert {item.labels.parent for item in elsewhere} == {tmp_path / "labels"}
    assert [item.record.state for item in elsewhere] == ["new", "new", "automatic"]


def test_an_image_that_vanished_is_shown_as_missing(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif", "b.tif", "c.tif")
    for item in items_of_folder(tmp_path, tmp_path):
        write_record(tmp_path, item.name, item.record)
    (tmp_path / "b.tif").unlink()
    assert [(item.name, item.missing) for item in items_of_folder(tmp_path, tmp_path)] == [
        ("a.tif", False), ("b.tif", True), ("c.tif", False)
    ]  # fmt: skip


def test_a_folder_that_cannot_be_read_or_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(WorklistError, match="Choose another folder"):
        items_of_folder(tmp_path / "absent", tmp_path)
    touch(tmp_path, "a.tif")
    with pytest.raises(OutputError, match="folder does not exist"):
        write_record(tmp_path / "absent", "a.tif", Record("a_labels.tif", "new", None))
    assert items_of_folder(tmp_path, tmp_path / "absent")[0].record.state == "new"


def test_two_windows_keep_each_others_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_record(tmp_path, "a.tif", Record("a_labels.tif", "done", 3))
    write_record(tmp_path, "b.tif", Record("b_labels.tif", "in work", 1))
    assert {name: record.state for name, record in read_records(tmp_path).items()} == {
        "a.tif": "done",
        "b.tif": "in work",
    }
    monkeypatch.setattr(worklist, "_FORMAT", "foundseg-worklist 2")
    with pytest.raises(WorklistError, match="not of the format"):
        read_records(tmp_path)


@pytest.mark.parametrize("ending", [".tif", ".ome.tif", ".png"])
def test_results_of_a_batch_in_any_format_are_found(tmp_path: Path, ending: str) -> None:
    touch(tmp_path / "images", "a.tif", "b.tif")
    touch(tmp_path / "results", f"a_labels{ending}")
    found = items_of_folder(tmp_path / "images", tmp_path / "results")
    assert [(item.labels.name, item.record.state) for item in found] == [
        (f"a_labels{ending}", "automatic"),
        ("b_labels.tif", "new"),
    ]


def test_items_of_a_batch_know_what_a_person_has_worked_on(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.tif", "y/a.tif", "results/a_labels.tif", "results/y_a_labels.tif")
    results = tmp_path / "results"
    pairs = [(f"{folder}/a.tif", tmp_path / folder / "a.tif", results / name, None)
             for folder, name in (("x", "a_labels.tif"), ("y", "y_a_labels.tif"), ("z", "z_a_labels.tif"))]  # fmt: skip
    assert [(i.record.state, i.missing) for i in paired_items(pairs)] == [
        ("automatic", False), ("automatic", False), ("new", True),
    ]  # fmt: skip
    write_record(results, "a.tif", Record("y_a_labels.tif", "done", 4))
    write_record(results, "x/a.tif", Record("a_labels.tif", "in work", 2))
    assert [i.record.state for i in paired_items(pairs)] == ["in work", "done", "new"]


def test_an_image_is_no_labels_file(tmp_path: Path) -> None:
    for name in ("a.tif", "b.tif"):
        write_labels(tmp_path / name, np.ones((4, 4), np.uint16))
    write_record(tmp_path, "a.tif", Record("b.tif", "automatic", None))
    with pytest.raises(WorklistError, match=r"labels of 'a\.tif' are 'b\.tif', which is an image"):
        items_of_folder(tmp_path, tmp_path)
