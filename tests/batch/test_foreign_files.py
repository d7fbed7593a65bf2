"""Files of others, and damaged ones, where those of a result go: an item without labels is never counted as kept."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_foundseg.batch import item_stages
from napari_foundseg.batch.recipe import read_recipe
from napari_foundseg.batch.replay import check_replay, compare, replay
from napari_foundseg.batch.runner import Runner
from napari_foundseg.core.errors import FoundsegError, RecipeError, ReplayError
from napari_foundseg.io.worklist import STATE_FILE, Record, write_record
from napari_foundseg.io.written_files import whose_file
from tests.support import toy_steps

DEEP = b"[" * 100_000 + b"]" * 100_000
LABELME = json.dumps({"version": "5.2.1", "flags": {}, "shapes": [], "imagePath": "a.tif"}).encode()
NO_RECORDS = {
    "labelme": LABELME,
    "cut": b'{"format": "foundseg-result 1", "state": "do',
    "empty": b"",
    "list": b"[]",
    "deep": DEEP,
    "huge": b'{"objects": 1' + b"0" * 5000 + b"}",
    "twice": b'{"format": "foundseg-result 1", "state": "done", "state": "writing"}',
    "bytes": b"\xff\xfe\x00\xd8",
}


@pytest.fixture(autouse=True)
def _no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_stages, "run_steps", toy_steps.steps_without_model)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The empty folder of the results of images a, b and c."""
    for name in "abc":
        toy_steps.picture_file(tmp_path / "images" / f"{name}.tif")
    (tmp_path / "results").mkdir()
    return tmp_path / "results"


def ended(results: Path) -> dict[str, item_stages.ItemOutcome]:
    return {outcome.stem: outcome for outcome in toy_steps.run(toy_steps.recipe(), results.parent)}


def states(results: Path) -> list[str]:
    return [outcome.state for outcome in ended(results).values()]


@pytest.mark.parametrize("content", NO_RECORDS.values(), ids=NO_RECORDS)
def test_an_item_whose_sidecar_is_none_has_failed_while_it_has_no_labels(results: Path, content: bytes) -> None:
    (results / "b_labels.json").write_bytes(content)
    found = ended(results)
    assert [outcome.state for outcome in found.values()] == ["done", "failed", "done"]
    assert found["b"].error == "KeptError"
    assert "b_labels.json was kept" in found["b"].reason
    assert "There are no labels of this image" in found["b"].reason
    assert (results / "b_labels.json").read_bytes() == content
    assert not (results / "b_labels.tif").exists()
    # With labels that somebody made, there is something to keep.
    tifffile.imwrite(results / "b_labels.tif", np.ones((24, 30), np.uint16))
    assert states(results) == ["already done", "kept", "already done"]
    (results / "b_labels.tif").unlink()
    (results / "b_labels.json").unlink()
    assert states(results) == ["already done", "done", "already done"]


FOREIGN: dict[str, Callable[[Path], Any]] = {
    "b_labels.csv": lambda path: path.write_text("well,drug\nA1,none\n"),
    "b_labels.tif": lambda path: path.write_bytes(b"<html>"),
    "b_labels.png": lambda path: path.write_bytes(b""),
    "b_labels.ome.zarr": lambda path: path.mkdir(),
    "b_labels.ome.tif": lambda path: tifffile.imwrite(path, np.zeros((9, 9), np.float32)),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_other_files_of_its_names_are_no_labels(results: Path, name: str) -> None:
    FOREIGN[name](results / name)
    found = ended(results)
    assert [outcome.state for outcome in found.values()] == ["done", "failed", "done"]
    assert name in found["b"].reason
    assert (results / name).exists()


def test_a_table_that_is_left_without_its_labels_is_no_result(results: Path) -> None:
    assert states(results) == ["done"] * 3
    (results / "b_labels.tif").unlink()
    (results / "b_labels.csv").write_text("label\n1\n")
    assert states(results) == ["already done", "failed", "already done"]


def test_the_batch_is_not_complete_without_a_result(results: Path, make_pool: Any) -> None:
    (results / "b_labels.json").write_bytes(LABELME)
    report = make_pool(results).run()
    assert [item.state for item in report.items] == ["done", "failed", "done"]
    assert not report.complete


@pytest.fixture
def make_pool() -> Any:
    """Make a runner whose items run in this process."""
    from concurrent.futures import Future

    class Here:
        workers = threads = 1

        class source:  # noqa: N801 - like an attribute
            address = ""
            shares_files = True

        def submit(self, _stages: Any, order: Any, _progress: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_result(item_stages.run_item_here(order))
            return future

    return lambda results: Runner(toy_steps.recipe(), results.parent, pool=Here())


def png_of(width: int, height: int) -> bytes:
    """A PNG that says how large it is, and has hardly any pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def zarr_of(folder: Path, **changes: Any) -> None:
    """An OME-Zarr of version 0.4 with one array, whose description is changed."""
    array = {
        "zarr_format": 2, "shape": [24, 30], "chunks": [24, 30], "dtype": "|u1", "compressor": None, "fill_value": 0,
        "filters": None, "order": "C",
    }  # fmt: skip
    axes = [{"name": name, "type": "space"} for name in "yx"]
    scales = [{"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]}]
    (folder / "0").mkdir(parents=True)
    (folder / ".zgroup").write_text('{"zarr_format": 2}')
    (folder / ".zattrs").write_text(json.dumps({"multiscales": scales}))
    (folder / "0" / ".zarray").write_text(json.dumps(array | changes))
    (folder / "0" / "0.0").write_bytes(pickle.dumps(Trap()))


class Trap:
    """Writes a file where it is unpickled."""

    def __reduce__(self) -> Any:
        return (Path.write_text, (Path(os.environ.get("TRAP", os.devnull)), "sprung"))


def test_bombs_and_poisoned_files_fail_by_themselves(
    results: Path, make_pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = results.parent / "trap"
    monkeypatch.setenv("TRAP", str(trap))
    images = results.parent / "images"
    content = (images / "a.tif").read_bytes()
    (images / "bomb.png").write_bytes(png_of(60_000, 60_000))
    (images / "cut.tif").write_bytes(content[: len(content) // 2])
    (images / "pickle.tif").write_bytes(pickle.dumps(Trap()))
    (images / "record.ome.tif").write_bytes(DEEP)
    zarr_of(images / "huge.ome.zarr", shape=[10**7, 10**7], chunks=[10**7, 10**7])
    zarr_of(images / "poison.ome.zarr", dtype="|O", filters=[{"id": "pickle", "protocol": 5}])
    (results / "b_labels.json").write_bytes(DEEP)
    report = make_pool(results).run()
    found = {item.name: item for item in report.items}
    assert [found[f"images/{name}.tif"].state for name in "abc"] == ["done", "failed", "done"]
    bad = ["bomb.png", "cut.tif", "pickle.tif", "record.ome.tif", "huge.ome.zarr", "poison.ome.zarr"]
    for name in (f"images/{name}" for name in bad):
        assert found[name].state == "failed", name
        assert found[name].reason
        assert name.partition("/")[2] in found[name].reason, found[name].reason
    assert len(found) == 3 + len(bad)
    assert not report.complete
    assert not trap.exists()


def test_a_damaged_record_of_the_worklist_does_not_take_the_other_items(results: Path) -> None:
    assert states(results) == ["done"] * 3
    write_record(results, "a.tif", Record("a_labels.tif", "done", 1))
    content = json.loads((results / STATE_FILE).read_bytes())
    content["images"]["b.tif"] = {"labels": 5}
    (results / STATE_FILE).write_text(json.dumps(content))
    assert states(results) == ["kept", "already done", "already done"]


@pytest.mark.parametrize("content", NO_RECORDS.values(), ids=NO_RECORDS)
def test_what_is_no_record_is_named_wherever_it_is_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a_labels.json"
    path.write_bytes(content)
    for act in (replay, lambda source: check_replay(source, None, tmp_path / "b.tif"), lambda s: compare(s, None)):
        with pytest.raises(ReplayError, match=r"a_labels\.json|provenance"):
            act(path)
    labels = tmp_path / "a_labels.tif"
    tifffile.imwrite(labels, np.ones((4, 4), np.uint8))
    assert whose_file(labels) == "foreign"
    recipe = tmp_path / "recipe.json"
    recipe.write_bytes(content)
    with pytest.raises(RecipeError, match=r"recipe\.json"):
        read_recipe(recipe)


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": 5},
        {"model": {"name": "foundseg-tiny", "threads": "many"}},
        {"model": {"name": "foundseg-tiny", "threads": 10**12}},
        {"model": {"name": "foundseg-tiny", "device": ["cuda"]}},
        {"image": []},
        {"image": {"source": 7}},
        {"settings": {"method": "decoder", "min_area": 1e300}},
        {"inputs": [[[]]]},
        {"task": {}},
    ],
)
def test_a_provenance_with_values_of_other_types_is_named(tmp_path: Path, wrong: dict[str, Any]) -> None:
    image = toy_steps.picture_file(tmp_path / "a.tif")
    known = {
        "task": "automatic",
        "model": {"name": "foundseg-tiny"},
        "settings": {"method": "decoder"},
        "inputs": {},
        "image": {"source": str(image), "fingerprint": "0", "channels": [], "normalisation": {"kind": "percentile"}},
    }
    for record in (known | wrong, {"foundseg": known | wrong}):
        (tmp_path / "a_labels.json").write_text(json.dumps(record))
        with pytest.raises(FoundsegError):
            replay(tmp_path / "a_labels.json")
        with pytest.raises(FoundsegError):
            replay(tmp_path / "a_labels.json", image=image)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 5000,
        "{a: " * 3000,
        "steps: .nan",
        "inputs: {paths: [.inf]}",
        "outputs: {folder: 1e999}",
        "? [a]\n: 1",
        "steps: 2026-01-01",
        "steps: !!set {a}",
        f"outputs: {{folder: 1{'0' * 5000}}}",
        "outputs: {folder: a, folder: b}",
    ],
)
def test_a_recipe_of_odd_yaml_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.yaml"
    for content in (text, f"format: foundseg-recipe 1\n{text}"):
        path.write_text(content)
        with pytest.raises(RecipeError, match=r"recipe\.yaml"):
            read_recipe(path)
