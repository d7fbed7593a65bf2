"""The table of file formats: a format that lives in this file alone is read, listed and written like any other."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_foundseg as fs
from napari_foundseg.batch.items import list_items
from napari_foundseg.batch.recipe import ModelOf, Outputs, Recipe, Sources, Step
from napari_foundseg.core.errors import BadImageError, OutputError, RecipeError
from napari_foundseg.io.atomic import atomic_write
from napari_foundseg.io.formats.content import FileContent
from napari_foundseg.io.formats.file_format import FileHead, Format
from napari_foundseg.io.formats.table import all_formats, register_format
from napari_foundseg.io.image_sources import read_folder
from napari_foundseg.io.layer_files import labels_reader, read_layer, write_layer
from napari_foundseg.io.naming import label_patterns, sidecar_path, stem_of, table_path
from napari_foundseg.io.readers import read_image
from napari_foundseg.io.worklist import items_of_folder
from napari_foundseg.io.writers import write_labels

#: Where NIfTI has its magic, too.
PLACE = 344
MAGIC = b"toy1"


def read_toy(path: Path, axes: str | None) -> FileContent:
    with gzip.open(path) as file:
        rows = file.read()[PLACE + len(MAGIC) :].decode().splitlines()
    try:
        pixels = np.array([[int(number) for number in row.split()] for row in rows], np.uint16)
    except ValueError as error:
        raise BadImageError(path, f"a row does not hold numbers ({error})") from error
    return FileContent(pixels, axes or "YX")


def write_toy(path: Path, content: FileContent) -> None:
    rows = "\n".join(" ".join(map(str, row)) for row in content.data)
    with atomic_write(path) as file:
        file.write(gzip.compress(b"\0" * PLACE + MAGIC + rows.encode(), mtime=0))


def is_toy(head: FileHead) -> bool:
    return head.unzipped(PLACE + len(MAGIC))[PLACE:] == MAGIC


TOY = Format(
    name="Toy",
    read_endings=(".toy.gz",),
    recognises=is_toy,
    read=read_toy,
    write_endings=(".toy.gz",),
    write=write_toy,
)
PIXELS = np.arange(30, dtype=np.uint16).reshape(5, 6)
LABELS = np.array([[0, 1, 1], [2, 2, 0]], np.uint16)


@pytest.fixture
def toy() -> Iterator[None]:
    with register_format(TOY):
        yield


def recipe(*paths: str, **outputs: Any) -> Recipe:
    step = Step(task="automatic", model=ModelOf(name="foundseg-tiny"))
    return Recipe(inputs=Sources(paths=paths), steps=(step,), outputs=Outputs(**outputs))


@pytest.mark.usefixtures("toy")
def test_a_registered_format_is_read(tmp_path: Path) -> None:
    write_toy(tmp_path / "a.toy.gz", FileContent(PIXELS, "YX"))
    image = read_image(tmp_path / "a.toy.gz")
    assert np.array_equal(image.raw(), PIXELS)
    assert image.source == str(tmp_path / "a.toy.gz")
    assert [one.source for one in read_folder(tmp_path)] == [image.source]


@pytest.mark.usefixtures("toy")
def test_a_registered_format_is_segmented(tmp_path: Path) -> None:
    plane = np.zeros((64, 64), np.uint16)
    plane[20:40, 20:40] = 900
    write_toy(tmp_path / "a.toy.gz", FileContent(plane, "YX"))
    assert np.array_equal(fs.automatic(tmp_path / "a.toy.gz").labels, fs.automatic(plane).labels)


@pytest.mark.usefixtures("toy")
def test_a_registered_format_is_recognised_by_content_whatever_its_name(tmp_path: Path) -> None:
    write_toy(tmp_path / "a.tif", FileContent(PIXELS, "YX"))
    assert np.array_equal(read_image(tmp_path / "a.tif").raw(), PIXELS)


@pytest.mark.usefixtures("toy")
def test_the_error_for_other_content_lists_a_registered_format(tmp_path: Path) -> None:
    (tmp_path / "a.toy.gz").write_bytes(gzip.compress(b"something else"))
    with pytest.raises(BadImageError, match="not a TIFF, PNG, JPEG or Toy file"):
        read_image(tmp_path / "a.toy.gz")
    with pytest.raises(BadImageError, match=r"\.toy\.gz"):
        read_image(tmp_path / "a.czi")


@pytest.mark.usefixtures("toy")
def test_worklist_and_batch_list_a_registered_format(tmp_path: Path) -> None:
    write_toy(tmp_path / "a.toy.gz", FileContent(PIXELS, "YX"))
    write_toy(tmp_path / "b_labels.toy.gz", FileContent(LABELS, "YX"))
    (tmp_path / "b.png").write_bytes(b"")
    (tmp_path / "c.gz").write_bytes(b"")
    listed = items_of_folder(tmp_path, tmp_path)
    assert [(item.name, item.labels.name) for item in listed] == [
        ("a.toy.gz", "a_labels.tif"),
        ("b.png", "b_labels.toy.gz"),
    ]
    for entry in (".", "*"):
        assert [(item.name, item.stem) for item in list_items(recipe(entry), tmp_path)] == [
            ("a.toy.gz", "a"),
            ("b.png", "b"),
        ]


@pytest.mark.usefixtures("toy")
def test_labels_are_written_in_a_registered_format(tmp_path: Path) -> None:
    path = tmp_path / "a_labels.toy.gz"
    write_labels(path, LABELS)
    assert np.array_equal(read_image(path).raw(), LABELS)
    with pytest.raises(OutputError, match=r"\.tif, \.ome\.tif, \.ome\.zarr, \.png or \.toy\.gz"):
        write_labels(tmp_path / "a.jpg", LABELS)


@pytest.mark.usefixtures("toy")
def test_a_labels_layer_in_a_registered_format_keeps_its_features_in_a_table(tmp_path: Path) -> None:
    import pandas as pd

    path = tmp_path / "a_labels.toy.gz"
    attributes = {
        "scale": (1.0, 1.0),
        "features": pd.DataFrame({"index": [1, 2], "area": [2.0, 2.0]}),
        "metadata": {"foundseg": {"task": "automatic"}},
    }
    assert labels_reader(str(path)) is read_layer
    written = write_layer(str(path), LABELS, attributes)
    assert written == [str(path), str(tmp_path / "a_labels.csv"), str(tmp_path / "a_labels.json")]
    ((data, read, kind),) = read_layer(str(path))
    assert kind == "labels"
    assert read["name"] == "a_labels"
    assert np.array_equal(data, LABELS)
    assert list(read["features"]["area"]) == [2.0, 2.0]


@pytest.mark.usefixtures("toy")
def test_a_recipe_may_write_a_registered_format() -> None:
    assert recipe("a", labels=".toy.gz").outputs.labels == ".toy.gz"
    assert ".toy.gz" in Recipe.model_json_schema()["$defs"]["Outputs"]["properties"]["labels"]["enum"]


def test_a_format_is_gone_when_its_registration_is_closed(tmp_path: Path) -> None:
    registration = register_format(TOY)
    write_toy(tmp_path / "a.toy.gz", FileContent(PIXELS, "YX"))
    assert len(items_of_folder(tmp_path, tmp_path)) == 1
    registration.close()
    assert items_of_folder(tmp_path, tmp_path) == []
    assert "*_labels.toy.gz" not in label_patterns()
    with pytest.raises(BadImageError, match="not read"):
        read_image(tmp_path / "a.toy.gz")
    with pytest.raises(RecipeError, match="no image"):
        list_items(recipe("."), tmp_path)
    with pytest.raises(ValueError, match=r"Input should be '\.tif', '\.ome\.tif', '\.ome\.zarr' or '\.png'"):
        recipe("a", labels=".toy.gz")


def test_a_folder_may_be_a_format(tmp_path: Path) -> None:
    def read(path: Path, axes: str | None) -> FileContent:
        return FileContent(np.load(path / "pixels.npy"), axes or "YX")

    row = Format(
        "Box", read_endings=(".box",), recognises=lambda head: head.holds("pixels.npy"), read=read, folder=True
    )
    for name in ("a.box", "other"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "pixels.npy", PIXELS)
    with register_format(row):
        assert np.array_equal(read_image(tmp_path / "a.box").raw(), PIXELS)
        assert np.array_equal(read_image(tmp_path / "other").raw(), PIXELS)
        assert [item.name for item in items_of_folder(tmp_path, tmp_path)] == ["a.box"]
        assert [item.name for item in list_items(recipe("."), tmp_path)] == ["a.box"]
        (tmp_path / "empty.box").mkdir()
        with pytest.raises(BadImageError, match="only folders of OME-Zarr or Box are images"):
            read_image(tmp_path / "empty.box")


def test_a_format_that_clashes_with_another_is_refused() -> None:
    clash = Format("My TIFF", read_endings=(".tiff",), recognises=is_toy, read=read_toy)
    with pytest.raises(ValueError, match=r"My TIFF: the format TIFF has \.tiff already"):
        register_format(clash)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"read_endings": ("toy",), "recognises": is_toy, "read": read_toy}, "begin with a dot"),
        ({"read_endings": (".TOY",), "recognises": is_toy, "read": read_toy}, "lower case"),
        ({"read_endings": (".toy",)}, "need `recognises` and `read`"),
        ({"read": read_toy}, "together"),
        ({"write_endings": (".toy",)}, "`write` together"),
    ],
)
def test_an_incomplete_format_says_what_is_missing(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=f"Toy: .*{reason}"):
        Format("Toy", **fields)


@pytest.mark.parametrize("ending", [".tif", ".ome.tif", ".ome.zarr", ".png"])
def test_one_format_alone_recognises_a_file(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    write_labels(path, LABELS)
    head = FileHead(path)
    found = [row.name for row in all_formats() if row.recognises is not None and row.recognises(head)]
    assert found == [{".png": "PNG", ".ome.zarr": "OME-Zarr"}.get(ending, "TIFF")]


def test_the_head_of_a_file_gives_as_many_bytes_as_are_asked_for(tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(100_000)
    (tmp_path / "plain").write_bytes(content)
    (tmp_path / "zipped").write_bytes(gzip.compress(content))
    (tmp_path / "cut").write_bytes(gzip.compress(content)[:50_000])
    (tmp_path / "no gzip").write_bytes(b"\x1f\x8b" + b"\xff" * 100)
    plain, zipped = FileHead(tmp_path / "plain"), FileHead(tmp_path / "zipped")
    for size in (4, 20_000, 99_999, 100_000, 200_000):
        assert plain.read(size) == plain.unzipped(size) == zipped.unzipped(size) == content[:size]
    assert zipped.read(2) == b"\x1f\x8b"
    assert FileHead(tmp_path / "cut").unzipped(1000) == content[:1000]
    assert FileHead(tmp_path / "no gzip").unzipped(1000) == b""
    assert FileHead(tmp_path).read(8) == b""


def test_results_are_named_by_the_whole_ending() -> None:
    assert [stem_of(name) for name in ("a.tif", "a.OME.TIF", "a.ome.zarr", "a.b", ".tif")] == [
        "a",
        "a",
        "a",
        "a.b",
        ".tif",
    ]
    assert table_path(Path("x/a_labels.ome.tif")) == Path("x/a_labels.csv")
    assert sidecar_path(Path("x/a_labels.ome.zarr")) == Path("x/a_labels.json")
    assert sidecar_path(Path("x/a_labels.npy")) == Path("x/a_labels.json")
